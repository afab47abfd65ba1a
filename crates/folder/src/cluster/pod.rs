//! Makes the pods of controllers: their names, nodes, addresses and enrolment.

use std::collections::{BTreeMap, BTreeSet};

use model::Severity;
use serde_json::{Map, Value, json};

use super::address::Addresses;
use super::controller::{Controller, Plays, all};
use super::node::{Node, Nodes};
use super::objects::{add, items_at, labels_at, of_kind, report, text_at};
use crate::hash::{Hasher, letters, uid};
use crate::{Key, Object, Objects, Problem, code};

/// The most pods that one controller gets.
const MAX_PODS_PER_CONTROLLER: u32 = 10_000;
/// The most pods that all controllers get together.
const MAX_PODS: usize = 200_000;
/// Kubernetes cuts the prefix of a generated name to this many bytes.
const MAX_PREFIX_BYTES: usize = 58;

/// What makes a pod part of the mesh, on a pod or on its namespace.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// What the CNI agent writes on a pod once its traffic is redirected.
const REDIRECTION: &str = "ambient.istio.io/redirection";

/// Adds the pods of every controller of `declared`.
pub(super) fn run(
    objects: &mut Objects,
    declared: &Objects,
    nodes: &Nodes,
    addresses: &mut Addresses,
    problems: &mut Vec<Problem>,
) {
    let mut run = Run {
        enrolled: enrolled_namespaces(objects),
        realised: realised(declared),
        names: BTreeSet::new(),
        made: 0,
        nodes,
        addresses,
        problems,
    };
    for object in of_kind(declared, "", "Pod") {
        run.names.insert((object.key.namespace.clone(), object.key.name.clone()));
        if items_at(&object.value, "/status/podIPs").is_empty()
            && text_at(&object.value, "/status/podIP").is_none()
        {
            let message = "the pod has no address in its status, so it is no workload".to_owned();
            let help = "pods are kept as they are written; a Deployment gets pods with addresses";
            report(run.problems, object, (code::NO_ADDRESS, Severity::Info), message, help);
        }
    }
    for controller in all(declared) {
        let key = &controller.object.key;
        if run.realised.contains(&(key.namespace.clone(), key.kind.clone(), key.name.clone())) {
            continue;
        }
        if controller.is_guess {
            let message = format!(
                "{} of {} is not known; its template makes {} pods",
                key.kind, key.group, controller.replicas
            );
            let help = "write a Deployment if it makes other pods";
            report(run.problems, controller.object, (code::GUESS, Severity::Info), message, help);
        }
        run.accounts(&controller, objects);
        for plan in run.plans(&controller) {
            let key = Key::new("", "Pod", &key.namespace, &plan.name);
            if let Some(value) = run.render(&controller, &plan) {
                add(objects, "v1", key, value, Some(controller.object));
            }
        }
    }
}

/// The namespaces whose label puts their pods into the mesh.
fn enrolled_namespaces(objects: &Objects) -> BTreeSet<String> {
    of_kind(objects, "", "Namespace")
        .filter(|object| labels_at(&object.value, "/metadata/labels").get(DATAPLANE_MODE) == Some(&"ambient"))
        .map(|object| object.key.name.clone())
        .collect()
}

/// The controllers, as `(namespace, kind, name)`, whose pods or ReplicaSets the folder declares, as
/// in a copy of a cluster: making pods for them again would double them.
fn realised(declared: &Objects) -> BTreeSet<(String, String, String)> {
    let mut owners = BTreeSet::new();
    for object in of_kind(declared, "", "Pod").chain(of_kind(declared, "apps", "ReplicaSet")) {
        let references = items_at(&object.value, "/metadata/ownerReferences");
        let controller = references.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        let Some(controller) = controller else { continue };
        let (Some(kind), Some(name)) = (text_at(controller, "/kind"), text_at(controller, "/name")) else {
            continue;
        };
        let namespace = &object.key.namespace;
        owners.insert((namespace.clone(), kind.to_owned(), name.to_owned()));
        let labels = labels_at(&object.value, "/metadata/labels");
        let deployment = labels
            .get("pod-template-hash")
            .and_then(|hash| name.strip_suffix(hash))
            .and_then(|name| name.strip_suffix('-'));
        if let (Some(deployment), "ReplicaSet") = (deployment, kind) {
            owners.insert((namespace.clone(), "Deployment".to_owned(), deployment.to_owned()));
        }
    }
    owners
}

struct Run<'r> {
    enrolled: BTreeSet<String>,
    realised: BTreeSet<(String, String, String)>,
    /// Namespace and name of every pod.
    names: BTreeSet<(String, String)>,
    made: usize,
    nodes: &'r Nodes,
    addresses: &'r mut Addresses,
    problems: &'r mut Vec<Problem>,
}

/// A pod to make.
struct Plan<'n> {
    name: String,
    node: Option<&'n Node>,
    node_name: String,
    owner: Owner,
    generate_name: String,
    /// Labels that the controller adds to those of the template.
    labels: Vec<(&'static str, String)>,
}

#[derive(Clone)]
struct Owner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
}

impl<'r> Run<'r> {
    /// Warns of a service account that the folder does not declare: a cluster would make no pods.
    fn accounts(&mut self, controller: &Controller<'_>, objects: &Objects) {
        let (namespace, account) = (&controller.object.key.namespace, controller.service_account);
        if !objects.contains_key(&Key::new("", "ServiceAccount", namespace, account)) {
            let message = format!(
                "service account {namespace}/{account} is not declared; its pods are made all the same"
            );
            let help = "add a ServiceAccount: without it a cluster refuses the pods";
            report(self.problems, controller.object, (code::ACCOUNT, Severity::Warning), message, help);
        }
    }

    fn plans(&mut self, controller: &Controller<'_>) -> Vec<Plan<'r>> {
        let key = &controller.object.key;
        let nodes: &'r Nodes = self.nodes;
        let eligible = nodes.eligible(&controller.node_selector());
        let wanted = match controller.plays {
            Plays::DaemonSet => u32::try_from(eligible.len()).unwrap_or(u32::MAX),
            _ => controller.replicas,
        };
        let room = u32::try_from(MAX_PODS.saturating_sub(self.made)).unwrap_or(u32::MAX);
        let count = wanted.min(MAX_PODS_PER_CONTROLLER).min(room);
        if count < wanted {
            let message = format!("{wanted} pods are wanted, {count} are made");
            let help =
                format!("a controller gets at most {MAX_PODS_PER_CONTROLLER} pods, a folder {MAX_PODS}");
            report(self.problems, controller.object, (code::BOUND, Severity::Warning), message, &help);
        }
        self.made += count as usize;

        let template = Hasher::new("template").value(controller.template).finish();
        let (owner, labels) = owner_and_labels(controller, template);
        let generate_name = format!("{}-", owner.name);
        let prefix = generate_name.get(..MAX_PREFIX_BYTES).unwrap_or(&generate_name).to_owned();
        // Controllers begin at different nodes, so that single pods do not all share the first.
        let offset = Hasher::new("placement").part(&key.kind).part(&key.namespace).part(&key.name).finish();
        let mut plans = Vec::with_capacity(count as usize);
        for index in 0..count {
            let mut labels = labels.clone();
            let chosen = match controller.node_name {
                Some(name) => nodes.get(name),
                None if eligible.is_empty() => None,
                None => eligible
                    .get(((offset.wrapping_add(u64::from(index))) % eligible.len() as u64) as usize)
                    .copied(),
            };
            let node_name = controller.node_name.map(str::to_owned);
            let node_name = node_name.or_else(|| chosen.map(|node| node.name.clone())).unwrap_or_default();
            let name = match controller.plays {
                Plays::StatefulSet => {
                    let ordinal = controller.first_ordinal.saturating_add(index);
                    let name = format!("{}-{ordinal}", key.name);
                    labels.push(("apps.kubernetes.io/pod-index", ordinal.to_string()));
                    labels.push(("statefulset.kubernetes.io/pod-name", name.clone()));
                    // A declared pod of that name is the pod.
                    if !self.names.insert((key.namespace.clone(), name.clone())) {
                        continue;
                    }
                    name
                }
                Plays::DaemonSet => self.name(&key.namespace, &prefix, &node_name),
                _ => self.name(&key.namespace, &prefix, &index.to_string()),
            };
            let generate_name = generate_name.clone();
            plans.push(Plan { name, node: chosen, node_name, owner: owner.clone(), generate_name, labels });
        }
        plans
    }

    /// A free name with a suffix that is hashed from `part`, which tells the pods of one owner apart.
    fn name(&mut self, namespace: &str, prefix: &str, part: &str) -> String {
        let hash = Hasher::new("pod name").part(namespace).part(prefix).part(part);
        let mut attempt = 0;
        loop {
            let name = format!("{prefix}{}", letters(hash.number(attempt).finish(), 5));
            if self.names.insert((namespace.to_owned(), name.clone())) {
                return name;
            }
            attempt += 1;
        }
    }

    /// The pod as its status would be once it runs; `None` if there is no address left.
    fn render(&mut self, controller: &Controller<'_>, plan: &Plan<'_>) -> Option<Value> {
        let key = &controller.object.key;
        let node_address = plan.node.and_then(|node| node.address.clone());
        let address = if controller.host_network {
            node_address.clone()
        } else {
            let hash = Hasher::new("pod address").part(&key.namespace).part(&plan.name).finish();
            self.addresses.pod(hash).map(|address| address.to_string())
        };
        let Some(address) = address else {
            let message = format!("no address is left for pod {}", plan.name);
            report(self.problems, controller.object, (code::BOUND, Severity::Warning), message, "");
            return None;
        };
        let mut labels: BTreeMap<&str, &str> = controller.labels();
        labels.extend(plan.labels.iter().map(|(name, value)| (*name, value.as_str())));
        let mut annotations = labels_at(controller.template, "/metadata/annotations");
        if !controller.host_network && self.is_enrolled(&key.namespace, &labels, &annotations) {
            annotations.insert(REDIRECTION, "enabled");
        }
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .map(|name| json!({"type": name, "status": "True"}));
        let owner = &plan.owner;
        Some(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": plan.name,
                "generateName": plan.generate_name,
                "namespace": key.namespace,
                "uid": uid("Pod", &key.namespace, &plan.name),
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": owner.api_version,
                    "kind": owner.kind,
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "spec": pod_spec(controller, plan),
            "status": {
                "phase": "Running",
                "conditions": conditions,
                "hostIP": node_address,
                "podIP": address,
                "podIPs": [{"ip": address}],
            },
        }))
    }

    /// Whether the CNI agent would redirect the pod's traffic: the pod's own label counts before
    /// that of its namespace, and a pod with a sidecar is left alone.
    fn is_enrolled(
        &self,
        namespace: &str,
        labels: &BTreeMap<&str, &str>,
        annotations: &BTreeMap<&str, &str>,
    ) -> bool {
        let wanted = match labels.get(DATAPLANE_MODE) {
            Some(mode) => *mode == "ambient",
            None => self.enrolled.contains(namespace),
        };
        wanted && !annotations.contains_key("sidecar.istio.io/status")
    }
}

/// The direct owner of a controller's pods, and the labels that tell its pods from others.
fn owner_and_labels(controller: &Controller<'_>, template: u64) -> (Owner, Vec<(&'static str, String)>) {
    let Object { key, api_version, .. } = controller.object;
    let hash = letters(template, 10);
    let own = Owner {
        api_version: api_version.clone(),
        kind: key.kind.clone(),
        name: key.name.clone(),
        uid: controller.uid(),
    };
    match controller.plays {
        Plays::Deployment(label) => {
            // Knative makes a Deployment for each revision of a service.
            let is_knative = key.group == "serving.knative.dev";
            let suffix = if is_knative { "-00001-deployment" } else { "" };
            let name = format!("{}{suffix}-{hash}", key.name);
            let uid = uid("ReplicaSet", &key.namespace, &name);
            let owner = Owner { api_version: "apps/v1".to_owned(), kind: "ReplicaSet".to_owned(), name, uid };
            (owner, vec![(label, hash)])
        }
        Plays::ReplicaSet => (own, Vec::new()),
        Plays::StatefulSet => {
            let revision = format!("{}-{hash}", key.name);
            (own, vec![("controller-revision-hash", revision)])
        }
        Plays::DaemonSet => (own, vec![("controller-revision-hash", hash)]),
        Plays::Job => {
            let labels = vec![
                ("batch.kubernetes.io/job-name", key.name.clone()),
                ("batch.kubernetes.io/controller-uid", controller.uid()),
                ("job-name", key.name.clone()),
            ];
            (own, labels)
        }
    }
}

/// The parts of the pod template's spec that a mesh depends on; volumes, environment and the like
/// are left out, a folder may ask for very many pods.
fn pod_spec(controller: &Controller<'_>, plan: &Plan<'_>) -> Value {
    let spec = &controller.template["spec"];
    let mut kept = Map::new();
    for list in ["initContainers", "containers"] {
        let containers: Vec<Value> = items_at(spec, &format!("/{list}")).iter().map(container).collect();
        if !containers.is_empty() {
            kept.insert(list.to_owned(), Value::Array(containers));
        }
    }
    for name in ["hostname", "subdomain"] {
        if let Some(value) = spec.get(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    if controller.plays == Plays::StatefulSet {
        kept.insert("hostname".to_owned(), Value::String(plan.name.clone()));
        if let Some(service) = text_at(&controller.object.value, "/spec/serviceName") {
            kept.insert("subdomain".to_owned(), Value::String(service.to_owned()));
        }
    }
    if controller.host_network {
        kept.insert("hostNetwork".to_owned(), Value::Bool(true));
    }
    kept.insert("nodeName".to_owned(), Value::String(plan.node_name.clone()));
    kept.insert("serviceAccountName".to_owned(), Value::String(controller.service_account.to_owned()));
    Value::Object(kept)
}

fn container(container: &Value) -> Value {
    let kept = ["name", "image", "ports", "restartPolicy"];
    kept.into_iter()
        .filter_map(|name| Some((name.to_owned(), container.get(name)?.clone())))
        .collect::<Map<String, Value>>()
        .into()
}
