//! Kubernetes' own validation, as a table: a folder refuses what the API server refuses, names the same
//! field and says the same of it, for single objects and for changes of what is there.

mod rows;

use super::{ApiServer, install, ours};
use anyhow::{Context, ensure};
use folder::{Folder, Problem};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, Request};
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Api, Client};
use model::Severity;
use pilothouse_tests::apiserver::{documents, known_crds};
use rows::{BASES, CHANGES, Expected, ROWS};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Why an object is refused: field and message of each cause; without causes what could not be read.
type Refusal = Vec<(String, String)>;

/// A client of the API server, with the resources of the kinds in the table.
struct Cluster {
    client: Client,
    namespace: String,
    resources: BTreeMap<String, (ApiResource, Scope)>,
}

impl Cluster {
    async fn start(server: &ApiServer, bases: &BTreeMap<String, Value>) -> anyhow::Result<Self> {
        install(server, &ours()?.into_iter().map(|(_, crd)| crd).collect::<Vec<_>>()).await?;
        install(server, &known_crds()?.gateway_standard).await?;
        let (client, namespace) = (server.client().await?, server.namespace("table").await?);
        let mut resources = BTreeMap::new();
        for (kind, base) in bases {
            let api_version = base["apiVersion"].as_str().context("a version")?;
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let (resource, capabilities) =
                pinned_kind(&client, &GroupVersionKind::gvk(group, version, kind)).await?;
            resources.insert(kind.clone(), (resource, capabilities.scope));
        }
        Ok(Self { client, namespace, resources })
    }

    fn api(&self, object: &Value) -> anyhow::Result<(Api<DynamicObject>, &ApiResource)> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let (resource, scope) = self.resources.get(kind).with_context(|| format!("no base of {kind}"))?;
        let api = match scope {
            Scope::Cluster => Api::all_with(self.client.clone(), resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &self.namespace, resource),
        };
        Ok((api, resource))
    }

    /// Offers an object, strictly; returns why it is refused, if it is.
    async fn refusal(&self, object: &Value) -> anyhow::Result<Option<Refusal>> {
        let (api, _) = self.api(object)?;
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let request = Request::new(api.resource_url()).create(&params, serde_json::to_vec(object)?)?;
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("{}&fieldValidation=Strict", parts.uri).parse()?;
        let answer = self.client.request::<Value>(http::Request::from_parts(parts, body)).await;
        refused(answer.map(drop))
    }

    /// Applies one version of an object after the other; returns why the second is refused, if it is.
    async fn refusal_of_change(&self, before: &Value, after: &Value) -> anyhow::Result<Option<Refusal>> {
        let (api, _) = self.api(before)?;
        let name = before["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams::apply("tests").force();
        api.patch(name, &params, &Patch::Apply(before)).await.with_context(|| before.to_string())?;
        let refusal = refused(api.patch(name, &params, &Patch::Apply(after)).await.map(drop))?;
        api.delete(name, &Default::default()).await?;
        Ok(refusal)
    }
}

fn refused(answer: Result<(), kube::Error>) -> anyhow::Result<Option<Refusal>> {
    match answer {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
            let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
            let mut causes: Refusal =
                causes.iter().map(|cause| (cause.field.clone(), cause.message.clone())).collect();
            if causes.is_empty() {
                causes.push((String::new(), status.message.clone()));
            }
            Ok(Some(causes))
        }
        Err(error) => Err(error.into()),
    }
}

/// The problems that a folder has with the versions of one file, after the last of them.
fn problems(versions: &[&Value]) -> Vec<Problem> {
    let mut folder = Folder::default();
    let mut problems = Vec::new();
    for version in versions {
        folder.set("a.json", &version.to_string());
        problems = folder.resolve().problems;
    }
    // What looks like a patch is left out as well.
    problems.retain(|problem| problem.severity == Severity::Error || problem.code == folder::code::PATCH);
    problems
}

/// What is wrong with the answers to a row; nothing if they are as the row says and agree.
fn difference(expected: &Expected, by_server: Option<&Refusal>, by_folder: &[Problem]) -> Option<String> {
    let shown = || format!("\n  API server: {by_server:?}\n  folder: {by_folder:#?}");
    let (field, is_shared) = match expected {
        Expected::Accepted => {
            let is_right = by_server.is_none() && by_folder.is_empty();
            return (!is_right).then(|| format!("is not accepted{}", shown()));
        }
        Expected::Refused(field) => (*field, true),
        Expected::ByServerOnly(field) => (*field, false),
    };
    let Some(causes) = by_server else { return Some(format!("the API server accepts it{}", shown())) };
    let Some((_, message)) = causes.iter().find(|(of, _)| of == field || of.is_empty()) else {
        return Some(format!("the API server does not name {field}{}", shown()));
    };
    if !is_shared {
        return (!by_folder.is_empty()).then(|| format!("the folder refuses it, too{}", shown()));
    }
    let is_patch = by_folder.iter().any(|problem| problem.code == folder::code::PATCH);
    let named: Vec<(String, &str)> = by_folder.iter().map(named).collect();
    // A folder names the field that is written, the entry of a mapping, or the mapping that is missing; what
    // is a patch by all appearances is left out as one.
    let field = plain(field);
    let written = field.replace("clusterIPs[0]", "clusterIP").replace("clusterIPs", "clusterIP");
    let is_at = |(at, message): &&(String, &str)| {
        let is_missing = message.starts_with("Required value") && is_within(&field, at);
        is_patch || is_missing || is_within(at, &field) || is_within(at, &written)
    };
    let Some((_, problem)) = named.iter().find(is_at) else {
        return Some(format!("the folder does not name {field}{}", shown()));
    };
    // What cannot be read at all has no causes.
    let is_unread = causes.iter().all(|(field, _)| field.is_empty());
    let is_same = is_patch || is_unread || are_alike(message, problem);
    (!is_same).then(|| format!("is refused in other words{}", shown()))
}

/// The field and the message of a problem; that of a name is in the message, since nothing is so called.
fn named(problem: &Problem) -> (String, &str) {
    let of_name = problem.message.split_once(": metadata.name: ").filter(|_| problem.field.is_empty());
    match of_name {
        Some((_, message)) => ("metadata.name".to_owned(), message),
        None => (plain(&problem.field), &problem.message),
    }
}

/// A field without quotes, and with dots before the keys of mappings.
fn plain(field: &str) -> String {
    let mut text = String::new();
    for (n, part) in field.replace('"', "").split('[').enumerate() {
        match part.split_once(']') {
            Some((key, rest)) if n > 0 && key.parse::<usize>().is_err() => text += &format!(".{key}{rest}"),
            _ if n > 0 => text += &format!("[{part}"),
            _ => text += part,
        }
    }
    text
}

fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Tells whether two messages are of one kind. What is 0, empty or null is as if it were not there, which
/// some say and some do not; and what is none of a few values is invalid.
fn are_alike(one: &str, other: &str) -> bool {
    let begins = ["Invalid value: 0:", "Invalid value: \"\":", "Invalid value: null:", "Required value"];
    let is_nothing = |message: &str| begins.iter().any(|begin| message.starts_with(begin));
    let kind = |message: &str| match message.split([':', ';']).next().unwrap_or_default() {
        "Unsupported value" => "Invalid value".to_owned(),
        kind => kind.to_owned(),
    };
    kind(one) == kind(other) || (is_nothing(one) && is_nothing(other))
}

/// Lays a merge patch over a value.
fn merged(mut value: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    if !value.is_object() {
        value = json!({});
    }
    for (name, change) in changes {
        if change.is_null() {
            value.as_object_mut().map(|fields| fields.remove(name));
        } else {
            value[name] = merged(value[name].take(), change);
        }
    }
    value
}

fn read(yaml: &str) -> anyhow::Result<Value> {
    serde_yaml::from_str(yaml).with_context(|| yaml.to_owned())
}

fn bases(namespace: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let all = documents(BASES)?.into_iter().map(|mut base| {
        let kind = base["kind"].as_str().unwrap_or_default().to_owned();
        if !matches!(kind.as_str(), "Namespace" | "Node" | "GatewayClass") {
            base["metadata"]["namespace"] = json!(namespace);
        }
        (kind, base)
    });
    Ok(all.collect())
}

#[tokio::test]
async fn a_folder_validates_as_kubernetes_does() -> anyhow::Result<()> {
    let cluster = Cluster::start(ApiServer::shared().await?, &bases("")?).await?;
    let bases = bases(&cluster.namespace)?;
    let mut rows = Vec::new();
    for (kind, patch, expected) in ROWS {
        let base = bases.get(*kind).with_context(|| format!("no base of {kind}"))?;
        rows.push((format!("{kind} {patch}"), merged(base.clone(), &read(patch)?), expected));
    }
    let unchanged =
        bases.values().map(|base| (format!("the base {base}"), base.clone(), &Expected::Accepted));
    rows.extend(unchanged);
    let answers: Vec<_> = stream::iter(&rows)
        .map(async |row| anyhow::Ok((row, cluster.refusal(&row.1).await?)))
        .buffered(8)
        .try_collect()
        .await?;
    let mut differ = Vec::new();
    for ((shown, object, expected), by_server) in answers {
        let found = difference(expected, by_server.as_ref(), &problems(&[object]));
        differ.extend(found.map(|why| format!("{shown} {why}")));
    }
    assert!(differ.is_empty(), "{} of {} rows:\n{}", differ.len(), rows.len(), differ.join("\n"));
    let refused = ROWS.iter().filter(|(.., expected)| matches!(expected, Expected::Refused(_))).count();
    ensure!(refused > 100, "{refused} rows are refused by both");
    Ok(())
}

#[tokio::test]
async fn a_folder_lets_nobody_change_what_kubernetes_lets_nobody_change() -> anyhow::Result<()> {
    let cluster = Cluster::start(ApiServer::shared().await?, &bases("")?).await?;
    let bases = bases(&cluster.namespace)?;
    let mut differ = Vec::new();
    for (n, (kind, before, after, expected)) in CHANGES.iter().enumerate() {
        let mut base = bases.get(*kind).with_context(|| format!("no base of {kind}"))?.clone();
        base["metadata"]["name"] = json!(format!("change-{n}"));
        let (old, new) = (merged(base.clone(), &read(before)?), merged(base, &read(after)?));
        ensure!(problems(&[&old]).is_empty(), "{kind} {before}: {:#?}", problems(&[&old]));
        let by_server = cluster.refusal_of_change(&old, &new).await?;
        let found = difference(expected, by_server.as_ref(), &problems(&[&old, &new]));
        differ.extend(found.map(|why| format!("{kind} {before} ▶ {after} {why}")));
    }
    assert!(differ.is_empty(), "{} of {} changes:\n{}", differ.len(), CHANGES.len(), differ.join("\n"));
    Ok(())
}
