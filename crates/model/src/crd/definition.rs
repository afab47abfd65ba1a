//! `CustomResourceDefinition` of each kind, and the files they are kept in.

use super::schema;
use super::{AuthorizationPolicySpec, PeerAuthenticationSpec, ServiceEntrySpec, WorkloadEntrySpec};
use super::{
    DestinationRuleSpec, RequestAuthenticationSpec, ServiceEntryStatus, Status, TelemetrySpec,
    TrafficExtensionSpec, VirtualServiceSpec, WasmPluginSpec,
};
use crate::{Kind, Scope, yaml};
use serde_json::{Value, json};

/// A generated file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// The name, without a folder.
    pub name: String,
    /// The YAML text.
    pub text: String,
}

/// What is told of a kind besides its schema.
struct Definition {
    kind: Kind,
    singular: &'static str,
    /// Its short name; empty for none.
    short: &'static str,
    category: &'static str,
    /// Served versions; the first is the one that is stored.
    versions: &'static [&'static str],
    /// (name, type, path) of the columns of `kubectl get`.
    columns: &'static [(&'static str, &'static str, &'static str)],
    description: &'static str,
    spec: fn() -> Value,
    status: fn() -> Value,
    spec_required: bool,
}

const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");

const DEFINITIONS: &[Definition] = &[
    Definition {
        kind: Kind::AuthorizationPolicy,
        singular: "authorizationpolicy",
        short: "ap",
        category: "security-istio-io",
        versions: &["v1", "v1beta1"],
        columns: &[("Action", "string", ".spec.action"), AGE],
        description: "AuthorizationPolicy says who may reach a workload.",
        spec: schema::of::<AuthorizationPolicySpec>,
        status: schema::of::<Status>,
        spec_required: false,
    },
    Definition {
        kind: Kind::PeerAuthentication,
        singular: "peerauthentication",
        short: "pa",
        category: "security-istio-io",
        versions: &["v1", "v1beta1"],
        columns: &[("Mode", "string", ".spec.mtls.mode"), AGE],
        description: "PeerAuthentication says whether a workload accepts plain text.",
        spec: schema::of::<PeerAuthenticationSpec>,
        status: schema::of::<Status>,
        spec_required: false,
    },
    Definition {
        kind: Kind::RequestAuthentication,
        singular: "requestauthentication",
        short: "ra",
        category: "security-istio-io",
        versions: &["v1", "v1beta1"],
        columns: &[AGE],
        description: "RequestAuthentication says which tokens of requests are good.",
        spec: schema::of::<RequestAuthenticationSpec>,
        status: schema::of::<Status>,
        spec_required: false,
    },
    Definition {
        kind: Kind::Telemetry,
        singular: "telemetry",
        short: "telemetry",
        category: "telemetry-istio-io",
        // As clusters store it that have had it before.
        versions: &["v1alpha1", "v1"],
        columns: &[AGE],
        description: "Telemetry says what is logged, counted and traced of traffic.",
        spec: schema::of::<TelemetrySpec>,
        status: schema::of::<Status>,
        spec_required: false,
    },
    Definition {
        kind: Kind::WasmPlugin,
        singular: "wasmplugin",
        short: "",
        category: "extensions-istio-io",
        versions: &["v1alpha1"],
        columns: &[AGE],
        description: "WasmPlugin has a module handle requests.",
        spec: schema::of::<WasmPluginSpec>,
        status: schema::of::<Status>,
        spec_required: true,
    },
    Definition {
        kind: Kind::TrafficExtension,
        singular: "trafficextension",
        short: "",
        category: "extensions-istio-io",
        versions: &["v1alpha1"],
        columns: &[AGE],
        description: "TrafficExtension has a module or script handle requests.",
        spec: schema::of::<TrafficExtensionSpec>,
        status: schema::of::<Status>,
        spec_required: true,
    },
    Definition {
        kind: Kind::ServiceEntry,
        singular: "serviceentry",
        short: "se",
        category: "networking-istio-io",
        versions: &["v1", "v1alpha3", "v1beta1"],
        columns: &[
            ("Hosts", "string", ".spec.hosts"),
            ("Location", "string", ".spec.location"),
            ("Resolution", "string", ".spec.resolution"),
            AGE,
        ],
        description: "ServiceEntry adds hosts that are no Kubernetes Service to the mesh.",
        spec: schema::of::<ServiceEntrySpec>,
        status: schema::of::<ServiceEntryStatus>,
        spec_required: true,
    },
    Definition {
        kind: Kind::WorkloadEntry,
        singular: "workloadentry",
        short: "we",
        category: "networking-istio-io",
        versions: &["v1", "v1alpha3", "v1beta1"],
        columns: &[AGE, ("Address", "string", ".spec.address")],
        description: "WorkloadEntry adds a workload that is no pod to the mesh.",
        spec: schema::of::<WorkloadEntrySpec>,
        status: schema::of::<Status>,
        spec_required: true,
    },
    Definition {
        kind: Kind::VirtualService,
        singular: "virtualservice",
        short: "vs",
        category: "networking-istio-io",
        versions: &["v1", "v1alpha3", "v1beta1"],
        columns: &[("Gateways", "string", ".spec.gateways"), ("Hosts", "string", ".spec.hosts"), AGE],
        description: "VirtualService says what becomes of requests and streams to hosts.",
        spec: schema::of::<VirtualServiceSpec>,
        status: schema::of::<Status>,
        spec_required: false,
    },
    Definition {
        kind: Kind::DestinationRule,
        singular: "destinationrule",
        short: "dr",
        category: "networking-istio-io",
        versions: &["v1", "v1alpha3", "v1beta1"],
        columns: &[("Host", "string", ".spec.host"), AGE],
        description: "DestinationRule says what holds of the way to a host.",
        spec: schema::of::<DestinationRuleSpec>,
        status: schema::of::<Status>,
        spec_required: false,
    },
];

/// Returns the files of `charts/base/crds`, one a kind, in the order of [`Kind`].
///
/// # Errors
/// When a definition cannot be written as YAML.
pub fn files() -> Result<Vec<File>, yaml::Error> {
    let file = |d: &Definition| {
        let text = yaml::to_string(&sorted(definition(d)))?;
        let text =
            format!("# Generated by `cargo run -p pilothouse-model --example crds`: do not edit.\n{text}");
        Ok(File { name: format!("{}.{}.yaml", d.kind.plural(), d.kind.group()), text })
    };
    DEFINITIONS.iter().map(file).collect()
}

/// Returns the structural schema of each kind of `charts/base/crds`, in the order of [`Kind`]: that of
/// the whole object, with `spec` and `status`.
pub fn schemas() -> Vec<(Kind, Value)> {
    DEFINITIONS.iter().map(|d| (d.kind, object_schema(d))).collect()
}

fn definition(d: &Definition) -> Value {
    let schema = object_schema(d);
    let columns: Vec<Value> = d
        .columns
        .iter()
        .map(|(name, kind, path)| json!({"name": name, "type": kind, "jsonPath": path}))
        .collect();
    let versions = d.versions.iter().enumerate().map(|(i, version)| {
        json!({
            "name": version,
            "served": true,
            "storage": i == 0,
            "additionalPrinterColumns": columns,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        })
    });
    let mut names = json!({
        "kind": d.kind.name(),
        "listKind": format!("{}List", d.kind.name()),
        "plural": d.kind.plural(),
        "singular": d.singular,
        "categories": ["istio-io", d.category],
    });
    if !d.short.is_empty() {
        names["shortNames"] = json!([d.short]);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", d.kind.plural(), d.kind.group()),
            // Removing the definition removes every object of the kind: never on an uninstall.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": d.kind.group(),
            "scope": match d.kind.scope() {
                Scope::Cluster => "Cluster",
                Scope::Namespaced => "Namespaced",
            },
            "names": names,
            "versions": versions.collect::<Vec<_>>(),
        },
    })
}

fn object_schema(d: &Definition) -> Value {
    let mut schema = json!({
        "description": d.description,
        "type": "object",
        "properties": {"spec": (d.spec)(), "status": (d.status)()},
    });
    if d.spec_required {
        schema["required"] = json!(["spec"]);
    }
    schema
}

/// Orders the keys of every object, whatever order the build keeps them in.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}
