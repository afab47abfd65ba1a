//! Bytes that clients hold in memory, of which whoever holds many takes only from itself.

use crate::ranking::{Place, Ranking};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Called once when what was charged is to be given up.
struct OnEvict(Box<dyn FnOnce() + Send>);

impl fmt::Debug for OnEvict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEvict")
    }
}

/// What is held, by client and by number of the charge.
#[derive(Debug, Default)]
struct Held {
    next: u64,
    charges: Ranking<Arc<str>, u64, OnEvict>,
}

/// A number of bytes that clients share, of which each may hold a part. When a client holds as much as it may, its
/// largest charge is given up for a smaller one; when all is taken, that of the client that holds the most, for one
/// that holds less.
#[derive(Debug)]
pub struct FairBudget {
    held: Arc<Mutex<Held>>,
    total: u64,
    of_client: u64,
}

/// Why a client may not hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// It holds as much as one may, and none of its charges is larger.
    #[error("this client may hold {0} bytes")]
    OfClient(u64),
    /// All is taken, and no other client holds more.
    #[error("all clients together may hold {0} bytes, and none holds more than this one")]
    OfAll(u64),
    /// It held the most, and gave up this charge for another one.
    #[error("clients hold as much as they may, and this one held the most")]
    Evicted,
}

/// What one stream of a client holds; dropping it releases that.
#[derive(Debug)]
pub struct Charge {
    held: Arc<Mutex<Held>>,
    place: Place<Arc<str>, u64>,
    bytes: u64,
    total: u64,
    of_client: u64,
}

impl FairBudget {
    /// Has `total` bytes, of which one client may hold `of_client`.
    pub fn new(total: u64, of_client: u64) -> Self {
        Self { held: Arc::default(), total, of_client }
    }

    /// Begins to charge a client, with nothing. `on_evict` is called when it has to give up this charge, by the call
    /// that takes it: it must not block.
    pub fn open(&self, client: Arc<str>, on_evict: impl FnOnce() + Send + 'static) -> Charge {
        let held = &mut *self.held.lock();
        let number = held.next;
        held.next += 1;
        let id = held.charges.add(&client, &number, 0, OnEvict(Box::new(on_evict)));
        let (total, of_client) = (self.total, self.of_client);
        Charge { held: Arc::clone(&self.held), place: (client, number, id), bytes: 0, total, of_client }
    }

    /// Returns how much is held.
    pub fn held(&self) -> u64 {
        self.held.lock().charges.sum()
    }
}

impl Charge {
    /// Charges this much from now on, instead of what it was.
    ///
    /// # Errors
    /// [`Exhausted`]; then the client is to give up what it holds of it.
    pub fn set(&mut self, bytes: u64) -> Result<(), Exhausted> {
        if bytes == self.bytes {
            return Ok(());
        }
        let mut evicted = Vec::new();
        let outcome = self.set_evicting(bytes, &mut evicted);
        evicted.into_iter().for_each(|OnEvict(call)| call());
        outcome
    }

    fn set_evicting(&mut self, bytes: u64, evicted: &mut Vec<OnEvict>) -> Result<(), Exhausted> {
        let held = &mut self.held.lock().charges;
        if !held.has(&self.place) {
            return Err(Exhausted::Evicted);
        }
        let client = &self.place.0;
        if bytes > self.bytes {
            while held.sum_of_group(client) - self.bytes + bytes > self.of_client {
                let largest =
                    held.largest_in(client).filter(|(of, number, _)| held.sum_of(of, number) > bytes);
                let Some(place) = largest.filter(|place| *place != self.place) else {
                    return Err(Exhausted::OfClient(self.of_client));
                };
                evicted.extend(held.remove(&place));
            }
            while held.sum() - self.bytes + bytes > self.total {
                let own = held.sum_of_group(client) - self.bytes + bytes;
                let largest = held.largest_group().filter(|(sum, of)| *sum > own && *of != client);
                let largest = largest.map(|(_, of)| Arc::clone(of));
                let Some(place) = largest.and_then(|of| held.largest_in(&of)) else {
                    return Err(Exhausted::OfAll(self.total));
                };
                evicted.extend(held.remove(&place));
            }
        }
        held.set(&self.place, bytes);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Dropped after the lock is released: what it captures is not ours.
        let on_evict = self.held.lock().charges.remove(&self.place);
        drop(on_evict);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn open(budget: &FairBudget, client: &str, evicted: &Arc<AtomicUsize>) -> Charge {
        let evicted = Arc::clone(evicted);
        let on_evict = move || {
            evicted.fetch_add(1, Ordering::Relaxed);
        };
        budget.open(client.into(), on_evict)
    }

    #[test]
    fn a_client_holds_its_part_over_all_of_its_streams() {
        let (budget, evicted) = (FairBudget::new(100, 40), Arc::default());
        let (mut one, mut two) = (open(&budget, "a", &evicted), open(&budget, "a", &evicted));
        one.set(30).unwrap();
        two.set(10).unwrap();
        assert_eq!(one.set(41), Err(Exhausted::OfClient(40)));
        assert_eq!(one.set(31), Err(Exhausted::OfClient(40)), "the other one holds less");
        one.set(29).unwrap();
        two.set(11).unwrap();
        // A stream that holds little is not kept out by one that holds much.
        let mut three = open(&budget, "a", &evicted);
        three.set(5).unwrap();
        assert_eq!((one.set(28), evicted.swap(0, Ordering::Relaxed)), (Err(Exhausted::Evicted), 1));
        assert_eq!(open(&budget, "b", &evicted).set(40), Ok(()));
        drop((one, two, three));
        assert_eq!((budget.held(), evicted.load(Ordering::Relaxed)), (0, 0));
        assert!(budget.held.lock().charges.is_empty());
    }

    #[test]
    fn whoever_holds_the_most_gives_up_for_others() {
        let (budget, evicted) = (FairBudget::new(100, 60), Arc::default());
        let mut greedy = [open(&budget, "a", &evicted), open(&budget, "a", &evicted)];
        greedy.iter_mut().for_each(|charge| charge.set(30).unwrap());
        let mut quiet = open(&budget, "b", &evicted);
        quiet.set(40).unwrap();
        assert_eq!(evicted.load(Ordering::Relaxed), 0);
        let mut latest = open(&budget, "c", &evicted);
        latest.set(20).unwrap();
        assert_eq!(evicted.load(Ordering::Relaxed), 1);
        assert_eq!(greedy[0].set(1), Err(Exhausted::Evicted));
        assert_eq!((greedy[1].set(30), budget.held()), (Ok(()), 90));
        // It would hold the most itself.
        assert_eq!(latest.set(50), Err(Exhausted::OfAll(100)));
    }
}
