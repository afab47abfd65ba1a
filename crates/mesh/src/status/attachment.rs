//! Where policies with targets are attached: `WaypointAccepted`.

use engine::{Cx, Table};
use model::facts::{Gateway, GatewayClass, PolicyTargetRef, Service, ServiceEntry, ServiceType};
use model::{Diagnostic, Kind, Name, ObjectRef, Severity};
use output::Condition;

use super::programming;
use crate::service::{Entries, HostKey, ServiceRow};
use crate::settings::Settings;
use crate::waypoint::{Binder, EDGE_CONTROLLER, WAYPOINT_CONTROLLER, is_edge};

/// The condition of policies with targets.
pub(super) const WAYPOINT_ACCEPTED: &str = "WaypointAccepted";

/// What targets are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Targets {
    pub services: Table<Name, Service>,
    pub service_rows: Table<Name, ServiceRow>,
    pub service_entries: Table<Name, ServiceEntry>,
    pub entries: Entries,
    pub gateways: Table<Name, Gateway>,
    pub classes: Table<Name, GatewayClass>,
    pub settings: Settings,
    pub binder: Binder,
    /// Whether gateways of our classes are programmed.
    pub configures_waypoints: bool,
}

impl Targets {
    /// `WaypointAccepted`, for policies with target references.
    pub(super) fn attachment(
        &self,
        cx: &Cx<'_>,
        policy: &ObjectRef,
        refs: &[PolicyTargetRef],
    ) -> Option<Condition> {
        if refs.is_empty() {
            return None;
        }
        let found: Vec<Attachment> = refs.iter().map(|r| self.target(cx, policy, r)).collect();
        let condition =
            |status, reason, message| Condition { kind: WAYPOINT_ACCEPTED, status, reason, message };
        if let [only] = found.as_slice() {
            return Some(condition(only.bound, only.reason, only.message.clone()));
        }
        let those = |is_it: fn(&Attachment) -> bool| {
            let those = refs.iter().zip(&found).filter(|(_, a)| is_it(a)).map(|(r, a)| {
                let group = if r.group.is_empty() { "core" } else { r.group.as_str() };
                format!("{}.{group}:{}", r.kind, a.key)
            });
            those.collect::<Vec<String>>()
        };
        let invalid = those(|a| !a.bound && a.reason != NOT_PROGRAMMED);
        let unprogrammed = those(|a| a.reason == NOT_PROGRAMMED);
        let any = found.iter().any(|a| a.bound);
        let reason = match (any, invalid.is_empty(), unprogrammed.is_empty()) {
            (_, true, true) => "Accepted",
            (true, ..) => "PartiallyInvalid",
            (false, true, false) => NOT_PROGRAMMED,
            (false, false, _) => "Invalid",
        };
        let texts =
            [("Invalid targetRefs", invalid), ("targetRefs without a programmed waypoint", unprogrammed)];
        let texts = texts.into_iter().filter(|(_, list)| !list.is_empty());
        let texts: Vec<String> = texts.map(|(what, list)| format!("{what}: {}", list.join(", "))).collect();
        Some(condition(any, reason, texts.join("; ")))
    }

    /// Returns what is said of an extension for a service whose waypoint is of another namespace: it does not run there.
    pub(super) fn elsewhere(
        &self,
        cx: &Cx<'_>,
        extension: &Name,
        refs: &[PolicyTargetRef],
    ) -> Option<Condition> {
        let root = cx.single(self.settings.root_namespace)?;
        if extension.ns == *root {
            return None;
        }
        refs.iter().find_map(|of| {
            let key = Name { ns: extension.ns.clone(), name: of.name.clone() };
            let ServiceTarget::Bound(waypoint) = self.bound_service(cx, &of.kind, &key) else { return None };
            (waypoint.ns != extension.ns).then(|| Condition {
                kind: WAYPOINT_ACCEPTED,
                status: false,
                reason: ELSEWHERE,
                message: format!(
                    "waypoint {waypoint} is of another namespace, and runs extensions of its own and of the root namespace"
                ),
            })
        })
    }

    fn target(&self, cx: &Cx<'_>, policy: &ObjectRef, target: &PolicyTargetRef) -> Attachment {
        let own = &policy.name.ns;
        let ns = if target.namespace.is_empty() { own.clone() } else { own.beside(&target.namespace) };
        let key = Name { ns, name: target.name.clone() };
        let answer =
            |bound, reason, message: String| Attachment { key: key.to_string(), bound, reason, message };
        if key.ns != *own {
            let message = format!("a policy is for what is in its own namespace, {own}");
            return answer(false, "Invalid", message);
        }
        match target.kind.as_str() {
            "GatewayClass" => {
                let root = cx.single(self.settings.root_namespace).map(|r| (*r).clone()).unwrap_or_default();
                if *own != root {
                    let message = format!(
                        "{} must be in the root namespace `{root}` when referencing a GatewayClass",
                        policy.kind
                    );
                    return answer(false, "Invalid", message);
                }
                match cx.get(self.classes, &Name::in_cluster(own, &target.name)) {
                    None => answer(false, "TargetNotFound", "not bound".to_owned()),
                    Some(class) if class.controller == EDGE_CONTROLLER && self.configures_waypoints => {
                        answer(true, "Accepted", format!("bound to gateways of class {}", target.name))
                    }
                    Some(class) if class.controller != WAYPOINT_CONTROLLER => answer(
                        false,
                        "Invalid",
                        format!(
                            "GatewayClass must use controller name `{WAYPOINT_CONTROLLER}` for waypoints"
                        ),
                    ),
                    Some(_) if self.configures_waypoints => {
                        answer(true, "Accepted", format!("bound to waypoints of class {}", target.name))
                    }
                    Some(_) => answer(
                        false,
                        NOT_PROGRAMMED,
                        format!(
                            "no waypoint of class {} is programmed by this control plane yet",
                            target.name
                        ),
                    ),
                }
            }
            "Gateway" if self.is_served_at_the_edge(cx, &key) => {
                answer(true, "Accepted", format!("bound to {key}"))
            }
            "Gateway" => match cx.get(self.binder.waypoints, &key) {
                Some(_) => self.programmed(cx, &key, answer),
                None => answer(false, "TargetNotFound", "not bound".to_owned()),
            },
            "Service" | "ServiceEntry" => {
                let kind = &target.kind;
                match self.bound_service(cx, kind, &key) {
                    ServiceTarget::Missing => {
                        answer(false, "TargetNotFound", format!("{kind} {key} was not found"))
                    }
                    ServiceTarget::Unsent(why) => answer(
                        false,
                        "AncestorNotBound",
                        format!("{kind} {key} {why}, so it has no waypoint"),
                    ),
                    ServiceTarget::Unbound => {
                        answer(false, "AncestorNotBound", format!("{kind} {key} is not bound to a waypoint"))
                    }
                    ServiceTarget::Bound(waypoint) => self.programmed(cx, &waypoint, answer),
                }
            }
            _ => answer(false, "unknown", "not bound".to_owned()),
        }
    }

    /// Tells whether a gateway is at the edge, where policies for it are enforced.
    fn is_served_at_the_edge(&self, cx: &Cx<'_>, key: &Name) -> bool {
        let Some(gateway) = cx.get(self.gateways, key).filter(|_| self.configures_waypoints) else {
            return false;
        };
        is_edge(&gateway, cx.get(self.classes, &Name::in_cluster(&key.ns, &gateway.class)).as_deref())
    }

    /// What is answered of a target with this waypoint: nothing enforces a policy at one that is not
    /// programmed here.
    fn programmed(
        &self,
        cx: &Cx<'_>,
        waypoint: &Name,
        answer: impl Fn(bool, &'static str, String) -> Attachment,
    ) -> Attachment {
        match programming::of_waypoint(cx, &self.binder, waypoint) {
            None => answer(true, "Accepted", format!("bound to {waypoint}")),
            Some(why) => answer(false, NOT_PROGRAMMED, format!("waypoint {waypoint} {why}")),
        }
    }

    fn bound_service(&self, cx: &Cx<'_>, kind: &str, key: &Name) -> ServiceTarget {
        let (row, unsent) = if kind == Kind::Service.name() {
            let service = cx.get(self.services, key);
            let unsent = service.map(|service| match service.service_type {
                ServiceType::ExternalName => "is of type ExternalName",
                ServiceType::Internal | ServiceType::LoadBalancer => UNSENT,
            });
            (cx.get(self.service_rows, key), unsent)
        } else {
            let entry = cx.get(self.service_entries, key);
            // Every host that the entry has is bound alike.
            let row = entry.iter().flat_map(|entry| &entry.hosts).find_map(|host| {
                let host = HostKey { ns: key.ns.clone(), host: host.clone() };
                cx.get(self.entries.rows, &host).filter(|row| row.object == *key)
            });
            (row, entry.map(|_| UNSENT))
        };
        match (row, unsent) {
            (Some(row), _) => match &row.waypoint {
                Ok(Some(waypoint)) => ServiceTarget::Bound(waypoint.clone()),
                _ => ServiceTarget::Unbound,
            },
            (None, Some(why)) => ServiceTarget::Unsent(why),
            (None, None) => ServiceTarget::Missing,
        }
    }
}

/// Why something that is there has no waypoint.
const UNSENT: &str = "is there, but nothing of it is sent";

/// What a policy finds that targets a Service or ServiceEntry.
enum ServiceTarget {
    Missing,
    /// It is there, and clients are not sent it.
    Unsent(&'static str),
    Unbound,
    Bound(Name),
}

struct Attachment {
    key: String,
    bound: bool,
    reason: &'static str,
    message: String,
}

/// The reason of a policy, or a target, whose waypoint is not programmed by this control plane.
const NOT_PROGRAMMED: &str = "NotProgrammed";

/// The reason of an extension whose target has a waypoint of another namespace.
const ELSEWHERE: &str = "WaypointElsewhere";

/// Codes of the diagnostics that arise here: of access, of tokens, of telemetry, of extensions.
mod code {
    /// A target of a policy does not exist or has no waypoint.
    pub(super) const UNATTACHED: &str = "AP109";
    /// As [`UNATTACHED`].
    pub(super) const UNATTACHED_TOKENS: &str = "RA104";
    /// Nothing enforces a policy for waypoints.
    pub(super) const NOT_ENFORCED: &str = "AP111";
    /// As [`NOT_ENFORCED`].
    pub(super) const TOKENS_NOT_ENFORCED: &str = "RA105";
    /// As [`UNATTACHED`].
    pub(super) const UNATTACHED_TELEMETRY: &str = "TM106";
    /// As [`NOT_ENFORCED`].
    pub(super) const TELEMETRY_NOT_PROGRAMMED: &str = "TM107";
    /// An extension does not run where it is to.
    pub(super) const NOT_RUN: &str = "EX103";
}

/// Returns what the author of a policy should know of its targets, given what became of them: those that
/// nothing enforces it at.
pub(super) fn unattached(policy: ObjectRef, found: &Condition) -> Option<Diagnostic> {
    // Of several targets one may be bound, and the condition true.
    if found.reason == "Accepted" {
        return None;
    }
    let is_programmed = found.reason != NOT_PROGRAMMED;
    let (code, severity, help) = match (policy.kind, is_programmed) {
        (Kind::RequestAuthentication, false) => {
            let help =
                "nothing enforces the policy: ztunnels see no requests. Check tokens in the application";
            (code::TOKENS_NOT_ENFORCED, Severity::Error, help)
        }
        (Kind::Telemetry, false) => {
            let help = "whoever programs the waypoint is to read it";
            (code::TELEMETRY_NOT_PROGRAMMED, Severity::Warning, help)
        }
        (Kind::WasmPlugin | Kind::TrafficExtension, _) => {
            let help = "name gateways of its namespace, or services with a waypoint there";
            (code::NOT_RUN, Severity::Warning, help)
        }
        (_, false) => {
            let help = "nothing enforces the policy: ztunnels do not see one with targets. Write what ztunnels can enforce \
                        (sources and ports) without spec.targetRefs";
            (code::NOT_ENFORCED, Severity::Error, help)
        }
        (Kind::Telemetry, true) => {
            let help = "name what exists and has a waypoint, or a gateway";
            (code::UNATTACHED_TELEMETRY, Severity::Warning, help)
        }
        (kind, true) => {
            let help = "no waypoint enforces the policy there, and ztunnels do not see it: name what exists and has a \
                        waypoint";
            let is_of_tokens = kind == Kind::RequestAuthentication;
            let code = if is_of_tokens { code::UNATTACHED_TOKENS } else { code::UNATTACHED };
            (code, Severity::Warning, help)
        }
    };
    Some(Diagnostic {
        code,
        severity,
        object: Some(policy),
        field: "spec.targetRefs".to_owned(),
        message: format!("{} ({})", found.message, found.reason),
        help: help.to_owned(),
        place: None,
    })
}
