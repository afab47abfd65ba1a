//! Places for clients that nobody knows yet, of which a flood takes from itself.
//!
//! When all are taken, the peer that has most makes room for one that has less: whoever comes from
//! elsewhere is let in, however many connections an attacker opens.

use crate::peer::Peer;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// So many places, and so many of them for one peer.
#[derive(Debug)]
pub(crate) struct FairPlaces {
    taken: Arc<Mutex<Taken>>,
    most: usize,
    of_peer: usize,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    count: usize,
    /// By peer, oldest first.
    holders: BTreeMap<Peer, BTreeMap<u64, CancellationToken>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The peer has as many as one may.
    OfPeer,
    /// All are taken, and nobody has more than this peer.
    Whole,
}

/// One place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct FairPlace {
    taken: Arc<Mutex<Taken>>,
    peer: Peer,
    id: u64,
    displaced: CancellationToken,
}

impl Taken {
    fn remove(&mut self, peer: Peer, id: u64) -> Option<CancellationToken> {
        let own = self.holders.get_mut(&peer)?;
        let removed = own.remove(&id)?;
        if own.is_empty() {
            self.holders.remove(&peer);
        }
        self.count -= 1;
        Some(removed)
    }

    /// Returns the oldest place of the peer that has most, and how many that are.
    fn greediest(&self) -> Option<(usize, Peer, u64)> {
        let oldest = |own: &BTreeMap<u64, CancellationToken>| own.keys().next().copied().unwrap_or_default();
        let all = self.holders.iter().map(|(peer, own)| (own.len(), *peer, oldest(own)));
        all.max_by_key(|(count, _, oldest)| (*count, Reverse(*oldest)))
    }
}

impl FairPlaces {
    /// Has `most` places, of which one peer may take `of_peer`.
    pub fn new(most: usize, of_peer: usize) -> Self {
        Self { taken: Arc::default(), most, of_peer }
    }

    /// Takes a place, of whoever has most if need be.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, peer: Peer) -> Result<FairPlace, Full> {
        let mut taken = self.taken.lock();
        let own = taken.holders.get(&peer).map_or(0, BTreeMap::len);
        if own >= self.of_peer {
            return Err(Full::OfPeer);
        }
        if taken.count >= self.most {
            let (count, greediest, oldest) = taken.greediest().ok_or(Full::Whole)?;
            if count <= own {
                return Err(Full::Whole);
            }
            if let Some(displaced) = taken.remove(greediest, oldest) {
                displaced.cancel();
            }
        }
        let (id, displaced) = (taken.next, CancellationToken::new());
        taken.next += 1;
        taken.count += 1;
        taken.holders.entry(peer).or_default().insert(id, displaced.clone());
        drop(taken);
        Ok(FairPlace { taken: Arc::clone(&self.taken), peer, id, displaced })
    }
}

impl FairPlace {
    /// Returns what is cancelled once another has this place.
    pub fn displaced(&self) -> CancellationToken {
        self.displaced.clone()
    }
}

impl Drop for FairPlace {
    fn drop(&mut self) {
        self.taken.lock().remove(self.peer, self.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(last: u8) -> Peer {
        Peer::of(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn the_peer_that_has_most_makes_room() {
        let places = FairPlaces::new(4, 3);
        let greedy: Vec<_> = (0..3).map(|_| places.take(peer(1)).unwrap()).collect();
        assert_eq!(places.take(peer(1)).err(), Some(Full::OfPeer));
        let one = places.take(peer(2)).unwrap();
        let other = places.take(peer(3)).unwrap();
        let gone: Vec<_> = greedy.iter().map(|place| place.displaced().is_cancelled()).collect();
        assert_eq!(gone, [true, false, false], "the oldest goes");
        assert!(!one.displaced().is_cancelled() && !other.displaced().is_cancelled());
        drop(greedy);
        assert_eq!(places.taken.lock().count, 2);
        drop((one, other));
        assert!(places.taken.lock().holders.is_empty());
    }

    #[test]
    fn nobody_makes_room_for_one_that_has_as_many() {
        let places = FairPlaces::new(2, 2);
        let _held = (places.take(peer(1)).unwrap(), places.take(peer(2)).unwrap());
        assert_eq!(places.take(peer(1)).err(), Some(Full::Whole));
        assert!(places.take(peer(3)).is_ok());
    }
}
