//! Places at something, counted by who has them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many places each holder has, up to a bound.
#[derive(Debug)]
pub(crate) struct Tally<K: Hash + Eq + Clone> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    most: usize,
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place<K: Hash + Eq> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    holder: K,
}

impl<K: Hash + Eq + Clone> Tally<K> {
    /// Lets each holder have so many places at once.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Takes a place; nothing when the holder has as many as it may.
    pub fn take(&self, holder: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock();
        let count = taken.entry(holder.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { taken: Arc::clone(&self.taken), holder })
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(count) = taken.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_holder_has_its_own_bound_and_leaves_nothing_behind() {
        let tally = Tally::new(2);
        let (one, two) = (tally.take("a").unwrap(), tally.take("a").unwrap());
        assert!(tally.take("a").is_none());
        let other = tally.take("b").unwrap();
        drop(one);
        assert!(tally.take("a").is_some());
        drop((two, other));
        assert!(tally.taken.lock().is_empty());
    }
}
