//! What a status is to hold, given what it holds.

use model::printable;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

use crate::condition::{Condition, Conditions, Entry, EntryList};

impl Conditions {
    /// Returns the status of an object that has none of anybody else, without the times of its conditions.
    pub fn status(&self) -> Value {
        self.merged(&Value::Null, &Merge { generation: self.generation, own_types: &[], now: None })
    }

    /// Returns the whole status that `stored` is to become; `None` if it is that already.
    ///
    /// `own_types` are the types of conditions that only we set: of them none stays that is not wished for.
    /// Conditions of other types, entries of other owners and other fields are passed on as they are, to
    /// the bit and in their places. A condition keeps its time while its status does; `now`, in RFC 3339,
    /// is the time of those that change. Messages are made printable, since they quote names of others, and
    /// are cut where the API has no room for more.
    pub fn merged_into(&self, stored: &Value, own_types: &[&str], now: &str) -> Option<Value> {
        let status = self.merged(stored, &Merge { generation: self.generation, own_types, now: Some(now) });
        let is_new = status.as_object().is_some_and(|fields| !fields.is_empty()) || !stored.is_null();
        (is_new && status != *stored).then_some(status)
    }

    fn merged(&self, stored: &Value, merge: &Merge<'_>) -> Value {
        let mut status = stored.as_object().cloned().unwrap_or_default();
        if !self.conditions.is_empty() || status.contains_key(CONDITIONS) {
            let conditions = merge.conditions(status.get(CONDITIONS), &self.conditions);
            status.insert(CONDITIONS.to_owned(), conditions);
        }
        // A list that holds nothing of ours, and is to hold nothing, is none of our business.
        let is_empty = |list: &&EntryList| list.entries.is_empty() && stored.get(list.field).is_none();
        for list in self.lists.iter().filter(|list| !is_empty(list)) {
            let entries = merge.entries(status.get(list.field), list);
            status.insert(list.field.to_owned(), entries);
        }
        // Likewise of a field that is to be empty.
        let is_empty = |(field, value): &&(&'static str, Value)| {
            stored.get(*field).is_none() && value.as_array().is_some_and(Vec::is_empty)
        };
        set_fields(&mut status, self.fields.iter().filter(|field| !is_empty(field)));
        Value::Object(status)
    }
}

const CONDITIONS: &str = "conditions";
/// The most characters of a message (Kubernetes: `Condition.message`).
const MAX_MESSAGE: usize = 32_768;

struct Merge<'a> {
    generation: i64,
    own_types: &'a [&'a str],
    /// The time of conditions that change; `None` for no times at all.
    now: Option<&'a str>,
}

impl Merge<'_> {
    /// Our conditions in the places of their former versions, and new ones at the end.
    fn conditions(&self, stored: Option<&Value>, desired: &[Condition]) -> Value {
        let of = |value: &Value| text(value, "type").to_owned();
        let mut rest: Vec<&Condition> = desired.iter().collect();
        let mut all = Vec::new();
        for former in stored.and_then(Value::as_array).into_iter().flatten() {
            let kind = of(former);
            match rest.iter().position(|condition| condition.kind == kind) {
                Some(at) => all.push(self.condition(rest.remove(at), Some(former))),
                None if self.own_types.contains(&kind.as_str()) => {}
                None => all.push(former.clone()),
            }
        }
        all.extend(rest.into_iter().map(|condition| self.condition(condition, None)));
        Value::Array(all)
    }

    fn condition(&self, condition: &Condition, former: Option<&Value>) -> Value {
        let status = if condition.status { "True" } else { "False" };
        let since = former
            .filter(|former| text(former, "status") == status)
            .map(|former| text(former, "lastTransitionTime"))
            .filter(|since| !since.is_empty());
        let mut value = json!({
            "type": condition.kind, "status": status, "reason": condition.reason,
            "message": message(&condition.message),
        });
        if let Some(since) = since.or(self.now) {
            value["lastTransitionTime"] = json!(since);
        }
        if self.generation != 0 {
            value["observedGeneration"] = json!(self.generation);
        }
        value
    }

    /// Our entries in the places of their former versions, and new ones at the end.
    fn entries(&self, stored: Option<&Value>, list: &EntryList) -> Value {
        let is_ours = |entry: &Value| {
            let is_owner = |(field, owner): &(&str, &str)| text(entry, field) == *owner;
            list.owners.is_empty() || list.owners.iter().any(is_owner)
        };
        let mut rest: Vec<&Entry> = list.entries.iter().collect();
        let mut all = Vec::new();
        for former in stored.and_then(Value::as_array).into_iter().flatten() {
            let is_same =
                |entry: &&Entry| entry.key.iter().all(|(field, value)| former.get(*field) == Some(value));
            match rest.iter().position(is_same) {
                Some(at) => all.push(self.entry(rest.remove(at), Some(former))),
                None if is_ours(former) => {}
                None => all.push(former.clone()),
            }
        }
        let room = if list.room == 0 { rest.len() } else { list.room.saturating_sub(all.len()) };
        all.extend(rest.into_iter().take(room).map(|entry| self.entry(entry, None)));
        Value::Array(all)
    }

    fn entry(&self, entry: &Entry, former: Option<&Value>) -> Value {
        let mut value = former.and_then(Value::as_object).cloned().unwrap_or_default();
        set_fields(&mut value, &entry.key);
        set_fields(&mut value, &entry.fields);
        let conditions = self.conditions(value.get(CONDITIONS), &entry.conditions);
        value.insert(CONDITIONS.to_owned(), conditions);
        Value::Object(value)
    }
}

fn set_fields<'a>(
    object: &mut Map<String, Value>,
    fields: impl IntoIterator<Item = &'a (&'static str, Value)>,
) {
    for (field, value) in fields {
        object.insert((*field).to_owned(), value.clone());
    }
}

/// A message as it is written.
fn message(text: &str) -> Cow<'_, str> {
    let shown = printable(text);
    match shown.char_indices().nth(MAX_MESSAGE) {
        None => shown,
        Some(_) => Cow::Owned(shown.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: &str = "2026-01-02T00:00:00Z";
    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const OWN: &[&str] = &["Accepted", "ResolvedRefs", "PartiallyInvalid"];

    fn yes(kind: &'static str) -> Condition {
        Condition { kind, status: true, reason: "Yes", message: "fine".to_owned() }
    }

    fn written(kind: &str, status: &str, since: &str, generation: i64) -> Value {
        json!({
            "type": kind, "status": status, "reason": "Yes", "message": "fine",
            "lastTransitionTime": since, "observedGeneration": generation,
        })
    }

    fn parents(entries: Vec<Entry>) -> Conditions {
        let owners = &[("controllerName", "ours")];
        Conditions {
            generation: 2,
            lists: vec![EntryList { field: "parents", owners, room: 3, entries }],
            ..Conditions::default()
        }
    }

    fn parent(name: &str) -> Entry {
        Entry {
            key: vec![("parentRef", json!({"name": name})), ("controllerName", json!("ours"))],
            fields: Vec::new(),
            conditions: vec![yes("Accepted")],
        }
    }

    #[test]
    fn what_is_as_desired_is_not_written() {
        let desired =
            Conditions { generation: 2, conditions: vec![yes("Accepted")], ..Conditions::default() };
        let first = desired.merged_into(&Value::Null, OWN, NOW).unwrap();
        assert_eq!(first, json!({"conditions": [written("Accepted", "True", NOW, 2)]}));
        assert_eq!(desired.merged_into(&first, OWN, "2027-01-01T00:00:00Z"), None);
        let with_parents = parents(vec![parent("gw")]);
        let first = with_parents.merged_into(&json!({}), OWN, NOW).unwrap();
        assert_eq!(with_parents.merged_into(&first, OWN, "2027-01-01T00:00:00Z"), None);
    }

    #[test]
    fn conditions_of_others_stay_to_the_bit_and_in_their_places() {
        let foreign = json!({"type": "example.com/Stale", "status": "True", "weight": 1.50, "x": [null]});
        let stored = json!({"conditions": [
            foreign, written("PartiallyInvalid", "True", BEFORE, 1), written("Accepted", "True", BEFORE, 1),
        ], "other": {"a": 1}});
        let desired = Conditions {
            generation: 2,
            conditions: vec![yes("ResolvedRefs"), yes("Accepted")],
            ..Conditions::default()
        };
        let merged = desired.merged_into(&stored, OWN, NOW).unwrap();
        let expected = json!({"conditions": [
            foreign, written("Accepted", "True", BEFORE, 2), written("ResolvedRefs", "True", NOW, 2),
        ], "other": {"a": 1}});
        assert_eq!(merged.to_string(), expected.to_string());
    }

    #[test]
    fn a_field_that_was_there_is_emptied_and_one_that_was_not_stays_away() {
        let desired = Conditions { fields: vec![("addresses", json!([]))], ..Conditions::default() };
        assert_eq!(desired.merged_into(&json!({}), OWN, NOW), None);
        assert_eq!(desired.merged_into(&json!({"addresses": []}), OWN, NOW), None);
        let stored = json!({"addresses": [{"value": "10.0.0.1"}]});
        assert_eq!(desired.merged_into(&stored, OWN, NOW), Some(json!({"addresses": []})));
    }

    #[test]
    fn a_reason_that_changes_alone_is_written_and_keeps_the_time() {
        let desired = Conditions {
            generation: 1,
            conditions: vec![Condition { reason: "Other", ..yes("Accepted") }],
            ..Conditions::default()
        };
        let stored = json!({"conditions": [written("Accepted", "True", BEFORE, 1)]});
        let merged = desired.merged_into(&stored, OWN, NOW).unwrap();
        assert_eq!(merged["conditions"][0]["reason"], "Other");
        assert_eq!(merged["conditions"][0]["lastTransitionTime"], BEFORE);
    }

    #[test]
    fn entries_of_other_controllers_stay_and_stale_ones_of_ours_go() {
        let foreign = json!({"parentRef": {"name": "gw"}, "controllerName": "theirs", "conditions": []});
        let of = |name: &str, generation| {
            json!({
                "parentRef": {"name": name}, "controllerName": "ours",
                "conditions": [written("Accepted", "True", BEFORE, generation)],
            })
        };
        let stored = json!({"parents": [of("gone", 1), foreign, of("gw", 1)]});
        let merged = parents(vec![parent("new"), parent("gw")]).merged_into(&stored, OWN, NOW).unwrap();
        let mut new = of("new", 2);
        new["conditions"][0]["lastTransitionTime"] = json!(NOW);
        assert_eq!(merged, json!({"parents": [foreign, of("gw", 2), new]}));
        // An object that never was ours stays as it is.
        assert_eq!(parents(Vec::new()).merged_into(&Value::Null, OWN, NOW), None);
        assert_eq!(parents(Vec::new()).merged_into(&json!({"parents": [foreign]}), OWN, NOW), None);
        // Nothing of ours is left: the list stays, since the API requires it.
        assert_eq!(
            parents(Vec::new()).merged_into(&json!({"parents": [of("gone", 1)]}), OWN, NOW),
            Some(json!({"parents": []}))
        );
    }

    #[test]
    fn entries_for_which_the_api_has_no_room_give_way_to_those_of_others() {
        let foreign = |name: &str| json!({"parentRef": {"name": name}, "controllerName": "theirs"});
        let stored = json!({"parents": [foreign("a"), foreign("b")]});
        let desired = parents(vec![parent("a"), parent("b")]);
        let merged = desired.merged_into(&stored, OWN, NOW).unwrap();
        let all = merged["parents"].as_array().unwrap();
        assert_eq!((all.len(), &all[..2]), (3, [foreign("a"), foreign("b")].as_slice()));
        assert_eq!(desired.merged_into(&merged, OWN, NOW), None);
    }

    #[test]
    fn a_message_is_one_printable_line_that_the_api_has_room_for() {
        let of = |message: String| Conditions {
            conditions: vec![Condition { message, ..yes("Accepted") }],
            ..Conditions::default()
        };
        for (text, expected) in [
            ("host \"a\nINFO\u{1b}[2K\"".to_owned(), "host \"a\\nINFO\\u{1b}[2K\"".to_owned()),
            ("é".repeat(MAX_MESSAGE), "é".repeat(MAX_MESSAGE)),
            ("é".repeat(MAX_MESSAGE + 1), "é".repeat(MAX_MESSAGE - 1) + "…"),
        ] {
            let merged = of(text.clone()).merged_into(&Value::Null, OWN, NOW).unwrap();
            assert_eq!(merged["conditions"][0]["message"], expected);
            assert_eq!(of(text).merged_into(&merged, OWN, NOW), None);
        }
    }

    #[test]
    fn entries_without_owners_are_all_ours_and_keep_foreign_conditions() {
        let foreign = json!({"type": "example.com/Stale", "status": "Unknown"});
        let stored = json!({"listeners": [
            {"name": "gone", "conditions": []},
            {"name": "http", "attachedRoutes": 7, "conditions": [foreign]},
        ]});
        let entry = Entry {
            key: vec![("name", json!("http"))],
            fields: vec![("attachedRoutes", json!(0))],
            conditions: vec![yes("Accepted")],
        };
        let list = EntryList { field: "listeners", entries: vec![entry], ..EntryList::default() };
        let desired = Conditions { lists: vec![list], ..Conditions::default() };
        let merged = desired.merged_into(&stored, OWN, NOW).unwrap();
        let mut own = written("Accepted", "True", NOW, 0);
        own.as_object_mut().unwrap().remove("observedGeneration");
        let expected =
            json!({"listeners": [{"name": "http", "attachedRoutes": 0, "conditions": [foreign, own]}]});
        assert_eq!(merged, expected);
    }
}
