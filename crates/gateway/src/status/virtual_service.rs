//! VirtualServices: conditions, and what their authors should know.

use engine::{Builder, Cx, Table};
use mesh::Ownership;
use model::facts::{Ignored, RouteFault, VirtualService};
use model::{Diagnostic, Kind, Name, ObjectRef, Severity, Str};
use output::{Condition, Conditions, Outputs};
use std::collections::BTreeSet;

use super::istio::{ACCEPTED, NO_MATCHING_HOST, NOT_EXPORTED, PARTIALLY_INVALID, right, some_of};
use super::waypoint::Waypoints;
use super::wrong;
use crate::hostname::intersection;
use crate::key::{ServiceTarget, Target};
use crate::route::{HostOutcome, RouteRules, Unresolved, VirtualServiceHosts, VirtualServices};

mod code {
    /// A host is that of no service of the namespace.
    pub(super) const HOST: &str = "VS001";
    /// Something has no effect here.
    pub(super) const IGNORED: &str = "VS002";
    /// A rule is not valid, and what it matches is refused.
    pub(super) const RULE: &str = "VS003";
    /// A destination cannot be told, and what is sent there is refused.
    pub(super) const DESTINATION: &str = "VS004";
}

const RESOLVED_REFS: &str = "pilothouse.io/ResolvedRefs";
const RESOLVED_WAYPOINTS: &str = "pilothouse.io/ResolvedWaypoints";

const UNSUPPORTED_VALUE: &str = "UnsupportedValue";

/// What the statuses are made from.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub facts: Table<Name, VirtualService>,
    pub of: VirtualServices,
    pub waypoints: Waypoints,
    /// Whose statuses are written here.
    pub ownership: Ownership,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) {
    let own = inputs.clone();
    let conditions = b.derive("virtual_service_conditions", inputs.facts, move |cx, name, service| {
        own.ownership.owns(cx, &service.meta).then_some(())?;
        let hosts = cx.get(own.of.hosts, name)?;
        Some(Conditions {
            generation: service.meta.generation,
            conditions: own.conditions(cx, name, service, &hosts),
            ..Conditions::default()
        })
    });
    out.conditions(b, Kind::VirtualService, conditions);
    let own = inputs.clone();
    out.diagnostics_where(
        b,
        "virtual_service_findings",
        inputs.of.hosts,
        |_, _| true,
        move |cx, name, hosts| {
            let service = cx.get(own.facts, name);
            service.map(|service| own.findings(cx, name, &service, hosts)).unwrap_or_default()
        },
    );
}

impl Inputs {
    fn conditions(
        &self,
        cx: &Cx<'_>,
        name: &Name,
        service: &VirtualService,
        hosts: &VirtualServiceHosts,
    ) -> Vec<Condition> {
        let faults: Vec<String> = faults(service).map(|of| format!("{}: {}", of.field, of.message)).collect();
        let unmatched: Vec<String> =
            unmatched(service, hosts).map(|(field, message)| format!("{field} {message}")).collect();
        let services = services(hosts);
        let is_refused = |of: &Vec<model::facts::RouteRule>| of.iter().all(|rule| !rule.faults.is_empty());
        let refusal = if !hosts.is_for_mesh {
            let message =
                "spec.gateways has not mesh among them, and Gateways of networking.istio.io are not read";
            Some(("NotForMesh", message.to_owned()))
        } else if !hosts.is_exported {
            Some((NOT_EXPORTED, format!("spec.exportTo: {EXPORTED_ELSEWHERE}")))
        } else if service.hosts.is_empty() {
            Some((NO_MATCHING_HOST, format!("spec.hosts: {NO_HOSTS}")))
        } else if services.is_empty() {
            Some((NO_MATCHING_HOST, some_of(&unmatched)))
        } else if !faults.is_empty() && is_refused(&service.http) && is_refused(&service.streams) {
            Some((UNSUPPORTED_VALUE, some_of(&faults)))
        } else {
            None
        };
        if let Some((reason, message)) = refusal {
            return vec![wrong(ACCEPTED, reason, message)];
        }
        let bound: Vec<String> = services.iter().map(|of| format!("{} {}", of.kind, of.name)).collect();
        let mut conditions = vec![right(ACCEPTED, "Accepted", format!("bound to {}", some_of(&bound)))];
        let reason = if unmatched.is_empty() { UNSUPPORTED_VALUE } else { NO_MATCHING_HOST };
        let wrong_parts: Vec<String> = unmatched.into_iter().chain(faults).collect();
        if !wrong_parts.is_empty() {
            conditions.push(right(PARTIALLY_INVALID, reason, some_of(&wrong_parts)));
        }
        let unresolved = self.unresolved(cx, name);
        conditions.push(match unresolved.first() {
            None => right(RESOLVED_REFS, "ResolvedRefs", "All references resolved".to_owned()),
            Some((_, first)) => {
                let messages: Vec<String> = unresolved.iter().map(|(_, one)| one.message.clone()).collect();
                wrong(RESOLVED_REFS, first.reason, some_of(&messages))
            }
        });
        conditions.push(self.resolved_waypoints(cx, &services));
        conditions
    }

    /// Whether the services have waypoints, which alone have rules for them.
    fn resolved_waypoints(&self, cx: &Cx<'_>, services: &BTreeSet<ServiceTarget>) -> Condition {
        let missing = services.iter().filter_map(|service| {
            let (reason, why) = self.waypoints.of(cx, service)?.err()?;
            Some((reason, format!("{} {}: {why}", service.kind, service.name)))
        });
        let (reasons, messages): (Vec<_>, Vec<_>) = missing.unzip();
        match reasons.first() {
            None => right(RESOLVED_WAYPOINTS, "ResolvedWaypoints", "All waypoints resolved".to_owned()),
            Some(reason) => wrong(RESOLVED_WAYPOINTS, reason, some_of(&messages)),
        }
    }

    /// Returns the references that are not resolved, each with the field that has them.
    fn unresolved(&self, cx: &Cx<'_>, name: &Name) -> Vec<(&'static str, Unresolved)> {
        let of = |table: Table<Name, RouteRules>, field: &'static str| {
            let rules = cx.get(table, name);
            let all = rules.map(|rules| rules.mesh.unresolved.clone()).unwrap_or_default();
            all.into_iter().map(move |one| (field, one))
        };
        of(self.of.requests, "spec.http").chain(of(self.of.streams, "spec")).collect()
    }

    fn findings(
        &self,
        cx: &Cx<'_>,
        name: &Name,
        service: &VirtualService,
        hosts: &VirtualServiceHosts,
    ) -> Vec<Diagnostic> {
        let told = |code, severity, field: String, message: String, help: &str| Diagnostic {
            code,
            severity,
            object: Some(ObjectRef { kind: Kind::VirtualService, name: name.clone() }),
            field,
            message,
            help: help.to_owned(),
            place: None,
        };
        let ignored = service.ignored.iter().cloned().map(|Ignored { field, message, help }| {
            told(code::IGNORED, Severity::Warning, field, message, help)
        });
        let mut found: Vec<Diagnostic> = ignored.collect();
        if !hosts.is_exported {
            let help = "add the namespace, or leave exportTo out";
            let field = "spec.exportTo".to_owned();
            found.push(told(code::IGNORED, Severity::Warning, field, EXPORTED_ELSEWHERE.to_owned(), help));
        }
        if service.hosts.is_empty() {
            let help = "write the rules where it is named as a delegate, and remove it";
            found.push(told(
                code::HOST,
                Severity::Warning,
                "spec.hosts".to_owned(),
                NO_HOSTS.to_owned(),
                help,
            ));
        }
        if !hosts.is_active() {
            return found;
        }
        found.extend(unasked(service, hosts).map(|sni| {
            let message = format!("{sni:?} are none of its hosts: the match matches nothing");
            told(code::IGNORED, Severity::Warning, "spec.tls".to_owned(), message, "name hosts of spec.hosts")
        }));
        let hosts = unmatched(service, hosts);
        found.extend(
            hosts.map(|(field, message)| told(code::HOST, Severity::Warning, field, message, HOST_HELP)),
        );
        found.extend(rule_faults(service));
        let unresolved = self.unresolved(cx, name).into_iter();
        found.extend(unresolved.map(|(field, Unresolved { message, .. })| {
            let message = format!("{message}: what is sent there is refused");
            let help = "name a host, port and subset that are there";
            told(code::DESTINATION, Severity::Warning, field.to_owned(), message, help)
        }));
        found
    }
}

const EXPORTED_ELSEWHERE: &str =
    "its own namespace is not among them, and rules are for services of that alone: it has no effect";
const NO_HOSTS: &str = "there are none, so its rules are for nothing: delegates are not supported";
const HOST_HELP: &str = "move it to the namespace of the service, or write an HTTPRoute with the service in parentRefs for callers of this namespace";

/// Returns what is not valid of the rules of a VirtualService, whatever services there are.
pub(crate) fn rule_faults(service: &VirtualService) -> impl Iterator<Item = Diagnostic> {
    faults(service).map(|RouteFault { field, message }| Diagnostic {
        code: code::RULE,
        severity: Severity::Error,
        object: Some(ObjectRef { kind: Kind::VirtualService, name: service.meta.name.clone() }),
        field: field.clone(),
        message: format!("{message}: what the rule matches is refused"),
        help: "write what the message asks for, or remove the rule".to_owned(),
        place: None,
    })
}

fn faults(service: &VirtualService) -> impl Iterator<Item = &RouteFault> {
    service.http.iter().chain(&service.streams).flat_map(|rule| &rule.faults)
}

/// Returns the services that it is for.
fn services(hosts: &VirtualServiceHosts) -> BTreeSet<ServiceTarget> {
    let services = hosts.attached().filter_map(|attached| match &attached.target {
        Target::Service(service) => Some(service.clone()),
        Target::Listener(_) => None,
    });
    services.collect()
}

/// Returns the names of TLS of matches that are for none of the hostnames.
fn unasked<'s>(
    service: &'s VirtualService,
    hosts: &VirtualServiceHosts,
) -> impl Iterator<Item = &'s Vec<Str>> {
    let hostnames: BTreeSet<Str> =
        hosts.attached().flat_map(|attached| &attached.hostnames).map(|of| of.hostname.clone()).collect();
    let named = service.streams.iter().flat_map(|rule| &rule.matches).map(|of| &of.sni);
    named.filter(move |sni| {
        let is_asked = |name: &Str| hostnames.iter().any(|hostname| intersection(name, hostname).is_some());
        !sni.is_empty() && !hostnames.is_empty() && !sni.iter().any(is_asked)
    })
}

/// Returns the hosts of no service of the namespace, by field, with why they count for nothing.
fn unmatched<'h>(
    service: &'h VirtualService,
    hosts: &'h VirtualServiceHosts,
) -> impl Iterator<Item = (String, String)> + 'h {
    let outcomes = service.hosts.iter().zip(&hosts.hosts).enumerate();
    outcomes.filter_map(|(i, (host, outcome))| {
        let host: &Str = host;
        let why = match outcome {
            HostOutcome::Of(_) => return None,
            HostOutcome::Elsewhere(of) => {
                format!("is that of {} {}, of another namespace, and stays that one's", of.kind, of.name)
            }
            HostOutcome::Nobody => format!("is that of no service of namespace {:?}", &*service.meta.name.ns),
        };
        Some((format!("spec.hosts[{i}]"), format!("{:?} {why}", host.as_str())))
    })
}
