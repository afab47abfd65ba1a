//! Who leads, decided from what is read and from the time that is passed in; nothing is asked here.
//!
//! A lock is a record in the cluster: who holds it and how long a renewal lasts. Whoever reads a
//! record that does not change for that long may take it over. Only differences of the local clock
//! count, so clocks that go wrong by minutes do no harm. A holder that cannot renew gives up halfway
//! through its term: nobody can have taken over by then.

use k8s_openapi::jiff::Timestamp;
use std::time::{Duration, Instant};

/// The times of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// How long a renewal lasts, in whole seconds.
    pub lease: Duration,
    /// How long a leader leads without a renewal.
    pub renew: Duration,
    /// How often the lock is renewed, or looked at.
    pub retry: Duration,
}

impl Default for Term {
    /// The times of the reference, with whose replicas the lock is shared.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            renew: Duration::from_secs(15),
            retry: Duration::from_millis(7500),
        }
    }
}

/// The longest term of somebody else that is believed.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a lock says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// The revision of the holder.
    pub key: String,
    /// How long the holder has it from `renewed` on, in seconds.
    pub seconds: i32,
    /// Since when the holder has it.
    pub acquired: Option<Timestamp>,
    /// When the holder renewed it last.
    pub renewed: Option<Timestamp>,
    /// How often it has changed hands.
    pub transitions: i32,
}

/// One candidate for a lock.
#[derive(Debug)]
pub struct Election {
    identity: String,
    key: String,
    term: Term,
    /// What was read last, and when it was first read.
    observed: Option<(Record, Instant)>,
    /// When the renewal in force was asked for.
    renewed: Option<Instant>,
}

impl Election {
    /// Takes part under a name of its own, for a revision.
    pub fn new(identity: String, key: String, term: Term) -> Self {
        Self { identity, key, term, observed: None, renewed: None }
    }

    /// Takes note of what was read (`None`: there is no lock yet) and returns what to write, if the
    /// lock is ours or free. The write must fail if the lock has changed meanwhile.
    pub fn observe(&mut self, found: Option<&Record>, now: Instant, wall: Timestamp) -> Option<Record> {
        let Some(record) = found else {
            (self.observed, self.renewed) = (None, None);
            return Some(self.claim(None, wall));
        };
        let is_same = self.observed.as_ref().is_some_and(|(seen, _)| seen == record);
        if !is_same {
            self.observed = Some((record.clone(), now));
        }
        if record.holder == self.identity {
            return Some(self.claim(Some(record), wall));
        }
        // Somebody else has it, whatever we believed.
        self.renewed = None;
        let is_free = record.holder.is_empty() || self.expiry().is_none_or(|expiry| now >= expiry);
        is_free.then(|| self.claim(Some(record), wall))
    }

    /// Takes note that a record was written by a request that was sent at `sent`.
    pub fn wrote(&mut self, record: Record, sent: Instant) {
        self.observed = Some((record, sent));
        self.renewed = Some(sent);
    }

    /// Tells whether this candidate leads.
    pub fn is_leader(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Returns when leading ends without another renewal; `None` for who does not lead.
    pub fn deadline(&self) -> Option<Instant> {
        self.renewed.map(|at| at + self.term.renew)
    }

    /// Returns when to look at the lock again.
    pub fn next(&self, now: Instant) -> Instant {
        let soon = now + self.term.retry;
        match (self.renewed, self.expiry()) {
            // The end of another's term is not missed; what has ended is not asked for in a loop.
            (None, Some(expiry)) if expiry > now => soon.min(expiry),
            _ => soon,
        }
    }

    /// Stops leading and returns what gives the lock back, if it is ours.
    pub fn resign(&mut self, wall: Timestamp) -> Option<Record> {
        self.renewed.take()?;
        let (record, _) = self.observed.take()?;
        Some(Record { holder: String::new(), seconds: 1, renewed: Some(wall), ..record })
    }

    /// Returns the name of this candidate.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns who holds the lock, as far as is known.
    pub fn holder(&self) -> &str {
        self.observed.as_ref().map_or("", |(record, _)| &record.holder)
    }

    fn expiry(&self) -> Option<Instant> {
        let (record, since) = self.observed.as_ref()?;
        let term = Duration::from_secs(u64::try_from(record.seconds).unwrap_or(0));
        Some(*since + term.min(LONGEST))
    }

    fn claim(&self, old: Option<&Record>, wall: Timestamp) -> Record {
        let is_ours = old.is_some_and(|record| record.holder == self.identity);
        let transitions = old.map_or(0, |record| record.transitions);
        Record {
            holder: self.identity.clone(),
            key: self.key.clone(),
            seconds: i32::try_from(self.term.lease.as_secs()).unwrap_or(i32::MAX),
            acquired: old.filter(|_| is_ours).and_then(|record| record.acquired).or(Some(wall)),
            renewed: Some(wall),
            transitions: transitions.saturating_add(i32::from(old.is_some() && !is_ours)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn candidate(name: &str) -> Election {
        Election::new(name.to_owned(), "default".to_owned(), Term::default())
    }

    fn at(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    /// Reads the lock and writes it if it may.
    fn turn(of: &mut Election, lock: &mut Option<Record>, now: Instant) {
        if let Some(record) = of.observe(lock.as_ref(), now, Timestamp::UNIX_EPOCH) {
            *lock = Some(record.clone());
            of.wrote(record, now);
        }
    }

    #[test]
    fn the_first_one_leads_and_the_second_waits() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        turn(&mut a, &mut lock, begin);
        turn(&mut b, &mut lock, begin);
        assert!(a.is_leader(begin) && !b.is_leader(begin));
        assert_eq!(b.holder(), "a");
        let record = lock.unwrap();
        assert_eq!((record.seconds, record.transitions), (30, 0));
    }

    #[test]
    fn a_lock_that_is_renewed_is_never_taken() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        for second in (0..300).step_by(7) {
            let now = at(begin, second);
            let renewal = a.observe(lock.as_ref(), now, Timestamp::from_second(second as i64).unwrap());
            lock = renewal.clone();
            a.wrote(renewal.unwrap(), now);
            turn(&mut b, &mut lock, now);
            assert!(a.is_leader(now) && !b.is_leader(now), "after {second} s");
        }
        assert_eq!(lock.unwrap().acquired, Some(Timestamp::UNIX_EPOCH), "it was acquired once");
    }

    #[test]
    fn a_lock_without_a_holder_that_renews_is_taken_at_the_end_of_its_term() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        turn(&mut a, &mut lock, begin);
        turn(&mut b, &mut lock, at(begin, 1));
        assert_eq!(b.next(at(begin, 25)), at(begin, 31), "the end of the term comes before the next look");
        turn(&mut b, &mut lock, at(begin, 30));
        assert!(!b.is_leader(at(begin, 30)), "b has known the record for 29 s");
        turn(&mut b, &mut lock, at(begin, 31));
        assert!(b.is_leader(at(begin, 31)));
        assert_eq!(lock.unwrap().transitions, 1);
    }

    #[test]
    fn who_cannot_renew_gives_up_before_anybody_can_take_over() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        let mut lock = None;
        turn(&mut a, &mut lock, begin);
        assert!(a.is_leader(at(begin, 14)));
        assert!(!a.is_leader(at(begin, 15)));
        assert_eq!(a.deadline(), Some(at(begin, 15)));
    }

    #[test]
    fn who_has_given_up_leads_again_by_renewing_what_is_still_its_own() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        let mut lock = None;
        turn(&mut a, &mut lock, begin);
        turn(&mut a, &mut lock, at(begin, 20));
        assert!(a.is_leader(at(begin, 21)));
        assert_eq!(lock.unwrap().transitions, 0);
    }

    #[test]
    fn who_finds_another_holder_does_not_lead() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        let mut lock = None;
        turn(&mut a, &mut lock, begin);
        let thief = Record { holder: "b".to_owned(), ..lock.unwrap() };
        assert_eq!(a.observe(Some(&thief), at(begin, 1), Timestamp::UNIX_EPOCH), None);
        assert!(!a.is_leader(at(begin, 1)));
    }

    #[test]
    fn a_lock_that_is_given_back_is_taken_at_once() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        turn(&mut a, &mut lock, begin);
        turn(&mut b, &mut lock, begin);
        lock = a.resign(Timestamp::UNIX_EPOCH);
        assert!(!a.is_leader(begin));
        assert_eq!(a.resign(Timestamp::UNIX_EPOCH), None, "there is nothing to give back twice");
        turn(&mut b, &mut lock, at(begin, 1));
        assert!(b.is_leader(at(begin, 1)));
    }

    #[test]
    fn terms_of_others_are_believed_within_bounds() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        for (seconds, free_after) in [(-5, 0), (0, 0), (10, 10), (i32::MAX, 3600)] {
            let other = Record { holder: format!("other {seconds}"), seconds, ..Record::default() };
            let wall = Timestamp::UNIX_EPOCH;
            if free_after > 0 {
                assert_eq!(a.observe(Some(&other), begin, wall), None);
                assert_eq!(a.observe(Some(&other), at(begin, free_after - 1), wall), None);
            }
            a.observe(Some(&other), begin, wall);
            assert!(a.observe(Some(&other), at(begin, free_after), wall).is_some());
        }
    }
}
