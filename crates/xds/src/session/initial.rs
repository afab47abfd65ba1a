//! Resources a client holds from an earlier stream, read without copying their names.
//!
//! A ztunnel that reconnects lists every resource it holds: 150,000 names in one message. The
//! generated decoder would build a tree of that many pairs of strings; this one notes where
//! they are.

use std::hash::BuildHasher;

use bytes::{Buf, Bytes};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::bounds::MAX_NAME_BYTES;
use crate::error::SessionError;

pub(super) fn broken(error: prost::DecodeError) -> SessionError {
    SessionError::Decode(error.to_string())
}

/// Splits the content of a length-delimited field off the front.
pub(super) fn take(buf: &mut Bytes) -> Result<Bytes, SessionError> {
    let len = decode_varint(buf).map_err(broken)?;
    match usize::try_from(len) {
        Ok(len) if len <= buf.remaining() => Ok(buf.split_to(len)),
        _ => Err(SessionError::Decode("a field is longer than the message".to_owned())),
    }
}

/// Where a name and its version stand in the message.
#[derive(Debug, Clone, Copy)]
struct Pair {
    name: (u32, u32),
    version: (u32, u32),
}

/// The resources a client holds from an earlier stream: name to version.
#[derive(Debug, Default)]
pub(crate) struct InitialVersions {
    message: Bytes,
    pairs: Vec<Pair>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl InitialVersions {
    pub(super) fn new(message: Bytes) -> Self {
        Self { message, ..Self::default() }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// What is kept of the message, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.message.len() + self.pairs.len() * (size_of::<Pair>() + size_of::<u64>())
    }

    /// True when the client holds nothing.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Notes a map entry whose content starts at an offset of the message.
    pub(super) fn push(&mut self, start: usize, mut entry: Bytes) -> Result<(), SessionError> {
        let whole = entry.len();
        let mut pair = Pair { name: (0, 0), version: (0, 0) };
        while entry.has_remaining() {
            let (field, wire_type) = decode_key(&mut entry).map_err(broken)?;
            if wire_type != WireType::LengthDelimited {
                return Err(SessionError::Decode("initial_resource_versions holds no strings".to_owned()));
            }
            let content = take(&mut entry)?;
            if content.len() > MAX_NAME_BYTES {
                let field = "initial_resource_versions";
                return Err(SessionError::Name { field, len: content.len() });
            }
            let at = start + whole - entry.remaining() - content.len();
            // A message is bounded far below 4 GiB.
            let span = (at as u32, (at + content.len()) as u32);
            if std::str::from_utf8(&content).is_err() {
                let message = "initial_resource_versions is not valid UTF-8";
                return Err(SessionError::Decode(message.to_owned()));
            }
            match field {
                1 => pair.name = span,
                2 => pair.version = span,
                _ => {}
            }
        }
        self.pairs.push(pair);
        Ok(())
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.message[start as usize..end as usize]
    }

    /// Makes names findable; of a name given twice the last counts.
    pub(super) fn index(&mut self) {
        if self.pairs.is_empty() {
            // Nothing refers to the message: let it go.
            self.message = Bytes::new();
            return;
        }
        let mut index = HashTable::with_capacity(self.pairs.len());
        for (at, pair) in self.pairs.iter().enumerate() {
            let name = self.slice(pair.name);
            let hash = self.hasher.hash_one(name);
            let same = |&other: &u32| self.slice(self.pairs[other as usize].name) == name;
            let rehash = |&other: &u32| self.hasher.hash_one(self.slice(self.pairs[other as usize].name));
            match index.entry(hash, same, rehash) {
                hashbrown::hash_table::Entry::Occupied(mut held) => *held.get_mut() = at as u32,
                hashbrown::hash_table::Entry::Vacant(free) => {
                    free.insert(at as u32);
                }
            }
        }
        self.index = index;
    }

    /// Place of a name in the list.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let same = |&at: &u32| self.slice(self.pairs[at as usize].name) == name;
        self.index.find(hash, same).map(|&at| at as usize)
    }

    /// Version at a place.
    pub fn version(&self, at: usize) -> &[u8] {
        self.slice(self.pairs[at].version)
    }

    /// Names, each once, in the order they were listed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names_where(|_| true)
    }

    /// Names whose place is not marked, each once, in the order they were listed.
    pub fn names_not_in(&self, marked: &[bool]) -> impl Iterator<Item = &str> {
        self.names_where(|place| !marked.get(place).copied().unwrap_or_default())
    }

    fn names_where(&self, wanted: impl Fn(usize) -> bool) -> impl Iterator<Item = &str> {
        // The look at duplicates comes last: it costs a search.
        (0..self.pairs.len()).filter(move |&place| wanted(place)).filter_map(|place| {
            let name = self.slice(self.pairs[place].name);
            let counts = self.find(name) == Some(place);
            // Checked on entry: the fallback is never taken.
            counts.then(|| std::str::from_utf8(name).unwrap_or_default())
        })
    }
}
