//! A queue in which everybody takes turns, however much somebody has in it.
//!
//! Groups take turns, in each group its holders, and what one holder has goes in order.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What waits, by group and holder.
#[derive(Debug)]
pub struct FairQueue<G, K, T> {
    waiting: Rounds<G, Rounds<K, VecDeque<T>>>,
    len: usize,
}

/// Queues that take turns. None of them is empty.
#[derive(Debug)]
struct Rounds<K, Q> {
    order: VecDeque<K>,
    queues: HashMap<K, Q>,
}

impl<K, Q> Default for Rounds<K, Q> {
    fn default() -> Self {
        Self { order: VecDeque::new(), queues: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone, Q: Default> Rounds<K, Q> {
    /// Returns the queue of a key, to have something put into it: a new one waits for all others.
    fn of(&mut self, key: &K) -> &mut Q {
        let order = &mut self.order;
        self.queues.entry(key.clone()).or_insert_with(|| {
            order.push_back(key.clone());
            Q::default()
        })
    }

    /// Takes from the queue whose turn it is.
    fn pop<T>(&mut self, pop: impl FnOnce(&mut Q) -> Option<T>, is_empty: impl Fn(&Q) -> bool) -> Option<T> {
        let key = self.order.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let popped = pop(queue);
        if is_empty(queue) {
            self.queues.remove(&key);
        } else {
            self.order.push_back(key);
        }
        popped
    }

    /// Keeps those queues of which something is left.
    fn retain(&mut self, mut is_left: impl FnMut(&mut Q) -> bool) {
        self.queues.retain(|_, queue| is_left(queue));
        self.order.retain(|key| self.queues.contains_key(key));
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl<G: Hash + Eq + Clone, K: Hash + Eq + Clone, T> Default for FairQueue<G, K, T> {
    fn default() -> Self {
        Self { waiting: Rounds::default(), len: 0 }
    }
}

impl<G: Hash + Eq + Clone, K: Hash + Eq + Clone, T> FairQueue<G, K, T> {
    /// Appends something that a holder waits for.
    pub fn push(&mut self, group: &G, holder: &K, item: T) {
        self.waiting.of(group).of(holder).push_back(item);
        self.len += 1;
    }

    /// Takes what goes next.
    pub fn pop(&mut self) -> Option<T> {
        let of_group =
            |group: &mut Rounds<K, VecDeque<T>>| group.pop(VecDeque::pop_front, VecDeque::is_empty);
        let popped = self.waiting.pop(of_group, Rounds::is_empty)?;
        self.len -= 1;
        Some(popped)
    }

    /// Drops what nobody waits for any more. This walks the queue.
    pub fn retain(&mut self, is_awaited: impl Fn(&T) -> bool) {
        let mut len = 0;
        self.waiting.retain(|group| {
            group.retain(|items| {
                items.retain(&is_awaited);
                len += items.len();
                !items.is_empty()
            });
            !group.is_empty()
        });
        self.len = len;
    }

    /// Returns how much waits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut FairQueue<&'static str, u8, &'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn groups_take_turns_and_their_holders_do() {
        let mut queue = FairQueue::default();
        for item in ["a1", "a2", "a3", "a4"] {
            queue.push(&"a", &1, item);
        }
        queue.push(&"a", &2, "b1");
        queue.push(&"c", &3, "c1");
        queue.push(&"c", &3, "c2");
        assert_eq!(drain(&mut queue), ["a1", "c1", "b1", "c2", "a2", "a3", "a4"]);
        assert!(queue.is_empty() && queue.waiting.queues.is_empty());
    }

    #[test]
    fn what_nobody_waits_for_leaves_nothing_behind() {
        let mut queue = FairQueue::default();
        for (holder, item) in [(1, "a1"), (1, "gone"), (2, "gone")] {
            queue.push(&"a", &holder, item);
            queue.push(&"b", &holder, "gone");
        }
        queue.retain(|item| *item != "gone");
        assert_eq!((queue.len(), queue.waiting.queues.len(), queue.waiting.order.len()), (1, 1, 1));
        assert_eq!(drain(&mut queue), ["a1"]);
    }
}
