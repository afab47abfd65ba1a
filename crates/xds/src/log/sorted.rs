//! A sorted map that is cheap to copy: most of its content is shared by all copies that have not changed it.

use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::Arc;

/// Most entries of a piece: a change copies so many at most, and one word for each piece.
const MOST: usize = 32;
/// A piece with no more than this is joined with the one before it.
const LEAST: usize = MOST / 4;
/// For how many entries room is made at once: maps are many, and most of them small.
const STEP: usize = 4;

type Piece<K, V> = Arc<Vec<(K, V)>>;

/// Entries ascending by key, in pieces of some tens.
///
/// Trees of single entries take several times the room.
#[derive(Debug)]
pub(crate) struct Sorted<K, V> {
    pieces: Arc<Vec<Piece<K, V>>>,
    len: usize,
}

impl<K, V> Clone for Sorted<K, V> {
    fn clone(&self) -> Self {
        Self { pieces: Arc::clone(&self.pieces), len: self.len }
    }
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { pieces: Arc::default(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Sorted<K, V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the piece that a key is in or belongs in, and its place there.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let order = |(of, _): &(K, V)| Q::cmp(of.borrow(), key);
        let ends_before = |piece: &Piece<K, V>| piece.last().is_some_and(|last| order(last).is_lt());
        let at = self.pieces.partition_point(ends_before).min(self.pieces.len().saturating_sub(1));
        let place = self.pieces.get(at).map_or(Err(0), |piece| piece.binary_search_by(order));
        (at, place)
    }

    /// Returns an entry.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (at, Ok(place)) = self.place(key) else { return None };
        let (key, value) = &self.pieces[at][place];
        Some((key, value))
    }

    /// Puts an entry, instead of that of the same key.
    pub fn insert(&mut self, key: K, value: V) {
        let (at, place) = self.place(&key);
        let pieces = Arc::make_mut(&mut self.pieces);
        if pieces.is_empty() {
            pieces.push(Arc::default());
        }
        let piece = Arc::make_mut(&mut pieces[at]);
        let place = match place {
            Ok(place) => {
                piece[place] = (key, value);
                return;
            }
            Err(place) => place,
        };
        self.len += 1;
        if piece.len() < MOST {
            put(piece, place, (key, value));
            return;
        }
        // What only grows at its end leaves full pieces behind.
        let cut = if place == piece.len() { place } else { piece.len() / 2 };
        let mut rest = piece.split_off(cut);
        piece.shrink_to_fit();
        match place.checked_sub(cut) {
            Some(place) => put(&mut rest, place, (key, value)),
            None => put(piece, place, (key, value)),
        }
        pieces.reserve_exact(1);
        pieces.insert(at + 1, Arc::new(rest));
    }

    /// Removes an entry, if it is there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let (at, Ok(place)) = self.place(key) else { return };
        let pieces = Arc::make_mut(&mut self.pieces);
        let piece = Arc::make_mut(&mut pieces[at]);
        piece.remove(place);
        self.len -= 1;
        if piece.len() > LEAST {
            return;
        }
        if piece.is_empty() {
            pieces.remove(at);
        } else if let Some(before) = at.checked_sub(1).filter(|at| pieces[*at].len() <= MOST / 2) {
            let rest = pieces.remove(at);
            let before = Arc::make_mut(&mut pieces[before]);
            before.reserve_exact(rest.len());
            before.extend_from_slice(&rest);
        }
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pieces.iter().flat_map(|piece| piece.iter()).map(|(key, value)| (key, value))
    }

    /// Returns the entries from a bound on, in order.
    pub fn from<'a, Q: Ord + ?Sized>(
        &'a self,
        begin: Bound<&Q>,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, Q, K, V>
    where
        K: Borrow<Q>,
    {
        let (at, place) = match begin {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) => {
                let (at, place) = self.place(key);
                (at, place.unwrap_or_else(|place| place))
            }
            Bound::Excluded(key) => {
                let (at, place) = self.place(key);
                (at, place.map_or_else(|place| place, |place| place + 1))
            }
        };
        let first = self.pieces.get(at).map(|piece| &piece[place..]).unwrap_or_default();
        let rest = self.pieces.iter().skip(at + 1).flat_map(|piece| piece.iter());
        first.iter().chain(rest).map(|(key, value)| (key, value))
    }
}

fn put<E>(piece: &mut Vec<E>, place: usize, entry: E) {
    if piece.len() == piece.capacity() {
        piece.reserve_exact(STEP);
    }
    piece.insert(place, entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_plain_map_and_copies_stay_as_they_are() {
        let (mut sorted, mut plain) = (Sorted::default(), BTreeMap::new());
        let mut copies = Vec::new();
        for step in 0..4_000_u32 {
            // Grows to some hundred in no order, shrinks to nothing, then grows at its end.
            let key = match step {
                0..1_500 => step.wrapping_mul(7_919) % 701,
                1_500..3_000 => (step * 13) % 701,
                _ => step,
            };
            if (1_500..3_000).contains(&step) {
                sorted.remove(&key);
                plain.remove(&key);
            } else {
                sorted.insert(key, step);
                plain.insert(key, step);
            }
            assert_eq!(sorted.len(), plain.len());
            assert_eq!(sorted.get(&key), plain.get_key_value(&key));
            if step % 50 == 0 {
                assert!(sorted.iter().eq(&plain));
                let after = (Bound::Excluded(&key), Bound::Unbounded);
                assert!(sorted.from(Bound::Excluded(&key)).eq(plain.range::<u32, _>(after)));
                assert!(sorted.from(Bound::Included(&key)).eq(plain.range(key..)));
                assert!(sorted.pieces.iter().all(|piece| (1..=MOST).contains(&piece.len())));
                copies.push((sorted.clone(), plain.clone()));
            }
        }
        assert!(copies.iter().all(|(sorted, plain)| sorted.iter().eq(plain)));
    }

    #[test]
    fn a_change_leaves_all_other_pieces_shared() {
        let mut sorted = Sorted::default();
        (0..1_000).for_each(|key| sorted.insert(key, 0));
        let before = sorted.clone();
        sorted.insert(500, 1);
        let shared = before.pieces.iter().zip(&*sorted.pieces).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!((shared.count(), sorted.pieces.len()), (31, 32));
    }
}
