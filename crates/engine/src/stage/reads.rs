//! Which reads made a row.

use crate::core::Dep;
use crate::slab::trim;

/// What each row of a derived table read, by slot.
#[derive(Default)]
pub(crate) struct Reads {
    by_slot: Vec<Box<[Dep]>>,
    /// Slots added since the last trim.
    grown: usize,
}

impl Reads {
    pub(crate) fn take(&mut self, slot: u32) -> Box<[Dep]> {
        self.by_slot.get_mut(slot as usize).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn put(&mut self, slot: u32, deps: Box<[Dep]>) {
        let at = slot as usize;
        if self.by_slot.len() <= at {
            if deps.is_empty() {
                return;
            }
            self.grown += at + 1 - self.by_slot.len();
            self.by_slot.resize_with(at + 1, Box::default);
        }
        self.by_slot[at] = deps;
    }

    /// As [`Slab::trim`](crate::slab::Slab::trim).
    pub(crate) fn trim(&mut self) {
        trim(&mut self.by_slot, std::mem::take(&mut self.grown));
    }

    pub(crate) fn any(&self, slot: u32) -> bool {
        self.by_slot.get(slot as usize).is_some_and(|d| !d.is_empty())
    }

    pub(crate) fn of(&self, slot: u32) -> Vec<Dep> {
        self.by_slot.get(slot as usize).map(|d| d.to_vec()).unwrap_or_default()
    }
}
