//! What is to be written, when, and how often it was tried; the time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often a write is tried.
pub(crate) const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles from there.
const PAUSE: Duration = Duration::from_millis(200);

struct Item<V> {
    value: V,
    attempts: u32,
    due: Instant,
    /// A write is under way.
    is_busy: bool,
    /// The value came while a write of an older one was under way.
    is_newer: bool,
}

/// The latest value of each key that waits to be written. No key is written by two at a time.
pub(crate) struct Queue<K, V> {
    items: BTreeMap<K, Item<V>>,
    due: BTreeSet<(Instant, K)>,
}

/// How a write ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// There is nothing left to do.
    Done,
    /// It may succeed later.
    Retry,
    /// Another attempt would end the same way.
    GiveUp,
}

impl<K: Ord + Clone, V: Clone> Queue<K, V> {
    pub(crate) fn new() -> Self {
        Self { items: BTreeMap::new(), due: BTreeSet::new() }
    }

    /// Returns how many keys wait or are being written.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Puts a value in the place of any older one; it is due at once.
    pub(crate) fn put(&mut self, key: K, value: V, now: Instant) {
        let old = self.items.remove(&key);
        let is_busy = old.as_ref().is_some_and(|item| item.is_busy);
        if let Some(old) = old {
            self.due.remove(&(old.due, key.clone()));
        }
        if !is_busy {
            self.due.insert((now, key.clone()));
        }
        self.items.insert(key, Item { value, attempts: 0, due: now, is_busy, is_newer: is_busy });
    }

    /// Returns what is due, and whether it is tried for the first time; the key is busy until
    /// [`Queue::end`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<(K, V, bool)> {
        let (due, key) = self.due.first()?;
        if *due > now {
            return None;
        }
        let key = key.clone();
        self.due.pop_first();
        let item = self.items.get_mut(&key)?;
        item.is_busy = true;
        item.attempts += 1;
        Some((key, item.value.clone(), item.attempts == 1))
    }

    /// Gives up everything that waits and fulfils the condition.
    pub(crate) fn give_up(&mut self, condition: impl Fn(&K) -> bool) {
        let due = &mut self.due;
        self.items.retain(|key, item| {
            let goes = !item.is_busy && condition(key);
            if goes {
                due.remove(&(item.due, key.clone()));
            }
            !goes
        });
    }

    /// Returns when the next value is due.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes note of how a write ended; tells whether the value was given up.
    pub(crate) fn end(&mut self, key: &K, ending: Ending, now: Instant) -> bool {
        let Some(mut item) = self.items.remove(key) else { return false };
        item.is_busy = false;
        if std::mem::take(&mut item.is_newer) {
            item.due = now;
        } else if ending == Ending::Done {
            return false;
        } else if ending == Ending::GiveUp || item.attempts >= ATTEMPTS {
            return true;
        } else {
            item.due = now + PAUSE * 2u32.saturating_pow(item.attempts.saturating_sub(1));
        }
        self.due.insert((item.due, key.clone()));
        self.items.insert(key.clone(), item);
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_latest_value_is_written_once() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.put("a", 1, now);
        queue.put("a", 2, now);
        assert_eq!(queue.next(now), Some(("a", 2, true)));
        assert_eq!(queue.next(now), None);
        assert!(!queue.end(&"a", Ending::Done, now));
        assert_eq!((queue.len(), queue.wake()), (0, None));
    }

    #[test]
    fn what_comes_during_a_write_is_written_after_it() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.put("a", 1, now);
        queue.next(now).unwrap();
        queue.put("a", 2, now);
        assert_eq!(queue.next(now), None, "never two at a time");
        queue.end(&"a", Ending::Done, now);
        assert_eq!(queue.next(now), Some(("a", 2, true)));
    }

    #[test]
    fn a_failure_is_tried_five_times_with_growing_pauses() {
        let (mut queue, begin) = (Queue::new(), Instant::now());
        queue.put("a", 1, begin);
        let (mut now, mut pauses) = (begin, Vec::new());
        loop {
            queue.next(now).unwrap();
            if queue.end(&"a", Ending::Retry, now) {
                break;
            }
            let due = queue.wake().unwrap();
            pauses.push((due - now).as_millis());
            assert_eq!(queue.next(now), None, "not before its time");
            now = due;
        }
        assert_eq!(pauses, [200, 400, 800, 1600]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_new_value_ends_the_pause_of_a_failed_one() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.put("a", 1, now);
        queue.next(now).unwrap();
        queue.end(&"a", Ending::Retry, now);
        queue.put("a", 2, now);
        assert_eq!(queue.next(now), Some(("a", 2, true)));
        assert!(queue.end(&"a", Ending::GiveUp, now));
    }

    #[test]
    fn what_is_given_up_is_not_due_any_more() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for key in ["a1", "a2", "b"] {
            queue.put(key, 1, now);
        }
        assert_eq!(queue.next(now), Some(("a1", 1, true)));
        queue.give_up(|key| key.starts_with('a'));
        assert_eq!(queue.next(now), Some(("b", 1, true)));
        assert_eq!((queue.next(now), queue.len()), (None, 2));
    }
}
