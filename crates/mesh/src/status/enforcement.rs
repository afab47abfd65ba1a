//! What authors are told of enforcements: conditions of their objects, and diagnostics.

use engine::{Builder, Cx, Graph, Table};
use model::facts::{Meta, Pod, Service};
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Severity, Str};
use output::{Condition, Encoded, Outputs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::enforcement::{EnforcementTables, Finding};
use crate::input::Inputs;
use crate::key;
use crate::labels::{REQUIRE_ANNOTATION, Require};
use crate::service::{Entries, HostKey, ServiceRow, ServiceView, Services};
use crate::waypoint::{Binder, WaypointRequirement};
use crate::workload::EntryWorkload;

const WAYPOINT_REQUIRED: &str = "pilothouse.io/WaypointRequired";
/// Where nothing refuses what goes around a waypoint.
const EXPOSED: &str =
    "at workloads before which no ztunnel of this network stands, or which are a gateway's own";
const DATAGRAMS: &str = "at ports of other protocols than TCP, which no ztunnel sees";
/// Most workloads that one diagnostic names.
const NAMED: usize = 5;

/// Codes of the diagnostics that arise here.
mod code {
    /// The annotation is neither true nor false.
    pub(super) const REQUIRE_VALUE: &str = "WP003";
    /// A required waypoint can be gone around.
    pub(super) const NOT_ENFORCED: &str = "WP004";
    /// A service has a port in common with one that requires a waypoint.
    pub(super) const SHARED_PORT: &str = "WP005";
}

/// Returns the condition of an object that is sent as these services, which all requirement the same; `None`
/// where nothing is required. `is_bound` tells whether it has a waypoint,
/// `has_datagrams` whether some port is not of TCP.
pub(crate) fn of_service(
    cx: &Cx<'_>,
    enforcements: &EnforcementTables,
    binder: &Binder,
    ns: &Ns,
    services: &[Arc<ServiceView>],
    is_bound: bool,
    has_datagrams: bool,
) -> Option<Condition> {
    let requirement = &services.first()?.requirement;
    let found = services.iter().flat_map(|service| cx.lookup(enforcements.by_service, &service.key));
    let found: BTreeSet<Finding> = found.map(|(finding, _)| finding).collect();
    if requirement.required {
        let is_exposed = found.iter().any(|f| matches!(f, Finding::Exposed { .. }));
        let but = [is_exposed.then_some(EXPOSED), has_datagrams.then_some(DATAGRAMS)];
        return Some(required(cx, binder, ns, requirement, &but));
    }
    let shared: Vec<String> = found.iter().filter(|_| !is_bound).filter_map(shared).collect();
    (!shared.is_empty()).then(|| condition(true, "PortShared", shared.join("; ")))
}

/// Returns the condition of a workload; `None` where it requires nothing itself.
pub(crate) fn of_workload(
    cx: &Cx<'_>,
    binder: &Binder,
    ns: &Ns,
    requirement: &WaypointRequirement,
    is_captured: bool,
) -> Option<Condition> {
    requirement.required.then(|| required(cx, binder, ns, requirement, &[(!is_captured).then_some(EXPOSED)]))
}

fn required(
    cx: &Cx<'_>,
    binder: &Binder,
    ns: &Ns,
    requirement: &WaypointRequirement,
    exceptions: &[Option<&str>],
) -> Condition {
    let open = requirement.route.iter().flat_map(|route| binder.open(cx, route, ns));
    let open = open.filter(|w| cx.get(binder.accounts, w).is_some_and(|accounts| !accounts.is_empty()));
    let open: Vec<String> = open.map(|w| w.to_string()).collect();
    let (reason, message) = match (&requirement.route, open.as_slice()) {
        (_, [one]) => ("Guarded", format!("connections are refused unless they come from waypoint {one}")),
        (_, [_, ..]) => (
            "Guarded",
            format!("connections are refused unless they come from waypoints {}", open.join(", ")),
        ),
        (None, []) => {
            ("WaypointMissing", "all connections are refused, since no waypoint is named".to_owned())
        }
        (Some(route), []) => (
            "WaypointMissing",
            format!("all connections are refused until waypoint {} is attached and has pods", route.primary),
        ),
    };
    let exceptions: Vec<&str> = exceptions.iter().flatten().copied().collect();
    if !exceptions.is_empty() {
        let message = format!("{message}; not so {}", exceptions.join(", and "));
        return condition(false, "NotEnforced", message);
    }
    condition(true, reason, message)
}

fn condition(status: bool, reason: &'static str, message: String) -> Condition {
    Condition { kind: WAYPOINT_REQUIRED, status, reason, message }
}

fn shared(finding: &Finding) -> Option<String> {
    let Finding::Shared { port, by, .. } = finding else { return None };
    let by = match by {
        Some(service) => format!("{service} requires one"),
        None => "its workloads require one".to_owned(),
    };
    Some(format!(
        "connections to port {port} of its workloads are refused unless they come from a waypoint, since {by}"
    ))
}

/// What the diagnostics of this module are told from.
#[derive(Clone, Copy)]
pub(crate) struct Reported {
    pub inputs: Inputs,
    pub services: Services,
    pub service_rows: Table<Name, ServiceRow>,
    pub entries: Entries,
    pub pods: Table<Name, Encoded>,
    pub entry_workloads: Table<Str, EntryWorkload>,
}

/// Declares what authors should know: of values that are neither true nor false, of required
/// waypoints that can be gone around, and of ports in common.
pub(crate) fn declare_diagnostics(
    b: &mut Builder,
    out: &mut Outputs,
    enforcements: EnforcementTables,
    of: Reported,
    cluster: Str,
) {
    declare_unclear(b, out, of, cluster);
    out.findings(move |graph| {
        let mut all = Vec::new();
        let mut exposed: BTreeMap<ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
        for (finding, _) in graph.rows(enforcements.findings) {
            match &finding {
                // The workloads are named, each for itself.
                Finding::Exposed { .. } => {}
                Finding::Unprotected { object, by } => {
                    let by = by.as_deref().and_then(|key| of.behind(graph, key));
                    let by = by.map_or_else(|| object.clone(), |(of, _)| of);
                    exposed.entry(by).or_default().insert(object.clone());
                }
                Finding::Shared { service, .. } => {
                    if let (Some((of, false)), Some(message)) = (of.behind(graph, service), shared(&finding))
                    {
                        let help = "bind it to a waypoint as well, or let it lead to other ports";
                        all.push(diagnostic(code::SHARED_PORT, of, message, help));
                    }
                }
            }
        }
        all.extend(exposed.into_iter().map(|(object, workloads)| not_enforced(object, &workloads)));
        all
    });
}

/// Declares it of the annotations of whatever takes part: what is sent, and namespaces.
fn declare_unclear(b: &mut Builder, out: &mut Outputs, of: Reported, cluster: Str) {
    let object = |kind, name: &Name| ObjectRef { kind, name: name.clone() };
    out.diagnostics(b, "namespace_require_findings", of.inputs.namespaces, move |name, namespace| {
        unclear(object(Kind::Namespace, &Name::new("", name)), &namespace.annotations)
    });
    let is_annotated = |_: &Name, service: &Service| has_annotation(&service.meta);
    out.diagnostics_where(
        b,
        "service_require_findings",
        of.inputs.services,
        is_annotated,
        move |cx, name, service| {
            let found = unclear(object(Kind::Service, name), &service.meta.annotations)?;
            cx.get(of.services.views, name).map(|_| found)
        },
    );
    out.diagnostics(b, "entry_require_findings", of.entries.entries, move |name, entry| {
        unclear(object(Kind::ServiceEntry, name), &entry.meta.annotations)
    });
    out.diagnostics_where(
        b,
        "workload_entry_require_findings",
        of.inputs.workloadentries,
        |_, entry| has_annotation(&entry.meta),
        move |cx, name, entry| {
            let found = unclear(object(Kind::WorkloadEntry, name), &entry.meta.annotations)?;
            let key = Str::from(key::workload_entry_uid(&cluster, name));
            cx.get(of.entry_workloads, &key).map(|_| found)
        },
    );
    // Few pods have the annotation: the others cost a look at it, and no row.
    let annotated = b.index(of.inputs.pods, "pod_by_require", |name: &Name, pod: &Pod| {
        pod.annotations.get(REQUIRE_ANNOTATION).map(|_| name.clone())
    });
    let annotated = b.group("pods_with_require", annotated, |_, _, pods| {
        pods.first().map(|(_, pod)| pod.annotations.clone())
    });
    out.diagnostics_where(
        b,
        "pod_require_findings",
        annotated,
        |_, _| true,
        move |cx, name, annotations| {
            cx.get(of.pods, name)?;
            unclear(object(Kind::Pod, name), annotations)
        },
    );
}

fn has_annotation(meta: &Meta) -> bool {
    meta.annotations.get(REQUIRE_ANNOTATION).is_some()
}

impl Reported {
    /// Returns the object behind a key of workloads' services, and whether it has a waypoint.
    fn behind(&self, graph: &Graph, key: &str) -> Option<(ObjectRef, bool)> {
        let (ns, host) = key.split_once('/')?;
        let key = HostKey { ns: Ns::from(ns), host: Str::from(host) };
        let row = graph
            .get(self.entries.rows, &key)
            .or_else(|| graph.get(self.service_rows, &self.services.with_host(graph, &key.ns, &key.host)?))?;
        Some((self.entries.holder(graph, self.services, &key)?, matches!(row.waypoint, Ok(Some(_)))))
    }
}

fn not_enforced(object: ObjectRef, workloads: &BTreeSet<ObjectRef>) -> Diagnostic {
    let names: Vec<String> = workloads.iter().take(NAMED).map(ObjectRef::to_string).collect();
    let more = match workloads.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "a waypoint is required, but what goes around it is not refused at {}{more}",
        names.join(", ")
    );
    let help = "no ztunnel of this network stands before them, or they are a gateway's own: enrol them, or keep others away by a NetworkPolicy";
    diagnostic(code::NOT_ENFORCED, object, message, help)
}

fn unclear(object: ObjectRef, annotations: &Labels) -> Option<Diagnostic> {
    let text = annotations.get(REQUIRE_ANNOTATION)?;
    (Require::read(annotations) == Some(Require::Unclear)).then(|| {
        let message = format!("{text:?} is neither true nor false, so it counts as true");
        diagnostic(code::REQUIRE_VALUE, object, message, "write \"true\" or \"false\"")
    })
}

fn diagnostic(code: &'static str, object: ObjectRef, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Warning,
        object: Some(object),
        field: format!("metadata.annotations[{REQUIRE_ANNOTATION}]"),
        message,
        help: help.to_owned(),
        place: None,
    }
}
