//! `/debug/whyz`: what a resource was made from, asked as people name things.
//!
//! ```text
//!  name=pod/shop/web ─▶ Asked ─▶ resources of that object ─▶ trace of each ─▶ words, JSON, or the trace
//!  kind=, namespace=             (those that are sent; one that is not is asked for all the same)
//! ```

use super::answer::{self, Answer, gone};
use crate::engine_thread::EngineHandle;
use crate::kinds;
use axum::http::{HeaderMap, StatusCode, header};
use model::{Diagnostic, Kind, Lines, Name, ObjectRef, Scope, nearest};
use plane::{Plane, Trace};
use prost::Message;
use proto::workload::{Address, address::Type};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use xds::{ResourceType, Snapshot};

/// How deep a trace is followed unless set otherwise.
const DEPTH: usize = 2;
/// How deep a trace may be asked for.
const MAX_DEPTH: usize = 6;
/// How deep objects are looked for below a resource.
const OBJECTS_DEPTH: usize = 8;
/// Most resources of one object that are explained.
const MAX_RESOURCES: usize = 16;
/// Most names that are suggested.
const SUGGESTED: usize = 10;

/// How to ask, for who asked otherwise.
pub const USAGE: &str = "\
name an object: /debug/whyz?name=pod/NAMESPACE/NAME, or kind=pod&namespace=NAMESPACE&name=NAME

kind        pod, service, serviceentry, workloadentry, authorizationpolicy, peerauthentication, endpointslice,
            namespace, gateway …, as kubectl takes them; without one, every object of that name
name        NAME with namespace=, NAMESPACE/NAME, KIND/NAMESPACE/NAME, KIND/NAME of what is in no namespace,
            or the name of a resource
format      text (words), json, or trace: the tables of the engine that were read
depth       levels of the trace, up to 6
";

/// Those of which nothing is active if nothing is sent for them by themselves.
const SENT_ALONE: [Kind; 4] =
    [Kind::Service, Kind::ServiceEntry, Kind::WorkloadEntry, Kind::AuthorizationPolicy];

/// The query, as it is typed.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    name: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    depth: Option<usize>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Text,
    Json,
    Trace,
}

/// What names of resources are made with.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The domain of hostnames of services.
    pub domain: String,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    kind: Option<Kind>,
    namespace: Option<String>,
    name: String,
}

/// An object, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    kind: Kind,
    /// `NAMESPACE/NAME`, or the name alone of what is in no namespace.
    name: String,
}

/// A resource and the object that it is of, or an object for which none is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    object: Option<Object>,
    resource: Option<String>,
}

impl Candidate {
    /// The name by which the plane knows where it comes from: of the resource, else of the conditions of
    /// the object.
    fn provenance(&self) -> String {
        let of_object = || self.object.as_ref().map(|object| format!("{} {}", object.kind, object.name));
        self.resource.clone().or_else(of_object).unwrap_or_default()
    }
}

/// A resource, with what it was made from.
struct Reason {
    candidate: Candidate,
    /// One for each table that has a row of the resource.
    traces: Vec<Trace>,
    findings: Vec<Diagnostic>,
}

impl Query {
    /// Answers from what is published, from what the engine says of a resource, and from what was found.
    pub async fn answer(
        self,
        headers: &HeaderMap,
        naming: &Naming,
        snapshot: Option<&Snapshot>,
        handle: &EngineHandle,
        found: &[Diagnostic],
    ) -> Answer {
        let accepts_json = headers
            .get(header::ACCEPT)
            .is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.starts_with("application/json")));
        let format = self.format.unwrap_or(if accepts_json { Format::Json } else { Format::Text });
        let depth = self.depth.unwrap_or(DEPTH).min(MAX_DEPTH);
        let readings = match self.asked() {
            Ok(readings) => readings,
            Err(message) => return refusal(StatusCode::BAD_REQUEST, format, message),
        };
        let mut reasons = Vec::new();
        for asked in &readings {
            let Some(read) = asked.reasons(naming, snapshot, handle, found).await else { return gone() };
            reasons = read;
            if !reasons.is_empty() {
                break;
            }
        }
        if reasons.is_empty() {
            // Of two readings the one with a kind is told: it says more.
            let asked = readings.iter().find(|asked| asked.kind.is_some()).or(readings.first());
            let message = asked.map(|asked| asked.unknown(naming, snapshot)).into_iter().collect();
            return refusal(StatusCode::NOT_FOUND, format, message);
        }
        let mut lines = Lines::default();
        match format {
            Format::Json => {
                let all: Vec<Value> = reasons.iter().map(|reason| reason.json(depth)).collect();
                return answer::json(StatusCode::OK, &json!(all));
            }
            Format::Text => reasons.iter().enumerate().for_each(|(index, reason)| {
                if index > 0 {
                    lines.push("");
                }
                reason.words(&mut lines);
            }),
            // Keys are in their debug form, which has no newlines.
            Format::Trace => reasons
                .iter()
                .flat_map(|reason| &reason.traces)
                .for_each(|trace| lines.push_all(&pruned(trace, depth).to_string())),
        }
        answer::text(StatusCode::OK, lines)
    }

    /// Reads what was typed: in one way, or in several, the likeliest first.
    ///
    /// # Errors
    /// A message for who has typed it.
    fn asked(&self) -> Result<Vec<Asked>, Lines> {
        let name = self.name.as_deref().map(str::trim).unwrap_or_default();
        if name.is_empty() {
            return Err(USAGE.lines().collect());
        }
        let kind = self.kind.as_deref().map(kind_of).transpose()?;
        let namespace = self.namespace.clone().filter(|namespace| !namespace.is_empty());
        let asked = |kind, namespace: Option<&str>, name: &str| Asked {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let whole = |kind, namespace, name| Ok(vec![asked(kind, namespace, name)]);
        let parts: Vec<&str> = name.split('/').collect();
        match (parts.as_slice(), kind) {
            // `pod/shop/web`
            ([word, ns, name], None) if kind_of(word).is_ok() => whole(kind_of(word).ok(), Some(ns), name),
            ([word, _, _], None) if kinds::nearest_kind(word).is_some() => {
                Err(kind_of(word).err().unwrap_or_default())
            }
            // `pod/web` in a namespace that is given; `shop/web` otherwise
            ([word, name], None) if namespace.is_some() => {
                whole(Some(kind_of(word)?), namespace.as_deref(), name)
            }
            // `namespace/shop`, or `shop/web` in a namespace that is called like a kind
            ([word, name], None) if kind_of(word).is_ok() => {
                let kind = kind_of(word)?;
                let mut readings = vec![asked(Some(kind), None, name), asked(None, Some(word), name)];
                if kind.scope() == Scope::Namespaced {
                    readings.reverse();
                }
                Ok(readings)
            }
            ([ns, name], kind) if namespace.is_none() => whole(kind, Some(ns), name),
            ([name], kind) => whole(kind, namespace.as_deref(), name),
            // The name of a resource, in which slashes mean something else.
            _ => whole(None, None, name),
        }
    }
}

/// Returns the kind of a word.
///
/// # Errors
/// A message for who has typed it.
fn kind_of(word: &str) -> Result<Kind, Lines> {
    kinds::kind_of(word).map_err(|message| Lines::from_iter([message]))
}

/// Returns the resources that are sent, of one namespace or all, with the objects that they are of.
fn sent<'s>(
    snapshot: Option<&'s Snapshot>,
    naming: &'s Naming,
    namespace: Option<&'s str>,
) -> impl Iterator<Item = Candidate> + 's {
    let of = |of| snapshot.into_iter().flat_map(move |snapshot| snapshot.mesh().resources(of));
    let addresses = of(ResourceType::Address)
        .filter(move |r| namespace.is_none_or(|ns| is_in(r.name, ns)))
        .map(|r| (address_object(r.name, r.body, naming), r.name));
    let policies = of(ResourceType::Authorization)
        .filter(move |r| namespace.is_none_or(|ns| is_in(r.name, ns)))
        .map(|r| (policy_object(r.name), r.name));
    addresses.chain(policies).map(|(object, name)| Candidate { object, resource: Some(name.to_owned()) })
}

/// Tells whether a resource of this name may be of an object of a namespace: `NS/…` or `…/KIND/NS/…`.
fn is_in(resource: &str, namespace: &str) -> bool {
    let mut parts = resource.split('/');
    parts.next() == Some(namespace) || parts.nth(2) == Some(namespace)
}

/// Returns the object of a workload or service.
fn address_object(resource: &str, body: &[u8], naming: &Naming) -> Option<Object> {
    let parts: Vec<&str> = resource.split('/').collect();
    if let [_, group, kind, ns, name, ..] = parts.as_slice() {
        let kind = Kind::ALL.iter().find(|of| of.name() == *kind && of.group() == *group)?;
        return Some(Object { kind: *kind, name: format!("{ns}/{name}") });
    }
    let Some(Type::Service(service)) = Address::decode(body).ok()?.r#type else { return None };
    let own = format!("{}.{}.svc.{}", service.name, service.namespace, naming.domain);
    let kind = if service.hostname == own { Kind::Service } else { Kind::ServiceEntry };
    Some(Object { kind, name: format!("{}/{}", service.namespace, service.name) })
}

/// Returns the object of a policy; one that is made for others is of none.
fn policy_object(resource: &str) -> Option<Object> {
    let (ns, name) = resource.split_once('/')?;
    let of = |kind, name: &str| Some(Object { kind, name: format!("{ns}/{name}") });
    match name.strip_prefix("converted_peer_authentication_") {
        Some(peer) => of(Kind::PeerAuthentication, peer),
        None if name.starts_with("istio_converted_") || name.starts_with("pilothouse_") => None,
        None => of(Kind::AuthorizationPolicy, name),
    }
}

impl Asked {
    /// Returns the resources that were asked for, and the objects of that name for which none is sent, each
    /// with what it was made from; `None` when the engine has ended.
    async fn reasons(
        &self,
        naming: &Naming,
        snapshot: Option<&Snapshot>,
        handle: &EngineHandle,
        found: &[Diagnostic],
    ) -> Option<Vec<Reason>> {
        let mut candidates: BTreeSet<Candidate> = sent(snapshot, naming, self.namespace.as_deref())
            .filter(|of| self.is(of))
            .take(MAX_RESOURCES)
            .collect();
        let mut objects = self.objects();
        objects.retain(|object| !candidates.iter().any(|known| known.object.as_ref() == Some(object)));
        let named: Vec<(Object, ObjectRef)> =
            objects.into_iter().map(|object| (object.clone(), object.reference())).collect();
        let held =
            move |plane: &Plane| named.into_iter().filter(|(_, of)| plane.holds(of)).collect::<Vec<_>>();
        for (object, _) in handle.query(held).await? {
            candidates.insert(Candidate { object: Some(object), resource: None });
        }
        let mut reasons = Vec::new();
        for candidate in candidates {
            // One by one: each looks through the tables, and changes must not wait for all of them.
            let provenance = candidate.provenance();
            let traces = handle.query(move |plane| plane.why(&provenance, OBJECTS_DEPTH)).await?;
            let findings = findings(found, candidate.object.as_ref());
            reasons.push(Reason { candidate, traces, findings });
        }
        Some(reasons)
    }

    /// The objects that this can be the name of.
    fn objects(&self) -> Vec<Object> {
        let wanted = if self.namespace.is_some() { Scope::Namespaced } else { Scope::Cluster };
        let kinds = Kind::ALL.iter().copied().filter(|kind| self.kind.is_none_or(|of| of == *kind));
        let kinds = kinds.filter(|kind| kind.scope() == wanted);
        let name = match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        };
        kinds.map(|kind| Object { kind, name: name.clone() }).collect()
    }

    /// Tells whether a resource was asked for.
    fn is(&self, candidate: &Candidate) -> bool {
        let by_name = || match (&self.namespace, self.kind) {
            (Some(ns), None) => candidate.resource.as_deref() == Some(&*format!("{ns}/{}", self.name)),
            (None, None) => candidate.resource.as_deref() == Some(&*self.name),
            _ => false,
        };
        let by_object = |object: &Object| {
            let (ns, name) = object.name.split_once('/').unwrap_or(("", &object.name));
            self.kind.is_none_or(|kind| kind == object.kind)
                && self.namespace.as_deref() == Some(ns)
                && name == self.name
        };
        candidate.object.as_ref().is_some_and(by_object) || by_name()
    }

    /// Says that there is nothing of this name, and what may have been meant.
    fn unknown(&self, naming: &Naming, snapshot: Option<&Snapshot>) -> String {
        let what = self.kind.map_or("no object", Kind::name);
        let wanted = match &self.namespace {
            Some(ns) => format!("{ns}/{}", self.name),
            None => self.name.clone(),
        };
        let mut text = match self.kind {
            Some(_) => format!("there is no {what} {wanted}"),
            None => format!("there is nothing of the name {wanted}"),
        };
        let known: BTreeSet<Object> = sent(snapshot, naming, None)
            .filter_map(|of| of.object)
            .filter(|object| self.kind.is_none_or(|kind| kind == object.kind))
            .collect();
        let of_name: Vec<String> = known
            .iter()
            .filter(|object| object.name.rsplit('/').next().is_some_and(|name| name == self.name))
            .map(|object| format!("{}/{}", object.kind.name().to_lowercase(), object.name))
            .take(SUGGESTED)
            .collect();
        let near = || nearest(&wanted, known.iter().map(|object| object.name.as_str()));
        if !of_name.is_empty() {
            let _ = write!(text, "; did you mean {}?", of_name.join(", "));
        } else if let Some(meant) = near() {
            let _ = write!(text, "; did you mean {meant}?");
        } else if self.namespace.is_none() && self.kind.is_none_or(|kind| kind.scope() == Scope::Namespaced) {
            text += "; name it as NAMESPACE/NAME";
        }
        text
    }
}

/// Returns what is wrong with an object.
fn findings(all: &[Diagnostic], object: Option<&Object>) -> Vec<Diagnostic> {
    let is_of = |found: &&Diagnostic| {
        let of = found.object.as_ref().zip(object);
        of.is_some_and(|(of, object)| of.kind == object.kind && of.name.to_string() == object.name)
    };
    all.iter().filter(is_of).cloned().collect()
}

impl Object {
    fn reference(&self) -> ObjectRef {
        let (ns, name) = self.name.split_once('/').unwrap_or(("", &self.name));
        ObjectRef { kind: self.kind, name: Name::new(ns, name) }
    }
}

impl Reason {
    /// The objects that were read, and those that were looked for and not found.
    fn objects(&self) -> (BTreeSet<Object>, BTreeSet<Object>) {
        fn gather(trace: &Trace, read: &mut BTreeSet<Object>, missing: &mut BTreeSet<Object>) {
            if let Some(of) = plane::object(trace) {
                let object = Object { kind: of.kind, name: of.name.to_string() };
                if trace.present {
                    read.insert(object)
                } else {
                    missing.insert(object)
                };
            }
            trace.reads.iter().for_each(|below| gather(below, read, missing));
        }
        let (mut read, mut missing) = (BTreeSet::new(), BTreeSet::new());
        self.traces.iter().for_each(|trace| gather(trace, &mut read, &mut missing));
        missing.retain(|object| !read.contains(object));
        (read, missing)
    }

    fn words(&self, lines: &mut Lines) {
        let Candidate { object, resource } = &self.candidate;
        lines.push(match (object, resource) {
            (Some(Object { kind, name }), Some(resource)) => format!("{kind} {name} is sent as {resource}"),
            (Some(Object { kind, name }), None) if SENT_ALONE.contains(kind) => {
                format!("{kind} {name} is not sent to ztunnels")
            }
            (Some(Object { kind, name }), None) => {
                format!("{kind} {name} is read; nothing is sent for it by itself")
            }
            (None, resource) => format!("{} is sent", resource.as_deref().unwrap_or_default()),
        });
        let (read, missing) = self.objects();
        for (head, objects) in [("made from:", read), ("looked for, and not there:", missing)] {
            if !objects.is_empty() {
                lines.push(head);
            }
            for object in objects {
                lines.push(format_args!("  {:<20} {}", object.kind.name(), object.name));
            }
        }
        if !self.findings.is_empty() {
            lines.push("what is wrong with it:");
        }
        for found in &self.findings {
            lines.push(format_args!("  {}: {found}", found.code));
        }
    }

    fn json(&self, depth: usize) -> Value {
        let named = |object: &Object| match object.name.split_once('/') {
            Some((namespace, name)) => {
                json!({ "kind": object.kind.name(), "namespace": namespace, "name": name })
            }
            None => json!({ "kind": object.kind.name(), "name": object.name }),
        };
        let (read, missing) = self.objects();
        json!({
            "object": self.candidate.object.as_ref().map(named),
            "resource": self.candidate.resource,
            "sent": self.candidate.resource.is_some(),
            "madeFrom": read.iter().map(named).collect::<Vec<_>>(),
            "notFound": missing.iter().map(named).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(|found| {
                json!({ "code": found.code, "severity": found.severity.to_string(), "message": found.to_string() })
            }).collect::<Vec<_>>(),
            "traces": self.traces.iter().map(|trace| trace_json(&pruned(trace, depth))).collect::<Vec<_>>(),
        })
    }
}

/// The same trace, only so many levels deep.
fn pruned(trace: &Trace, depth: usize) -> Trace {
    let reads = match depth {
        0 => Vec::new(),
        depth => trace.reads.iter().map(|below| pruned(below, depth - 1)).collect(),
    };
    let truncated = trace.truncated || reads.len() < trace.reads.len();
    Trace { reads, truncated, key: trace.key.clone(), ..*trace }
}

fn trace_json(trace: &Trace) -> Value {
    let mut value = json!({ "table": trace.table, "key": trace.key, "present": trace.present });
    if !trace.reads.is_empty() {
        value["reads"] = trace.reads.iter().map(trace_json).collect();
    }
    value
}

fn refusal(status: StatusCode, format: Format, message: Lines) -> Answer {
    match format {
        Format::Json => answer::json(status, &json!({ "error": message.as_str().trim_end() })),
        _ => answer::text(status, message),
    }
}

#[cfg(test)]
mod tests;
