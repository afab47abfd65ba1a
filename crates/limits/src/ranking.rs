//! Who holds the most: entries with weights by group and holder, of which the largest is found at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Entries with weights. The largest group, the largest holder of a group and the oldest entry of a holder are found
/// without a walk, however many there are.
#[derive(Debug)]
pub(crate) struct Ranking<G, K, V> {
    next: u64,
    sum: u64,
    groups: BTreeMap<G, Group<K, V>>,
    /// By weight; of equal ones the one whose entry would go is the older comes last.
    by_size: BTreeSet<(u64, Reverse<u64>, G)>,
}

#[derive(Debug)]
struct Group<K, V> {
    sum: u64,
    holders: BTreeMap<K, Holder<V>>,
    by_size: BTreeSet<(u64, Reverse<u64>, K)>,
}

#[derive(Debug)]
struct Holder<V> {
    sum: u64,
    /// Oldest first.
    entries: BTreeMap<u64, (u64, V)>,
}

/// An entry: its group, its holder, and its number.
pub(crate) type Place<G, K> = (G, K, u64);

impl<G, K, V> Default for Ranking<G, K, V> {
    fn default() -> Self {
        Self { next: 0, sum: 0, groups: BTreeMap::new(), by_size: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V> Group<K, V> {
    /// The weight by which it is ranked, and the age of the entry that would go.
    fn rank(&self) -> Option<(u64, Reverse<u64>)> {
        self.by_size.last().map(|(_, oldest, _)| (self.sum, *oldest))
    }

    fn change<R>(&mut self, key: &K, change: impl FnOnce(&mut Holder<V>) -> R) -> R {
        let new = || Holder { sum: 0, entries: BTreeMap::new() };
        let holder = self.holders.entry(key.clone()).or_insert_with(new);
        let rank = |holder: &Holder<V>| holder.entries.keys().next().map(|id| (holder.sum, Reverse(*id)));
        let (before, sum) = (rank(holder), holder.sum);
        let changed = change(holder);
        let after = rank(holder);
        self.sum = self.sum - sum + holder.sum;
        if before != after {
            if let Some((sum, oldest)) = before {
                self.by_size.remove(&(sum, oldest, key.clone()));
            }
            if let Some((sum, oldest)) = after {
                self.by_size.insert((sum, oldest, key.clone()));
            }
        }
        if after.is_none() {
            self.holders.remove(key);
        }
        changed
    }
}

impl<G: Ord + Clone, K: Ord + Clone, V> Ranking<G, K, V> {
    fn change<R>(&mut self, of: &G, key: &K, change: impl FnOnce(&mut Holder<V>) -> R) -> R {
        let new = || Group { sum: 0, holders: BTreeMap::new(), by_size: BTreeSet::new() };
        let group = self.groups.entry(of.clone()).or_insert_with(new);
        let (before, sum) = (group.rank(), group.sum);
        let changed = group.change(key, change);
        let after = group.rank();
        self.sum = self.sum - sum + group.sum;
        if before != after {
            if let Some((sum, oldest)) = before {
                self.by_size.remove(&(sum, oldest, of.clone()));
            }
            if let Some((sum, oldest)) = after {
                self.by_size.insert((sum, oldest, of.clone()));
            }
        }
        if after.is_none() {
            self.groups.remove(of);
        }
        changed
    }

    /// The weight of all entries.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The weight of a group.
    pub fn sum_of_group(&self, of: &G) -> u64 {
        self.groups.get(of).map_or(0, |group| group.sum)
    }

    /// The weight of a holder.
    pub fn sum_of(&self, of: &G, key: &K) -> u64 {
        self.groups.get(of).and_then(|group| group.holders.get(key)).map_or(0, |holder| holder.sum)
    }

    /// Adds an entry, and returns its number, which rises.
    pub fn add(&mut self, of: &G, key: &K, weight: u64, value: V) -> u64 {
        let id = self.next;
        self.next += 1;
        self.change(of, key, |holder| {
            holder.sum += weight;
            holder.entries.insert(id, (weight, value));
        });
        id
    }

    /// Changes the weight of an entry; false if it is not there.
    pub fn set(&mut self, (of, key, id): &Place<G, K>, weight: u64) -> bool {
        self.change(of, key, |holder| {
            let Some((of_entry, _)) = holder.entries.get_mut(id) else { return false };
            holder.sum = holder.sum - *of_entry + weight;
            *of_entry = weight;
            true
        })
    }

    /// Tells whether an entry is there.
    pub fn has(&self, (of, key, id): &Place<G, K>) -> bool {
        let holder = self.groups.get(of).and_then(|group| group.holders.get(key));
        holder.is_some_and(|holder| holder.entries.contains_key(id))
    }

    /// Removes an entry.
    pub fn remove(&mut self, (of, key, id): &Place<G, K>) -> Option<V> {
        self.change(of, key, |holder| {
            let (weight, value) = holder.entries.remove(id)?;
            holder.sum -= weight;
            Some(value)
        })
    }

    /// The oldest entry of a holder.
    pub fn oldest_of(&self, of: &G, key: &K) -> Option<Place<G, K>> {
        let holder = self.groups.get(of)?.holders.get(key)?;
        Some((of.clone(), key.clone(), *holder.entries.keys().next()?))
    }

    /// The oldest entry of the largest holder of a group.
    pub fn largest_in(&self, of: &G) -> Option<Place<G, K>> {
        let (_, Reverse(id), key) = self.groups.get(of)?.by_size.last()?;
        Some((of.clone(), key.clone(), *id))
    }

    /// The largest group, and its weight.
    pub fn largest_group(&self) -> Option<(u64, &G)> {
        self.by_size.last().map(|(sum, _, of)| (*sum, of))
    }

    /// The entry that goes first for one more of a group: of the largest group, or of this one if none is larger.
    pub fn goes_for(&self, of: &G) -> Option<Place<G, K>> {
        let (sum, largest) = self.largest_group()?;
        self.largest_in(if sum > self.sum_of_group(of) { largest } else { of })
    }

    /// Tells whether nothing is kept.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.by_size.is_empty() && self.sum == 0
    }
}
