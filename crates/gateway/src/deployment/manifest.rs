//! The objects of a plan, rendered.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::Kind;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

use super::overlay::Overlays;
use super::plan::Plan;
use super::pod::{self, Common};
use super::row::{Fault, Manifest, ManifestKind};
use crate::class::Class;

/// The annotation with a digest of what was applied: another digest is applied again, so that fields which
/// are no longer ours go.
const DIGEST: &str = "gateway.pilothouse.io/manifest";

/// How many percent of the CPU that is asked for pods use before there are more of them.
const TARGET_CPU: i32 = 80;

/// Returns the objects of a plan, in the order in which they are applied.
///
/// # Errors
/// What cannot be laid over one of them.
pub(super) fn render(plan: &Plan, common: &Common<'_>, overlays: &Overlays) -> Result<Vec<Manifest>, Fault> {
    use ManifestKind::{Deployment, HorizontalPodAutoscaler, PodDisruptionBudget, Service, ServiceAccount};
    let has_autoscaler = plan.max_replicas.is_some() || overlays.have(HorizontalPodAutoscaler);
    // An autoscaler, or whoever scales by hand, must not be set back.
    let replicas = plan.replicas.filter(|_| !has_autoscaler);
    let mut all = vec![
        manifest(ServiceAccount, &plan.account, &account(plan), overlays)?,
        manifest(Deployment, &plan.name, &deployment(plan, common, replicas), overlays)?,
        manifest(Service, &plan.name, &service(plan), overlays)?,
    ];
    if has_autoscaler {
        all.push(manifest(HorizontalPodAutoscaler, &plan.name, &autoscaler(plan), overlays)?);
    }
    if plan.min_available.is_some() || overlays.have(PodDisruptionBudget) {
        all.push(manifest(PodDisruptionBudget, &plan.name, &budget(plan), overlays)?);
    }
    Ok(all)
}

fn manifest(
    kind: ManifestKind,
    name: &str,
    object: &impl Serialize,
    overlays: &Overlays,
) -> Result<Manifest, Fault> {
    let mut body =
        serde_json::to_value(object).map_err(|error| Fault::new(format!("the {kind} {name}: {error}")))?;
    // The status is not ours.
    if let Some(fields) = body.as_object_mut() {
        fields.remove("status");
    }
    let mut body = overlays.apply(kind, body)?;
    let digest = format!("{:016x}", xxh3_64(body.to_string().as_bytes()));
    body["metadata"]["annotations"][DIGEST] = Value::String(digest);
    Ok(Manifest { kind, name: name.into(), body: Arc::new(body) })
}

fn metadata(plan: &Plan, name: &str) -> ObjectMeta {
    let kind = Kind::Gateway;
    let owner = OwnerReference {
        api_version: format!("{}/{}", kind.group(), kind.version()),
        kind: kind.name().to_owned(),
        name: plan.gateway.clone(),
        uid: plan.uid.clone(),
        ..OwnerReference::default()
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(plan.namespace.clone()),
        labels: Some(plan.labels.clone()),
        annotations: Some(plan.annotations.clone()),
        // Without a uid there is nobody to be owned by.
        owner_references: (!plan.uid.is_empty()).then(|| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn account(plan: &Plan) -> ServiceAccount {
    ServiceAccount { metadata: metadata(plan, &plan.account), ..ServiceAccount::default() }
}

fn deployment(plan: &Plan, common: &Common<'_>, replicas: Option<i32>) -> Deployment {
    Deployment {
        metadata: metadata(plan, &plan.name),
        spec: Some(DeploymentSpec {
            replicas,
            selector: plan.selector(),
            template: pod::template(plan, common),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn service(plan: &Plan) -> Service {
    let mut metadata = metadata(plan, &plan.name);
    if plan.class == Class::Waypoint {
        let annotations = metadata.annotations.get_or_insert_default();
        // A waypoint near the client saves a way through another zone.
        let key = "networking.istio.io/traffic-distribution".to_owned();
        annotations.entry(key).or_insert_with(|| "PreferClose".to_owned());
    }
    let ports = plan.ports.iter().map(|port| ServicePort {
        name: Some(port.name.clone()),
        port: port.port.into(),
        protocol: Some(if port.is_udp { "UDP" } else { "TCP" }.to_owned()),
        target_port: Some(IntOrString::Int(port.port.into())),
        app_protocol: Some(port.app_protocol.to_owned()),
        ..ServicePort::default()
    });
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(plan.service_type.clone()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            load_balancer_ip: plan.address.clone(),
            selector: plan.selector().match_labels,
            ports: Some(ports.collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn autoscaler(plan: &Plan) -> HorizontalPodAutoscaler {
    // What scales by an overlay alone is all written there.
    let by_cpu = plan.max_replicas.map(|_| {
        vec![MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricSource {
                name: "cpu".to_owned(),
                target: MetricTarget {
                    type_: "Utilization".to_owned(),
                    average_utilization: Some(TARGET_CPU),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        }]
    });
    HorizontalPodAutoscaler {
        metadata: metadata(plan, &plan.name),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: plan.name.clone(),
            },
            min_replicas: plan.replicas,
            max_replicas: plan.max_replicas.unwrap_or(1),
            metrics: by_cpu,
            ..HorizontalPodAutoscalerSpec::default()
        },
        ..HorizontalPodAutoscaler::default()
    }
}

fn budget(plan: &Plan) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(plan, &plan.name),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: plan.min_available.clone(),
            selector: Some(plan.selector()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
