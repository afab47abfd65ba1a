//! Reads the objects that make pods: Deployments, StatefulSets, DaemonSets, ReplicaSets and Jobs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::{labels_at, text_at};
use crate::Object;
use crate::field::{Field, Flaw};

/// The kinds that make pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
}

impl Kind {
    /// The kinds with their groups.
    pub(super) const ALL: [(Kind, &'static str, &'static str); 5] = [
        (Kind::DaemonSet, "apps", "DaemonSet"),
        (Kind::Deployment, "apps", "Deployment"),
        (Kind::ReplicaSet, "apps", "ReplicaSet"),
        (Kind::StatefulSet, "apps", "StatefulSet"),
        (Kind::Job, "batch", "Job"),
    ];

    fn of(object: &Object) -> Option<Kind> {
        let is =
            |(_, group, name): &&(Kind, &str, &str)| object.key.group == *group && object.key.kind == *name;
        Self::ALL.iter().find(is).map(|(kind, _, _)| *kind)
    }
}

/// A controller of pods.
pub(super) struct Controller<'o> {
    pub(super) kind: Kind,
    pub(super) object: &'o Object,
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
    /// The labels of the pod template.
    pub(super) fn labels(&self) -> BTreeMap<&'o str, &'o str> {
        labels_at(self.template, "/metadata/labels")
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

/// Reads an object; `None` if it is of another kind.
///
/// # Errors
///
/// The first value that an API server would refuse, as far as pods depend on it.
pub(super) fn read(object: &Object) -> Result<Option<Controller<'_>>, Flaw> {
    let Some(kind) = Kind::of(object) else { return Ok(None) };
    let spec = Field::root(&object.value).get("spec");
    spec.required_mapping()?;
    let template = spec.get("template");
    template.required_mapping()?;
    let labels = template.get("metadata").get("labels");
    labels.check_strings()?;
    template.get("metadata").get("annotations").check_strings()?;
    if kind != Kind::Job {
        check_selector(&spec, &labels)?;
    }
    let pod = template.get("spec");
    pod.required_mapping()?;
    pod.get("nodeSelector").check_strings()?;
    check_containers(&pod)?;
    let service_account = match pod.get("serviceAccountName").string()? {
        Some(name) if !name.is_empty() => name,
        // The old name of the same field.
        _ => pod.get("serviceAccount").string()?.filter(|name| !name.is_empty()).unwrap_or("default"),
    };
    Ok(Some(Controller {
        kind,
        object,
        replicas: replicas(kind, &spec, &object.value)?,
        first_ordinal: u32_or(&spec.get("ordinals").get("start"), 0)?,
        template: template.value(),
        service_account,
        host_network: pod.get("hostNetwork").boolean()?.unwrap_or(false),
        node_name: pod.get("nodeName").string()?.filter(|name| !name.is_empty()),
    }))
}

fn u32_or(field: &Field<'_>, default: u32) -> Result<u32, Flaw> {
    let number = field.integer(0, i64::from(i32::MAX))?;
    Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default))
}

fn replicas(kind: Kind, spec: &Field<'_>, object: &Value) -> Result<u32, Flaw> {
    if kind != Kind::Job {
        return u32_or(&spec.get("replicas"), 1);
    }
    let parallelism = u32_or(&spec.get("parallelism"), 1)?;
    let completions = u32_or(&spec.get("completions"), parallelism)?;
    let suspended = spec.get("suspend").boolean()?.unwrap_or(false);
    let over = object.pointer("/status/completionTime").is_some_and(|time| !time.is_null());
    Ok(if suspended || over { 0 } else { parallelism.min(completions) })
}

/// The selector must be there and select the template, as the API server demands.
fn check_selector(spec: &Field<'_>, labels: &Field<'_>) -> Result<(), Flaw> {
    let selector = spec.get("selector");
    selector.required_mapping()?;
    let wanted = selector.get("matchLabels");
    wanted.check_strings()?;
    for (name, value) in wanted.mapping()?.into_iter().flatten() {
        if labels.value().get(name) != Some(value) {
            let text = value.as_str().unwrap_or_default();
            return Err(wanted.get(name).flaw(
                format!("spec.selector wants the label {name}={text}, which spec.template does not have"),
                format!("add {name}: {text} to spec.template.metadata.labels"),
            ));
        }
    }
    Ok(())
}

fn check_containers(pod: &Field<'_>) -> Result<(), Flaw> {
    let containers = pod.get("containers");
    if containers.items()?.is_empty() {
        return Err(containers.flaw("spec.template.spec.containers is missing or empty", ""));
    }
    for container in containers.items()?.into_iter().chain(pod.get("initContainers").items()?) {
        container.required_mapping()?;
        container.get("name").string()?;
        container.get("restartPolicy").string()?;
        for port in container.get("ports").items()? {
            port.required_mapping()?;
            let number = port.get("containerPort");
            if number.integer(1, 65535)?.is_none() {
                return Err(number.flaw(format!("containerPort of {} is missing", port_name(&port)), ""));
            }
            port.get("name").string()?;
            port.get("protocol").string()?;
        }
    }
    Ok(())
}

fn port_name(port: &Field<'_>) -> String {
    text_at(port.value(), "/name").map_or_else(|| "a port".to_owned(), |name| format!("port {name}"))
}
