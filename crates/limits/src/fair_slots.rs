//! A fixed number of slots, of which whoever holds many takes only from itself.
//!
//! Whoever comes always gets in: when its holder has as many as one may, that one's own oldest is evicted for it; when
//! its group has, the oldest of the largest holder there; and when all are taken, the oldest of whoever holds the
//! most. So neither silent connections nor a flood of new ones keep anybody out. Some slots are reserved for trusted
//! holders, who are never evicted for others.

use crate::ranking::{Place, Ranking};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Called once when a slot is evicted.
struct OnEvict(Box<dyn FnOnce() + Send>);

impl fmt::Debug for OnEvict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEvict")
    }
}

/// How many slots there are, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// All of them.
    pub total: usize,
    /// Those of them that only trusted holders have.
    pub reserved: usize,
    /// Those of one group; of holders that are not trusted.
    pub of_group: usize,
    /// Those of one holder.
    pub of_holder: usize,
}

/// Whether a holder has reserved slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderKind {
    /// It may have any slot.
    Trusted,
    /// It may have those that are not reserved.
    Other,
}

/// Slots by group and holder.
#[derive(Debug)]
pub struct FairSlots<G: Ord + Clone, K: Ord + Clone> {
    held: Arc<Mutex<Held<G, K>>>,
    limits: SlotLimits,
}

#[derive(Debug)]
struct Held<G, K> {
    trusted: Ranking<G, K, OnEvict>,
    others: Ranking<G, K, OnEvict>,
}

impl<G: Ord + Clone, K: Ord + Clone> Held<G, K> {
    fn of(&mut self, kind: HolderKind) -> &mut Ranking<G, K, OnEvict> {
        match kind {
            HolderKind::Trusted => &mut self.trusted,
            HolderKind::Other => &mut self.others,
        }
    }
}

/// All slots are taken by trusted holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all places are taken")]
pub struct NoSlot;

/// At which limit a slot was evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of its holder, for the holder's newest.
    Holder,
    /// That of its group, for the group's newest.
    Group,
    /// That of all.
    Total,
}

/// A slot that another holder, or a newer one of the same, has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted<G, K> {
    /// The limit that was reached.
    pub at: Full,
    /// The group of who had it.
    pub group: G,
    /// Who had it.
    pub holder: K,
}

/// One slot; dropping it releases it.
#[derive(Debug)]
pub struct FairSlot<G: Ord + Clone, K: Ord + Clone> {
    held: Arc<Mutex<Held<G, K>>>,
    kind: HolderKind,
    place: Place<G, K>,
}

impl<G: Ord + Clone, K: Ord + Clone> FairSlots<G, K> {
    /// Has as many slots as these limits say.
    pub fn new(limits: SlotLimits) -> Self {
        let held = Held { trusted: Ranking::default(), others: Ranking::default() };
        Self { held: Arc::new(Mutex::new(held)), limits }
    }

    /// Acquires a slot, and tells whose was evicted for it, if one was. `on_evict` is called when this slot is evicted
    /// in turn, by the call that evicts it: it must not block.
    ///
    /// # Errors
    /// [`NoSlot`]; never for a trusted holder, nor where none is trusted, if there are slots at all.
    #[expect(clippy::type_complexity, reason = "a slot, and what it cost")]
    pub fn acquire(
        &self,
        kind: HolderKind,
        group: &G,
        holder: &K,
        on_evict: impl FnOnce() + Send + 'static,
    ) -> Result<(FairSlot<G, K>, Option<Evicted<G, K>>), NoSlot> {
        let limits = self.limits;
        let held = &mut *self.held.lock();
        let (trusted, others) = (held.trusted.sum(), held.others.sum());
        let is_at = |sum: u64, limit: usize| sum >= limit as u64;
        let own = held.of(kind);
        let evicted = if is_at(own.sum_of(group, holder), limits.of_holder) {
            Some((Full::Holder, kind, own.oldest_of(group, holder)))
        } else if kind == HolderKind::Other && is_at(own.sum_of_group(group), limits.of_group) {
            Some((Full::Group, kind, own.largest_in(group)))
        } else {
            let is_full = is_at(trusted + others, limits.total);
            match kind {
                HolderKind::Trusted if is_full && others > 0 => {
                    Some((Full::Total, HolderKind::Other, held.others.goes_for(group)))
                }
                HolderKind::Trusted if is_full => Some((Full::Total, kind, held.trusted.goes_for(group))),
                HolderKind::Other
                    if is_full || is_at(others, limits.total.saturating_sub(limits.reserved)) =>
                {
                    Some((Full::Total, kind, held.others.goes_for(group)))
                }
                _ => None,
            }
        };
        let mut told = None;
        let mut called = None;
        if let Some((at, of, place)) = evicted {
            let place = place.ok_or(NoSlot)?;
            called = held.of(of).remove(&place);
            told = Some(Evicted { at, group: place.0, holder: place.1 });
        }
        let id = held.of(kind).add(group, holder, 1, OnEvict(Box::new(on_evict)));
        let place = (group.clone(), holder.clone(), id);
        if let Some(OnEvict(call)) = called {
            call();
        }
        Ok((FairSlot { held: Arc::clone(&self.held), kind, place }, told))
    }

    /// Returns how many slots trusted holders have, and how many the others.
    pub fn held(&self) -> (usize, usize) {
        let held = self.held.lock();
        (held.trusted.sum() as usize, held.others.sum() as usize)
    }
}

impl<G: Ord + Clone, K: Ord + Clone> Drop for FairSlot<G, K> {
    fn drop(&mut self) {
        // Dropped after the lock is released: what it captures is not ours.
        let on_evict = self.held.lock().of(self.kind).remove(&self.place);
        drop(on_evict);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    type Slots = FairSlots<&'static str, u32>;

    /// A slot, and whether it was evicted.
    #[derive(Debug)]
    struct TakenSlot {
        _slot: FairSlot<&'static str, u32>,
        evicted: Arc<AtomicBool>,
        at: Option<Full>,
    }

    impl TakenSlot {
        fn is_evicted(&self) -> bool {
            self.evicted.load(Ordering::Relaxed)
        }
    }

    fn slots(total: usize, of_group: usize, of_holder: usize) -> Slots {
        FairSlots::new(SlotLimits { total, reserved: 0, of_group, of_holder })
    }

    fn take_as(slots: &Slots, kind: HolderKind, group: &'static str, of: u32) -> Result<TakenSlot, NoSlot> {
        let evicted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&evicted);
        let on_evict = move || flag.store(true, Ordering::Relaxed);
        let (slot, told) = slots.acquire(kind, &group, &of, on_evict)?;
        Ok(TakenSlot { _slot: slot, evicted, at: told.map(|told| told.at) })
    }

    fn take(slots: &Slots, group: &'static str, of: u32) -> TakenSlot {
        take_as(slots, HolderKind::Other, group, of).unwrap()
    }

    fn evicted(all: &[TakenSlot]) -> Vec<bool> {
        all.iter().map(TakenSlot::is_evicted).collect()
    }

    #[test]
    fn a_holder_loses_its_oldest_for_its_newest_and_the_largest_for_others() {
        let slots = slots(4, 4, 3);
        let mut greedy: Vec<_> = (0..4).map(|_| take(&slots, "a", 1)).collect();
        assert_eq!(greedy[3].at, Some(Full::Holder));
        assert_eq!(evicted(&greedy), [true, false, false, false]);
        let (one, other) = (take(&slots, "b", 2), take(&slots, "c", 3));
        assert_eq!((one.at, other.at), (None, Some(Full::Total)));
        assert_eq!(evicted(&greedy), [true, true, false, false], "the oldest goes");
        assert!(!one.is_evicted() && !other.is_evicted());
        greedy.clear();
        assert_eq!(slots.held(), (0, 2));
        drop((one, other));
        assert!(slots.held.lock().others.is_empty());
    }

    #[test]
    fn in_a_group_that_is_full_the_largest_holder_gives_way() {
        let slots = slots(100, 4, 3);
        let greedy: Vec<_> = (0..3).map(|_| take(&slots, "node", 1)).collect();
        let quiet = take(&slots, "node", 2);
        let newest = take(&slots, "node", 3);
        assert_eq!(newest.at, Some(Full::Group));
        assert_eq!(evicted(&greedy), [true, false, false]);
        assert!(!quiet.is_evicted());
        assert_eq!(take(&slots, "elsewhere", 4).at, None);
    }

    #[test]
    fn of_equal_ones_the_oldest_gives_way() {
        let slots = slots(2, 2, 2);
        let (first, second) = (take(&slots, "a", 1), take(&slots, "b", 2));
        let third = take(&slots, "c", 3);
        assert_eq!((first.is_evicted(), second.is_evicted(), third.is_evicted()), (true, false, false));
    }

    #[test]
    fn reserved_slots_are_for_trusted_holders_who_are_not_evicted_for_others() {
        let slots = Slots::new(SlotLimits { total: 4, reserved: 2, of_group: 9, of_holder: 9 });
        let others: Vec<_> = (0..3).map(|of| take(&slots, "a", of)).collect();
        assert_eq!(evicted(&others), [true, false, false]);
        let trusted: Vec<_> =
            (0..4).map(|of| take_as(&slots, HolderKind::Trusted, "z", of).unwrap()).collect();
        assert_eq!(evicted(&others), [true; 3], "trusted ones may have all");
        assert_eq!(take_as(&slots, HolderKind::Other, "a", 9).err(), Some(NoSlot));
        assert_eq!(evicted(&trusted), [false; 4]);
        drop(take_as(&slots, HolderKind::Trusted, "z", 9).unwrap());
        assert_eq!(evicted(&trusted), [true, false, false, false]);
    }
}
