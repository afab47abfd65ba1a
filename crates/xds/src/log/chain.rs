//! A chain: one entry per name, in the order of their last change, in shared segments.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::segment::{Open, SEGMENT_BYTES, Segment};
use super::view::View;
use crate::capability::Capabilities;
use crate::wire::frame_name;

/// Place of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    key: u64,
    era: u32,
    entry: u32,
}

/// An append-only list of frames with at most one live entry per name.
///
/// Putting a name again kills the earlier entry and appends a new one, so what changed after
/// a step is always a tail. Segments with more holes than content are rewritten, small ones
/// merged; neither changes the order nor the step of a live entry. The index holds places
/// only: names are read from the frames.
#[derive(Debug)]
pub(crate) struct Chain {
    sealed: Vec<Arc<Segment>>,
    open: Open,
    next_key: u64,
    index: HashTable<Place>,
    // Seeded per process; the order of the table is never visible.
    hasher: RandomState,
    /// Keys of segments that lost entries since the last publication.
    touched: BTreeSet<u64>,
    newest: u64,
    published: View,
    changed: bool,
}

impl Chain {
    pub fn new() -> Self {
        Self {
            sealed: Vec::new(),
            open: Open::new(0, 0),
            next_key: 1,
            index: HashTable::new(),
            hasher: RandomState::default(),
            touched: BTreeSet::new(),
            newest: 0,
            published: View::default(),
            changed: false,
        }
    }

    /// Number of live entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True when something was put or removed since the last publication.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    fn position(&self, key: u64) -> Option<usize> {
        self.sealed.binary_search_by_key(&key, |segment| segment.key).ok()
    }

    fn frame(&self, place: Place) -> &[u8] {
        if place.key == self.open.key {
            return self.open.frame(place.entry);
        }
        self.position(place.key).map_or(&[], |at| self.sealed[at].frame(place.entry))
    }

    fn required(&self, place: Place) -> Capabilities {
        if place.key == self.open.key {
            return self.open.required(place.entry);
        }
        self.position(place.key).map_or(0, |at| self.sealed[at].required(place.entry))
    }

    fn find(&self, name: &str) -> Option<Place> {
        let hash = self.hasher.hash_one(name.as_bytes());
        self.index.find(hash, |&place| frame_name(self.frame(place)) == name.as_bytes()).copied()
    }

    /// Frame of a name, and what it requires of a client.
    pub fn get(&self, name: &str) -> Option<(&[u8], Capabilities)> {
        self.find(name).map(|place| (self.frame(place), self.required(place)))
    }

    /// Appends an entry; `write` appends the frame, which must hold this very name.
    pub fn put(&mut self, step: u64, name: &str, required: Capabilities, write: impl FnOnce(&mut Vec<u8>)) {
        self.remove(name);
        if self.open.is_full() {
            self.seal();
        }
        let entry = self.open.push(step, required, write);
        let place = Place { key: self.open.key, era: self.open.era, entry };
        let hash = self.hasher.hash_one(name.as_bytes());
        let Self { index, sealed, open, hasher, .. } = self;
        index.insert_unique(hash, place, |&place| {
            // Runs when the table grows: the hash is taken from the frame again.
            let frame = if place.key == open.key {
                open.frame(place.entry)
            } else {
                let at = sealed.binary_search_by_key(&place.key, |segment| segment.key);
                at.map_or(&[][..], |at| sealed[at].frame(place.entry))
            };
            hasher.hash_one(frame_name(frame))
        });
        self.newest = step;
        self.changed = true;
    }

    /// Drops the entry of a name; false when there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(place) = self.find(name) else { return false };
        let hash = self.hasher.hash_one(name.as_bytes());
        if let Ok(found) = self.index.find_entry(hash, |&other| other == place) {
            found.remove();
        }
        if place.key == self.open.key {
            self.open.kill(place.entry);
        } else if let Some(at) = self.position(place.key) {
            Arc::make_mut(&mut self.sealed[at]).kill(place.entry);
            self.touched.insert(place.key);
        }
        self.changed = true;
        true
    }

    /// Drops the oldest segment with all it holds and returns the step of its newest entry.
    pub fn drop_oldest(&mut self) -> Option<u64> {
        if self.sealed.is_empty() {
            return None;
        }
        let segment = self.sealed.remove(0);
        for (entry, _, frame) in segment.live_entries() {
            let place = Place { key: segment.key, era: segment.era, entry };
            let hash = self.hasher.hash_one(frame_name(frame));
            if let Ok(found) = self.index.find_entry(hash, |&other| other == place) {
                found.remove();
            }
        }
        self.changed = true;
        Some(segment.last_step())
    }

    fn seal(&mut self) {
        let open = std::mem::replace(&mut self.open, Open::new(self.next_key, 0));
        self.next_key += 1;
        self.sealed.extend(open.close().map(Arc::new));
    }

    /// Closes what is open, tidies, and returns the present content.
    pub fn publish(&mut self) -> View {
        if self.changed {
            self.seal();
            self.compact();
            self.published = View::new(self.sealed.as_slice().into(), self.newest);
            self.changed = false;
        }
        self.published.clone()
    }

    fn compact(&mut self) {
        for key in std::mem::take(&mut self.touched) {
            let Some(at) = self.position(key) else { continue };
            let segment = &self.sealed[at];
            if segment.live() == 0 {
                self.sealed.remove(at);
            } else if segment.live_bytes() * 2 < segment.bytes() {
                let (mut first, mut end) = (at, at + 1);
                let mut total = segment.live_bytes();
                let fits = |total: usize, other: &Segment| total + other.live_bytes() <= SEGMENT_BYTES;
                while first > 0 && fits(total, &self.sealed[first - 1]) {
                    first -= 1;
                    total += self.sealed[first].live_bytes();
                }
                while end < self.sealed.len() && fits(total, &self.sealed[end]) {
                    total += self.sealed[end].live_bytes();
                    end += 1;
                }
                self.rewrite(first, end);
            }
        }
        // Small commits leave small segments: merged like the digits of a binary counter, each
        // byte is copied a handful of times before its segment is full.
        while let [.., before, last] = &self.sealed[..] {
            let (before, last) = (before.live_bytes(), last.live_bytes());
            if before > last * 2 || before + last > SEGMENT_BYTES {
                break;
            }
            self.rewrite(self.sealed.len() - 2, self.sealed.len());
        }
    }

    /// Replaces segments `first..end` by one without holes.
    fn rewrite(&mut self, first: usize, end: usize) {
        let parts: Vec<Arc<Segment>> = self.sealed[first..end].to_vec();
        let Some(oldest) = parts.first() else { return };
        let era = parts.iter().map(|part| part.era).max().unwrap_or_default().wrapping_add(1);
        let mut merged = Open::new(oldest.key, era);
        for part in &parts {
            for (entry, step, frame) in part.live_entries() {
                let old = Place { key: part.key, era: part.era, entry };
                let entry = merged.push(step, part.required(entry), |out| out.extend_from_slice(frame));
                let hash = self.hasher.hash_one(frame_name(frame));
                if let Some(place) = self.index.find_mut(hash, |&place| place == old) {
                    *place = Place { key: oldest.key, era, entry };
                }
            }
        }
        self.sealed.splice(first..end, merged.close().map(Arc::new));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::put_removed_frame;

    fn put(chain: &mut Chain, step: u64, name: &str) {
        chain.put(step, name, 0, |out| put_removed_frame(out, name));
    }

    fn names(view: &View, after: u64) -> Vec<String> {
        view.frames_after(after).map(|f| String::from_utf8(frame_name(f).to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_name_put_again_moves_to_the_tail() {
        let mut chain = Chain::new();
        put(&mut chain, 1, "a");
        put(&mut chain, 1, "b");
        chain.publish();
        put(&mut chain, 2, "a");
        let view = chain.publish();
        assert_eq!(names(&view, 0), ["b", "a"]);
        assert_eq!(names(&view, 1), ["a"]);
        assert_eq!(names(&view, 2), [""; 0]);
    }

    #[test]
    fn a_published_view_never_changes() {
        let mut chain = Chain::new();
        for i in 0..5_000 {
            put(&mut chain, 1, &format!("name-{i:05}"));
        }
        let old = chain.publish();
        let before = names(&old, 0);
        for i in (0..5_000).step_by(2) {
            assert!(chain.remove(&format!("name-{i:05}")));
        }
        chain.publish();
        assert_eq!(names(&old, 0), before);
    }

    #[test]
    fn holes_are_reclaimed_and_small_segments_merged() {
        let mut chain = Chain::new();
        for i in 0..20_000u64 {
            put(&mut chain, i + 1, &format!("name-{:05}", i % 1_000));
            chain.publish();
        }
        let view = chain.publish();
        assert_eq!(view.len(), 1_000);
        let held: usize = chain.sealed.iter().map(|s| s.bytes()).sum();
        assert!(held <= view.bytes_after(0) as usize * 2 + SEGMENT_BYTES, "{held} bytes held");
        assert!(chain.sealed.len() <= 12, "{} segments", chain.sealed.len());
        assert_eq!(names(&view, 19_999), ["name-00999"]);
    }

    #[test]
    fn what_an_entry_needs_goes_with_it_through_merges() {
        let mut chain = Chain::new();
        let required_of = |n: u64| if n.is_multiple_of(3) { (n % 200) as Capabilities } else { 0 };
        for n in 0..5_000 {
            let name = format!("name-{n:05}");
            chain.put(n + 1, &name, required_of(n), |out| put_removed_frame(out, &name));
            if n % 7 == 0 {
                chain.publish();
            }
            if n % 2 == 0 {
                assert!(chain.remove(&format!("name-{:05}", n / 2)));
            }
        }
        let view = chain.publish();
        assert_eq!(view.len(), 2_500);
        for (step, required, frame) in view.entries_after(0) {
            let name = std::str::from_utf8(frame_name(frame)).unwrap();
            assert_eq!((required, chain.get(name).unwrap().1), (required_of(step - 1), required), "{name}");
        }
    }

    #[test]
    fn dropping_the_oldest_segment_forgets_its_names() {
        let mut chain = Chain::new();
        for i in 0..10_000 {
            put(&mut chain, 1 + i / 100, &format!("name-{i:05}"));
        }
        chain.publish();
        let before = chain.len();
        let step = chain.drop_oldest().unwrap();
        assert!(step > 1 && chain.len() < before);
        assert!(chain.get("name-00000").is_none());
        assert_eq!(names(&chain.publish(), 0).len(), chain.len());
    }
}
