//! A work queue with retries: one entry for each key, the latest value wins; the time is passed in.

use limits::{Refill, TokenBucket};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often an item is tried.
pub(crate) const MAX_ATTEMPTS: u32 = 5;
/// The backoff after the first failure; it doubles from there.
const BASE_BACKOFF: Duration = Duration::from_millis(200);

struct Item<V> {
    value: V,
    attempts: u32,
    ready_at: Instant,
    /// It has been handed out and is not done yet.
    is_processing: bool,
    /// The value was replaced while the older one was being processed.
    is_dirty: bool,
}

/// The latest value of each key that waits to be processed. No key is processed twice at a time.
pub(crate) struct WorkQueue<K, V> {
    items: BTreeMap<K, Item<V>>,
    ready: BTreeSet<(Instant, K)>,
}

/// How processing an item ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Completion {
    /// There is nothing left to do.
    Done,
    /// It may succeed later.
    Retry,
    /// Another attempt would end the same way.
    GiveUp,
}

impl<K: Ord + Clone, V: Clone> WorkQueue<K, V> {
    pub(crate) fn new() -> Self {
        Self { items: BTreeMap::new(), ready: BTreeSet::new() }
    }

    /// Returns how many keys wait or are being processed.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a value, in place of any older one of its key; it is ready at once.
    pub(crate) fn add(&mut self, key: K, value: V, now: Instant) {
        let old = self.items.remove(&key);
        let is_processing = old.as_ref().is_some_and(|item| item.is_processing);
        if let Some(old) = old {
            self.ready.remove(&(old.ready_at, key.clone()));
        }
        if !is_processing {
            self.ready.insert((now, key.clone()));
        }
        self.items
            .insert(key, Item { value, attempts: 0, ready_at: now, is_processing, is_dirty: is_processing });
    }

    /// Hands out an item that is ready, and whether it is the first attempt; no other of its key is handed
    /// out until [`WorkQueue::done`].
    pub(crate) fn get(&mut self, now: Instant) -> Option<(K, V, bool)> {
        let (ready_at, key) = self.ready.first()?;
        if *ready_at > now {
            return None;
        }
        let key = key.clone();
        self.ready.pop_first();
        let item = self.items.get_mut(&key)?;
        item.is_processing = true;
        item.attempts += 1;
        Some((key, item.value.clone(), item.attempts == 1))
    }

    /// Hands out an item as [`WorkQueue::get`] does, if the bucket has a token for it.
    ///
    /// # Errors
    /// When to ask again; `None` if nothing waits.
    pub(crate) fn get_limited(
        &mut self,
        bucket: &mut TokenBucket,
        started: Instant,
        now: Instant,
    ) -> Result<(K, V, bool), Option<Instant>> {
        if self.next_ready().is_none_or(|ready_at| ready_at > now) {
            return Err(self.next_ready());
        }
        let taken = bucket.take(now.saturating_duration_since(started));
        taken.map_err(|Refill(wait)| Some(now + wait))?;
        self.get(now).ok_or(None)
    }

    /// Drops everything that waits and meets the condition.
    pub(crate) fn drop_waiting(&mut self, condition: impl Fn(&K) -> bool) {
        let ready = &mut self.ready;
        self.items.retain(|key, item| {
            let is_dropped = !item.is_processing && condition(key);
            if is_dropped {
                ready.remove(&(item.ready_at, key.clone()));
            }
            !is_dropped
        });
    }

    /// Returns when the next item is ready.
    pub(crate) fn next_ready(&self) -> Option<Instant> {
        self.ready.first().map(|(ready_at, _)| *ready_at)
    }

    /// Records how processing ended; tells whether the item was given up.
    pub(crate) fn done(&mut self, key: &K, completion: Completion, now: Instant) -> bool {
        let Some(mut item) = self.items.remove(key) else { return false };
        item.is_processing = false;
        if std::mem::take(&mut item.is_dirty) {
            item.ready_at = now;
        } else if completion == Completion::Done {
            return false;
        } else if completion == Completion::GiveUp || item.attempts >= MAX_ATTEMPTS {
            return true;
        } else {
            item.ready_at = now + BASE_BACKOFF * 2u32.saturating_pow(item.attempts.saturating_sub(1));
        }
        self.ready.insert((item.ready_at, key.clone()));
        self.items.insert(key.clone(), item);
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_latest_value_is_processed_once() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        queue.add("a", 1, now);
        queue.add("a", 2, now);
        assert_eq!(queue.get(now), Some(("a", 2, true)));
        assert_eq!(queue.get(now), None);
        assert!(!queue.done(&"a", Completion::Done, now));
        assert_eq!((queue.len(), queue.next_ready()), (0, None));
    }

    #[test]
    fn a_value_added_while_processing_is_processed_afterwards() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        queue.add("a", 1, now);
        queue.get(now).unwrap();
        queue.add("a", 2, now);
        assert_eq!(queue.get(now), None, "never two at a time");
        queue.done(&"a", Completion::Done, now);
        assert_eq!(queue.get(now), Some(("a", 2, true)));
    }

    #[test]
    fn a_failure_is_retried_with_a_growing_backoff() {
        let (mut queue, begin) = (WorkQueue::new(), Instant::now());
        queue.add("a", 1, begin);
        let (mut now, mut backoffs) = (begin, Vec::new());
        loop {
            queue.get(now).unwrap();
            if queue.done(&"a", Completion::Retry, now) {
                break;
            }
            let ready_at = queue.next_ready().unwrap();
            backoffs.push((ready_at - now).as_millis());
            assert_eq!(queue.get(now), None, "not before its time");
            now = ready_at;
        }
        assert_eq!(backoffs, [200, 400, 800, 1600]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_new_value_ends_the_backoff_of_a_failed_one() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        queue.add("a", 1, now);
        queue.get(now).unwrap();
        queue.done(&"a", Completion::Retry, now);
        queue.add("a", 2, now);
        assert_eq!(queue.get(now), Some(("a", 2, true)));
        assert!(queue.done(&"a", Completion::GiveUp, now));
    }

    #[test]
    fn what_is_dropped_is_not_handed_out() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        for key in ["a1", "a2", "b"] {
            queue.add(key, 1, now);
        }
        assert_eq!(queue.get(now), Some(("a1", 1, true)));
        queue.drop_waiting(|key| key.starts_with('a'));
        assert_eq!(queue.get(now), Some(("b", 1, true)));
        assert_eq!((queue.get(now), queue.len()), (None, 2));
    }
}
