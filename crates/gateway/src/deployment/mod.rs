//! What is deployed for gateways: manifests, rendered from facts. Whoever applies them decides nothing.
//!
//! ```text
//! Gateway, its listeners, settings ──▶ Plan (names, labels, ports, scale, or what is wrong)
//!                                        └──▶ pod, Service, … as typed objects ──▶ manifests
//! ```
//!
//! One proxy profile: an upstream Envoy, whose bootstrap this program writes in a container before it.

pub mod bootstrap;
mod fields;
mod label;
mod manifest;
mod overlay;
mod plan;
mod pod;
mod privilege;
mod row;

pub use label::MANAGED as MANAGED_LABEL;
pub use row::{Fault, GatewayDeployment, Manifest, ManifestKind};

pub(crate) use plan::SERVICE_TYPE;

use engine::{Builder, Table};
use mesh::Ownership;
use mesh::ProxyOptions;
use model::facts::Gateway;
use model::{Name, Str};

use crate::class::Class;
use crate::listener::GatewayListeners;
use crate::parameters::Parameters;
use overlay::{Author, Overlays};
use plan::{Plan, PlanInputs};
use pod::Common;

/// What deployments are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub gateways: Table<Name, Gateway>,
    pub merged: Table<Name, GatewayListeners>,
    /// What customizes them.
    pub parameters: Table<Name, Parameters>,
    /// The network of the cluster.
    pub network: Table<(), Str>,
    /// The host that proxies are told to find their control plane at.
    pub discovery_host: Table<(), Str>,
    pub options: ProxyOptions,
    /// Whether there may be several networks.
    pub is_multi_network: bool,
    /// The revision that is served; empty for every one.
    pub revision: String,
    /// The namespace of the control plane.
    pub system_namespace: String,
    /// Whose proxies are deployed here.
    pub ownership: Ownership,
}

/// The port of secure xDS.
const XDS_PORT: u16 = 15012;

/// Declares what is deployed for the gateways that are ours and not deployed by hand.
pub(crate) fn declare(b: &mut Builder, inputs: Inputs) -> Table<Name, GatewayDeployment> {
    let deployments = b.derive("gateway_deployments", inputs.gateways, move |cx, name, gateway| {
        let merged = cx.get(inputs.merged, name)?;
        // What goes with a gateway that is being deleted must not come back.
        let is_deployed = merged.class != Class::Remote
            && (merged.class.is_configured(inputs.is_multi_network) || !inputs.options.configured_only)
            && is_managed(gateway)
            && !gateway.is_deleted
            && inputs.ownership.owns(cx, &gateway.meta)
            && version_is_known(gateway);
        if !is_deployed {
            return None;
        }
        let parameters = cx.get(inputs.parameters, name)?;
        // What runs stays as it is until it is known what it is to be.
        if parameters.is_pending {
            return None;
        }
        let network = cx.single(inputs.network).unwrap_or_default();
        let plan = Plan::new(
            gateway,
            &PlanInputs {
                class: merged.class,
                listeners: merged.listeners.iter().map(|(_, listener)| listener).collect(),
                names: merged.listeners.iter().map(|(key, _)| &key.name).collect(),
                network: &network,
                envoy_image: &inputs.options.envoy_image,
                revision: &inputs.revision,
            },
        );
        let host = cx.single(inputs.discovery_host).unwrap_or_default();
        let xds = format!("{}:{XDS_PORT}", inputs.control_plane(&host));
        let common = Common {
            xds: &xds,
            pilothouse_image: &inputs.options.pilothouse_image,
            root_config_map: &inputs.options.root_config_map,
        };
        let manifests = plan.and_then(|plan| manifest::render(&plan, &common, &overlays(&parameters)?));
        Some(GatewayDeployment { uid: gateway.uid.clone(), manifests })
    });
    b.sink(deployments);
    deployments
}

impl Inputs {
    /// The host of the control plane: as the mesh settings say, else the Service of the revision.
    fn control_plane(&self, written: &str) -> String {
        match (written, self.revision.as_str()) {
            ("", "" | "default") => format!("istiod.{}.svc", self.system_namespace),
            ("", revision) => format!("istiod-{revision}.{}.svc", self.system_namespace),
            (written, _) => written.to_owned(),
        }
    }
}

/// Reads what is laid over manifests: what the class has by default, then what the gateway has itself.
fn overlays(parameters: &Parameters) -> Result<Overlays, Fault> {
    if let Some(fault) = &parameters.fault {
        return Err(Fault::new(fault.clone()));
    }
    let mut overlays = Overlays::default();
    let defaults = parameters.defaults.iter().map(|map| (Author::System, map));
    for (by, map) in defaults.chain(parameters.own.iter().map(|map| (Author::Gateway, map))) {
        overlays.read(&format!("ConfigMap {}", map.name), by, &map.data)?;
    }
    Ok(overlays)
}

/// Tells whether a gateway is deployed here: its author names no Service that takes its traffic.
pub(crate) fn is_managed(gateway: &Gateway) -> bool {
    match gateway.requested.as_slice() {
        [] => true,
        [one] => one.kind == "IPAddress",
        _ => false,
    }
}

/// The annotation by which an istiod says in which version it deploys a gateway: a later one than that whose
/// objects are made here has it for itself.
fn version_is_known(gateway: &Gateway) -> bool {
    const VERSION: &str = "gateway.istio.io/controller-version";
    const LATEST: u32 = 5;
    let written = gateway.annotations.get(VERSION);
    written.is_none_or(|text| text.parse::<u32>().is_ok_and(|version| version <= LATEST))
}
