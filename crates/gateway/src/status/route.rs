//! Routes: an entry for each of their parents.

use engine::{Builder, Cx, Table};
use mesh::Ownership;
use model::facts::{ParentReference, Route};
use model::{Name, Ns};
use output::{Condition, Conditions, Entry, EntryList, Outputs};
use serde_json::{Map, Value, json};

use super::waypoint::Waypoints;
use super::{ACCEPTED, RESOLVED_REFS, fine, wrong};
use crate::class::GATEWAY_CONTROLLER;
use crate::key::ServiceTarget;
use crate::route::{Attachments, ParentOutcome, PerKind, RouteRules, is_service};

/// What the statuses are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub routes: PerKind<Table<Name, Route>>,
    pub attachments: PerKind<Attachments>,
    pub rules: PerKind<Table<Name, RouteRules>>,
    pub waypoints: Waypoints,
    /// Whose statuses are written here.
    pub ownership: Ownership,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) {
    let per_kind = inputs.routes.zip(inputs.attachments).zip(inputs.rules);
    for (kind, ((routes, attachments), rules)) in per_kind.iter() {
        let inputs = inputs.clone();
        let conditions = b.derive("route_conditions", routes, move |cx, name, route| {
            inputs.ownership.owns(cx, &route.meta).then_some(())?;
            let parents = cx.get(attachments.parents, name)?;
            let rules = cx.get(rules, name);
            let outcomes = parents.outcomes.iter();
            let entries =
                outcomes.map(|outcome| inputs.entry(cx, &name.ns, route, outcome, rules.as_deref()));
            Some(Conditions {
                generation: route.meta.generation,
                lists: vec![EntryList {
                    field: "parents",
                    owners: &[("controllerName", GATEWAY_CONTROLLER)],
                    room: ROOM,
                    entries: entries.collect(),
                }],
                ..Conditions::default()
            })
        });
        out.conditions(b, kind, conditions);
    }
}

/// How many parents the API has room for.
const ROOM: usize = 32;

impl Inputs {
    fn entry(
        &self,
        cx: &Cx<'_>,
        ns: &Ns,
        route: &Route,
        outcome: &ParentOutcome,
        rules: Option<&RouteRules>,
    ) -> Entry {
        let is_mesh = is_service(&outcome.reference).is_some();
        let mut conditions = vec![accepted(route, outcome)];
        conditions.extend(partially_invalid(route, outcome));
        let lowered = rules.map(|rules| if is_mesh { &rules.mesh } else { &rules.gateway });
        let unresolved = lowered.map(|lowered| lowered.unresolved.as_slice()).unwrap_or_default();
        conditions.push(match unresolved {
            [] => fine(RESOLVED_REFS, "All references resolved"),
            all @ [first, ..] => {
                let messages: Vec<&str> = all.iter().map(|one| one.message.as_str()).collect();
                wrong(RESOLVED_REFS, first.reason, messages.join("; "))
            }
        });
        conditions.extend(self.resolved_waypoints(cx, ns, &outcome.reference));
        Entry {
            key: vec![
                ("parentRef", parent(&outcome.reference)),
                ("controllerName", json!(GATEWAY_CONTROLLER)),
            ],
            fields: Vec::new(),
            conditions,
        }
    }

    /// Whether some waypoint has the rules of a route for a parent in the mesh; nothing for any other parent.
    fn resolved_waypoints(&self, cx: &Cx<'_>, ns: &Ns, parent: &ParentReference) -> Option<Condition> {
        let kind = is_service(parent)?;
        let service = ServiceTarget { kind, name: parent.object.target(ns) };
        Some(match self.waypoints.of(cx, &service) {
            Some(Ok(_)) => fine(RESOLVED_WAYPOINTS, "All waypoints resolved"),
            Some(Err((reason, message))) => wrong(RESOLVED_WAYPOINTS, reason, message),
            None => wrong(RESOLVED_WAYPOINTS, "ParentNotFound", "parent not found"),
        })
    }
}

const RESOLVED_WAYPOINTS: &str = "ResolvedWaypoints";

fn accepted(route: &Route, outcome: &ParentOutcome) -> Condition {
    match &outcome.attached {
        Err((reason, message)) => wrong(ACCEPTED, reason, message.as_str()),
        Ok(_) if !route.rules.is_empty() && route.rules.iter().all(|rule| !rule.faults.is_empty()) => {
            wrong(ACCEPTED, UNSUPPORTED_VALUE, faults(route))
        }
        Ok(attached) => match attached.len() {
            0 | 1 => fine(ACCEPTED, "Route was valid"),
            n => fine(ACCEPTED, &format!("Route was valid, bound to {n} parents")),
        },
    }
}

const UNSUPPORTED_VALUE: &str = "UnsupportedValue";

/// `PartiallyInvalid`, which is there only while some rules are valid and some are not.
fn partially_invalid(route: &Route, outcome: &ParentOutcome) -> Option<Condition> {
    let wrong = route.rules.iter().filter(|rule| !rule.faults.is_empty()).count();
    (outcome.attached.is_ok() && wrong > 0 && wrong < route.rules.len()).then(|| Condition {
        kind: "PartiallyInvalid",
        status: true,
        reason: UNSUPPORTED_VALUE,
        // The API prescribes how it begins.
        message: format!("Dropped Rule: {}", faults(route)),
    })
}

fn faults(route: &Route) -> String {
    let all = route.rules.iter().flat_map(|rule| &rule.faults);
    all.map(|fault| format!("{}: {}", fault.field, fault.message)).collect::<Vec<_>>().join("; ")
}

/// Returns it as it is written, with the defaults that the API fills in.
fn parent(of: &ParentReference) -> Value {
    let mut value = Map::new();
    let object = &of.object;
    for (field, text) in [("group", &object.group), ("kind", &object.kind), ("name", &object.name)] {
        value.insert(field.to_owned(), json!(text.as_str()));
    }
    for (field, text) in [("namespace", &object.namespace), ("sectionName", &of.section)] {
        if !text.is_empty() {
            value.insert(field.to_owned(), json!(text.as_str()));
        }
    }
    if let Some(port) = of.port {
        value.insert("port".to_owned(), json!(port));
    }
    Value::Object(value)
}
