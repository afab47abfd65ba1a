//! Routes: each of their rules where it is tried, and the parents that do not take them.

use super::problems;
use model::facts::{ParentReference, Route};
use model::{Ns, ObjectRef};
use plane::{Action, Conditions, Entry, Host, HostKey, Placed, Plane, RouteKey, Target};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A rule of a route at a hostname of one of its parents, or a parent that does not take the route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// The namespace of the route.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The name of the rule, its own or `NAMESPACE.ROUTE.INDEX`; empty where none is tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Where the rule is tried; absent for a route without a parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentView>,
    /// For which hostname, `*` for every one; empty where no rule is tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// What the rule matches and what becomes of that; empty where none is tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sentence: String,
    /// Where it sends that, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendView>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// A parent of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentView {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The listener, where one is meant; the author writes `sectionName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The port, where one is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A share of the traffic of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// The hostname; absent where this share is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its port; absent for that by which the traffic came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its subset; empty for the whole service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subset: String,
    /// The share.
    pub weight: u32,
}

/// What the views of all routes are made from.
#[derive(Debug)]
pub struct RouteRows {
    hosts: Vec<(HostKey, Arc<Host>)>,
    /// Each as it is written, with its status where that is ours.
    routes: Vec<(RouteKey, Arc<Route>, Option<Arc<Conditions>>)>,
}

impl RouteView {
    /// Returns what the views of all routes are made from; that walks hostnames and routes.
    pub fn rows(plane: &Plane) -> RouteRows {
        let status =
            |key: &RouteKey| plane.conditions_of(&ObjectRef { kind: key.kind, name: key.name.clone() });
        let routes = plane.written_routes().into_iter();
        let with_status = |(key, route): (RouteKey, Arc<Route>)| {
            let status = status(&key);
            (key, route, status)
        };
        RouteRows { hosts: plane.hosts(), routes: routes.map(with_status).collect() }
    }

    /// Returns the views of all: rules for requests, then rules for streams, each ascending by parent and
    /// hostname and in the order in which they are tried; then parents that do not take a route.
    pub fn all(rows: RouteRows) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut taken: BTreeMap<&RouteKey, BTreeSet<ParentView>> = BTreeMap::new();
        for (key, host) in &rows.hosts {
            for placed in &host.rules {
                let view = Self::of_rule(key, placed);
                taken.entry(&placed.rule.route).or_default().extend(view.parent.clone());
                all.push(view);
            }
        }
        for (key, route, status) in &rows.routes {
            let taken = taken.get(key);
            let entries = status.iter().flat_map(|status| &status.lists).flat_map(|list| &list.entries);
            let entries: Vec<(ParentView, &Entry)> =
                entries.map(|entry| (ParentView::of_entry(entry, &key.name.ns), entry)).collect();
            let parents = route.parents.iter().map(|parent| ParentView::of_reference(parent, &key.name.ns));
            for parent in parents {
                if taken.into_iter().flatten().any(|at| at.covers(&parent)) {
                    continue;
                }
                let entry = entries.iter().find(|(of, _)| *of == parent);
                let mut problems = entry.map(|(_, entry)| problems(&entry.conditions)).unwrap_or_default();
                if problems.is_empty() {
                    problems.push(match entry {
                        Some(_) => "none of its rules is tried here".to_owned(),
                        None => "the parent is not there, or not of a class of ours".to_owned(),
                    });
                }
                all.push(Self {
                    namespace: key.name.ns.to_string(),
                    kind: key.kind.name().to_owned(),
                    name: key.name.name.to_string(),
                    parent: Some(parent),
                    problems,
                    ..Self::default()
                });
            }
        }
        all
    }

    fn of_rule(key: &HostKey, placed: &Placed) -> Self {
        let rule = &placed.rule;
        let backends = match &rule.action {
            Action::Forward(backends) => backends.as_slice(),
            Action::Redirect(_) | Action::Respond(_) | Action::Refuse => &[],
        };
        Self {
            namespace: rule.route.name.ns.to_string(),
            kind: rule.route.kind.name().to_owned(),
            name: rule.route.name.name.to_string(),
            rule: rule.name.to_string(),
            parent: Some(ParentView::of_target(&key.target, placed.port)),
            hostname: key.hostname.to_string(),
            sentence: placed.to_string(),
            backends: backends
                .iter()
                .map(|of| BackendView {
                    hostname: of.backend.as_ref().map(|backend| backend.hostname.to_string()),
                    port: of.backend.as_ref().and_then(|backend| backend.port),
                    subset: of
                        .backend
                        .as_ref()
                        .map_or_else(String::new, |backend| backend.subset.to_string()),
                    weight: of.weight,
                })
                .collect(),
            problems: rule.problems.clone(),
        }
    }
}

impl ParentView {
    fn of_target(target: &Target, port: Option<u16>) -> Self {
        let (kind, name, listener) = match target {
            Target::Listener(key) => (key.owner.kind(), key.owner.name(), Some(key.name.to_string())),
            Target::Service(service) => (service.kind, &service.name, None),
        };
        Self {
            kind: kind.name().to_owned(),
            namespace: name.ns.to_string(),
            name: name.name.to_string(),
            listener,
            port,
        }
    }

    /// The parent that a route of a namespace refers to.
    fn of_reference(parent: &ParentReference, ns: &Ns) -> Self {
        let name = parent.object.target(ns);
        Self {
            kind: parent.object.kind.to_string(),
            namespace: name.ns.to_string(),
            name: name.name.to_string(),
            listener: Some(parent.section.to_string()).filter(|section| !section.is_empty()),
            port: parent.port,
        }
    }

    /// The parent that an entry of the status of such a route is about.
    fn of_entry(entry: &Entry, ns: &Ns) -> Self {
        let reference = entry.key.iter().find(|(field, _)| *field == "parentRef").map(|(_, value)| value);
        let field = |name: &str| reference.and_then(|of| of.get(name));
        let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            kind: text("kind").unwrap_or_default(),
            namespace: text("namespace").unwrap_or_else(|| ns.to_string()),
            name: text("name").unwrap_or_default(),
            listener: text("sectionName"),
            port: field("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()),
        }
    }

    /// Tells whether a rule that is tried here is one of a route with such a parent.
    fn covers(&self, parent: &Self) -> bool {
        let is_of = |own: &Option<String>, wanted: &Option<String>| wanted.is_none() || own == wanted;
        (&self.kind, &self.namespace, &self.name) == (&parent.kind, &parent.namespace, &parent.name)
            && is_of(&self.listener, &parent.listener)
            && (self.port.is_none() || parent.port.is_none() || self.port == parent.port)
    }
}
