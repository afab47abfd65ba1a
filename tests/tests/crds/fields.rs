//! The table of fields (`model::field`) has every field that the definitions of a kind have, and says what is true of
//! each: one that it calls read changes what is made of an object, any other does not.
//!
//! `fields/KIND.yaml` has objects that set every field that is read; a field that comes to be read needs a line in
//! the table and one there.
// What parsing returns; a test makes few of them.
#![allow(clippy::result_large_err)]

use anyhow::{Context, ensure};
use model::field::{Field, FieldState, fields};
use model::{Diagnostic, Kind, KindState, Object, known_kinds};
use pilothouse_tests::apiserver::{documents, istio_api, known_crds};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What custom resources are known to have before the modules of these tests publish it.
const NEWER: &[&str] = &["cookie.name", "cookie.lifetimeType", "header.name"];

/// A field without fields of its own, and what may stand there.
type Leaf = (String, Value);

fn read(path: &str) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Returns the leaves of every kind that is read, of all its versions; without those that all kinds have.
fn published() -> anyhow::Result<BTreeMap<Kind, Vec<Leaf>>> {
    let table: Value = serde_json::from_str(&read("../crates/folder/src/apiserver/kinds.json")?)?;
    let mut ours: BTreeMap<Kind, Value> = model::crd::schemas().into_iter().collect();
    let mut all = BTreeMap::new();
    for &kind in Kind::ALL {
        let mut leaves = BTreeMap::new();
        if let Some(schema) = ours.remove(&kind) {
            collect("", &schema, &table, &mut leaves);
        } else {
            let is_it = |of: &&Value| of["group"] == kind.group() && of["kind"] == kind.name();
            let known = table["kinds"].as_array().into_iter().flatten().find(is_it);
            let versions = known.and_then(|of| of["versions"].as_object());
            for (_, version) in versions.with_context(|| format!("{kind} is not published"))? {
                collect(
                    "",
                    &table["definitions"][version["schema"].as_str().unwrap_or_default()],
                    &table,
                    &mut leaves,
                );
            }
        }
        leaves.retain(|path, _| {
            !matches!(path.as_str(), "apiVersion" | "kind" | "metadata") && !path.starts_with("metadata.")
        });
        ensure!(!leaves.is_empty(), "{kind} has no fields");
        all.insert(kind, leaves.into_iter().collect());
    }
    Ok(all)
}

fn collect(at: &str, schema: &Value, table: &Value, leaves: &mut BTreeMap<String, Value>) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &table["definitions"][name],
        None => schema,
    };
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    if let Some(fields) = schema["properties"].as_object() {
        fields.iter().for_each(|(name, field)| collect(&below(name), field, table, leaves));
    } else if schema["additionalProperties"].is_object() {
        collect(&below("*"), &schema["additionalProperties"], table, leaves);
    } else if schema["items"].is_object() {
        collect(&format!("{at}[]"), &schema["items"], table, leaves);
    } else {
        leaves.insert(at.to_owned(), schema.clone());
    }
}

/// Tells whether a line of the table stands for a field.
fn is_of(line: &Field, path: &str) -> bool {
    path.strip_prefix(line.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Returns the line that stands for a field: the closest one.
fn line<'t>(table: &'t [Field], path: &str) -> Option<&'t Field> {
    table.iter().filter(|line| is_of(line, path)).max_by_key(|line| line.path.len())
}

#[test]
fn every_field_of_every_kind_is_in_the_table() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (kind, leaves) in published()? {
        let table = fields(kind);
        for (path, _) in &leaves {
            match line(&table, path) {
                None => wrong.push(format!("{kind} {path} is not in the table")),
                Some(line) if line.state.is_read() && line.path != *path => {
                    wrong.push(format!("{kind} {} is said to be read and has fields: {path}", line.path));
                }
                Some(_) => {}
            }
        }
        for line in &table {
            // The mesh settings are a text for an API server.
            let is_known = leaves.iter().any(|(path, _)| is_of(line, path))
                || NEWER.iter().any(|newer| line.path.ends_with(newer))
                || line.path.starts_with("data.mesh.");
            if !is_known {
                wrong.push(format!("{kind} {} is no field", line.path));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_setting_of_the_mesh_is_in_the_table() -> anyhow::Result<()> {
    let table = fields(Kind::ConfigMap);
    let api = istio_api()?.join("mesh/v1alpha1");
    let (config, proxy) = (
        std::fs::read_to_string(api.join("config.proto"))?,
        std::fs::read_to_string(api.join("proxy.proto"))?,
    );
    let mut missing = Vec::new();
    for (text, message, at) in [
        (&config, "MeshConfig", "data.mesh"),
        (&config, "CertificateData", "data.mesh.caCertificates[]"),
        (&config, "ServiceScopeConfigs", "data.mesh.serviceScopeConfigs[]"),
        (&config, "ServiceEntryVisibility", "data.mesh.serviceEntryVisibility"),
        (&proxy, "ProxyConfig", "data.mesh.defaultConfig"),
    ] {
        let names = message_fields(text, message);
        ensure!(names.len() > 2, "{message} has no fields");
        for name in names {
            let path = format!("{at}.{name}");
            let below = |line: &Field| {
                line.path
                    .strip_prefix(&path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            if !table.iter().any(below) {
                missing.push(path);
            }
        }
    }
    ensure!(missing.is_empty(), "not in the table: {missing:?}");
    Ok(())
}

/// Returns the fields of a message by their names in JSON, without those of messages in it.
fn message_fields(proto: &str, message: &str) -> BTreeSet<String> {
    let code: Vec<&str> = proto.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let code: Vec<&str> = code
        .split("/*")
        .enumerate()
        .map(|(i, part)| match i {
            0 => part,
            _ => part.split_once("*/").map_or("", |(_, rest)| rest),
        })
        .collect();
    let code = code.concat();
    let mut tokens = code
        .split_inclusive(['{', '}', ';'])
        .map(|part| part.split_at(part.len() - 1))
        .skip_while(|(words, _)| !words.trim_end().ends_with(&format!("message {message}")));
    let (mut open, mut names) = (Vec::new(), BTreeSet::new());
    for (words, end) in &mut tokens {
        match end {
            "{" => open.push(words.trim_start().starts_with("oneof") || open.is_empty()),
            "}" => {
                open.pop();
            }
            _ if open.iter().all(|is_own| *is_own) => {
                let declared = words.split_once('=').and_then(|(before, _)| before.split_whitespace().last());
                let is_field =
                    !words.trim_start().starts_with("reserved") && !words.trim_start().starts_with("option ");
                names.extend(declared.filter(|_| is_field).map(camel_case));
            }
            _ => {}
        }
        if open.is_empty() {
            break;
        }
    }
    names
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[test]
fn every_kind_of_the_apis_that_are_read_is_known() -> anyhow::Result<()> {
    let known = known_crds()?;
    let mut wrong = Vec::new();
    let published: Vec<_> =
        known.istio.iter().chain(&known.gateway_standard).chain(&known.gateway_experimental).collect();
    for crd in &published {
        let (group, kind) = (crd.spec.group.as_str(), crd.spec.names.kind.as_str());
        match known_kinds().find(|known| known.group == group && known.name == kind) {
            None => wrong.push(format!("{kind} of {group} is not in the table of kinds")),
            Some(known) if known.plural != crd.spec.names.plural => {
                wrong.push(format!("{kind} of {group} has the plural {}", crd.spec.names.plural));
            }
            Some(_) => {}
        }
    }
    // One that is not read is found under the versions that are served, and has the status that is written.
    for known in known_kinds().filter(|known| matches!(known.state, KindState::Unread(_))) {
        let is_it = |group: &str, kind: &str| group == known.group && kind == known.name;
        let of_kind = published.iter().filter(|crd| is_it(&crd.spec.group, &crd.spec.names.kind));
        let versions: Vec<_> = of_kind.flat_map(|crd| &crd.spec.versions).filter(|v| v.served).collect();
        let served: BTreeSet<&str> = versions.iter().map(|version| version.name.as_str()).collect();
        let has_status = versions.iter().all(|version| crate::has_status(version.subresources.as_ref()));
        if known.has_open_conditions() && !has_status {
            wrong.push(format!("{} of {} has no status of its own", known.name, known.group));
        }
        if served != known.versions.iter().copied().collect() {
            wrong.push(format!("{} of {} is served as {served:?}", known.name, known.group));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// One step of the way to a field.
#[derive(Clone, Debug)]
enum Step {
    Name(String),
    Index(usize),
}

fn steps(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, list) = part.split_once("[]").map_or((part, false), |(name, _)| (name, true));
        steps.push(name);
        if list {
            steps.push("[]");
        }
    }
    steps
}

/// Returns where a field stands in an object: in each item of a list, for each entry of a mapping.
fn places(object: &Value, path: &str) -> Vec<Vec<Step>> {
    let mut found = vec![(Vec::new(), object)];
    for step in steps(path) {
        let mut next = Vec::new();
        for (way, value) in found {
            let then = |step: Step| [way.clone(), vec![step]].concat();
            match (step, value) {
                ("[]", Value::Array(items)) => {
                    next.extend(items.iter().enumerate().map(|(i, item)| (then(Step::Index(i)), item)));
                }
                ("*", Value::Object(entries)) => {
                    next.extend(entries.iter().map(|(name, entry)| (then(Step::Name(name.clone())), entry)));
                }
                (name, Value::Object(entries)) => {
                    next.extend(entries.get(name).map(|entry| (then(Step::Name(name.to_owned())), entry)));
                }
                _ => {}
            }
        }
        found = next;
    }
    found.into_iter().map(|(way, _)| way).collect()
}

/// Changes what stands at a place; nothing takes it away.
fn set(object: &mut Value, way: &[Step], new: Option<Value>) {
    let Some((last, before)) = way.split_last() else { return };
    let mut at = object;
    for step in before {
        at = match step {
            Step::Name(name) => &mut at[name.as_str()],
            Step::Index(index) => &mut at[*index],
        };
    }
    match (last, new) {
        (Step::Name(name), Some(new)) => at[name.as_str()] = new,
        (Step::Index(index), Some(new)) => at[*index] = new,
        (Step::Name(name), None) => {
            if let Some(entries) = at.as_object_mut() {
                entries.remove(name);
            }
        }
        (Step::Index(index), None) => {
            if let Some(items) = at.as_array_mut() {
                items.remove(*index);
            }
        }
    }
}

fn get<'v>(object: &'v Value, way: &[Step]) -> &'v Value {
    way.iter().fold(object, |at, step| match step {
        Step::Name(name) => &at[name.as_str()],
        Step::Index(index) => &at[*index],
    })
}

/// Returns an object that has nothing but a value at a path, in the first item of each list.
fn bare(path: &str, value: Value) -> Value {
    let mut object = value;
    for step in steps(path).into_iter().rev() {
        object = match step {
            "[]" => json!([object]),
            "*" => json!({"some": object}),
            name => json!({name: object}),
        };
    }
    object
}

/// What is made of an object; the mesh settings are written as the text that they are.
fn parse(kind: Kind, object: &Value) -> Result<Object, Diagnostic> {
    let mut object = object.clone();
    object["metadata"] = match kind {
        Kind::ConfigMap => json!({"name": "istio", "namespace": "istio-system"}),
        _ => json!({"name": "web", "namespace": "shop"}),
    };
    if let Some(mesh) = object.pointer_mut("/data/mesh") {
        *mesh = mesh.to_string().into();
    }
    model::parse(kind, object.to_string().as_bytes())
}

fn other(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
        Value::String(text) => json!(format!("{text}1")),
        _ => json!("x"),
    }
}

#[test]
fn a_field_that_is_read_changes_what_is_made_of_an_object() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for &kind in Kind::ALL {
        let samples = documents(&read(&format!("tests/crds/fields/{kind}.yaml"))?)?;
        let parsed: Vec<_> = samples.iter().map(|sample| parse(kind, sample)).collect();
        for (sample, parsed) in samples.iter().zip(&parsed) {
            ensure!(parsed.is_ok(), "{kind}: {parsed:?} of {sample}");
        }
        for field in fields(kind).iter().filter(|field| field.state.is_read()) {
            let (mut is_set, mut is_read) = (false, false);
            for (sample, parsed) in samples.iter().zip(&parsed) {
                for way in places(sample, &field.path) {
                    is_set = true;
                    for new in [None, Some(other(get(sample, &way)))] {
                        let mut changed = sample.clone();
                        set(&mut changed, &way, new);
                        is_read |= parse(kind, &changed) != *parsed;
                    }
                }
            }
            if !is_set {
                wrong.push(format!("{kind} {} is set by no object of fields/{kind}.yaml", field.path));
            } else if !is_read {
                wrong.push(format!("{kind} {} is said to be read, and changes nothing", field.path));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Returns two values that may stand in a field.
fn values(schema: &Value) -> [Value; 2] {
    if let Some(choices) = schema["enum"].as_array() {
        return [choices[0].clone(), choices[choices.len() - 1].clone()];
    }
    match schema["type"].as_str() {
        Some("integer" | "number") => [json!(1), json!(2)],
        Some("boolean") => [json!(true), json!(false)],
        Some("object") => [json!({"a": "b"}), json!({"a": "c"})],
        _ => [json!("a"), json!("b")],
    }
}

#[test]
fn a_field_that_is_outside_changes_nothing() -> anyhow::Result<()> {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (kind, leaves) in published()? {
        let table = fields(kind);
        for (path, schema) in &leaves {
            if !matches!(line(&table, path), Some(Field { state: FieldState::Outside(_), .. })) {
                continue;
            }
            count += 1;
            let [one, two] = values(schema).map(|value| {
                let mut object = bare(path, value);
                // A port of a Service is none without its number.
                if let Some(port) = object.pointer_mut("/spec/ports/0").filter(|_| kind == Kind::Service) {
                    port["port"] = json!(80);
                }
                parse(kind, &object)
            });
            if one.is_err() || one != two {
                wrong.push(format!("{kind} {path} is said to be outside: {one:?}, {two:?}"));
            }
        }
    }
    ensure!(count > 1000, "so few fields cannot be all that are outside: {count}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_field_that_is_not_supported_is_told_and_changes_nothing() -> anyhow::Result<()> {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for &kind in Kind::ALL {
        for Field { path, state } in fields(kind) {
            let FieldState::Unsupported { instead, unless } = state else { continue };
            count += 1;
            let [one, two] = [json!("a"), json!(["b"])].map(|value| parse(kind, &bare(&path, value)));
            let (Ok(one), Ok(two)) = (&one, &two) else {
                wrong.push(format!("{kind} {path} cannot be set: {one:?}, {two:?}"));
                continue;
            };
            if one != two {
                wrong.push(format!(
                    "{kind} {path} is said to be known and not supported, and changes something"
                ));
            }
            let place = path.replace("[]", "[0]");
            let told = |object: &Object| -> Vec<(String, String)> {
                let found = match object {
                    Object::ConfigMap(settings) => &settings.unread,
                    other => other.unsupported(),
                };
                found.iter().map(|of| (of.field.clone(), of.help.clone())).collect()
            };
            if told(one) != [(place, instead.to_owned())] {
                wrong.push(format!("{kind} {path} is told as {:?}", told(one)));
            }
            let empty = parse(kind, &bare(&path, json!(unless)));
            if empty.as_ref().map(told) != Ok(Vec::new()) {
                wrong.push(format!("{kind} {path} asks for nothing, and is told: {empty:?}"));
            }
        }
    }
    ensure!(count > 50, "so few fields cannot be all that are not supported: {count}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
