//! What to write into a status, compared with what it holds: pure.

use super::acks::{DISTRIBUTED, Distribution, OUTCOMES, Outcome, Reported};
use super::refused::PROGRAMMED;
use cluster::{Action, DesiredStatus};
use k8s_openapi::jiff::Timestamp;
use model::{Kind, ObjectRef, Str, printable};
use plane::{Condition, Conditions};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// An address of a host.
pub(in crate::controllers) type HostAddress = (Str, IpAddr);

/// The desired content of a status.
#[derive(Clone, Debug)]
pub(in crate::controllers) enum Desired {
    /// These conditions of ours and no others; `None` when the object takes no part in the mesh any more.
    Conditions(Option<Arc<Conditions>>, Distribution),
    /// All that is ours of a status of the Gateway API.
    Whole(Arc<Conditions>),
    /// `status.addresses`.
    Addresses {
        /// What it held when this was computed: another content supersedes it.
        held: Vec<HostAddress>,
        /// What it should hold.
        desired: Vec<HostAddress>,
    },
}

/// The part of an object that is read before its status is written.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(in crate::controllers) struct Stored {
    pub(in crate::controllers) metadata: StoredMeta,
    status: Value,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::controllers) struct StoredMeta {
    pub(in crate::controllers) name: String,
    pub(in crate::controllers) namespace: String,
    resource_version: String,
    generation: i64,
}

/// The field manager of addresses.
const ADDRESS_MANAGER: &str = "pilothouse-addresses";
/// The field manager of statuses of the Gateway API, which are merged: it owns nothing that it passes on.
const GATEWAY_MANAGER: &str = "pilothouse-gateways";

/// A part of the statuses, with a lock of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::controllers) enum Part {
    /// What ztunnels make of services, entries and policies: one replica of the cluster writes it.
    Mesh,
    /// The Gateway API: one replica of each revision writes what that revision owns.
    Gateways,
}

/// Returns the part that the statuses of a kind belong to; `None` for kinds without conditions of ours.
pub(in crate::controllers) fn part_of(kind: Kind) -> Option<Part> {
    match kind {
        Kind::GatewayClass
        | Kind::Gateway
        | Kind::ListenerSet
        | Kind::HTTPRoute
        | Kind::GRPCRoute
        | Kind::TLSRoute
        | Kind::TCPRoute
        | Kind::UDPRoute
        | Kind::BackendTLSPolicy
        | Kind::XBackendTrafficPolicy
        | Kind::VirtualService
        | Kind::DestinationRule => Some(Part::Gateways),
        _ => field_manager(kind).map(|_| Part::Mesh),
    }
}

/// Returns the field manager of the conditions of a kind that are applied.
///
/// They are those of istiod. With names of our own a condition would have two owners after a migration
/// between the two, and removing it as one of them would leave it in place. Only the holder of the lock
/// that both share writes, so the two do not conflict.
fn field_manager(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Service | Kind::ServiceEntry => Some("istio-ambient-service"),
        Kind::WorkloadEntry => Some("istio-ambient-workloadentry"),
        Kind::AuthorizationPolicy => Some("istio-ambient-ztunnel-policy"),
        // istiod says nothing of these.
        Kind::RequestAuthentication | Kind::Telemetry | Kind::WasmPlugin | Kind::TrafficExtension => {
            Some("pilothouse")
        }
        _ => None,
    }
}

/// A type that istiod does not know, like the others of this prefix.
pub(in crate::controllers) const ACCEPTED: &str = "pilothouse.io/Accepted";
const WAYPOINT_REQUIRED: &str = "pilothouse.io/WaypointRequired";

/// The types of conditions that only who serves an object sets, of it and of its entries: those of the Gateway API, and
/// of our own for Istio's kinds.
const GATEWAY_TYPES: &[&str] = &[
    ACCEPTED,
    PROGRAMMED,
    "pilothouse.io/PartiallyInvalid",
    "pilothouse.io/ResolvedRefs",
    "pilothouse.io/ResolvedWaypoints",
    "Accepted",
    "AddressesAssigned",
    "Conflicted",
    "InsecureFrontendValidationMode",
    "PartiallyInvalid",
    "Programmed",
    "ResolvedRefs",
    "ResolvedWaypoints",
];

/// Returns the types of conditions that are ours alone to set.
fn condition_types(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Service => &["istio.io/WaypointBound", WAYPOINT_REQUIRED, PROGRAMMED],
        Kind::WorkloadEntry => &[ACCEPTED, "istio.io/WaypointBound", WAYPOINT_REQUIRED],
        Kind::ServiceEntry => &[
            ACCEPTED,
            "istio.io/WaypointBound",
            WAYPOINT_REQUIRED,
            "istio.io/WaypointMissing",
            "istio.io/VisibilityApplied",
            PROGRAMMED,
        ],
        Kind::AuthorizationPolicy => &["ZtunnelAccepted", "WaypointAccepted", PROGRAMMED],
        Kind::RequestAuthentication | Kind::Telemetry | Kind::WasmPlugin | Kind::TrafficExtension => {
            &[ACCEPTED, "WaypointAccepted", PROGRAMMED]
        }
        _ => &[],
    }
}

/// Tells whether objects of a kind have the condition `Distributed`.
pub(super) fn has_distribution(kind: Kind) -> bool {
    kind == Kind::AuthorizationPolicy
}

impl DesiredStatus for Desired {
    type Target = ObjectRef;
    type Stored = Stored;

    fn compare(&self, object: &ObjectRef, stored: &Stored, now: Timestamp) -> Action {
        match self {
            Desired::Conditions(Some(desired), _) if desired.is_pending => Action::None,
            Desired::Conditions(desired, distribution) => {
                conditions(object, stored, desired.as_deref(), distribution, now)
            }
            Desired::Whole(desired) if desired.is_pending => Action::None,
            Desired::Whole(desired) => whole(stored, desired, now),
            Desired::Addresses { held, desired } => addresses(object, stored, held, desired),
        }
    }
}

/// Merges all that is ours into what is stored.
fn whole(stored: &Stored, desired: &Conditions, now: Timestamp) -> Action {
    // It is known here in another version than the API server has: what is to be said of that one follows.
    if desired.generation != stored.metadata.generation {
        return Action::Superseded;
    }
    match desired.merged_into(&stored.status, GATEWAY_TYPES, &time(now)) {
        None => Action::None,
        Some(status) => Action::Merge {
            manager: GATEWAY_MANAGER,
            body: json!({
                // Refused if anybody has written meanwhile: then it is read and compared again.
                "metadata": {"resourceVersion": stored.metadata.resource_version},
                "status": status,
            }),
        },
    }
}

/// A time as conditions have it.
fn time(of: Timestamp) -> String {
    of.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn addresses(object: &ObjectRef, stored: &Stored, held: &[HostAddress], desired: &[HostAddress]) -> Action {
    let present = stored.addresses();
    if is_same(&present, desired) {
        return Action::None;
    }
    if !is_same(&present, held) {
        return Action::Superseded;
    }
    let list: Vec<Value> =
        desired.iter().map(|(host, ip)| json!({"value": ip.to_string(), "host": host.as_str()})).collect();
    Action::Apply {
        manager: ADDRESS_MANAGER,
        body: apply_configuration(object, stored, json!({ "addresses": list })),
    }
}

fn is_same(a: &[HostAddress], b: &[HostAddress]) -> bool {
    let sorted = |list: &[HostAddress]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

fn conditions(
    object: &ObjectRef,
    stored: &Stored,
    desired: Option<&Conditions>,
    distribution: &Distribution,
    now: Timestamp,
) -> Action {
    let Some(manager) = field_manager(object.kind) else { return Action::None };
    let all = stored.conditions();
    // What is to be kept is passed on like the conditions of others.
    let is_kept = desired.is_some() && matches!(distribution, Distribution::Keep);
    let is_ours = |condition: &&Value| {
        let kind = text(condition, "type");
        condition_types(object.kind).contains(&kind)
            || (has_distribution(object.kind) && kind == DISTRIBUTED && !is_kept)
    };
    let ours: Vec<&Value> = all.iter().filter(is_ours).collect();
    let generation = desired.map_or(0, |desired| desired.generation);
    let reported = match distribution {
        Distribution::Set(reported) if desired.is_some() => Some((&reported.condition, reported.generation)),
        _ => None,
    };
    let conditions = desired.map(|desired| desired.conditions.as_slice()).unwrap_or_default();
    let desired: Vec<(&Condition, i64)> =
        conditions.iter().map(|condition| (condition, generation)).chain(reported).collect();
    let former = |kind: &str| ours.iter().copied().find(|condition| text(condition, "type") == kind);
    let is_current = ours.len() == desired.len()
        && desired.iter().all(|(condition, generation)| {
            former(condition.kind).is_some_and(|former| {
                text(former, "status") == status_word(condition.status)
                    && text(former, "reason") == condition.reason
                    && text(former, "message") == printable(&condition.message)
                    && number(former, "observedGeneration") == *generation
            })
        });
    if is_current {
        return Action::None;
    }
    // In custom resources the list is atomic: an apply replaces all of it, so what others wrote is passed
    // on. In Services it is merged by type.
    let is_merged = object.kind.is_built_in();
    let mut list: Vec<Value> =
        all.iter().filter(|condition| !is_merged && !is_ours(condition)).cloned().collect();
    let now = time(now);
    list.extend(desired.iter().map(|&(condition, generation)| {
        let status = status_word(condition.status);
        let since = former(condition.kind)
            .filter(|former| text(former, "status") == status)
            .map(|former| text(former, "lastTransitionTime"))
            .filter(|since| !since.is_empty());
        let mut value = json!({
            "type": condition.kind, "status": status, "reason": condition.reason,
            // It quotes names and hosts of others, and is read with kubectl.
            "message": printable(&condition.message), "lastTransitionTime": since.unwrap_or(&now),
        });
        if generation != 0 {
            value["observedGeneration"] = json!(generation);
        }
        value
    }));
    Action::Apply { manager, body: apply_configuration(object, stored, json!({ "conditions": list })) }
}

fn apply_configuration(object: &ObjectRef, stored: &Stored, status: Value) -> Value {
    let (group, version) = (object.kind.group(), object.kind.version());
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({
        "apiVersion": api_version,
        "kind": object.kind.name(),
        "metadata": {
            "name": object.name.name.as_str(),
            "namespace": &*object.name.ns,
            // Refused if anybody has written meanwhile: then it is read and compared again.
            "resourceVersion": stored.metadata.resource_version,
        },
        "status": status,
    })
}

fn status_word(status: bool) -> &'static str {
    if status { "True" } else { "False" }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a number, which the JSON mapping of protobuf may have written as text.
fn number(value: &Value, field: &str) -> i64 {
    let value = value.get(field);
    let written = value.and_then(Value::as_str).and_then(|text| text.parse().ok());
    value.and_then(Value::as_i64).or(written).unwrap_or(0)
}

impl Stored {
    fn list(&self, field: &str) -> &[Value] {
        self.status.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn conditions(&self) -> &[Value] {
        self.list("conditions")
    }

    /// Returns the condition `Distributed`; nothing if it is not one that a replica of ours has written.
    pub(super) fn reported(&self) -> Option<Reported> {
        let found = self.conditions().iter().find(|condition| text(condition, "type") == DISTRIBUTED)?;
        let reason = OUTCOMES.map(Outcome::reason).into_iter().find(|r| *r == text(found, "reason"))?;
        let (status, message) = (text(found, "status") == "True", text(found, "message").to_owned());
        let condition = Condition { kind: DISTRIBUTED, status, reason, message };
        Some(Reported::stored(condition, number(found, "observedGeneration")))
    }

    fn addresses(&self) -> Vec<HostAddress> {
        let read = |address: &Value| {
            // In lower case, as ingest has hosts.
            let host = Str::from(text(address, "host").to_ascii_lowercase());
            Some((host, text(address, "value").parse().ok()?))
        };
        self.list("addresses").iter().filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Name;

    fn object(kind: Kind) -> ObjectRef {
        ObjectRef { kind, name: Name::new("shop", "web") }
    }

    fn desired(generation: i64, list: &[(&'static str, bool, &'static str)]) -> Desired {
        let conditions = list.iter().map(|(kind, status, reason)| Condition {
            kind,
            status: *status,
            reason,
            message: format!("why {reason}"),
        });
        let conditions = Conditions { generation, conditions: conditions.collect(), ..Conditions::default() };
        Desired::Conditions(Some(Arc::new(conditions)), Distribution::Keep)
    }

    fn stored(status: Value) -> Stored {
        let metadata = json!({"name": "web", "namespace": "shop", "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn applied(desired: &Desired, kind: Kind, status: Value) -> Value {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        match desired.compare(&object(kind), &stored(status), now) {
            Action::Apply { body, .. } => body,
            other => panic!("{other:?}"),
        }
    }

    fn is_current(desired: &Desired, kind: Kind, status: Value) -> bool {
        desired.compare(&object(kind), &stored(status), Timestamp::UNIX_EPOCH) == Action::None
    }

    const BOUND: &str = "istio.io/WaypointBound";

    fn bound(status: &str, since: &str) -> Value {
        json!({"type": BOUND, "status": status, "reason": "Yes", "message": "why Yes", "lastTransitionTime": since})
    }

    #[test]
    fn a_message_is_written_as_one_printable_line_and_then_left_alone() {
        let message = "host \"a\nINFO forged\u{1b}[2K\u{9b}\u{202e}\u{200b}\" is taken".to_owned();
        let condition = Condition { kind: BOUND, status: true, reason: "Yes", message };
        let conditions = Conditions { generation: 0, conditions: vec![condition], ..Conditions::default() };
        let desired = Desired::Conditions(Some(Arc::new(conditions)), Distribution::Keep);
        let body = applied(&desired, Kind::Service, json!({}));
        let written = &body["status"]["conditions"][0];
        let shown = "host \"a\\nINFO forged\\u{1b}[2K\\u{9b}\\u{202e}\\u{200b}\" is taken";
        assert_eq!(written["message"], shown);
        assert!(is_current(&desired, Kind::Service, json!({"conditions": [written]})));
    }

    #[test]
    fn a_condition_that_is_as_desired_is_not_written() {
        let yes = desired(0, &[(BOUND, true, "Yes")]);
        assert!(is_current(
            &yes,
            Kind::Service,
            json!({"conditions": [bound("True", "2001-01-01T00:00:00Z")]})
        ));
        assert!(is_current(&desired(0, &[]), Kind::Service, json!({})));
        assert!(is_current(&Desired::Conditions(None, Distribution::Keep), Kind::Service, Value::Null));
    }

    #[test]
    fn a_new_condition_is_applied_with_the_version_that_was_read() {
        let body = applied(&desired(0, &[(BOUND, true, "Yes")]), Kind::Service, json!({}));
        assert_eq!(
            body,
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7"},
                "status": {"conditions": [bound("True", "2001-09-09T01:46:40Z")]},
            })
        );
    }

    #[test]
    fn the_time_of_transition_stays_while_the_status_does() {
        let old = json!({"conditions": [bound("True", "1999-01-01T00:00:00Z")]});
        let time = |desired: Desired| {
            applied(&desired, Kind::Service, old.clone())["status"]["conditions"][0]["lastTransitionTime"]
                .clone()
        };
        assert_eq!(time(desired(0, &[(BOUND, true, "Other")])), "1999-01-01T00:00:00Z");
        assert_eq!(time(desired(0, &[(BOUND, false, "No")])), "2001-09-09T01:46:40Z");
    }

    #[test]
    fn conditions_of_others_stay_in_lists_that_are_replaced_as_a_whole() {
        let other = json!({"type": "Reconciled", "status": "True", "observedGeneration": "4"});
        let old = json!({"conditions": [bound("True", "x"), other]});
        let none = desired(0, &[]);
        assert_eq!(applied(&none, Kind::ServiceEntry, old.clone())["status"], json!({"conditions": [other]}));
        assert_eq!(applied(&none, Kind::Service, old)["status"], json!({"conditions": []}));
    }

    #[test]
    fn an_object_that_left_the_mesh_loses_our_conditions() {
        let old = json!({"conditions": [bound("True", "x")]});
        let body = applied(&Desired::Conditions(None, Distribution::Keep), Kind::WorkloadEntry, old);
        assert_eq!(body["status"], json!({"conditions": []}));
        assert_eq!(body["apiVersion"], "networking.istio.io/v1");
    }

    #[test]
    fn a_policy_tells_which_generation_its_condition_speaks_of() {
        let accepted = desired(3, &[("ZtunnelAccepted", true, "Accepted")]);
        let condition = |generation: Value| {
            json!({"conditions": [{
                "type": "ZtunnelAccepted", "status": "True", "reason": "Accepted", "message": "why Accepted",
                "observedGeneration": generation,
            }]})
        };
        for same in [json!(3), json!("3")] {
            assert!(is_current(&accepted, Kind::AuthorizationPolicy, condition(same)));
        }
        let body = applied(&accepted, Kind::AuthorizationPolicy, condition(json!("2")));
        assert_eq!(body["status"]["conditions"][0]["observedGeneration"], 3);
    }

    fn distributed(status: &str, reason: &str, generation: i64) -> Value {
        json!({
            "type": DISTRIBUTED, "status": status, "reason": reason, "message": "of 3",
            "lastTransitionTime": "2001-01-01T00:00:00Z", "observedGeneration": generation,
        })
    }

    #[test]
    fn the_condition_of_distribution_has_a_generation_of_its_own_and_may_be_kept() {
        let accepted = desired(3, &[("ZtunnelAccepted", true, "Accepted")]);
        let Desired::Conditions(conditions, _) = accepted.clone() else { panic!("no conditions") };
        let old = json!({"conditions": [distributed("True", "Acknowledged", 2)]});
        let list = |desired: &Desired| {
            let body = applied(desired, Kind::AuthorizationPolicy, old.clone());
            body["status"]["conditions"].as_array().cloned().unwrap()
        };
        let kept = list(&accepted);
        assert_eq!(kept.len(), 2);
        assert!(kept.contains(&distributed("True", "Acknowledged", 2)), "{kept:?}");

        let reported =
            stored(json!({"conditions": [distributed("True", "Acknowledged", 3)]})).reported().unwrap();
        let is = Desired::Conditions(conditions.clone(), Distribution::Set(reported));
        let new = list(&is);
        assert_eq!(new.len(), 2);
        assert!(new.contains(&distributed("True", "Acknowledged", 3)), "{new:?}");
        assert!(is_current(&is, Kind::AuthorizationPolicy, json!({"conditions": new})));

        let gone = Desired::Conditions(conditions, Distribution::Remove);
        assert_eq!(list(&gone).len(), 1);
        // On other kinds the type is somebody else's; an object that left the mesh loses it.
        assert!(is_current(&desired(0, &[]), Kind::ServiceEntry, old.clone()));
        assert_eq!(list(&Desired::Conditions(None, Distribution::Keep)), [json!(null); 0]);
        assert_eq!(stored(json!({"conditions": [distributed("True", "Other", 2)]})).reported(), None);
    }

    #[test]
    fn a_type_that_is_there_twice_is_there_once_afterwards() {
        let old = json!({"conditions": [bound("True", "x"), bound("False", "y")]});
        let body = applied(&desired(0, &[(BOUND, true, "Yes")]), Kind::ServiceEntry, old);
        assert_eq!(body["status"]["conditions"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_status_of_the_gateway_api_is_merged_over_the_version_that_was_read() {
        let accepted = |generation| {
            let condition =
                Condition { kind: "Accepted", status: true, reason: "Accepted", message: "yes".to_owned() };
            let conditions = vec![condition];
            Desired::Whole(Arc::new(Conditions { generation, conditions, ..Conditions::default() }))
        };
        let foreign = json!({"type": "example.com/Seen", "status": "True"});
        let pending = json!({"type": "Programmed", "status": "Unknown", "reason": "Pending"});
        let read = |status: Value| {
            let metadata =
                json!({"name": "gw", "namespace": "shop", "resourceVersion": "7", "generation": 3});
            serde_json::from_value::<Stored>(json!({"metadata": metadata, "status": status})).unwrap()
        };
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let before = read(json!({"conditions": [foreign, pending], "listeners": [{"name": "http"}]}));
        let action = accepted(3).compare(&object(Kind::Gateway), &before, now);
        let Action::Merge { body, .. } = action else { panic!("{action:?}") };
        let written = json!({
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "yes",
            "observedGeneration": 3, "lastTransitionTime": "2001-09-09T01:46:40Z",
        });
        let status = json!({"conditions": [foreign, written], "listeners": [{"name": "http"}]});
        assert_eq!(body, json!({"metadata": {"resourceVersion": "7"}, "status": status}));
        let after = read(status);
        assert_eq!(accepted(3).compare(&object(Kind::Gateway), &after, now), Action::None);
        // The API server has a newer one, of which the engine has not heard yet.
        assert_eq!(accepted(2).compare(&object(Kind::Gateway), &before, now), Action::Superseded);
    }

    #[test]
    fn every_kind_of_the_gateway_api_with_conditions_is_of_its_part() {
        let of = |part| Kind::ALL.iter().copied().filter(move |kind| part_of(*kind) == Some(part));
        let without: Vec<Kind> = Kind::ALL
            .iter()
            .copied()
            .filter(|kind| kind.group().starts_with("gateway.networking.") && part_of(*kind).is_none())
            .collect();
        assert_eq!(without, [Kind::ReferenceGrant], "it has no status");
        assert!(of(Part::Gateways).all(|kind| condition_types(kind).is_empty()));
        assert!(of(Part::Mesh).all(|kind| !condition_types(kind).is_empty()));
    }

    #[test]
    fn addresses_are_written_only_over_what_they_were_computed_for() {
        let pair = |host: &str, ip: &str| (Str::from(host), ip.parse::<IpAddr>().unwrap());
        let step = |status| {
            let desired = vec![pair("a.test", "240.240.0.1"), pair("a.test", "2001:2::1")];
            let desired = Desired::Addresses { held: Vec::new(), desired };
            desired.compare(&object(Kind::ServiceEntry), &stored(status), Timestamp::UNIX_EPOCH)
        };
        let (v4, v6) = (
            json!({"value": "240.240.0.1", "host": "a.test"}),
            json!({"value": "2001:2::1", "host": "a.test"}),
        );
        let Action::Apply { body, .. } = step(json!({"conditions": []})) else { panic!("nothing applied") };
        assert_eq!(body["status"], json!({"addresses": [v4, v6]}));
        assert_eq!(step(json!({"addresses": [v6, v4]})), Action::None);
        assert_eq!(step(json!({"addresses": [v4]})), Action::Superseded);
    }
}
