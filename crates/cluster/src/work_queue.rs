//! A work queue with retries: one entry for each key, the latest value wins; the time is passed in.
//!
//! It has two lanes, which are served in turn while both have something: what came alone is not held up by
//! what came with thousands of others.

use limits::{Refill, TokenBucket};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often an item is tried.
pub(crate) const MAX_ATTEMPTS: u32 = 5;
/// The backoff after the first failure; it doubles from there.
const BASE_BACKOFF: Duration = Duration::from_millis(200);

/// With how many others something came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// With few: somebody edited it, and waits for an answer.
    Few,
    /// With many, of an edit that all of them depend on, or of a comparison of everything.
    Many,
}

impl Lane {
    /// Returns the lane of objects of which so many changed at once.
    pub fn of(count: usize) -> Self {
        if count <= FEW { Self::Few } else { Self::Many }
    }
}

/// How many are few.
const FEW: usize = 16;

struct Item<V> {
    value: V,
    lane: Lane,
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
    few: BTreeSet<(Instant, K)>,
    many: BTreeSet<(Instant, K)>,
    /// The lane that is served first next.
    turn: Lane,
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
        Self { items: BTreeMap::new(), few: BTreeSet::new(), many: BTreeSet::new(), turn: Lane::Few }
    }

    fn ready(&mut self, lane: Lane) -> &mut BTreeSet<(Instant, K)> {
        match lane {
            Lane::Few => &mut self.few,
            Lane::Many => &mut self.many,
        }
    }

    /// Returns how many keys wait or are being processed.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a value, in place of any older one of its key, whose place and lane it takes if they are the
    /// better ones; it is ready at once.
    pub(crate) fn add(&mut self, key: K, value: V, mut lane: Lane, now: Instant) {
        let (mut ready_at, mut is_processing) = (now, false);
        if let Some(old) = self.items.remove(&key) {
            self.ready(old.lane).remove(&(old.ready_at, key.clone()));
            is_processing = old.is_processing;
            if !is_processing {
                (lane, ready_at) = (lane.min(old.lane), ready_at.min(old.ready_at));
            }
        }
        if !is_processing {
            self.ready(lane).insert((ready_at, key.clone()));
        }
        let item = Item { value, lane, attempts: 0, ready_at, is_processing, is_dirty: is_processing };
        self.items.insert(key, item);
    }

    /// Hands out an item that is ready, and whether it is the first attempt; no other of its key is handed
    /// out until [`WorkQueue::done`].
    pub(crate) fn get(&mut self, now: Instant) -> Option<(K, V, bool)> {
        let is_ready = |of: &BTreeSet<(Instant, K)>| of.first().is_some_and(|(ready_at, _)| *ready_at <= now);
        let lane = match (is_ready(&self.few), is_ready(&self.many)) {
            (true, true) => self.turn,
            (true, false) => Lane::Few,
            (false, true) => Lane::Many,
            (false, false) => return None,
        };
        self.turn = if lane == Lane::Few { Lane::Many } else { Lane::Few };
        let (_, key) = self.ready(lane).pop_first()?;
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
        let (few, many) = (&mut self.few, &mut self.many);
        self.items.retain(|key, item| {
            let is_dropped = !item.is_processing && condition(key);
            if is_dropped {
                let ready = if item.lane == Lane::Few { &mut *few } else { &mut *many };
                ready.remove(&(item.ready_at, key.clone()));
            }
            !is_dropped
        });
    }

    /// Returns when the next item is ready.
    pub(crate) fn next_ready(&self) -> Option<Instant> {
        let firsts = [self.few.first(), self.many.first()].into_iter().flatten();
        firsts.map(|(ready_at, _)| *ready_at).min()
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
        self.ready(item.lane).insert((item.ready_at, key.clone()));
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
        queue.add("a", 1, Lane::Few, now);
        queue.add("a", 2, Lane::Few, now);
        assert_eq!(queue.get(now), Some(("a", 2, true)));
        assert_eq!(queue.get(now), None);
        assert!(!queue.done(&"a", Completion::Done, now));
        assert_eq!((queue.len(), queue.next_ready()), (0, None));
    }

    #[test]
    fn a_value_added_while_processing_is_processed_afterwards() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        queue.add("a", 1, Lane::Few, now);
        queue.get(now).unwrap();
        queue.add("a", 2, Lane::Few, now);
        assert_eq!(queue.get(now), None, "never two at a time");
        queue.done(&"a", Completion::Done, now);
        assert_eq!(queue.get(now), Some(("a", 2, true)));
    }

    #[test]
    fn a_failure_is_retried_with_a_growing_backoff() {
        let (mut queue, begin) = (WorkQueue::new(), Instant::now());
        queue.add("a", 1, Lane::Few, begin);
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
        queue.add("a", 1, Lane::Few, now);
        queue.get(now).unwrap();
        queue.done(&"a", Completion::Retry, now);
        queue.add("a", 2, Lane::Few, now);
        assert_eq!(queue.get(now), Some(("a", 2, true)));
        assert!(queue.done(&"a", Completion::GiveUp, now));
    }

    #[test]
    fn what_is_dropped_is_not_handed_out() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        for key in ["a1", "a2", "b"] {
            queue.add(key, 1, Lane::Few, now);
        }
        assert_eq!(queue.get(now), Some(("a1", 1, true)));
        queue.drop_waiting(|key| key.starts_with('a'));
        assert_eq!(queue.get(now), Some(("b", 1, true)));
        assert_eq!((queue.get(now), queue.len()), (None, 2));
    }

    #[test]
    fn what_came_alone_is_not_held_up_by_what_came_with_many() {
        let (mut queue, now) = (WorkQueue::new(), Instant::now());
        let second = now + Duration::from_secs(1);
        (0..1000).for_each(|key| queue.add(key, 1, Lane::of(1000), now));
        for _ in 0..10 {
            queue.get(second).unwrap();
        }
        queue.add(2000, 1, Lane::of(1), second);
        // It waited with the others, and now somebody edits it.
        queue.add(900, 2, Lane::of(1), second);
        let next: Vec<i32> = (0..4).filter_map(|_| queue.get(second)).map(|(key, ..)| key).collect();
        assert!(next.contains(&2000) && next.contains(&900), "{next:?}");
        // Nor the others by what comes alone, again and again.
        let edits = (0..100).map(|n| {
            queue.add(3000 + n, 1, Lane::Few, second);
            queue.add(4000 + n, 1, Lane::Few, second);
            queue.get(second).unwrap().0
        });
        assert_eq!(edits.filter(|key| *key < 3000).count(), 50);
    }

    #[test]
    fn what_changes_again_while_it_waits_keeps_its_place() {
        let (mut queue, begin) = (WorkQueue::new(), Instant::now());
        queue.add("b", 1, Lane::Few, begin);
        queue.add("a", 1, Lane::Few, begin + Duration::from_secs(1));
        let later = begin + Duration::from_secs(2);
        queue.add("b", 2, Lane::Many, later);
        assert_eq!(queue.get(later), Some(("b", 2, true)));
        assert_eq!(queue.get(later), Some(("a", 1, true)));
    }
}
