//! What Kubernetes' own validation asks of single fields, and what an API server sets where nothing is
//! given: the published schemas of built-in kinds say neither. Only what the mesh depends on is here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::form::Form;
use super::schema::{Schema, Shape};

/// What is said of a field.
enum Says {
    Range(f64, f64),
    OneOf(&'static [&'static str]),
    Is(Form),
    /// As JSON.
    Default(&'static str),
    /// It must be there, and not be empty.
    Needed,
    /// No two items of the list have the same of these fields.
    Unique(&'static [&'static [&'static str]]),
    AtMost(u64),
}

use Says::{AtMost, Default, Is, Needed, OneOf, Range, Unique};

const PORT: Says = Range(1.0, 65_535.0);
const COUNT: Says = Range(0.0, i32::MAX as f64);
const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// A definition, a field of it, and what is said of the field.
const FIELDS: &[(&str, &str, Says)] = &[
    ("meta.v1.ObjectMeta", "labels", Is(Form::Labels)),
    ("meta.v1.ObjectMeta", "annotations", Is(Form::Annotations)),
    ("meta.v1.LabelSelector", "matchLabels", Is(Form::Labels)),
    ("meta.v1.LabelSelectorRequirement", "key", Is(Form::QualifiedName)),
    ("meta.v1.LabelSelectorRequirement", "operator", OneOf(&["In", "NotIn", "Exists", "DoesNotExist"])),
    ("meta.v1.OwnerReference", "apiVersion", Needed),
    ("meta.v1.OwnerReference", "kind", Needed),
    ("meta.v1.OwnerReference", "name", Needed),
    ("core.v1.ConfigMap", "data", Is(Form::FileNames)),
    ("core.v1.ConfigMap", "binaryData", Is(Form::FileNames)),
    // Service
    ("core.v1.Service", "spec", Needed),
    ("core.v1.ServiceSpec", "type", OneOf(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])),
    ("core.v1.ServiceSpec", "type", Default("\"ClusterIP\"")),
    ("core.v1.ServiceSpec", "selector", Is(Form::Labels)),
    ("core.v1.ServiceSpec", "sessionAffinity", OneOf(&["ClientIP", "None"])),
    ("core.v1.ServiceSpec", "sessionAffinity", Default("\"None\"")),
    ("core.v1.ServiceSpec", "internalTrafficPolicy", OneOf(&["Cluster", "Local"])),
    ("core.v1.ServiceSpec", "externalTrafficPolicy", OneOf(&["Cluster", "Local"])),
    (
        "core.v1.ServiceSpec",
        "trafficDistribution",
        OneOf(&["PreferClose", "PreferSameZone", "PreferSameNode"]),
    ),
    ("core.v1.ServiceSpec", "ipFamilyPolicy", OneOf(&["SingleStack", "PreferDualStack", "RequireDualStack"])),
    ("core.v1.ServiceSpec", "ipFamilies", OneOf(&["IPv4", "IPv6"])),
    ("core.v1.ServiceSpec", "clusterIP", Is(Form::ClusterIp)),
    ("core.v1.ServiceSpec", "clusterIPs", Is(Form::ClusterIp)),
    ("core.v1.ServiceSpec", "externalIPs", Is(Form::Ip)),
    ("core.v1.ServiceSpec", "ports", Unique(&[&["name"], &["port", "protocol"]])),
    ("core.v1.ServicePort", "name", Is(Form::DnsLabel)),
    ("core.v1.ServicePort", "port", PORT),
    ("core.v1.ServicePort", "protocol", OneOf(PROTOCOLS)),
    ("core.v1.ServicePort", "protocol", Default("\"TCP\"")),
    // 0 is not given.
    ("core.v1.ServicePort", "targetPort", Range(0.0, 65_535.0)),
    ("core.v1.ServicePort", "targetPort", Is(Form::PortOrName)),
    ("core.v1.ServicePort", "appProtocol", Is(Form::QualifiedName)),
    ("core.v1.ServicePort", "nodePort", Range(0.0, 65_535.0)),
    // EndpointSlice and Endpoints
    ("discovery.v1.EndpointSlice", "addressType", OneOf(&["IPv4", "IPv6", "FQDN"])),
    ("discovery.v1.EndpointSlice", "addressType", Needed),
    ("discovery.v1.EndpointSlice", "endpoints", AtMost(1_000)),
    ("discovery.v1.EndpointSlice", "ports", Unique(&[&["name"]])),
    ("discovery.v1.EndpointSlice", "ports", AtMost(20_000)),
    ("discovery.v1.Endpoint", "addresses", Needed),
    ("discovery.v1.Endpoint", "addresses", AtMost(100)),
    ("discovery.v1.Endpoint", "hostname", Is(Form::DnsLabel)),
    ("discovery.v1.Endpoint", "nodeName", Is(Form::DnsSubdomain)),
    ("discovery.v1.EndpointPort", "name", Default("\"\"")),
    ("discovery.v1.EndpointPort", "name", Is(Form::DnsLabel)),
    ("discovery.v1.EndpointPort", "protocol", OneOf(PROTOCOLS)),
    ("discovery.v1.EndpointPort", "protocol", Default("\"TCP\"")),
    ("discovery.v1.EndpointPort", "appProtocol", Is(Form::QualifiedName)),
    ("core.v1.EndpointAddress", "ip", Is(Form::Ip)),
    ("core.v1.EndpointPort", "port", PORT),
    ("core.v1.EndpointPort", "name", Is(Form::DnsLabel)),
    ("core.v1.EndpointPort", "protocol", OneOf(PROTOCOLS)),
    ("core.v1.EndpointPort", "protocol", Default("\"TCP\"")),
    // Pod
    ("core.v1.Pod", "spec", Needed),
    ("core.v1.PodSpec", "containers", Needed),
    ("core.v1.PodSpec", "nodeSelector", Is(Form::Labels)),
    ("core.v1.PodSpec", "serviceAccountName", Is(Form::DnsSubdomain)),
    ("core.v1.PodSpec", "nodeName", Is(Form::DnsSubdomain)),
    ("core.v1.PodSpec", "hostname", Is(Form::DnsLabel)),
    ("core.v1.PodSpec", "subdomain", Is(Form::DnsLabel)),
    ("core.v1.PodSpec", "restartPolicy", OneOf(&["Always", "OnFailure", "Never"])),
    ("core.v1.PodSpec", "restartPolicy", Default("\"Always\"")),
    ("core.v1.PodSpec", "dnsPolicy", OneOf(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"])),
    ("core.v1.Container", "name", Is(Form::DnsLabel)),
    ("core.v1.Container", "image", Needed),
    ("core.v1.Container", "imagePullPolicy", OneOf(&["Always", "IfNotPresent", "Never"])),
    ("core.v1.ContainerPort", "containerPort", PORT),
    ("core.v1.ContainerPort", "hostPort", Range(0.0, 65_535.0)),
    ("core.v1.ContainerPort", "name", Is(Form::PortName)),
    ("core.v1.ContainerPort", "protocol", OneOf(PROTOCOLS)),
    ("core.v1.ContainerPort", "protocol", Default("\"TCP\"")),
    // controllers
    ("apps.v1.DaemonSet", "spec", Needed),
    ("apps.v1.Deployment", "spec", Needed),
    ("apps.v1.ReplicaSet", "spec", Needed),
    ("apps.v1.StatefulSet", "spec", Needed),
    ("batch.v1.Job", "spec", Needed),
    ("core.v1.PodTemplateSpec", "spec", Needed),
    ("core.v1.ReplicationController", "spec", Needed),
    ("apps.v1.ReplicaSetSpec", "template", Needed),
    ("core.v1.ReplicationControllerSpec", "template", Needed),
    ("apps.v1.DeploymentSpec", "replicas", COUNT),
    ("apps.v1.DeploymentSpec", "replicas", Default("1")),
    ("apps.v1.ReplicaSetSpec", "replicas", COUNT),
    ("apps.v1.ReplicaSetSpec", "replicas", Default("1")),
    ("apps.v1.StatefulSetSpec", "replicas", COUNT),
    ("apps.v1.StatefulSetSpec", "replicas", Default("1")),
    ("apps.v1.StatefulSetSpec", "serviceName", Is(Form::DnsLabel)),
    ("apps.v1.StatefulSetSpec", "podManagementPolicy", OneOf(&["OrderedReady", "Parallel"])),
    ("apps.v1.StatefulSetOrdinals", "start", COUNT),
    ("core.v1.ReplicationControllerSpec", "replicas", COUNT),
    ("core.v1.ReplicationControllerSpec", "replicas", Default("1")),
    ("batch.v1.JobSpec", "parallelism", COUNT),
    ("batch.v1.JobSpec", "completions", COUNT),
    ("batch.v1.JobSpec", "suspend", Default("false")),
];

/// Adds to the published definitions what they do not say.
pub(super) fn add(definitions: &mut BTreeMap<String, Schema>) {
    for (definition, name, says) in FIELDS {
        let Some(schema) = definitions.get_mut(*definition) else { continue };
        if let (Needed, Shape::Object(object)) = (says, &mut schema.shape)
            && !object.required.iter().any(|required| required == name)
        {
            object.required.push((*name).to_owned());
        }
        if let Some(field) = schema.field_mut(name) {
            say(field, says);
        }
    }
}

fn say(field: &mut Schema, says: &Says) {
    match says {
        Range(least, most) => field.range = (Some(*least), Some(*most)),
        OneOf(choices) => {
            let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
            match &mut field.shape {
                Shape::List(items) => items.choices = choices,
                _ => field.choices = choices,
            }
        }
        Is(form) => match &mut field.shape {
            Shape::List(items) => items.form = Some(*form),
            _ => field.form = Some(*form),
        },
        Default(json) => {
            field.default = serde_json::from_str::<Value>(json).ok();
            field.takes_empty = true;
        }
        Needed => field.size.0 = field.size.0.max(Some(1)),
        Unique(keys) => {
            let owned = |names: &&[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            field.keys = keys.iter().map(owned).collect();
        }
        AtMost(most) => field.size.1 = Some(*most),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_field_that_is_spoken_of_is_published() {
        let table: Value = serde_json::from_str(include_str!("kinds.json")).unwrap();
        for (definition, field, _) in FIELDS {
            assert!(
                table["definitions"][definition]["properties"].get(*field).is_some(),
                "{definition} has no {field}"
            );
        }
    }

    #[test]
    fn defaults_are_json() {
        for (definition, field, says) in FIELDS {
            if let Default(json) = says {
                assert!(serde_json::from_str::<Value>(json).is_ok(), "{definition}.{field}");
            }
        }
    }
}
