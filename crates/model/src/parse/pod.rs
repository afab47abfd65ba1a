use super::metadata::{Metadata, OwnerReference, REDIRECTION};
use super::number::Port;
use super::text::{Text, or_empty};
use super::{read, wrong::Wrong};
use crate::facts::{Phase, Pod};
use crate::{Kind, Str, shared};
use serde::Deserialize;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Manifest<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
    #[serde(borrow)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    node_name: Option<Text<'a>>,
    #[serde(borrow)]
    service_account_name: Option<Text<'a>>,
    host_network: Option<bool>,
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    init_containers: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Container<'a> {
    #[serde(borrow)]
    restart_policy: Option<Text<'a>>,
    #[serde(borrow)]
    ports: Option<Vec<ContainerPort<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ContainerPort<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    container_port: Option<Port>,
    #[serde(borrow)]
    protocol: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Status<'a> {
    #[serde(borrow)]
    phase: Option<Text<'a>>,
    #[serde(borrow, rename = "podIP")]
    pod_ip: Option<Text<'a>>,
    #[serde(borrow, rename = "podIPs")]
    pod_ips: Option<Vec<PodIp<'a>>>,
    #[serde(borrow)]
    conditions: Option<Vec<Condition<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PodIp<'a> {
    #[serde(borrow)]
    ip: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

/// Returns the facts of a core `Pod`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<Pod, Wrong> {
    let Manifest { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let name = metadata.object_name(Kind::Pod)?;
    Ok(Pod {
        uid: metadata.uid(),
        labels: metadata.labels(),
        annotations: metadata.annotations_but(REDIRECTION),
        phase: match or_empty(&status.phase) {
            "Succeeded" | "Failed" => Phase::Done,
            _ => Phase::Live,
        },
        ips: status.ips(),
        node: shared(or_empty(&spec.node_name)),
        service_account: shared(or_empty(&spec.service_account_name)),
        workload_name: shared(workload_name(&metadata, &name.name)),
        named_ports: spec.named_ports(),
        ready: metadata.deletion_timestamp.is_none() && status.is_ready(),
        host_network: spec.host_network.unwrap_or(false),
        captured: metadata.annotation(REDIRECTION) == Some("enabled"),
        name,
    })
}

impl Spec<'_> {
    fn named_ports(&self) -> Arc<[(Str, u16)]> {
        let main = self.containers.iter().flatten();
        let sidecars =
            self.init_containers.iter().flatten().filter(|c| or_empty(&c.restart_policy) == "Always");
        let ports = main.chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        let named: SmallVec<[(Str, u16); 4]> = ports
            .filter(|p| matches!(or_empty(&p.protocol), "" | "TCP"))
            .filter_map(|p| match (or_empty(&p.name), p.container_port) {
                ("", _) | (_, None) => None,
                (name, Some(port)) => Some((shared(name), port.port())),
            })
            .collect();
        // `Arc<[T]>::default` shares one empty slice; most pods name no port.
        if named.is_empty() { Arc::default() } else { named.into_vec().into() }
    }
}

impl Status<'_> {
    fn ips(&self) -> SmallVec<[IpAddr; 1]> {
        let several = self.pod_ips.iter().flatten().map(|ip| or_empty(&ip.ip));
        let texts: SmallVec<[&str; 2]> = match several.collect::<SmallVec<[&str; 2]>>() {
            texts if texts.is_empty() => {
                self.pod_ip.iter().map(Text::as_str).filter(|ip| !ip.is_empty()).collect()
            }
            texts => texts,
        };
        // One that does not parse spoils all: a workload with half its addresses would be wrong.
        texts.iter().map(|ip| ip.parse().ok()).collect::<Option<_>>().unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        let mut conditions = self.conditions.iter().flatten();
        conditions.any(|c| or_empty(&c.kind) == "Ready" && or_empty(&c.status) == "True")
    }
}

/// Returns the name of the workload that owns the pod.
///
/// A label decides if there is one; else the owner, without what its controller appended: a pod of a
/// Deployment belongs to a ReplicaSet named after the template's hash, a pod of a CronJob to a Job
/// named after the time.
fn workload_name<'t>(metadata: &'t Metadata<'_>, pod: &'t str) -> &'t str {
    if let Some(name) = metadata.label("service.istio.io/workload-name").filter(|name| !name.is_empty()) {
        return name;
    }
    let controller = metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    match controller {
        Some(owner) if !or_empty(&metadata.generate_name).is_empty() => match owner_name(metadata, owner) {
            "" => pod,
            name => name,
        },
        _ => pod,
    }
}

fn owner_name<'t>(metadata: &'t Metadata<'_>, owner: &'t OwnerReference<'_>) -> &'t str {
    let name = or_empty(&owner.name);
    let label = |key| metadata.label(key).filter(|value| !value.is_empty());
    match or_empty(&owner.kind) {
        "ReplicaSet" => {
            // Argo Rollouts hash under a label of their own.
            let hashes = [label("pod-template-hash"), label("rollouts-pod-template-hash")];
            match hashes.into_iter().flatten().find(|hash| name.ends_with(hash)) {
                Some(hash) => name.strip_suffix(hash).and_then(|n| n.strip_suffix('-')).unwrap_or(name),
                None => name,
            }
        }
        "ReplicationController" => label("deploymentconfig").unwrap_or(name),
        "Job" => match name.rsplit_once('-') {
            Some((job, time))
                if !job.is_empty()
                    && (8..=10).contains(&time.len())
                    && time.bytes().all(|b| b.is_ascii_digit()) =>
            {
                job
            }
            _ => name,
        },
        _ => name,
    }
}
