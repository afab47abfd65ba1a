//! A segment: some tens of KiB of frames, shared by the writer and every snapshot.

use std::sync::Arc;

use bytes::Bytes;

use crate::capability::Capabilities;

/// Size in bytes at which a segment is closed.
pub(crate) const SEGMENT_BYTES: usize = 64 * 1024;

/// One bit per entry: set when the entry is superseded.
#[derive(Debug, Clone, Default)]
struct Dead {
    words: Vec<u64>,
    count: u32,
}

impl Dead {
    fn set(&mut self, entry: u32) -> bool {
        let word = (entry / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (entry % 64);
        let newly = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(newly);
        newly
    }

    fn get(&self, entry: u32) -> bool {
        self.words.get((entry / 64) as usize).is_some_and(|word| word & (1 << (entry % 64)) != 0)
    }
}

fn required_of(required: &[(u32, Capabilities)], entry: u32) -> Capabilities {
    required.binary_search_by_key(&entry, |&(of, _)| of).map_or(0, |at| required[at].1)
}

/// Frames laid end to end, oldest first, with a bit for those that are superseded.
///
/// The bytes never change; killing an entry of a shared segment copies only the bits.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Rises along a chain; a merged segment keeps the key of its oldest part.
    pub key: u64,
    /// Rises at each merge, so that the place of an entry is never mistaken for an older one.
    pub era: u32,
    bytes: Bytes,
    /// Where each entry ends.
    ends: Arc<[u32]>,
    /// First entry of each step, with the step; ascending in both.
    steps: Arc<[(u32, u64)]>,
    /// What entries need of a client, of those that need anything: few, and mostly none. Ascending.
    required: Arc<[(u32, Capabilities)]>,
    dead: Dead,
    live_bytes: usize,
}

impl Segment {
    /// Number of entries, dead ones included.
    pub fn entries(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Number of live entries.
    pub fn live(&self) -> u32 {
        self.entries() - self.dead.count
    }

    /// Bytes of the live entries.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Step of the newest entry.
    pub fn last_step(&self) -> u64 {
        self.steps.last().map_or(0, |&(_, step)| step)
    }

    /// The first entry newer than a step; the number of entries when there is none.
    pub fn first_after(&self, step: u64) -> u32 {
        let mark = self.steps.partition_point(|&(_, s)| s <= step);
        self.steps.get(mark).map_or(self.entries(), |&(first, _)| first)
    }

    fn start(&self, entry: u32) -> usize {
        entry.checked_sub(1).and_then(|before| self.ends.get(before as usize)).map_or(0, |&end| end as usize)
    }

    /// Bytes of entries `first..end`.
    pub fn slice(&self, first: u32, end: u32) -> Bytes {
        self.bytes.slice(self.start(first)..self.start(end))
    }

    /// Length of entries `first..end`, dead ones included.
    pub fn len_of(&self, first: u32, end: u32) -> usize {
        self.start(end) - self.start(first)
    }

    /// Frame of an entry.
    pub fn frame(&self, entry: u32) -> &[u8] {
        &self.bytes[self.start(entry)..self.start(entry + 1)]
    }

    /// What an entry requires of a client.
    pub fn required(&self, entry: u32) -> Capabilities {
        required_of(&self.required, entry)
    }

    /// The next stretch `first..end` of live entries at or after an entry.
    pub fn run(&self, from: u32) -> Option<(u32, u32)> {
        let entries = self.entries();
        if self.dead.count == 0 {
            return (from < entries).then_some((from, entries));
        }
        let first = (from..entries).find(|&entry| !self.dead.get(entry))?;
        let end = (first..entries).find(|&entry| self.dead.get(entry)).unwrap_or(entries);
        Some((first, end))
    }

    /// Bytes of the live entries at or after an entry.
    pub fn live_bytes_from(&self, from: u32) -> usize {
        if from == 0 {
            return self.live_bytes;
        }
        let mut total = 0;
        let mut at = from;
        while let Some((first, end)) = self.run(at) {
            total += self.len_of(first, end);
            at = end;
        }
        total
    }

    /// Marks an entry as superseded.
    pub fn kill(&mut self, entry: u32) {
        if self.dead.set(entry) {
            self.live_bytes -= self.len_of(entry, entry + 1);
        }
    }

    /// Live entries, oldest first: place, step and frame.
    pub fn live_entries(&self) -> impl Iterator<Item = (u32, u64, &[u8])> {
        self.live_entries_from(0)
    }

    /// Live entries at or after an entry.
    pub fn live_entries_from(&self, from: u32) -> impl Iterator<Item = (u32, u64, &[u8])> {
        let mut mark = self.steps.partition_point(|&(first, _)| first <= from).saturating_sub(1);
        (from..self.entries()).filter(|&entry| !self.dead.get(entry)).map(move |entry| {
            while self.steps.get(mark + 1).is_some_and(|&(first, _)| first <= entry) {
                mark += 1;
            }
            let step = self.steps.get(mark).map_or(0, |&(_, step)| step);
            (entry, step, self.frame(entry))
        })
    }
}

/// A segment under construction.
#[derive(Debug, Default)]
pub(crate) struct Open {
    pub key: u64,
    pub era: u32,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    steps: Vec<(u32, u64)>,
    required: Vec<(u32, Capabilities)>,
    dead: Dead,
    dead_bytes: usize,
}

impl Open {
    pub fn new(key: u64, era: u32) -> Self {
        Self { key, era, ..Self::default() }
    }

    /// True when the next entry belongs in another segment.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= SEGMENT_BYTES
    }

    /// Appends an entry and returns its place.
    pub fn push(&mut self, step: u64, required: Capabilities, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let entry = self.ends.len() as u32;
        if self.steps.last().is_none_or(|&(_, last)| last != step) {
            self.steps.push((entry, step));
        }
        if required != 0 {
            self.required.push((entry, required));
        }
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
        entry
    }

    pub fn frame(&self, entry: u32) -> &[u8] {
        let start = entry.checked_sub(1).map_or(0, |before| self.ends[before as usize]);
        &self.bytes[start as usize..self.ends[entry as usize] as usize]
    }

    pub fn required(&self, entry: u32) -> Capabilities {
        required_of(&self.required, entry)
    }

    pub fn kill(&mut self, entry: u32) {
        if self.dead.set(entry) {
            self.dead_bytes += self.frame(entry).len();
        }
    }

    /// Closes the segment; `None` when nothing in it is live.
    pub fn close(self) -> Option<Segment> {
        let live_bytes = self.bytes.len() - self.dead_bytes;
        (self.ends.len() as u32 > self.dead.count).then(|| Segment {
            key: self.key,
            era: self.era,
            // Boxed first: a vector would keep its spare room.
            bytes: Bytes::from(self.bytes.into_boxed_slice()),
            ends: self.ends.into(),
            steps: self.steps.into(),
            required: self.required.into(),
            dead: self.dead,
            live_bytes,
        })
    }
}
