//! The table of kinds by which a folder is read as an API server would read it:
//! `crates/folder/src/apiserver/kinds.json`.
//!
//! It holds facts alone (names, types, limits), as Kubernetes and the projects of the mesh publish
//! them, and is written by `UPDATE_KINDS=1 cargo test -p pilothouse-tests --test crds kinds`.

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use model::Kind;
use pilothouse_tests::apiserver::{known_crds, kubernetes_openapi};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The built-in kinds that a folder reads.
const READ: &[(&str, &str)] = &[
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "ConfigMap"),
    ("v1", "Endpoints"),
    ("v1", "Namespace"),
    ("v1", "Node"),
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
];

/// What a published schema says that is a fact of the API; texts and rules of validation are left out.
const KEPT: &[&str] = &[
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
];

/// A served kind: the version, whether its objects live in a namespace, and its schema.
type Served = BTreeMap<(String, String), Vec<(String, bool, Option<String>)>>;

#[test]
fn kinds_are_those_that_kubernetes_and_the_mesh_publish() -> anyhow::Result<()> {
    let text = table()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/folder/src/apiserver/kinds.json");
    if std::env::var_os("UPDATE_KINDS").is_some() {
        std::fs::write(&path, &text)?;
    }
    let committed = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    assert!(committed == text, "run `UPDATE_KINDS=1 cargo test -p pilothouse-tests --test crds kinds`");
    Ok(())
}

fn table() -> anyhow::Result<String> {
    let mut kinds = Served::new();
    let mut definitions = BTreeMap::new();
    builtin(&mut kinds, &mut definitions)?;
    let known = known_crds()?;
    let gateway = known.gateway_standard.iter().chain(&known.gateway_experimental);
    for crd in known.istio.iter().chain(gateway) {
        custom(crd, &mut kinds, &mut definitions)?;
    }
    let mut lines = Vec::new();
    for ((group, kind), versions) in &kinds {
        let versions: BTreeMap<&String, Value> = versions
            .iter()
            .map(|(version, namespaced, schema)| {
                (version, json!({"namespaced": namespaced, "schema": schema}))
            })
            .collect();
        lines.push(format!("  {}", json!({"group": group, "kind": kind, "versions": versions})));
    }
    let schemas: Vec<String> =
        definitions.iter().map(|(name, schema)| format!("  {}: {schema}", json!(name))).collect();
    Ok(format!(
        "{{\"kinds\": [\n{}\n],\n\"definitions\": {{\n{}\n}}}}\n",
        lines.join(",\n"),
        schemas.join(",\n")
    ))
}

fn builtin(kinds: &mut Served, definitions: &mut BTreeMap<String, Value>) -> anyhow::Result<()> {
    let documents = kubernetes_openapi()?;
    let mut published = BTreeMap::new();
    let mut of_kind = BTreeMap::new();
    for document in &documents {
        for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
            for gvk in schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
                of_kind.insert(triple(gvk), name.clone());
            }
            published.insert(name.clone(), schema);
        }
    }
    let mut wanted = Vec::new();
    for document in &documents {
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            let gvk = triple(&methods["post"]["x-kubernetes-group-version-kind"]);
            let (group, version, kind) = gvk.clone();
            let prefix =
                if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            let Some(rest) = path.strip_prefix(&format!("{prefix}/")).filter(|_| !kind.is_empty()) else {
                continue;
            };
            let namespaced = rest.starts_with("namespaces/{namespace}/");
            if rest.trim_start_matches("namespaces/{namespace}/").contains('/') {
                continue;
            }
            let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            let schema = READ.contains(&(api_version.as_str(), kind.as_str()));
            let schema = if schema {
                Some(of_kind.get(&gvk).context("a kind without a schema")?.clone())
            } else {
                None
            };
            wanted.extend(schema.clone());
            let served = kinds.entry((group, kind)).or_default();
            served.retain(|(other, ..)| *other != version);
            served.push((version, namespaced, schema.as_deref().map(short)));
        }
    }
    while let Some(name) = wanted.pop() {
        if let std::collections::btree_map::Entry::Vacant(e) = definitions.entry(short(&name)) {
            let schema = published.get(&name).with_context(|| format!("{name} is not published"))?;
            e.insert(facts(schema, false, &mut wanted));
        }
    }
    Ok(())
}

fn custom(
    crd: &CustomResourceDefinition,
    kinds: &mut Served,
    definitions: &mut BTreeMap<String, Value>,
) -> anyhow::Result<()> {
    let (group, kind) = (&crd.spec.group, &crd.spec.names.kind);
    let namespaced = crd.spec.scope == "Namespaced";
    // The definitions of the mesh are in the chart; those of the Gateway API are not.
    let read = group.starts_with("gateway.networking.")
        && Kind::ALL.iter().any(|read| read.group() == group && read.name() == kind);
    for version in crd.spec.versions.iter().filter(|version| version.served) {
        let name = format!("{group}.{}.{kind}", version.name);
        if read {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            let schema = serde_json::to_value(schema.context("a definition without a schema")?)?;
            definitions.insert(name.clone(), facts(&schema, true, &mut Vec::new()));
        }
        let served = kinds.entry((group.clone(), kind.clone())).or_default();
        // The experimental channel comes last, and has what the standard one has, and more.
        served.retain(|(other, ..)| *other != version.name);
        served.push((version.name.clone(), namespaced, read.then_some(name)));
    }
    Ok(())
}

fn triple(gvk: &Value) -> (String, String, String) {
    let text = |name: &str| gvk[name].as_str().unwrap_or_default().to_owned();
    (text("group"), text("version"), text("kind"))
}

/// The name of a definition without what all of them begin with.
fn short(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name =
        name.strip_prefix("io.k8s.api.").or_else(|| name.strip_prefix("io.k8s.apimachinery.pkg.apis."));
    name.map_or_else(|| "IntOrString".to_owned(), str::to_owned)
}

/// The facts of a schema; definitions that it refers to are `wanted`. The keys of lists of built-in
/// kinds are those by which patches are merged, and are not enforced: only a definition's are `keyed`.
fn facts(schema: &Value, keyed: bool, wanted: &mut Vec<String>) -> Value {
    let reference = schema.get("$ref").or_else(|| schema["allOf"].get(0).and_then(|one| one.get("$ref")));
    if let Some(name) = reference.and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap_or(name);
        if name.ends_with("IntOrString") {
            return json!({"x-kubernetes-int-or-string": true});
        }
        // Read by code of their own: a quantity, the fields that somebody manages, anything.
        if name.ends_with("Quantity") || name.ends_with("FieldsV1") || name.ends_with("RawExtension") {
            return json!({"x-kubernetes-preserve-unknown-fields": true});
        }
        if name.ends_with(".Time") || name.ends_with(".MicroTime") {
            return json!({"type": "string", "format": "date-time"});
        }
        wanted.push(name.to_owned());
        return json!({"$ref": short(name)});
    }
    let mut kept = Map::new();
    for name in KEPT {
        let Some(value) = schema.get(*name) else { continue };
        let is_kept = match *name {
            "default" | "x-kubernetes-list-map-keys" => keyed,
            "x-kubernetes-list-type" => keyed && value != "atomic",
            "format" => value == "int32" || value == "date-time",
            _ => true,
        };
        if is_kept {
            kept.insert((*name).to_owned(), value.clone());
        }
    }
    let names: BTreeSet<&String> =
        schema["properties"].as_object().into_iter().flatten().map(|(n, _)| n).collect();
    if !names.is_empty() {
        let properties: Map<String, Value> = names
            .iter()
            .map(|name| ((*name).clone(), facts(&schema["properties"][*name], keyed, wanted)))
            .collect();
        kept.insert("properties".to_owned(), properties.into());
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner_schema) = schema.get(inner).filter(|inner| inner.is_object()) {
            kept.insert(inner.to_owned(), facts(inner_schema, keyed, wanted));
        }
    }
    kept.into()
}
