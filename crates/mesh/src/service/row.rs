//! Services as sent.

use engine::{Builder, Cx, Key, Memo, Table};
use model::facts::{IpFamily, Meta, Service};
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Severity, Str};
use output::{Encoded, Outputs, Rank, Resource};
use proto::ResourceType;
use proto::workload::{self, load_balancing};

use super::view::{hostname, is_sent, ports, resource_name};
use crate::capabilities::VISIBILITY;
use crate::encode::{self, ip_bytes};
use crate::labels::{INGRESS_LABEL, UseWaypoint, annotated};
use crate::namespace::NamespaceView;
use crate::settings::Settings;
use crate::waypoint::{BindError, Binder, Bound, WaypointRequirement};
use crate::{Options, TrafficDistribution, rank};

/// A service and what became of its waypoint.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ServiceRow {
    /// The object that it stands for.
    pub object: Name,
    /// The resource's name, `namespace/hostname`.
    pub resource: Str,
    pub encoded: Encoded,
    pub waypoint: Result<Option<Name>, BindError>,
    /// What a client must understand to be sent it.
    pub needs: u8,
    /// Why its canary is not attached.
    pub canary: Option<BindError>,
    /// Its canary, if it is.
    pub canary_waypoint: Option<Name>,
    /// Whether its waypoint is that of its namespace.
    pub inherits: bool,
    /// Whether what did not come through the waypoint is refused.
    pub requires: bool,
}

impl ServiceRow {
    /// A row of a service with this encoding.
    pub fn new(
        meta: &Meta,
        resource: Str,
        message: workload::Service,
        bound: Result<Option<Bound>, BindError>,
        requirement: &WaypointRequirement,
    ) -> Self {
        let canary = bound.as_ref().ok().and_then(|b| b.as_ref()?.canary.as_ref());
        let canary_waypoint =
            canary.and_then(|canary| canary.as_ref().ok()).map(|(waypoint, _)| waypoint.name.clone());
        let canary = canary.and_then(|canary| canary.as_ref().err()).cloned();
        let is_private = message.visibility() != workload::service::Visibility::Public;
        Self {
            object: meta.name.clone(),
            resource,
            needs: if is_private { VISIBILITY } else { 0 },
            encoded: encode::service(message),
            waypoint: bound.map(|b| b.map(|b| b.primary.name.clone())),
            canary,
            canary_waypoint,
            inherits: UseWaypoint::read(&meta.labels, &meta.name.ns).is_none(),
            requires: requirement.required,
        }
    }

    /// Declares that a table of them is sent.
    pub fn declare_output<K: Key>(b: &mut Builder, out: &mut Outputs, table: Table<K, Self>, rank: Rank) {
        out.resources(b, table, ResourceType::Address, rank, |_, row| {
            Some(Resource::new(row.resource.as_str(), &row.encoded).needs(row.needs))
        });
    }

    /// Returns what the author of `kind` `name` should know: that it is not bound to the waypoint, or
    /// the canary, that it names.
    pub fn diagnostic(&self, kind: Kind, name: &Name) -> Option<Diagnostic> {
        let (code, label, error, effect) = match (&self.waypoint, &self.canary) {
            (Err(error), _) => {
                let effect = if self.requires {
                    "connections to the service are refused"
                } else {
                    "the service is reached without a waypoint"
                };
                (code::WAYPOINT_NOT_BOUND, "use-waypoint", error, effect)
            }
            (_, Some(error)) => {
                let effect = "the service's own waypoint takes all its traffic";
                (code::CANARY_NOT_ATTACHED, "use-waypoint-canary", error, effect)
            }
            _ => return None,
        };
        let (reason, message) = error.condition();
        // Only the waypoint's own label tells where it is from; a canary is looked for in both places.
        let holder = if self.inherits && code == code::WAYPOINT_NOT_BOUND { " of its namespace" } else { "" };
        Some(Diagnostic {
            code,
            severity: Severity::Warning,
            object: Some(ObjectRef { kind, name: name.clone() }),
            field: format!("metadata.labels[istio.io/{label}]{holder}"),
            message,
            help: format!("{effect} ({reason})"),
            place: None,
        })
    }
}

/// Codes of the diagnostics that arise here.
pub(crate) mod code {
    /// A service is not bound to the waypoint that it names.
    pub(crate) const WAYPOINT_NOT_BOUND: &str = "WP001";
    /// A service does not have the canary that it names.
    pub(crate) const CANARY_NOT_ATTACHED: &str = "WP002";
}

/// Declares the services as sent, by object. `subject_alt_names` tells who may answer for one on other
/// networks.
#[allow(clippy::too_many_arguments)] // what the wiring has at hand, each used once
pub(crate) fn declare_rows(
    b: &mut Builder,
    out: &mut Outputs,
    services: Table<Name, Service>,
    namespaces: Memo<Ns, NamespaceView>,
    settings: Settings,
    binder: Binder,
    subject_alt_names: impl Fn(&Cx<'_>, &Name) -> Vec<String> + Send + 'static,
    options: &Options,
) -> Table<Name, ServiceRow> {
    let suffix = Str::from(options.domain_suffix.as_str());
    let requires = options.require_waypoints;
    let rows = b.derive("services_sent", services, move |cx, name, service| {
        let view = cx.memo(namespaces, &name.ns)?;
        if !is_sent(service, &view) {
            return None;
        }
        let bound = binder.bind_service(cx, &service.meta, &view);
        let waypoints = bound.as_ref().ok().and_then(|b| b.as_ref());
        let mut message = encode(cx, name, service, &suffix, &view, waypoints, settings);
        message.subject_alt_names = subject_alt_names(cx, name);
        let requirement = WaypointRequirement::of_service(&service.meta, &view, requires);
        Some(ServiceRow::new(&service.meta, resource_name(name, &suffix), message, bound, &requirement))
    });
    ServiceRow::declare_output(b, out, rows, rank::SERVICE);
    out.diagnostics(b, "service_findings", rows, |name, row| row.diagnostic(Kind::Service, name));
    rows
}

fn encode(
    cx: &Cx<'_>,
    name: &Name,
    service: &Service,
    suffix: &str,
    view: &NamespaceView,
    waypoints: Option<&Bound>,
    settings: Settings,
) -> workload::Service {
    let network = cx.single(settings.network).map(|n| n.to_string()).unwrap_or_default();
    workload::Service {
        name: name.name.to_string(),
        namespace: name.ns.to_string(),
        hostname: hostname(name, suffix),
        addresses: service
            .cluster_ips
            .iter()
            .map(|ip| workload::NetworkAddress {
                network: network.clone(),
                address: ip_bytes(ip),
                length: None,
            })
            .collect(),
        ports: ports(service),
        waypoint: waypoints.and_then(|b| b.primary.gateway_address()),
        weighted_waypoints: waypoints.map(Bound::weighted).unwrap_or_default(),
        load_balancing: load_balancing(
            Balancing {
                pass_through: false,
                local: service.internal_traffic_local,
                distribution: &service.traffic_distribution,
                annotations: &service.meta.annotations,
                publish_not_ready: service.publish_not_ready,
            },
            view,
        ),
        ip_families: match service.ip_families.as_slice() {
            [] => workload::IpFamilies::Automatic,
            [IpFamily::V4] => workload::IpFamilies::Ipv4Only,
            [IpFamily::V6] => workload::IpFamilies::Ipv6Only,
            _ => workload::IpFamilies::Dual,
        }
        .into(),
        canonical: true,
        ingress_use_waypoint: waypoints.is_some() && ingress(&service.meta.labels, view),
        ..Default::default()
    }
}

/// The label on the object, else on its namespace; a value that is no truth value is false.
pub(crate) fn ingress(labels: &Labels, view: &NamespaceView) -> bool {
    let value = labels.get(INGRESS_LABEL).or(view.ingress_use_waypoint.as_ref());
    value.is_some_and(|v| matches!(v.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// `spec.trafficDistribution` in its exact case, else an annotation in any case: an unknown value in
/// the annotation of the object is a choice of none, in the spec it is no choice.
fn distribution(spec: &str, annotations: &Labels, view: &NamespaceView) -> Option<TrafficDistribution> {
    match spec {
        "PreferSameZone" | "PreferClose" => Some(TrafficDistribution::SameZone),
        "PreferSameNode" => Some(TrafficDistribution::SameNode),
        _ => annotated(annotations).unwrap_or(view.traffic_distribution),
    }
}

/// What decides how endpoints of a service are chosen.
#[derive(Clone, Copy)]
pub(crate) struct Balancing<'a> {
    /// A ServiceEntry with resolution NONE: traffic goes where it was going.
    pub pass_through: bool,
    /// `internalTrafficPolicy: Local`.
    pub local: bool,
    /// `spec.trafficDistribution`, empty when unset.
    pub distribution: &'a str,
    pub annotations: &'a Labels,
    pub publish_not_ready: bool,
}

pub(crate) fn load_balancing(of: Balancing<'_>, view: &NamespaceView) -> Option<workload::LoadBalancing> {
    use load_balancing::{HealthPolicy, Mode, Scope};
    let choose = |mode: Mode, scopes: &[Scope]| workload::LoadBalancing {
        routing_preference: scopes.iter().map(|s| *s as i32).collect(),
        mode: mode.into(),
        health_policy: HealthPolicy::OnlyHealthy.into(),
    };
    let mut chosen = if of.pass_through {
        Some(choose(Mode::Passthrough, &[]))
    } else if of.local {
        Some(choose(Mode::Strict, &[Scope::Node]))
    } else {
        distribution(of.distribution, of.annotations, view).map(|d| match d {
            TrafficDistribution::SameZone => {
                choose(Mode::Failover, &[Scope::Network, Scope::Region, Scope::Zone])
            }
            TrafficDistribution::SameNode => choose(
                Mode::Failover,
                &[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
            ),
        })
    };
    if of.publish_not_ready || of.pass_through {
        chosen.get_or_insert_with(|| choose(Mode::UnspecifiedMode, &[])).health_policy =
            HealthPolicy::AllowAll.into();
    }
    chosen
}
