//! What an Envoy has refused of one type and has not taken in another version since.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::Name;

/// How many resources one refusal is about, by name.
const MAX_NAMED: usize = 8;
/// How many refused resources of a type are told apart.
const MAX_REFUSED: usize = 32;

/// What stands between names in the words of an Envoy.
const BETWEEN: &str = ",;\"'()[]";

/// Returns the names that a message has whole, a few at most: what it costs follows from the length of the message, and
/// not from how many names there are.
pub(super) fn named_in(message: &str, is_name: impl Fn(&str) -> bool) -> Vec<Name> {
    let words = message.split(|c: char| c.is_whitespace() || BETWEEN.contains(c));
    // A sentence may end with a name, and what is said of it begins after a colon.
    let words = words.map(|word| word.trim_end_matches([':', '.'])).filter(|word| is_name(word));
    let mut names: Vec<Name> = Vec::new();
    for word in words {
        if names.len() < MAX_NAMED && names.iter().all(|name| **name != *word) {
            names.push(word.into());
        }
    }
    names
}

/// A version that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefusedVersion {
    /// The step of its last change.
    pub step: u64,
    /// Why, in the words of the Envoy.
    pub message: Arc<str>,
}

/// The refusals of one type.
#[derive(Debug, Default)]
pub(super) struct Refused {
    named: BTreeMap<Name, RefusedVersion>,
    /// The last refusal that named nothing, or found no place among the others.
    other: Option<RefusedVersion>,
}

impl Refused {
    /// Notes a refusal of these resources, each with the step of its last change; tells whether that is news.
    pub fn add(&mut self, resources: Vec<(Name, u64)>, step: u64, message: &str) -> bool {
        let message: Arc<str> = message.into();
        let (mut is_new, mut is_placed) = (false, false);
        for (name, step) in resources {
            if self.named.len() < MAX_REFUSED || self.named.contains_key(&name) {
                let version = RefusedVersion { step, message: Arc::clone(&message) };
                is_new |= self.named.insert(name, version.clone()) != Some(version);
                is_placed = true;
            }
        }
        if !is_placed {
            let version = RefusedVersion { step, message };
            is_new |= self.other.replace(version.clone()) != Some(version);
        }
        is_new
    }

    /// Forgets those of other resources than these, by name and step; tells whether that is news.
    pub fn retain(&mut self, is_refused: impl Fn(&str, u64) -> bool) -> bool {
        let before = self.named.len();
        self.named.retain(|name, version| is_refused(name, version.step));
        self.named.len() < before
    }

    /// Forgets what named nothing; tells whether that is news.
    pub fn forget_other(&mut self) -> bool {
        self.other.take().is_some()
    }

    /// Those that stand, by name; last one without a name.
    pub fn all(&self) -> impl Iterator<Item = (Option<&Name>, &RefusedVersion)> {
        let named = self.named.iter().map(|(name, version)| (Some(name), version));
        named.chain(self.other.iter().map(|version| (None, version)))
    }

    /// What is kept, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.all().map(|(name, version)| name.map_or(0, |name| name.len()) + version.message.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_what_it_has_whole() {
        let message =
            "Error adding/updating cluster(s) inbound-vip|80|http|a.b: no, outbound|1||c. (connect|fd00::1)";
        let names = ["inbound-vip|80|http|a.b", "outbound|1||c", "connect|fd00::1"];
        let others = ["inbound-vip|80|http|a", "vip|80|http|a.b", "a.b", "c", "fd00::1", ""];
        let is_name = |word: &str| names.contains(&word) || others.contains(&word) && !word.is_empty();
        let found: Vec<String> = named_in(message, is_name).iter().map(ToString::to_string).collect();
        assert_eq!(found, names);
    }

    #[test]
    fn a_message_is_about_a_few_names_each_once() {
        let message: String = (0..100).map(|n| format!("r{} r{n} ", n / 2)).collect();
        let names = named_in(&message, |word| word.starts_with('r'));
        assert_eq!(names.len(), MAX_NAMED);
        assert_eq!((&*names[0], &*names[1], &*names[2]), ("r0", "r1", "r2"));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_is_told_without_names() {
        let mut refused = Refused::default();
        for n in 0..100u64 {
            assert!(refused.add(vec![(format!("r{n}").into(), n)], n, "no"));
        }
        assert_eq!(refused.named.len(), MAX_REFUSED);
        assert_eq!(refused.all().last(), Some((None, &RefusedVersion { step: 99, message: "no".into() })));
        assert!(!refused.add(vec![("r0".into(), 0)], 0, "no"), "said before");
        assert!(refused.add(vec![("r0".into(), 0)], 0, "never"));
        assert!(refused.retain(|name, _| name == "r0") && !refused.retain(|_, _| true));
        assert!(refused.forget_other() && !refused.forget_other());
        assert_eq!(refused.held_bytes(), "r0never".len());
    }
}
