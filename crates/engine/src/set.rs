//! Sets that are nearly always tiny and sometimes huge.

use hashbrown::HashSet;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
            assert_eq!(small.is_empty(), plain.is_empty());
        }
        assert!(plain.is_empty());
    }
}
