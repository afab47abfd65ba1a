//! Sets of readers, nearly always tiny and sometimes huge; and sets of stages.

use hashbrown::HashSet;
use std::cell::Cell;
use std::hash::Hash;

/// Beyond this many members a set is hashed, so that removing one of 100,000 stays cheap.
const FEW: usize = 24;

/// A set of small values in one or two words; the order of iteration is unspecified.
#[derive(Default)]
pub(crate) enum SmallSet<T> {
    #[default]
    Empty,
    One(T),
    /// There are several sets for every row, most of them of few members: they are in one allocation,
    /// with room for little more.
    Four(Box<Members<T, 4>>),
    Eight(Box<Members<T, 8>>),
    Sixteen(Box<Members<T, 16>>),
    Few(Box<Members<T, FEW>>),
    Many(Box<HashSet<T, foldhash::fast::FixedState>>),
}

/// Members of a small set, beside each other.
pub(crate) struct Members<T, const N: usize> {
    count: u8,
    all: [T; N],
}

impl<T: Copy + Default + Eq, const N: usize> Members<T, N> {
    fn of(members: impl IntoIterator<Item = T>) -> Box<Self> {
        let mut of = Self { count: 0, all: [T::default(); N] };
        for member in members {
            of.push(member);
        }
        Box::new(of)
    }

    fn get(&self) -> &[T] {
        &self.all[..usize::from(self.count)]
    }

    /// Adds a member; false if there is no room for it.
    fn push(&mut self, value: T) -> bool {
        let Some(free) = self.all.get_mut(usize::from(self.count)) else { return false };
        *free = value;
        self.count += 1;
        true
    }

    /// Removes a member, if it is there.
    fn remove(&mut self, value: &T) {
        if let Some(at) = self.get().iter().position(|of| of == value) {
            self.count -= 1;
            self.all[at] = self.all[usize::from(self.count)];
        }
    }
}

impl<T: Copy + Default + Eq + Hash> SmallSet<T> {
    /// The members, unless they are hashed or one at most.
    fn several(&self) -> Option<&[T]> {
        match self {
            SmallSet::Four(of) => Some(of.get()),
            SmallSet::Eight(of) => Some(of.get()),
            SmallSet::Sixteen(of) => Some(of.get()),
            SmallSet::Few(of) => Some(of.get()),
            SmallSet::Empty | SmallSet::One(_) | SmallSet::Many(_) => None,
        }
    }

    /// The least set of these members, each once.
    fn of(members: &[T]) -> Self {
        let all = members.iter().copied();
        match members {
            [] => SmallSet::Empty,
            [one] => SmallSet::One(*one),
            _ if members.len() <= 4 => SmallSet::Four(Members::of(all)),
            _ if members.len() <= 8 => SmallSet::Eight(Members::of(all)),
            _ if members.len() <= 16 => SmallSet::Sixteen(Members::of(all)),
            _ if members.len() <= FEW => SmallSet::Few(Members::of(all)),
            _ => SmallSet::Many(Box::new(all.collect())),
        }
    }

    /// Tells whether a value is a member.
    pub fn contains(&self, value: T) -> bool {
        match self {
            SmallSet::One(one) => *one == value,
            SmallSet::Many(many) => many.contains(&value),
            _ => self.several().is_some_and(|all| all.contains(&value)),
        }
    }

    /// Adds a member; adding it again changes nothing.
    pub fn insert(&mut self, value: T) {
        if self.contains(value) {
            return;
        }
        let has_room = match self {
            SmallSet::Empty | SmallSet::One(_) => false,
            SmallSet::Four(of) => of.push(value),
            SmallSet::Eight(of) => of.push(value),
            SmallSet::Sixteen(of) => of.push(value),
            SmallSet::Few(of) => of.push(value),
            SmallSet::Many(many) => many.insert(value),
        };
        if !has_room {
            let mut all = self.to_vec();
            all.push(value);
            *self = Self::of(&all);
        }
    }

    /// Removes a member, if it is there.
    pub fn remove(&mut self, value: &T) {
        match self {
            SmallSet::Empty => {}
            SmallSet::One(one) if one == value => *self = SmallSet::Empty,
            SmallSet::One(_) => {}
            SmallSet::Four(of) => of.remove(value),
            SmallSet::Eight(of) => of.remove(value),
            SmallSet::Sixteen(of) => of.remove(value),
            SmallSet::Few(of) => of.remove(value),
            SmallSet::Many(many) => {
                many.remove(value);
            }
        }
        // Half-way down, so that a set at the border does not flap.
        let least = match self {
            SmallSet::Empty | SmallSet::One(_) => return,
            SmallSet::Four(_) => 1,
            SmallSet::Eight(_) => 2,
            SmallSet::Sixteen(_) => 4,
            SmallSet::Few(_) => 8,
            SmallSet::Many(_) => FEW / 2,
        };
        if self.len() <= least {
            *self = Self::of(&self.to_vec());
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, SmallSet::Empty)
    }

    pub fn len(&self) -> usize {
        match self {
            SmallSet::Empty => 0,
            SmallSet::One(_) => 1,
            SmallSet::Many(many) => many.len(),
            _ => self.several().map_or(0, <[T]>::len),
        }
    }

    pub fn for_each(&self, mut f: impl FnMut(T)) {
        match self {
            SmallSet::One(one) => f(*one),
            SmallSet::Many(many) => many.iter().copied().for_each(f),
            _ => self.several().unwrap_or_default().iter().copied().for_each(f),
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
