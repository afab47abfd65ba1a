use super::annotation::REDIRECTION;
use super::metadata::{MOST_IGNORED, Metadata, OwnerReference};
use super::number::Port;
use super::read::{self, Manifest};
use super::text::{Text, or_empty};
use super::wrong::Wrong;
use crate::facts::{Phase, Pod};
use crate::{Kind, Labels, Str, shared, timestamp};
use serde::Deserialize;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

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
    let Manifest::<Spec<'_>, Status<'_>> { metadata, spec, status } = read::manifest(json)?;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let name = metadata.object_name(Kind::Pod)?;
    Ok(Pod {
        uid: metadata.uid(),
        labels: metadata.labels(),
        annotations: metadata.annotations_but(Kind::Pod, REDIRECTION),
        ignored: Labels::new(metadata.ignored(Kind::Pod).into_iter().take(MOST_IGNORED)),
        phase: match or_empty(&status.phase) {
            "Succeeded" | "Failed" => Phase::Done,
            _ => Phase::Live,
        },
        ips: status.ips(),
        node: shared(or_empty(&spec.node_name)),
        service_account: shared(or_empty(&spec.service_account_name)),
        workload_name: shared(workload_name(&metadata, &name.name)),
        named_ports: spec.named_ports(),
        serving: status.is_ready(),
        deletion: metadata.deletion_timestamp.as_ref().map(|time| deletion(time.as_str())),
        host_network: spec.host_network.unwrap_or(false),
        captured: metadata.annotation(REDIRECTION) == Some("enabled"),
        name,
    })
}

/// Returns a time of deletion, in seconds since 1970: the nearest that there is room for.
fn deletion(time: &str) -> u32 {
    let seconds = timestamp::seconds(time).max(0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
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
    if let Some(name) = metadata.label("service.istio.io/workload-name") {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Name;
    use serde_json::{Value, json};

    fn pod(manifest: Value) -> Pod {
        parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn owned_by(kind: &str, owner: &str, labels: Value) -> Pod {
        pod(json!({"metadata": {
            "namespace": "shop", "name": "web-1", "generateName": "web-", "labels": labels,
            "ownerReferences": [
                {"kind": "Other", "name": "bystander"},
                {"kind": kind, "name": owner, "controller": true},
            ],
        }}))
    }

    #[test]
    fn a_running_pod_gives_all_its_facts() {
        let pod = pod(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": "00000000-0000-0000-0000-0000000000ff",
                "labels": {"app": "web"},
                "annotations": {
                    "ambient.istio.io/redirection": "enabled",
                    "kubectl.kubernetes.io/last-applied-configuration": "{\"a\":\"\\u00e9\"}",
                    "ambient.pilothouse.io/require-waypoint": "true",
                    "networking.istio.io/traffic-distribution": "PreferClose",
                },
                "managedFields": [{"fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}],
            },
            "spec": {
                "nodeName": "n1", "serviceAccountName": "web", "hostNetwork": true,
                "containers": [
                    {"name": "c", "ports": [
                        {"name": "http", "containerPort": 8080},
                        {"containerPort": 9090},
                        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    ]},
                    {"name": "d"},
                ],
                "initContainers": [
                    {"name": "once", "ports": [{"name": "lost", "containerPort": 1}]},
                    {"name": "beside", "restartPolicy": "Always",
                     "ports": [{"name": "metrics", "containerPort": 9100, "protocol": "TCP"}]},
                ],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
            },
        }));
        let expected = Pod {
            name: Name::new("shop", "web-1"),
            uid: 0xff,
            labels: Labels::new([("app", "web")]),
            annotations: Labels::new([("ambient.pilothouse.io/require-waypoint", "true")]),
            ignored: Labels::new([(
                "metadata.annotations[networking.istio.io/traffic-distribution]",
                "PreferClose",
            )]),
            phase: Phase::Live,
            ips: ["10.0.0.1", "fd00::1"].iter().map(|ip| ip.parse().unwrap()).collect(),
            node: "n1".into(),
            service_account: "web".into(),
            workload_name: "web-1".into(),
            named_ports: [("http".into(), 8080), ("metrics".into(), 9100)].into(),
            serving: true,
            deletion: None,
            host_network: true,
            captured: true,
        };
        assert_eq!(pod, expected);
    }

    #[test]
    fn a_fresh_pod_without_spec_and_status_is_an_empty_one() {
        let pod = pod(
            json!({"metadata": {"name": "a", "namespace": "b", "labels": null}, "status": {"podIPs": null}}),
        );
        let expected = Pod { name: Name::new("b", "a"), workload_name: "a".into(), ..Pod::default() };
        assert_eq!(pod, expected);
    }

    #[test]
    fn one_address_that_does_not_parse_spoils_all() {
        let with =
            |status: Value| pod(json!({"metadata": {"name": "a", "namespace": "b"}, "status": status})).ips;
        assert!(with(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "ten"}]})).is_empty());
        assert_eq!(with(json!({"podIP": "10.0.0.1"})).len(), 1);
        assert_eq!(with(json!({"podIP": "10.0.0.1", "podIPs": []})).len(), 1);
        assert!(with(json!({"podIP": ""})).is_empty());
    }

    #[test]
    fn finished_pods_are_done_and_deleted_ones_are_not_ready() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        for (phase, expected) in
            [("Succeeded", Phase::Done), ("Failed", Phase::Done), ("Pending", Phase::Live)]
        {
            let pod = pod(json!({"metadata": {"name": "a", "namespace": "b"}, "status": {"phase": phase}}));
            assert_eq!(pod.phase, expected, "{phase}");
            assert!(!pod.is_ready());
        }
        let pod = pod(json!({
            "metadata": {"name": "a", "namespace": "b", "deletionTimestamp": "2024-01-01T00:00:00Z"},
            "status": {"conditions": ready},
        }));
        assert_eq!((pod.serving, pod.is_ready(), pod.deletion), (true, false, Some(1_704_067_200)));
    }

    #[test]
    fn a_time_of_deletion_that_cannot_be_read_is_long_past() {
        for time in ["", "soon", "2024-01-01"] {
            let pod = pod(json!({"metadata": {"name": "a", "namespace": "b", "deletionTimestamp": time}}));
            assert_eq!(pod.deletion, Some(0), "{time:?}");
        }
    }

    #[test]
    fn only_the_exact_annotation_captures() {
        for (value, captured) in [("enabled", true), ("pending", false), ("Enabled", false), ("", false)] {
            let pod = pod(json!({"metadata": {"name": "a", "namespace": "b", "annotations": {
                "ambient.istio.io/redirection": value,
            }}}));
            assert_eq!(pod.captured, captured, "{value}");
            assert!(pod.annotations.is_empty());
        }
    }

    #[test]
    fn the_workload_is_named_after_the_controller_without_its_hash() {
        let hash = json!({"pod-template-hash": "7d9f"});
        assert_eq!(owned_by("ReplicaSet", "web-7d9f", hash.clone()).workload_name, "web");
        assert_eq!(owned_by("ReplicaSet", "web-other", hash.clone()).workload_name, "web-other");
        assert_eq!(owned_by("ReplicaSet", "web7d9f", hash).workload_name, "web7d9f");
        assert_eq!(
            owned_by("ReplicaSet", "roll-55", json!({"rollouts-pod-template-hash": "55"})).workload_name,
            "roll"
        );
        assert_eq!(owned_by("ReplicaSet", "web-7d9f", json!({})).workload_name, "web-7d9f");
        assert_eq!(owned_by("StatefulSet", "db", json!({})).workload_name, "db");
        assert_eq!(
            owned_by("ReplicationController", "dc-3", json!({"deploymentconfig": "dc"})).workload_name,
            "dc"
        );
        assert_eq!(owned_by("ReplicationController", "dc-3", json!({})).workload_name, "dc-3");
    }

    #[test]
    fn a_cron_job_loses_its_time_and_nothing_else() {
        for (job, name) in [
            ("backup-12345678", "backup"),
            ("backup-1234567890", "backup"),
            ("night-backup-28000000", "night-backup"),
            ("backup-1234567", "backup-1234567"),
            ("backup-12345678901", "backup-12345678901"),
            ("backup-1234567x", "backup-1234567x"),
            ("-12345678", "-12345678"),
            ("12345678", "12345678"),
        ] {
            assert_eq!(owned_by("Job", job, json!({})).workload_name, name);
        }
    }

    #[test]
    fn a_label_names_the_workload_before_any_owner_does() {
        let labels = json!({"service.istio.io/workload-name": "mine", "pod-template-hash": "7d9f"});
        assert_eq!(owned_by("ReplicaSet", "web-7d9f", labels).workload_name, "mine");
        // As with the labels of the canonical name, one that is there counts though it is empty.
        let labels = json!({"service.istio.io/workload-name": "", "pod-template-hash": "7d9f"});
        assert_eq!(owned_by("ReplicaSet", "web-7d9f", labels).workload_name, "");
    }

    #[test]
    fn a_pod_that_was_not_generated_or_has_no_controller_names_itself() {
        let owner = json!([{"kind": "ReplicaSet", "name": "web", "controller": true}]);
        let by_hand = json!({"metadata": {"namespace": "b", "name": "a", "ownerReferences": owner}});
        assert_eq!(pod(by_hand).workload_name, "a");
        let orphan = json!({"metadata": {"namespace": "b", "name": "a", "generateName": "x-",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": false}]}});
        assert_eq!(pod(orphan).workload_name, "a");
    }
}
