//! Which reads made a row.

use super::by_slot::BySlot;
use crate::core::Dep;

/// What each row of a derived table read, by slot.
#[derive(Default)]
pub(crate) struct Reads(BySlot<Box<[Dep]>>);

impl Reads {
    pub(crate) fn take(&mut self, slot: u32) -> Box<[Dep]> {
        self.0.take(slot)
    }

    pub(crate) fn put(&mut self, slot: u32, deps: Box<[Dep]>) {
        let is_nothing = deps.is_empty();
        self.0.put(slot, deps, is_nothing);
    }

    /// As [`Slab::trim`](crate::slab::Slab::trim).
    pub(crate) fn trim(&mut self) {
        self.0.trim();
    }

    pub(crate) fn any(&self, slot: u32) -> bool {
        self.0.get(slot).is_some_and(|deps| !deps.is_empty())
    }

    pub(crate) fn of(&self, slot: u32) -> Vec<Dep> {
        self.0.get(slot).map(|deps| deps.to_vec()).unwrap_or_default()
    }
}
