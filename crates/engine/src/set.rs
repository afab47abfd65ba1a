//! Sets of readers, nearly always tiny and sometimes huge; and sets of stages.

use hashbrown::HashSet;
use std::cell::Cell;
use std::hash::Hash;

/// Beyond this many members a set is hashed, so that removing one of 100,000 stays cheap.
const FEW: usize = 24;

/// A set of small values in one or two words; the order of iteration is unspecified.
#[derive(Default)]
#[allow(clippy::box_collection)] // one word: there are several sets for every row
pub(crate) enum SmallSet<T> {
    #[default]
    Empty,
    One(T),
    Few(Box<Vec<T>>),
    Many(Box<HashSet<T, foldhash::fast::FixedState>>),
}

impl<T: Copy + Eq + Hash> SmallSet<T> {
    /// Adds a member; adding it again changes nothing.
    pub fn insert(&mut self, value: T) {
        match self {
            SmallSet::Empty => *self = SmallSet::One(value),
            SmallSet::One(one) if *one == value => {}
            SmallSet::One(one) => *self = SmallSet::Few(Box::new(vec![*one, value])),
            SmallSet::Few(few) if few.contains(&value) => {}
            SmallSet::Few(few) if few.len() < FEW => few.push(value),
            SmallSet::Few(few) => {
                let mut many: HashSet<T, _> = few.iter().copied().collect();
                many.insert(value);
                *self = SmallSet::Many(Box::new(many));
            }
            SmallSet::Many(many) => {
                many.insert(value);
            }
        }
    }

    /// Removes a member, if it is there.
    pub fn remove(&mut self, value: &T) {
        match self {
            SmallSet::One(one) if one == value => *self = SmallSet::Empty,
            SmallSet::Few(few) => {
                if let Some(at) = few.iter().position(|v| v == value) {
                    few.swap_remove(at);
                }
                match few.as_slice() {
                    [] => *self = SmallSet::Empty,
                    [one] => *self = SmallSet::One(*one),
                    _ => {}
                }
            }
            SmallSet::Many(many) => {
                many.remove(value);
                // Half-way down, so that a set at the border does not flap.
                if many.len() <= FEW / 2 {
                    *self = SmallSet::Few(Box::new(many.iter().copied().collect()));
                }
            }
            _ => {}
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, SmallSet::Empty)
    }

    pub fn len(&self) -> usize {
        match self {
            SmallSet::Empty => 0,
            SmallSet::One(_) => 1,
            SmallSet::Few(few) => few.len(),
            SmallSet::Many(many) => many.len(),
        }
    }

    pub fn for_each(&self, mut f: impl FnMut(T)) {
        match self {
            SmallSet::Empty => {}
            SmallSet::One(one) => f(*one),
            SmallSet::Few(few) => few.iter().copied().for_each(f),
            SmallSet::Many(many) => many.iter().copied().for_each(f),
        }
    }

    pub fn to_vec(&self) -> Vec<T> {
        let mut out = Vec::new();
        self.for_each(|v| out.push(v));
        out
    }
}

/// A set of stages by number, a bit for each. What is done with it costs its few words, and not the stages.
#[derive(Default)]
pub(crate) struct StageSet {
    words: Vec<Cell<u64>>,
}

impl StageSet {
    /// Makes room for stages up to this one.
    pub fn grow(&mut self, stage: u16) {
        self.words.resize_with(usize::from(stage) / 64 + 1, Cell::default);
    }

    /// Adds a stage that there is room for.
    pub fn insert(&self, stage: u16) {
        let word = &self.words[usize::from(stage) / 64];
        word.set(word.get() | (1 << (stage % 64)));
    }

    pub fn contains(&self, stage: u16) -> bool {
        self.words[usize::from(stage) / 64].get() & (1 << (stage % 64)) != 0
    }

    /// Takes the first of the stages from `start` on.
    pub fn take_first(&self, start: u16) -> Option<u16> {
        let mut above = u64::MAX << (start % 64);
        for (at, word) in self.words.iter().enumerate().skip(usize::from(start) / 64) {
            let found = word.get() & above;
            if found != 0 {
                word.set(word.get() & !(found & found.wrapping_neg()));
                return Some((at * 64) as u16 + found.trailing_zeros() as u16);
            }
            above = u64::MAX;
        }
        None
    }

    /// Takes the last of the stages before `end`.
    pub fn take_last(&self, end: u16) -> Option<u16> {
        let (last, mut below) = (usize::from(end) / 64, (1 << (end % 64)) - 1);
        for (at, word) in self.words.iter().enumerate().take(last + 1).rev() {
            if at < last {
                below = u64::MAX;
            }
            let found = word.get() & below;
            if found != 0 {
                let bit = 63 - found.leading_zeros();
                word.set(word.get() & !(1 << bit));
                return Some((at * 64) as u16 + bit as u16);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn stages_are_taken_in_order_from_either_end() {
        let members = [0, 1, 63, 64, 100, 127, 128, 191];
        let mut set = StageSet::default();
        set.grow(191);
        let fill = |set: &StageSet| members.iter().for_each(|stage| set.insert(*stage));
        fill(&set);
        assert!(members.iter().all(|stage| set.contains(*stage)) && !set.contains(2) && !set.contains(190));
        let ascending: Vec<u16> = std::iter::from_fn(|| set.take_first(1)).collect();
        assert_eq!(ascending, members[1..]);
        assert_eq!((set.take_first(0), set.take_first(0)), (Some(0), None));
        fill(&set);
        let descending: Vec<u16> = std::iter::from_fn(|| set.take_last(191)).collect();
        assert_eq!(descending, [128, 127, 100, 64, 63, 1, 0]);
        assert_eq!((set.take_last(192), set.take_last(192)), (Some(191), None));
    }

    #[test]
    fn agrees_with_a_plain_set_at_every_size() {
        let mut small = SmallSet::default();
        let mut plain = BTreeSet::new();
        for step in 0..400u32 {
            // Grows to about 100, then shrinks to nothing, crossing every representation twice.
            let value = step.wrapping_mul(7919) % 101;
            if step < 200 {
                small.insert(value);
                plain.insert(value);
            } else {
                let value = (step - 200) % 101;
                small.remove(&value);
                plain.remove(&value);
            }
            let mut got = small.to_vec();
            got.sort_unstable();
            assert_eq!(got, plain.iter().copied().collect::<Vec<_>>());
            assert_eq!((small.is_empty(), small.len()), (plain.is_empty(), plain.len()));
        }
        assert!(plain.is_empty());
    }
}
