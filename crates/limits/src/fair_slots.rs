//! Slots for unauthenticated peers, of which a flood takes only from itself.
//!
//! When all slots are taken, the oldest one of the peer that holds the most is evicted in favour of a
//! peer that holds fewer: a client from elsewhere is let in, however many connections an attacker opens.

use crate::peer::Peer;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Called once when a slot is evicted.
type OnEvict = Box<dyn FnOnce() + Send>;

/// A fixed number of slots, of which one peer may hold a part.
#[derive(Debug)]
pub struct FairSlots {
    held: Arc<Mutex<Held>>,
    limit: usize,
    limit_of_peer: usize,
}

#[derive(Default)]
struct Held {
    next: u64,
    count: usize,
    /// By peer, oldest first.
    by_peer: BTreeMap<Peer, BTreeMap<u64, OnEvict>>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// The peer holds as many as one may.
    PeerLimit,
    /// All are taken, and no peer holds more than this one.
    AllTaken,
}

/// One slot; dropping it releases it.
#[derive(Debug)]
pub struct FairSlot {
    held: Arc<Mutex<Held>>,
    peer: Peer,
    id: u64,
}

impl Held {
    fn remove(&mut self, peer: Peer, id: u64) -> Option<OnEvict> {
        let own = self.by_peer.get_mut(&peer)?;
        let removed = own.remove(&id)?;
        if own.is_empty() {
            self.by_peer.remove(&peer);
        }
        self.count -= 1;
        Some(removed)
    }

    /// Returns the peer that holds the most slots, how many, and its oldest.
    fn largest_holder(&self) -> Option<(usize, Peer, u64)> {
        let oldest = |own: &BTreeMap<u64, OnEvict>| own.keys().next().copied().unwrap_or_default();
        let all = self.by_peer.iter().map(|(peer, own)| (own.len(), *peer, oldest(own)));
        all.max_by_key(|(count, _, oldest)| (*count, Reverse(*oldest)))
    }
}

impl FairSlots {
    /// Has `limit` slots, of which one peer may hold `limit_of_peer`.
    pub fn new(limit: usize, limit_of_peer: usize) -> Self {
        Self { held: Arc::default(), limit, limit_of_peer }
    }

    /// Acquires a slot, evicting one of the largest holder if need be. `on_evict` is called when this
    /// slot is evicted in turn, by the call that evicts it: it must not block.
    ///
    /// # Errors
    /// Why there is no slot.
    pub fn try_acquire(
        &self,
        peer: Peer,
        on_evict: impl FnOnce() + Send + 'static,
    ) -> Result<FairSlot, NoSlot> {
        let mut held = self.held.lock();
        let own = held.by_peer.get(&peer).map_or(0, BTreeMap::len);
        if own >= self.limit_of_peer {
            return Err(NoSlot::PeerLimit);
        }
        let mut evicted = None;
        if held.count >= self.limit {
            let (count, largest_holder, oldest) = held.largest_holder().ok_or(NoSlot::AllTaken)?;
            if count <= own {
                return Err(NoSlot::AllTaken);
            }
            evicted = held.remove(largest_holder, oldest);
        }
        let id = held.next;
        held.next += 1;
        held.count += 1;
        held.by_peer.entry(peer).or_default().insert(id, Box::new(on_evict));
        drop(held);
        if let Some(on_evict) = evicted {
            on_evict();
        }
        Ok(FairSlot { held: Arc::clone(&self.held), peer, id })
    }
}

impl Drop for FairSlot {
    fn drop(&mut self) {
        // Dropped after the lock is released: what it captures is not ours.
        let on_evict = self.held.lock().remove(self.peer, self.id);
        drop(on_evict);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A slot, and whether it was evicted.
    struct TakenSlot {
        _slot: FairSlot,
        evicted: Arc<AtomicBool>,
    }

    impl TakenSlot {
        fn is_evicted(&self) -> bool {
            self.evicted.load(Ordering::Relaxed)
        }
    }

    fn peer(last: u8) -> Peer {
        Peer::of(Ipv4Addr::new(10, 0, 0, last).into())
    }

    fn take(slots: &FairSlots, of: u8) -> Result<TakenSlot, NoSlot> {
        let evicted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&evicted);
        let slot = slots.try_acquire(peer(of), move || flag.store(true, Ordering::Relaxed))?;
        Ok(TakenSlot { _slot: slot, evicted })
    }

    #[test]
    fn the_largest_holder_loses_its_oldest_slot() {
        let slots = FairSlots::new(4, 3);
        let greedy: Vec<_> = (0..3).map(|_| take(&slots, 1).unwrap()).collect();
        assert_eq!(take(&slots, 1).err(), Some(NoSlot::PeerLimit));
        let one = take(&slots, 2).unwrap();
        let other = take(&slots, 3).unwrap();
        let evicted: Vec<_> = greedy.iter().map(TakenSlot::is_evicted).collect();
        assert_eq!(evicted, [true, false, false], "the oldest goes");
        assert!(!one.is_evicted() && !other.is_evicted());
        drop(greedy);
        assert_eq!(slots.held.lock().count, 2);
        drop((one, other));
        assert!(slots.held.lock().by_peer.is_empty());
    }

    #[test]
    fn no_slot_is_evicted_for_a_peer_that_holds_as_many() {
        let slots = FairSlots::new(2, 2);
        let _held = (take(&slots, 1).unwrap(), take(&slots, 2).unwrap());
        assert_eq!(take(&slots, 1).err(), Some(NoSlot::AllTaken));
        assert!(take(&slots, 3).is_ok());
    }
}
