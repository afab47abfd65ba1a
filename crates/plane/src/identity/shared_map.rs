use hashbrown::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Bits of a tag that choose a child.
const BITS: u32 = 2;
const WIDTH: usize = 1 << BITS;

/// Most entries of a leaf; one with more becomes a branch.
const FULL: usize = 32;

/// A map whose clones share what they have in common.
///
/// A tree by hash, whose leaves are small lists. A change copies the path to one leaf, and only if a clone
/// shares it: some nodes of four pointers and some dozen entries, however many there are. A list is hardly
/// longer than what is in it, so that an entry costs its own size, a part of its hash, and few bytes more.
#[derive(Clone, Debug)]
pub(crate) struct SharedMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
    hasher: foldhash::fast::RandomState,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<Entry<K, V>>),
    Branch([Arc<Node<K, V>>; WIDTH]),
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    /// Half of the hash. It leads to the leaf, and there most that are not sought are passed over without a
    /// look at their keys.
    tag: u32,
    key: K,
    value: V,
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self::Leaf(Vec::new())
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::default(), len: 0, hasher: foldhash::fast::RandomState::default() }
    }
}

/// The child that leads to a tag, of a node that is this many levels below the root.
fn child(tag: u32, level: u32) -> usize {
    (tag >> (level * BITS)) as usize % WIDTH
}

impl<K, V> Node<K, V> {
    /// Makes a node of entries, this many levels below the root.
    fn of(entries: Vec<Entry<K, V>>, level: u32) -> Self {
        // A leaf whose tags are used up holds what it must.
        if entries.len() <= FULL || level >= u32::BITS / BITS {
            return Self::Leaf(entries);
        }
        let share = entries.len() / WIDTH;
        let mut parts: [Vec<Entry<K, V>>; WIDTH] = std::array::from_fn(|_| Vec::with_capacity(share));
        for entry in entries {
            parts[child(entry.tag, level)].push(entry);
        }
        Self::Branch(parts.map(|mut part| {
            part.shrink_to_fit();
            Arc::new(Self::of(part, level + 1))
        }))
    }

    /// Makes a node, this many levels below the root, of the parts `depth` levels below it whose tags end so.
    fn above(parts: &mut [Vec<Entry<K, V>>], end: usize, level: u32, depth: u32) -> Self {
        if level == depth {
            return Self::of(std::mem::take(&mut parts[end]), level);
        }
        Self::Branch(std::array::from_fn(|at| {
            let end = end | (at << (level * BITS));
            Arc::new(Self::above(parts, end, level + 1, depth))
        }))
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SharedMap<K, V> {
    fn tag(&self, key: &impl Hash) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the value under a key.
    pub fn get<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<&V> {
        let tag = self.tag(key);
        let (mut node, mut level) = (&*self.root, 0);
        loop {
            match node {
                Node::Branch(children) => node = &children[child(tag, level)],
                Node::Leaf(entries) => {
                    let found =
                        entries.iter().find(|entry| entry.tag == tag && key.equivalent(&entry.key))?;
                    return Some(&found.value);
                }
            }
            level += 1;
        }
    }

    /// Puts a value under a key, or removes it: as `edit` says of the one that is there.
    pub fn edit(&mut self, key: &K, edit: impl FnOnce(Option<V>) -> Option<V>) {
        let tag = self.tag(key);
        let (mut node, mut level) = (Arc::make_mut(&mut self.root), 0);
        while let Node::Branch(children) = node {
            node = Arc::make_mut(&mut children[child(tag, level)]);
            level += 1;
        }
        let Node::Leaf(entries) = &mut *node else { return };
        let at = entries.iter().position(|entry| entry.tag == tag && entry.key == *key);
        match (at, edit(at.map(|at| entries[at].value.clone()))) {
            (Some(at), Some(value)) => entries[at].value = value,
            (Some(at), None) => {
                entries.swap_remove(at);
                self.len -= 1;
            }
            (None, Some(value)) => {
                if entries.len() == entries.capacity() {
                    // Doubling would waste a quarter of all.
                    entries.reserve_exact(1 + entries.len() / 8);
                }
                entries.push(Entry { tag, key: key.clone(), value });
                self.len += 1;
                if entries.len() > FULL {
                    *node = Node::of(std::mem::take(entries), level);
                }
            }
            (None, None) => {}
        }
    }

    /// Returns a map of these entries, each under a key of its own: quicker than to put one after another.
    pub fn of(entries: Vec<(K, V)>) -> Self {
        let mut map = Self { len: entries.len(), ..Self::default() };
        // As deep as it is when all leaves are as full as one another; one that is too full becomes a branch.
        let (mut depth, mut leaves) = (0, 1);
        while leaves * FULL < entries.len() {
            (depth, leaves) = (depth + 1, leaves * WIDTH);
        }
        let tags: Vec<u32> = entries.iter().map(|(key, _)| map.tag(key)).collect();
        let leaf = |tag: u32| tag as usize % leaves;
        let mut sizes = vec![0; leaves];
        tags.iter().for_each(|tag| sizes[leaf(*tag)] += 1);
        let mut parts: Vec<Vec<Entry<K, V>>> = sizes.into_iter().map(Vec::with_capacity).collect();
        for ((key, value), tag) in entries.into_iter().zip(tags) {
            parts[leaf(tag)].push(Entry { tag, key, value });
        }
        map.root = Arc::new(Node::above(&mut parts, 0, 0, depth));
        map
    }

    /// Returns all entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut pending = vec![&*self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match pending.pop()? {
                    Node::Leaf(entries) => return Some(entries),
                    Node::Branch(children) => pending.extend(children.iter().map(|child| &**child)),
                }
            }
        });
        leaves.flatten().map(|entry| (&entry.key, &entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// The nodes of a map that another does not share.
    fn unshared(a: &SharedMap<u32, u32>, b: &SharedMap<u32, u32>) -> usize {
        fn nodes(node: &Arc<Node<u32, u32>>, all: &mut Vec<*const Node<u32, u32>>) {
            all.push(Arc::as_ptr(node));
            if let Node::Branch(children) = &**node {
                children.iter().for_each(|child| nodes(child, all));
            }
        }
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        nodes(&a.root, &mut of_a);
        nodes(&b.root, &mut of_b);
        let of_a: BTreeSet<_> = of_a.into_iter().collect();
        of_b.into_iter().filter(|node| !of_a.contains(node)).count()
    }

    proptest! {
        #[test]
        fn answers_as_a_plain_map_and_leaves_its_clones_alone(
            start in proptest::collection::vec((0..200u32, any::<u32>()), 0..100),
            steps in proptest::collection::vec((0..200u32, any::<Option<u32>>()), 0..300),
        ) {
            let mut plain: BTreeMap<u32, u32> = start.into_iter().collect();
            let mut map = SharedMap::of(plain.clone().into_iter().collect());
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
                for key in 0..200 {
                    prop_assert_eq!(map.get(&key), plain.get(&key));
                }
            }
        }
    }

    /// A key whose hash is that of all others.
    #[derive(Clone, PartialEq, Eq)]
    struct Alike(u32);

    impl Hash for Alike {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut map = SharedMap::default();
        (0..100).for_each(|key| map.edit(&Alike(key), |_| Some(key)));
        map.edit(&Alike(50), |_| None);
        assert_eq!(map.len(), 99);
        assert!((0..100).all(|key| map.get(&Alike(key)).copied() == (key != 50).then_some(key)));
    }

    #[test]
    fn one_change_of_many_entries_copies_one_path() {
        let mut map = SharedMap::default();
        (0..100_000).for_each(|key| map.edit(&key, |_| Some(key)));
        let before = map.clone();
        assert_eq!(unshared(&before, &map), 0);
        map.edit(&7, |_| Some(8));
        assert!((2..=12).contains(&unshared(&before, &map)), "{}", unshared(&before, &map));
        assert_eq!((before.get(&7), map.get(&7)), (Some(&7), Some(&8)));
    }
}
