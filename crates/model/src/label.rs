//! Label sets and selectors.

use crate::Str;
use hashbrown::HashTable;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// A sorted set of key/value pairs: labels, `matchLabels`, or the annotations that matter.
///
/// Equal sets share one allocation, so a clone costs a counter, and comparing or hashing two sets
/// costs a word. Keys are unique and ascending by byte order.
#[derive(Clone)]
pub struct Labels(Arc<Set>);

struct Set {
    hash: u64,
    pairs: Box<[(Str, Str)]>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels(Arc::new(Set { hash: 0, pairs: Box::default() })));

struct Table {
    sets: HashTable<Arc<Set>>,
    sweep_at: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { sets: HashTable::new(), sweep_at: 1024 }
    }
}

impl Labels {
    /// Returns the shared set of these pairs; of repeated keys the last one holds.
    pub fn new<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut list: SmallVec<[(K, V); 16]> = pairs.into_iter().collect();
        // Stable sort and a pass from the back keep the last of equal keys.
        list.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        list.reverse();
        list.dedup_by(|a, b| a.0.as_ref() == b.0.as_ref());
        list.reverse();
        Self::from_sorted(&list)
    }

    fn from_sorted<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Self {
        if pairs.is_empty() {
            return EMPTY.clone();
        }
        // A fixed seed: hashes must agree between sets made at different times.
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        for (key, value) in pairs {
            (key.as_ref(), value.as_ref()).hash(&mut hasher);
        }
        let hash = hasher.finish() | 1;
        let is_equal = |set: &Arc<Set>| {
            set.hash == hash
                && set.pairs.len() == pairs.len()
                && set.pairs.iter().zip(pairs).all(|(a, b)| a.0 == b.0.as_ref() && a.1 == b.1.as_ref())
        };
        let mut table = TABLE.lock();
        if let Some(found) = table.sets.find(hash, is_equal) {
            return Self(found.clone());
        }
        if table.sets.len() >= table.sweep_at {
            table.sets.retain(|s| Arc::strong_count(s) > 1);
            table.sweep_at = (table.sets.len() * 2).max(1024);
        }
        // Only a set that is new costs its strings: pods of one template have one set.
        let pairs =
            pairs.iter().map(|(k, v)| (crate::shared(k.as_ref()), crate::shared(v.as_ref()))).collect();
        let set = Arc::new(Set { hash, pairs });
        table.sets.insert_unique(hash, set.clone(), |s| s.hash);
        Self(set)
    }

    /// Returns the value of `key`, if it is present.
    pub fn get(&self, key: &str) -> Option<&Str> {
        let pairs = &self.0.pairs;
        pairs.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok().map(|i| &pairs[i].1)
    }

    /// Returns the pairs, ascending by key.
    pub fn iter(&self) -> std::slice::Iter<'_, (Str, Str)> {
        self.0.pairs.iter()
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.0.pairs.len()
    }

    /// Tells whether the set has no pair.
    pub fn is_empty(&self) -> bool {
        self.0.pairs.is_empty()
    }

    /// Tells whether every pair of `self` is also in `other`: `matchLabels` semantics, so an empty
    /// set matches everything.
    pub fn is_subset_of(&self, other: &Labels) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.iter().all(|(k, v)| other.get(k) == Some(v))
    }

    /// Returns this set with `over` laid on top: where both have a key, `over` holds.
    pub fn merged(&self, over: &Labels) -> Labels {
        Labels::new(self.iter().chain(over.iter()).map(|(k, v)| (k.clone(), v.clone())))
    }
}

impl Default for Labels {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        // A sweep may let one set exist twice in time, so content decides when addresses differ.
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0.pairs == other.0.pairs)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.pairs.cmp(&other.0.pairs)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(k, v)| (k, v))).finish()
    }
}

/// A Kubernetes label selector: all of `matchLabels` and all of `matchExpressions`
/// (`metav1.LabelSelector`). The empty selector matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// Pairs that must be present.
    pub match_labels: Labels,
    /// Further requirements, in the order written.
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectorRequirement {
    /// The label key.
    pub key: Str,
    /// How the key is compared.
    pub operator: SelectorOperator,
    /// Values for `In` and `NotIn`; empty otherwise.
    pub values: Vec<Str>,
}

/// `metav1.LabelSelectorOperator`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SelectorOperator {
    /// The value is one of those given.
    In,
    /// The key is absent or its value is none of those given.
    NotIn,
    /// The key is present.
    Exists,
    /// The key is absent.
    DoesNotExist,
}

impl Selector {
    /// Tells whether `labels` satisfy every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.is_subset_of(labels)
            && self.match_expressions.iter().all(|r| {
                let value = labels.get(&r.key);
                match r.operator {
                    SelectorOperator::In => value.is_some_and(|v| r.values.contains(v)),
                    SelectorOperator::NotIn => value.is_none_or(|v| !r.values.contains(v)),
                    SelectorOperator::Exists => value.is_some(),
                    SelectorOperator::DoesNotExist => value.is_none(),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_share_one_allocation_whatever_the_order() {
        let a = Labels::new([("app", "web"), ("version", "v1")]);
        let b = Labels::new([("version", "v1"), ("app", "web")]);
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_ne!(a, Labels::new([("app", "web")]));
    }

    #[test]
    fn the_last_of_repeated_keys_holds() {
        assert_eq!(Labels::new([("a", "1"), ("a", "2")]), Labels::new([("a", "2")]));
    }

    #[test]
    fn selector_operators_follow_the_label_selector_rules() {
        let labels = Labels::new([("env", "prod")]);
        let one = |operator, key: &str, values: &[&str]| Selector {
            match_labels: Labels::default(),
            match_expressions: vec![SelectorRequirement {
                key: Str::from(key),
                operator,
                values: values.iter().map(|v| Str::from(*v)).collect(),
            }],
        };
        use SelectorOperator::*;
        assert!(one(In, "env", &["dev", "prod"]).matches(&labels));
        assert!(!one(In, "tier", &["dev"]).matches(&labels));
        assert!(one(NotIn, "tier", &["dev"]).matches(&labels));
        assert!(!one(NotIn, "env", &["prod"]).matches(&labels));
        assert!(one(Exists, "env", &[]).matches(&labels));
        assert!(one(DoesNotExist, "tier", &[]).matches(&labels));
        assert!(Selector::default().matches(&labels));
    }
}
