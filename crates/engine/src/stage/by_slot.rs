//! What belongs to rows, by their slots.

use crate::slab::trim;

/// A value for each slot up to the last that has one.
#[derive(Default)]
pub(crate) struct BySlot<T> {
    all: Vec<T>,
    /// Slots added since the last trim.
    grown: usize,
}

impl<T: Default> BySlot<T> {
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.all.get(slot as usize)
    }

    /// Returns the value of a slot, to be edited.
    pub(crate) fn at(&mut self, slot: u32) -> &mut T {
        let at = slot as usize;
        if self.all.len() <= at {
            self.grown += at + 1 - self.all.len();
            self.all.resize_with(at + 1, T::default);
        }
        &mut self.all[at]
    }

    /// Takes the value of a slot.
    pub(crate) fn take(&mut self, slot: u32) -> T {
        self.all.get_mut(slot as usize).map(std::mem::take).unwrap_or_default()
    }

    /// Puts the value of a slot, which gets no room for one that is nothing.
    pub(crate) fn put(&mut self, slot: u32, value: T, is_nothing: bool) {
        if !is_nothing || self.get(slot).is_some() {
            *self.at(slot) = value;
        }
    }

    /// As [`Slab::trim`](crate::slab::Slab::trim).
    pub(crate) fn trim(&mut self) {
        trim(&mut self.all, std::mem::take(&mut self.grown));
    }
}
