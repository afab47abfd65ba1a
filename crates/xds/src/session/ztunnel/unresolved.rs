//! Names that lead nowhere, by when they were looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::Name;

/// What a name costs beside its bytes: its allocation, and its place in two maps. In bytes.
const OVERHEAD: usize = 96;

/// Names that led nowhere when they were looked up last, of which the oldest is known.
#[derive(Debug, Default)]
pub(super) struct Unresolved {
    next: u64,
    by_name: BTreeMap<Name, u64>,
    by_age: BTreeMap<u64, Name>,
    bytes: usize,
}

impl Unresolved {
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// What the names take in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.bytes + self.by_name.len() * OVERHEAD
    }

    /// Adds a name that was looked up now.
    pub fn insert(&mut self, name: &Name) {
        let age = self.next;
        self.next += 1;
        match self.by_name.insert(Arc::clone(name), age) {
            Some(before) => drop(self.by_age.remove(&before)),
            None => self.bytes += name.len(),
        }
        self.by_age.insert(age, Arc::clone(name));
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(age) = self.by_name.remove(name) {
            self.by_age.remove(&age);
            self.bytes -= name.len();
        }
    }

    /// Takes out the name that was looked up first.
    pub fn pop_oldest(&mut self) -> Option<Name> {
        let (_, name) = self.by_age.pop_first()?;
        self.by_name.remove(&name);
        self.bytes -= name.len();
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_looked_up_first_is_the_oldest() {
        let (mut names, of) = (Unresolved::default(), |name: &str| Name::from(name));
        for name in ["c", "b", "a", "c"] {
            names.insert(&of(name));
        }
        assert_eq!((names.len(), names.held_bytes()), (3, 3 * (1 + OVERHEAD)));
        names.remove("b");
        assert_eq!(names.pop_oldest(), Some(of("a")));
        assert_eq!(names.pop_oldest(), Some(of("c")), "it was looked up again");
        assert_eq!((names.pop_oldest(), names.held_bytes()), (None, 0));
    }
}
