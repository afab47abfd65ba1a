//! A semaphore for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Permits counted by who holds them, each key up to the same limit.
#[derive(Debug)]
pub struct KeyedSemaphore<K: Hash + Eq + Clone> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    limit: usize,
}

/// One permit; dropping it releases it.
#[derive(Debug)]
pub struct Permit<K: Hash + Eq> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Hash + Eq + Clone> KeyedSemaphore<K> {
    /// Lets each key hold up to `limit` permits at once.
    pub fn new(limit: usize) -> Self {
        Self { held: Arc::default(), limit }
    }

    /// Acquires a permit; `None` when the key holds as many as it may.
    pub fn try_acquire(&self, key: K) -> Option<Permit<K>> {
        let mut held = self.held.lock();
        let count = held.entry(key.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Permit { held: Arc::clone(&self.held), key })
    }
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_limit_and_leaves_nothing_behind() {
        let semaphore = KeyedSemaphore::new(2);
        let (one, two) = (semaphore.try_acquire("a").unwrap(), semaphore.try_acquire("a").unwrap());
        assert!(semaphore.try_acquire("a").is_none());
        let other = semaphore.try_acquire("b").unwrap();
        drop(one);
        assert!(semaphore.try_acquire("a").is_some());
        drop((two, other));
        assert!(semaphore.held.lock().is_empty());
    }
}
