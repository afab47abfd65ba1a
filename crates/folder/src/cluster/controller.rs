//! Reads the objects that make pods: those of Kubernetes, and those of others that have a template of
//! pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::{items_at, labels_at, of_kind, text_at};
use crate::field::Field;
use crate::key::Key;
use crate::object::{Object, Objects};

/// How a controller makes its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plays {
    /// By a ReplicaSet for each template, whose hash its pods carry under this label.
    Deployment(&'static str),
    /// With numbers.
    StatefulSet,
    /// One on each node.
    DaemonSet,
    /// As many as there shall be.
    ReplicaSet,
    /// Until they are over.
    Job,
}

/// The label with the hash of a Deployment's template.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The kinds that make pods, with their groups.
const KINDS: &[(&str, &str, Plays)] = &[
    ("apps", "DaemonSet", Plays::DaemonSet),
    ("apps", "Deployment", Plays::Deployment(POD_TEMPLATE_HASH)),
    ("apps", "ReplicaSet", Plays::ReplicaSet),
    ("apps", "StatefulSet", Plays::StatefulSet),
    ("batch", "Job", Plays::Job),
    ("", "ReplicationController", Plays::ReplicaSet),
    // Argo Rollouts, OpenKruise and Knative Serving.
    ("argoproj.io", "Rollout", Plays::Deployment("rollouts-pod-template-hash")),
    ("apps.kruise.io", "CloneSet", Plays::ReplicaSet),
    ("apps.kruise.io", "DaemonSet", Plays::DaemonSet),
    ("apps.kruise.io", "StatefulSet", Plays::StatefulSet),
    ("serving.knative.dev", "Service", Plays::Deployment(POD_TEMPLATE_HASH)),
];

/// A controller of pods.
pub(super) struct Controller<'o> {
    pub(super) plays: Plays,
    pub(super) object: &'o Object,
    /// Whether its kind is none that is known to make pods: it has a template of pods.
    pub(super) is_guess: bool,
    /// How many pods it wants; of no meaning for a DaemonSet.
    pub(super) replicas: u32,
    /// The ordinal of the first pod of a StatefulSet.
    pub(super) first_ordinal: u32,
    /// The pod template.
    pub(super) template: &'o Value,
    pub(super) service_account: &'o str,
    pub(super) host_network: bool,
    pub(super) node_name: Option<&'o str>,
}

impl<'o> Controller<'o> {
    /// The labels of the pod template, and those that the controller's project adds.
    pub(super) fn labels(&self) -> BTreeMap<&'o str, &'o str> {
        let mut labels = labels_at(self.template, "/metadata/labels");
        if self.object.key.group == "serving.knative.dev" {
            labels.insert("serving.knative.dev/service", &self.object.key.name);
        }
        labels
    }

    /// The node selector of the pod template.
    pub(super) fn node_selector(&self) -> BTreeMap<&'o str, &'o str> {
        labels_at(self.template, "/spec/nodeSelector")
    }

    /// The UID of the controller: as stated, or made from its name.
    pub(super) fn uid(&self) -> String {
        text_at(&self.object.value, "/metadata/uid").map_or_else(
            || crate::hash::uid(&self.object.key.kind, &self.object.key.namespace, &self.object.key.name),
            str::to_owned,
        )
    }
}

/// The controllers among the declared objects: those of known kinds, kind by kind, then others.
pub(super) fn all(declared: &Objects) -> Vec<Controller<'_>> {
    let known = KINDS.iter().flat_map(|(group, kind, plays)| {
        of_kind(declared, group, kind).filter_map(|object| read(object, *plays))
    });
    let others = declared.values().filter(|object| is_other(&object.key)).filter_map(|object| {
        let read = read(object, Plays::ReplicaSet)?;
        let has_containers = !items_at(read.template, "/spec/containers").is_empty();
        has_containers.then_some(Controller { is_guess: true, ..read })
    });
    known.chain(others).collect()
}

/// Tells whether objects of the kind may be controllers that nothing is known of.
fn is_other(key: &Key) -> bool {
    key.group.contains('.')
        && !key.group.ends_with(".k8s.io")
        && !KINDS.iter().any(|(group, kind, _)| key.group == *group && key.kind == *kind)
}

/// Tells whether an object has a template of pods that no schema of its kind has judged.
pub(crate) fn has_foreign_template(object: &Object) -> bool {
    let is_known =
        KINDS.iter().any(|(group, kind, _)| object.key.group == *group && object.key.kind == *kind);
    object.key.group.contains('.')
        && (is_known || is_other(&object.key))
        && !items_at(&object.value, "/spec/template/spec/containers").is_empty()
}

/// Reads a controller, as an API server holds it; `None` without a template.
fn read(object: &Object, plays: Plays) -> Option<Controller<'_>> {
    let spec = Field::root(&object.value).get("spec");
    let template = spec.get("template");
    let pod = template.get("spec");
    pod.value().as_object()?;
    let service_account = pod.get("serviceAccountName").text();
    Some(Controller {
        plays,
        object,
        is_guess: false,
        replicas: replicas(plays, &spec, &object.value),
        first_ordinal: spec.at("ordinals.start").count().unwrap_or(0),
        template: template.value(),
        // The second is the old name of the same field.
        service_account: service_account.or_else(|| pod.get("serviceAccount").text()).unwrap_or("default"),
        host_network: pod.get("hostNetwork").is_true(),
        node_name: pod.get("nodeName").text(),
    })
}

fn replicas(plays: Plays, spec: &Field<'_>, object: &Value) -> u32 {
    if plays != Plays::Job {
        return spec.get("replicas").count().unwrap_or(1);
    }
    let parallelism = spec.get("parallelism").count().unwrap_or(1);
    let completions = spec.get("completions").count().unwrap_or(parallelism);
    let is_over = text_at(object, "/status/completionTime").is_some();
    if is_over || spec.get("suspend").is_true() { 0 } else { parallelism.min(completions) }
}
