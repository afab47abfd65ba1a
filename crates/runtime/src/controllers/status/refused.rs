//! What is told of objects that Envoys refuse, and when: pure, for `now` is given.
//!
//! A refusal is told at once. Whatever is told next of the object, also that nothing is refused any more, waits for a
//! while: an Envoy that turns back and forth makes few writes.

use model::{Kind, Name, Ns, ObjectRef};
use plane::{Condition, Conditions, Entry};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use crate::refusals::Refusal;
use crate::views::plural;

/// The type of the condition of objects whose API has none for it; it is there while something is refused, and `False`.
pub(super) const PROGRAMMED: &str = "pilothouse.io/Programmed";

/// The reason of that.
const REJECTED: &str = "Rejected";

/// The reason that the Gateway API has for a Gateway that is not `Programmed` by what is asked of it.
const INVALID: &str = "Invalid";

/// How much of an Envoy's words a message shows, in characters.
const WORDS: usize = 300;

/// What is told of an object.
#[derive(Clone, Debug, PartialEq)]
struct Notice {
    message: String,
    /// The parents and targets that it is about: the gateway, and the services.
    about: BTreeSet<ObjectRef>,
}

/// The same as it was told last; nothing of an object of which nothing is refused any more.
#[derive(Debug)]
struct Reported {
    told: Option<Notice>,
    at: Instant,
}

/// What is told of objects, and is to be.
#[derive(Debug, Default)]
pub(super) struct RefusedObjects {
    /// The least time between two things that are told of one object.
    settle: Duration,
    wanted: BTreeMap<ObjectRef, Notice>,
    reported: BTreeMap<ObjectRef, Reported>,
    /// When something is due that has to wait.
    due: Option<Instant>,
}

impl RefusedObjects {
    pub fn new(settle: Duration) -> Self {
        Self { settle, ..Self::default() }
    }

    /// Takes what is refused now; of the objects, those count for which `is_wanted` holds.
    pub fn set(&mut self, refusals: &[Refusal], is_wanted: impl Fn(&ObjectRef) -> bool) {
        let mut by_object: BTreeMap<ObjectRef, Vec<&Refusal>> = BTreeMap::new();
        for refusal in refusals {
            let objects: BTreeSet<ObjectRef> =
                refusal.objects().into_iter().chain([refusal.gateway_object()]).collect();
            for object in objects.into_iter().filter(&is_wanted) {
                by_object.entry(object).or_default().push(refusal);
            }
        }
        let told = |(object, refusals): (ObjectRef, Vec<&Refusal>)| {
            let about = refusals.iter().flat_map(|refusal| {
                refusal.made_from.services.iter().cloned().chain([refusal.gateway_object()])
            });
            let (message, about) = (message(&object, &refusals), about.collect());
            (object, Notice { message, about })
        };
        self.wanted = by_object.into_iter().map(told).collect();
    }

    /// Returns the objects of which something else is to be told than was.
    pub fn evaluate(&mut self, now: Instant) -> Vec<ObjectRef> {
        let Self { settle, wanted, reported, due } = self;
        reported.retain(|_, of| of.told.is_some() || now < of.at + *settle);
        let objects: BTreeSet<ObjectRef> = wanted.keys().chain(reported.keys()).cloned().collect();
        *due = None;
        let mut changed = Vec::new();
        for object in objects {
            let (told, last) = (wanted.get(&object), reported.get(&object));
            if told == last.and_then(|last| last.told.as_ref()) {
                continue;
            }
            match last.map(|last| last.at + *settle).filter(|free| now < *free) {
                Some(free) => *due = Some(due.map_or(free, |due| due.min(free))),
                None => {
                    reported.insert(object.clone(), Reported { told: told.cloned(), at: now });
                    changed.push(object);
                }
            }
        }
        changed
    }

    /// When the next evaluation is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the conditions of an object with what is told of it.
    pub fn with_refusals(&self, object: &ObjectRef, conditions: Arc<Conditions>) -> Arc<Conditions> {
        let told = self.reported.get(object).and_then(|of| of.told.as_ref());
        told.map_or_else(|| Arc::clone(&conditions), |told| Arc::new(told.added_to(object, &conditions)))
    }
}

impl Notice {
    fn added_to(&self, object: &ObjectRef, conditions: &Conditions) -> Conditions {
        let mut all = conditions.clone();
        if object.kind == Kind::Gateway {
            all.conditions.iter_mut().filter(|of| of.kind == "Programmed").for_each(|of| self.deny(of));
            return all;
        }
        let own =
            || Condition { kind: PROGRAMMED, status: false, reason: REJECTED, message: self.message.clone() };
        if all.lists.is_empty() {
            all.conditions.push(own());
            return all;
        }
        let is_about =
            |entry: &Entry| target(entry, &object.name.ns).is_some_and(|of| self.about.contains(&of));
        // Who names another object that leads here is told of all.
        let is_any = all.lists.iter().flat_map(|list| &list.entries).any(is_about);
        let entries = all.lists.iter_mut().flat_map(|list| &mut list.entries);
        for entry in entries.filter(|entry| !is_any || is_about(entry)) {
            entry.conditions.push(own());
        }
        all
    }

    /// Has a condition say it, beside what else keeps it from being True.
    fn deny(&self, condition: &mut Condition) {
        if std::mem::replace(&mut condition.status, false) {
            (condition.reason, condition.message) = (INVALID, self.message.clone());
        } else {
            condition.message = format!("{}; {}", condition.message, self.message);
        }
    }
}

/// The parent or target that an entry of a status is about.
fn target(entry: &Entry, ns: &Ns) -> Option<ObjectRef> {
    let is_reference = |field: &str| matches!(field, "parentRef" | "ancestorRef");
    let (_, reference) = entry.key.iter().find(|(field, _)| is_reference(field))?;
    let text = |field: &str| reference.get(field).and_then(Value::as_str);
    let kind = Kind::ALL.iter().find(|kind| {
        text("kind") == Some(kind.name()) && text("group").unwrap_or_default() == kind.group()
    })?;
    let name = Name::new(text("namespace").unwrap_or(ns), text("name")?);
    Some(ObjectRef { kind: *kind, name })
}

/// Says what is refused: the first resource in full, and how many more there are.
fn message(object: &ObjectRef, refusals: &[&Refusal]) -> String {
    let Some(first) = refusals.first() else { return String::new() };
    let what = first.name.as_ref().map_or_else(|| "some".to_owned(), |name| format!("{name:?}"));
    let mut message = format!("an Envoy of {} refuses {what} of its {}", first.gateway, plural(first.of));
    let others: Vec<String> =
        first.made_from.authors.iter().filter(|of| *of != object).map(ToString::to_string).collect();
    if object.kind == Kind::Gateway && !others.is_empty() {
        message += &format!(", which is made from {}", others.join(", "));
    } else if !others.is_empty() {
        message += &format!(", which is made from this and {}", others.join(", "));
    }
    // In quotes, and escaped: whatever it says, it is one line, and nobody takes it for ours.
    message += &format!(", and goes on with what it had: {:?}", beginning(&first.message));
    match refusals.len() - 1 {
        0 => message,
        more => format!("{message}; and {more} more"),
    }
}

/// The beginning of what an Envoy said.
fn beginning(text: &str) -> String {
    let mut beginning: String = text.chars().take(WORDS).collect();
    if text.chars().nth(WORDS).is_some() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use plane::{EntryList, MadeFrom, ResourceType};
    use serde_json::json;

    const SETTLE: Duration = Duration::from_secs(10);

    fn object(kind: Kind, name: &str) -> ObjectRef {
        ObjectRef { kind, name: Name::new("shop", name) }
    }

    fn refusal(name: &str, message: &str, authors: &[(Kind, &str)]) -> Refusal {
        let authors = authors.iter().map(|(kind, name)| object(*kind, name)).collect();
        Refusal {
            gateway: Name::new("shop", "waypoint"),
            of: ResourceType::Cluster,
            name: Some(name.into()),
            message: message.into(),
            node: "w".to_owned(),
            made_from: Arc::new(MadeFrom { authors, services: vec![object(Kind::Service, "a")] }),
        }
    }

    fn told(of: &RefusedObjects, object: &ObjectRef, conditions: Conditions) -> Conditions {
        Arc::unwrap_or_clone(of.with_refusals(object, Arc::new(conditions)))
    }

    fn programmed(status: bool, message: &str) -> Conditions {
        let reason = if status { "Programmed" } else { "AddressNotAssigned" };
        let condition = Condition { kind: "Programmed", status, reason, message: message.to_owned() };
        Conditions { conditions: vec![condition], ..Conditions::default() }
    }

    #[test]
    fn a_refusal_is_told_of_its_authors_and_of_the_gateway_in_quotes() {
        let mut of = RefusedObjects::new(SETTLE);
        let rule = object(Kind::DestinationRule, "r");
        let hostile = format!("bad \"x\"\n\u{1b}[31m{}", "y".repeat(1_000));
        of.set(&[refusal("c", &hostile, &[(Kind::DestinationRule, "r")]), refusal("d", "", &[])], |_| true);
        let gateway = object(Kind::Gateway, "waypoint");
        assert_eq!(of.evaluate(Instant::now()), [gateway.clone(), rule.clone()]);
        let of_rule = told(&of, &rule, Conditions::default()).conditions.remove(0);
        assert_eq!((of_rule.kind, of_rule.status, of_rule.reason), (PROGRAMMED, false, "Rejected"));
        let begins = "an Envoy of shop/waypoint refuses \"c\" of its clusters, and goes on with what it had: \"bad \\\"x\\\"\\n\\u{1b}[31myy";
        assert!(of_rule.message.starts_with(begins), "{}", of_rule.message);
        assert!(
            of_rule.message.ends_with("yy…\"") && of_rule.message.chars().count() < 450,
            "{}",
            of_rule.message
        );
        let of_gateway = told(&of, &gateway, programmed(true, "fine")).conditions.remove(0);
        assert_eq!((of_gateway.kind, of_gateway.status, of_gateway.reason), ("Programmed", false, "Invalid"));
        assert!(
            of_gateway.message.contains("which is made from DestinationRule shop/r"),
            "{}",
            of_gateway.message
        );
        assert!(of_gateway.message.ends_with("; and 1 more"), "{}", of_gateway.message);
        let too = told(&of, &gateway, programmed(false, "no address")).conditions.remove(0);
        assert_eq!(too.reason, "AddressNotAssigned");
        assert!(too.message.starts_with("no address; an Envoy of shop/waypoint refuses"), "{}", too.message);
        let other = object(Kind::DestinationRule, "other");
        assert_eq!(told(&of, &other, Conditions::default()), Conditions::default());
    }

    #[test]
    fn of_a_route_the_entries_are_told_that_lead_to_what_is_refused() {
        let route = object(Kind::HTTPRoute, "r");
        let mut of = RefusedObjects::new(SETTLE);
        of.set(&[refusal("c", "no", &[(Kind::HTTPRoute, "r")])], |of| of.kind != Kind::Gateway);
        assert_eq!(of.evaluate(Instant::now()), std::slice::from_ref(&route));
        let with_parents = |names: [&str; 2]| {
            let entry = |name: &str| Entry {
                key: vec![("parentRef", json!({"group": "", "kind": "Service", "name": name}))],
                ..Entry::default()
            };
            let list =
                EntryList { field: "parents", entries: names.map(entry).into(), ..EntryList::default() };
            let conditions = Conditions { lists: vec![list], ..Conditions::default() };
            let told = told(&of, &route, conditions).lists.remove(0).entries.into_iter();
            told.map(|entry| entry.conditions.len()).collect::<Vec<_>>()
        };
        assert_eq!(with_parents(["a", "b"]), [1, 0]);
        assert_eq!(with_parents(["b", "c"]), [1, 1], "none of them is known to lead there");
    }

    #[test]
    fn what_is_told_next_of_an_object_waits_and_what_turned_back_meanwhile_is_not_told() {
        let (rule, start) = (object(Kind::DestinationRule, "r"), Instant::now());
        let refused = |message| vec![refusal("c", message, &[(Kind::DestinationRule, "r")])];
        let is_rule = |of: &ObjectRef| of.kind == Kind::DestinationRule;
        let mut of = RefusedObjects::new(SETTLE);
        of.set(&refused("no"), is_rule);
        assert_eq!((of.evaluate(start), of.due()), (vec![rule.clone()], None));
        assert_eq!((of.evaluate(start), of.due()), (Vec::new(), None));
        of.set(&[], is_rule);
        assert_eq!((of.evaluate(start), of.due()), (Vec::new(), Some(start + SETTLE)));
        of.set(&refused("no"), is_rule);
        assert_eq!((of.evaluate(start), of.due()), (Vec::new(), None));
        of.set(&[], is_rule);
        assert_eq!(of.evaluate(start + SETTLE), std::slice::from_ref(&rule));
        assert_eq!(told(&of, &rule, Conditions::default()), Conditions::default());
        of.set(&refused("never"), is_rule);
        assert_eq!((of.evaluate(start + SETTLE), of.due()), (Vec::new(), Some(start + 2 * SETTLE)));
        assert_eq!(of.evaluate(start + 2 * SETTLE), [rule]);
        of.set(&[], is_rule);
        assert_eq!(of.evaluate(start + 3 * SETTLE).len(), 1);
        assert!(of.evaluate(start + 4 * SETTLE).is_empty() && of.reported.is_empty(), "nothing is kept");
    }
}
