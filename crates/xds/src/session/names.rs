//! The names that a stream follows one by one.

use std::collections::BTreeSet;

use crate::error::SessionError;
use crate::name::Name;

/// The name that stands for all resources.
pub(super) const ALL: &str = "*";

/// What a name costs beside its bytes: its allocation, and its place in one or two sets. In bytes.
const OVERHEAD: usize = 64;

/// Most names and bytes of names.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameBounds {
    pub count: usize,
    pub bytes: usize,
}

/// A set of names that knows its bytes.
#[derive(Debug, Default)]
pub(crate) struct Names {
    all: BTreeSet<Name>,
    bytes: usize,
}

impl Names {
    pub fn all(&self) -> &BTreeSet<Name> {
        &self.all
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.all.contains(name)
    }

    /// What the names take in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.bytes + self.all.len() * OVERHEAD
    }

    pub fn insert(&mut self, name: Name) {
        let len = name.len();
        if self.all.insert(name) {
            self.bytes += len;
        }
    }

    pub fn remove(&mut self, name: &str) {
        if self.all.remove(name) {
            self.bytes -= name.len();
        }
    }

    /// Checks that a stream may follow these, too.
    pub fn check<'a>(
        &self,
        bounds: NameBounds,
        further: impl Iterator<Item = &'a Name>,
    ) -> Result<(), SessionError> {
        let (mut count, mut bytes) = (self.all.len(), self.bytes);
        for name in further.filter(|name| !self.all.contains(*name)) {
            count += 1;
            bytes += name.len();
        }
        // What is only followed because it was sent is not held against the client.
        match (count > bounds.count, bytes > bounds.bytes) {
            (true, _) if count > self.all.len() => Err(SessionError::TooManyNames { count }),
            (_, true) if bytes > self.bytes => Err(SessionError::TooLongNames { bytes }),
            _ => Ok(()),
        }
    }
}

/// The names of a list that stand for themselves.
pub(super) fn names(list: &[String]) -> impl Iterator<Item = Name> {
    list.iter().filter(|name| *name != ALL).map(|name| name.as_str().into())
}

/// Tells whether a list names all resources.
pub(super) fn has_all(list: &[String]) -> bool {
    list.iter().any(|name| name == ALL)
}
