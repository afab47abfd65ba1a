//! Answers about tokens, kept by the token's hash.

use aws_lc_rs::digest;
use rustls_pki_types::UnixTime;
use std::collections::{BTreeSet, HashMap};

/// The hash of a token and of the cluster that it is from. Not the token: what is kept in memory
/// must not serve to log in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash (SHA-256) of `token` as sent with `cluster`.
    pub fn of(token: &str, cluster: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // The length keeps cluster and token apart.
        context.update(&(cluster.len() as u64).to_be_bytes());
        context.update(cluster.as_bytes());
        context.update(token.as_bytes());
        let mut hash = [0; 32];
        hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(hash)
    }
}

/// A bounded table of answers that each end at their own time.
///
/// Only accepted tokens belong in it, so that made-up ones cannot push them out. When it is full,
/// the answer that ends first makes place.
#[derive(Debug)]
pub struct TokenCache<V> {
    capacity: usize,
    answers: HashMap<TokenHash, (V, UnixTime)>,
    by_end: BTreeSet<(UnixTime, TokenHash)>,
}

impl<V> TokenCache<V> {
    /// Builds an empty cache for at most `capacity` answers.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, answers: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// Returns the answer about a token unless it has ended at `now`.
    pub fn get(&self, hash: &TokenHash, now: UnixTime) -> Option<&V> {
        self.answers.get(hash).filter(|(_, end)| now < *end).map(|(answer, _)| answer)
    }

    /// Keeps an answer until `end`, which is no later than the token's own end.
    pub fn put(&mut self, hash: TokenHash, answer: V, end: UnixTime, now: UnixTime) {
        self.remove(&hash);
        self.expire(now);
        if self.capacity == 0 || end <= now {
            return;
        }
        while self.answers.len() >= self.capacity {
            let Some((_, first)) = self.by_end.pop_first() else { break };
            self.answers.remove(&first);
        }
        self.answers.insert(hash, (answer, end));
        self.by_end.insert((end, hash));
    }

    /// Forgets the answer about a token.
    pub fn remove(&mut self, hash: &TokenHash) {
        if let Some((_, end)) = self.answers.remove(hash) {
            self.by_end.remove(&(end, *hash));
        }
    }

    /// Forgets all answers that have ended at `now`.
    pub fn expire(&mut self, now: UnixTime) {
        while let Some((end, hash)) = self.by_end.first().copied().filter(|(end, _)| *end <= now) {
            self.by_end.remove(&(end, hash));
            self.answers.remove(&hash);
        }
    }

    /// Forgets everything, as when the keys of an issuer change.
    pub fn clear(&mut self) {
        self.answers.clear();
        self.by_end.clear();
    }

    /// Returns how many answers are kept.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Tells whether no answer is kept.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttl::at;

    #[test]
    fn answers_end_at_their_time() {
        let mut cache = TokenCache::new(4);
        let hash = TokenHash::of("t", "");
        cache.put(hash, 1, at(10), at(0));
        assert_eq!(cache.get(&hash, at(9)), Some(&1));
        assert_eq!(cache.get(&hash, at(10)), None);
        cache.put(hash, 2, at(10), at(10));
        assert!(cache.is_empty(), "an answer that has ended is not kept");
    }

    #[test]
    fn full_cache_drops_what_ends_first() {
        let mut cache = TokenCache::new(2);
        let [a, b, c] = ["a", "b", "c"].map(|t| TokenHash::of(t, ""));
        cache.put(a, 'a', at(30), at(0));
        cache.put(b, 'b', at(20), at(0));
        cache.put(c, 'c', at(40), at(0));
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.get(&b, at(0)), None);
        assert_eq!(cache.get(&a, at(0)), Some(&'a'));
    }

    #[test]
    fn a_later_answer_replaces_the_earlier_one() {
        let mut cache = TokenCache::new(2);
        let hash = TokenHash::of("t", "");
        cache.put(hash, 1, at(50), at(0));
        cache.put(hash, 2, at(10), at(0));
        assert_eq!((cache.get(&hash, at(5)), cache.get(&hash, at(20)), cache.len()), (Some(&2), None, 1));
    }

    #[test]
    fn one_token_of_two_clusters_has_two_hashes() {
        assert_ne!(TokenHash::of("t", "a"), TokenHash::of("t", "b"));
        assert_ne!(TokenHash::of("bt", "a"), TokenHash::of("t", "ab"));
    }
}
