//! Keys with stable small numbers.

use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};

/// Maps keys to slots: dense numbers that stay the same while the key is present, so that one row
/// can refer to another in four bytes. A freed number is used again.
pub(crate) struct Slab<K, P> {
    by_key: HashTable<u32>,
    slots: Vec<Option<(K, P)>>,
    free: Vec<u32>,
    /// Slots made since the last trim.
    grown: usize,
}

impl<K, P> Default for Slab<K, P> {
    fn default() -> Self {
        Self { by_key: HashTable::new(), slots: Vec::new(), free: Vec::new(), grown: 0 }
    }
}

/// Shrinks a vector to a sixteenth above its length if at least a quarter of it is new. The copy is
/// then paid for by what was added, so that small additions never copy everything.
pub(crate) fn trim<T>(vec: &mut Vec<T>, added: usize) {
    let wanted = vec.len() + vec.len() / 16;
    if added * 4 >= vec.len() && vec.capacity() > wanted {
        vec.shrink_to(wanted);
    }
}

fn hash<K: Hash>(key: &K) -> u64 {
    foldhash::fast::FixedState::default().hash_one(key)
}

impl<K: Clone + Eq + Hash, P: Default> Slab<K, P> {
    fn is(&self, slot: u32, key: &K) -> bool {
        matches!(&self.slots[slot as usize], Some((k, _)) if k == key)
    }

    /// Returns the slot of `key`, if it has one.
    pub fn find(&self, key: &K) -> Option<u32> {
        self.find_hashed(hash(key), key)
    }

    fn find_hashed(&self, hash: u64, key: &K) -> Option<u32> {
        self.by_key.find(hash, |slot| self.is(*slot, key)).copied()
    }

    /// Returns the slot of `key`, which gets one with an empty payload if it has none.
    pub fn intern(&mut self, key: &K) -> u32 {
        let hashed = hash(key);
        if let Some(slot) = self.find_hashed(hashed, key) {
            return slot;
        }
        let entry = Some((key.clone(), P::default()));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.grown += 1;
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.by_key.insert_unique(hashed, slot, |s| slots[*s as usize].as_ref().map_or(0, |(k, _)| hash(k)));
        slot
    }

    /// Takes a slot away; its number may be used again from now on.
    pub fn remove(&mut self, slot: u32) {
        if let Some((key, _)) = self.slots[slot as usize].take() {
            if let Ok(entry) = self.by_key.find_entry(hash(&key), |s| *s == slot) {
                entry.remove();
            }
            self.free.push(slot);
        }
    }

    /// Gives back room that a vector made by doubling, after a commit in which much was added: a
    /// first listing should not cost twice its size for good.
    pub fn trim(&mut self) {
        trim(&mut self.slots, std::mem::take(&mut self.grown));
    }

    /// Returns the key and payload of a slot in use.
    pub fn get(&self, slot: u32) -> Option<&(K, P)> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Returns the key and payload of a slot in use.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut (K, P)> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Returns all slots in use with their keys and payloads, by slot number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K, &P)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| s.as_ref().map(|(k, p)| (i as u32, k, p)))
    }
}
