use hashbrown::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Bits of a hash that choose a child; three levels make 4096 leaves.
const BITS: u32 = 4;
const WIDTH: usize = 1 << BITS;

/// A map whose clones share what they have in common.
///
/// A tree of fixed height, whose leaves are small lists. A change copies the path to one leaf, and only if
/// a clone shares it: three nodes of sixteen pointers, and some dozen entries of 100,000. Lists are as long
/// as what is in them: an entry costs its own size and a hash.
#[derive(Clone, Debug)]
pub(crate) struct SharedMap<K, V> {
    root: Node<Node<Node<Leaf<K, V>>>>,
    len: usize,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug)]
struct Node<T>([Option<Arc<T>>; WIDTH]);

type Leaf<K, V> = Vec<Entry<K, V>>;

#[derive(Clone, Debug)]
struct Entry<K, V> {
    /// What is left of the hash: most that are not sought are passed over without a look at their keys.
    tag: u32,
    key: K,
    value: V,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self(Default::default())
    }
}

impl<T> Node<T> {
    fn get(&self, hash: u64, level: u32) -> Option<&T> {
        self.0[child(hash, level)].as_deref()
    }
}

impl<T: Clone + Default> Node<T> {
    fn get_mut(&mut self, hash: u64, level: u32) -> &mut T {
        Arc::make_mut(self.0[child(hash, level)].get_or_insert_with(Arc::default))
    }
}

fn child(hash: u64, level: u32) -> usize {
    (hash >> (level * BITS)) as usize % WIDTH
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0, hasher: foldhash::fast::RandomState::default() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SharedMap<K, V> {
    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the value under a key.
    pub fn get<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let leaf = self.root.get(hash, 0)?.get(hash, 1)?.get(hash, 2)?;
        let found = leaf.iter().find(|entry| entry.tag == tag(hash) && key.equivalent(&entry.key))?;
        Some(&found.value)
    }

    /// Puts a value under a key, or removes it: as `edit` says of the one that is there.
    pub fn edit(&mut self, key: &K, edit: impl FnOnce(Option<V>) -> Option<V>) {
        let hash = self.hasher.hash_one(key);
        let leaf = self.root.get_mut(hash, 0).get_mut(hash, 1).get_mut(hash, 2);
        let at = leaf.iter().position(|entry| entry.tag == tag(hash) && entry.key == *key);
        match (at, edit(at.map(|at| leaf[at].value.clone()))) {
            (Some(at), Some(value)) => leaf[at].value = value,
            (Some(at), None) => {
                leaf.swap_remove(at);
                self.len -= 1;
            }
            (None, Some(value)) => {
                if leaf.len() == leaf.capacity() {
                    // Doubling would waste a quarter of all.
                    leaf.reserve_exact(1 + leaf.len() / 8);
                }
                leaf.push(Entry { tag: tag(hash), key: key.clone(), value });
                self.len += 1;
            }
            (None, None) => {}
        }
    }

    /// Returns all entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let nodes = self.root.0.iter().flatten();
        let leaves = nodes.flat_map(|node| node.0.iter().flatten()).flat_map(|node| node.0.iter().flatten());
        leaves.flat_map(|leaf| leaf.iter()).map(|entry| (&entry.key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Which of the leaves of two maps are not one and the same.
    fn unshared(a: &SharedMap<u32, u32>, b: &SharedMap<u32, u32>) -> usize {
        let leaves = |map: &SharedMap<u32, u32>| -> Vec<*const Leaf<u32, u32>> {
            let nodes = map.root.0.iter().flatten().flat_map(|node| node.0.iter().flatten());
            nodes.flat_map(|node| node.0.iter().flatten()).map(Arc::as_ptr).collect()
        };
        let (a, b) = (leaves(a), leaves(b));
        b.iter().filter(|leaf| !a.contains(leaf)).count()
    }

    proptest! {
        #[test]
        fn answers_as_a_plain_map_and_leaves_its_clones_alone(
            steps in proptest::collection::vec((0..60u32, any::<Option<u32>>()), 0..200),
        ) {
            let (mut map, mut plain) = (SharedMap::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for (key, value) in steps {
                kept.push((map.clone(), plain.clone()));
                map.edit(&key, |old| {
                    assert_eq!(old, plain.get(&key).copied());
                    value
                });
                match value {
                    Some(value) => drop(plain.insert(key, value)),
                    None => drop(plain.remove(&key)),
                }
            }
            kept.push((map, plain));
            for (map, plain) in kept {
                let all: BTreeMap<u32, u32> = map.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(&all, &plain);
                prop_assert_eq!(map.len(), plain.len());
                for key in 0..60 {
                    prop_assert_eq!(map.get(&key), plain.get(&key));
                }
            }
        }
    }

    #[test]
    fn one_change_of_many_entries_copies_one_leaf() {
        let mut map = SharedMap::default();
        (0..100_000).for_each(|key| map.edit(&key, |_| Some(key)));
        let before = map.clone();
        assert_eq!(unshared(&before, &map), 0);
        map.edit(&7, |_| Some(8));
        assert_eq!(unshared(&before, &map), 1);
        assert_eq!((before.get(&7), map.get(&7)), (Some(&7), Some(&8)));
    }
}
