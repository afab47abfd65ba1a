//! Leader election: who leads, decided from what is read and from the time that is passed in; no I/O.
//!
//! A lock is a record in the cluster: who holds it and for how long after a renewal. A candidate that
//! reads a record that does not change for that long may acquire the lock. Only differences of the local
//! clock count, so clocks that are wrong by minutes do no harm. A leader that cannot renew stops leading
//! halfway through its lease: nobody can have acquired the lock by then.

use k8s_openapi::jiff::Timestamp;
use std::time::{Duration, Instant};

/// The timings of a lock, as in the leader election of client-go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseTimings {
    /// How long other candidates wait after a renewal, in whole seconds.
    pub lease_duration: Duration,
    /// How long a leader leads without a renewal.
    pub renew_deadline: Duration,
    /// How often the lock is renewed, or read.
    pub retry_period: Duration,
}

impl Default for LeaseTimings {
    /// The timings of istiod, with whose replicas the lock is shared.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(30),
            renew_deadline: Duration::from_secs(15),
            retry_period: Duration::from_millis(7500),
        }
    }
}

/// The longest lease of another holder that is respected.
const MAX_LEASE: Duration = Duration::from_secs(3600);

/// The content of a lock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaderRecord {
    /// Who holds it; empty when it was released.
    pub holder: String,
    /// The revision of the holder.
    pub key: String,
    /// How long the lease lasts after `renewed`, in seconds.
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
    timings: LeaseTimings,
    /// What was read last, and when it was first read.
    observed: Option<(LeaderRecord, Instant)>,
    /// When the last renewal was sent.
    renewed: Option<Instant>,
}

impl Election {
    /// Takes part under a name of its own, for a revision.
    pub fn new(identity: String, key: String, timings: LeaseTimings) -> Self {
        Self { identity, key, timings, observed: None, renewed: None }
    }

    /// Records what was read (`None`: there is no lock yet) and returns what to write, if the lock is ours
    /// or free. The write must fail if the lock has changed meanwhile.
    pub fn observe(
        &mut self,
        found: Option<&LeaderRecord>,
        now: Instant,
        wall: Timestamp,
    ) -> Option<LeaderRecord> {
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
        // Another candidate has it, whatever was recorded before.
        self.renewed = None;
        let is_free = record.holder.is_empty() || self.expiry().is_none_or(|expiry| now >= expiry);
        is_free.then(|| self.claim(Some(record), wall))
    }

    /// Records that a record was written by a request that was sent at `sent`.
    pub fn written(&mut self, record: LeaderRecord, sent: Instant) {
        self.observed = Some((record, sent));
        self.renewed = Some(sent);
    }

    /// Tells whether this candidate leads.
    pub fn is_leader(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Returns when leading ends without another renewal; `None` while this candidate does not lead.
    pub fn deadline(&self) -> Option<Instant> {
        self.renewed.map(|at| at + self.timings.renew_deadline)
    }

    /// Returns when to read the lock again.
    pub fn next_attempt(&self, now: Instant) -> Instant {
        let soon = now + self.timings.retry_period;
        match (self.renewed, self.expiry()) {
            // The end of another's lease is not missed, and an ended one does not make a busy loop.
            (None, Some(expiry)) if expiry > now => soon.min(expiry),
            _ => soon,
        }
    }

    /// Stops leading and returns what to write to release the lock, if it is ours.
    pub fn release(&mut self, wall: Timestamp) -> Option<LeaderRecord> {
        self.renewed.take()?;
        let (record, _) = self.observed.take()?;
        Some(LeaderRecord { holder: String::new(), seconds: 1, renewed: Some(wall), ..record })
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
        let lease = Duration::from_secs(u64::try_from(record.seconds).unwrap_or(0));
        Some(*since + lease.min(MAX_LEASE))
    }

    fn claim(&self, old: Option<&LeaderRecord>, wall: Timestamp) -> LeaderRecord {
        let is_ours = old.is_some_and(|record| record.holder == self.identity);
        let transitions = old.map_or(0, |record| record.transitions);
        LeaderRecord {
            holder: self.identity.clone(),
            key: self.key.clone(),
            seconds: i32::try_from(self.timings.lease_duration.as_secs()).unwrap_or(i32::MAX),
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
        Election::new(name.to_owned(), "default".to_owned(), LeaseTimings::default())
    }

    fn at(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    /// Reads the lock and writes it if it may.
    fn try_acquire_or_renew(of: &mut Election, lock: &mut Option<LeaderRecord>, now: Instant) {
        if let Some(record) = of.observe(lock.as_ref(), now, Timestamp::UNIX_EPOCH) {
            *lock = Some(record.clone());
            of.written(record, now);
        }
    }

    #[test]
    fn the_first_candidate_leads_and_the_second_waits() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        try_acquire_or_renew(&mut a, &mut lock, begin);
        try_acquire_or_renew(&mut b, &mut lock, begin);
        assert!(a.is_leader(begin) && !b.is_leader(begin));
        assert_eq!(b.holder(), "a");
        let record = lock.unwrap();
        assert_eq!((record.seconds, record.transitions), (30, 0));
    }

    #[test]
    fn a_lock_that_is_renewed_keeps_its_holder() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        for second in (0..300).step_by(7) {
            let now = at(begin, second);
            let renewal = a.observe(lock.as_ref(), now, Timestamp::from_second(second as i64).unwrap());
            lock = renewal.clone();
            a.written(renewal.unwrap(), now);
            try_acquire_or_renew(&mut b, &mut lock, now);
            assert!(a.is_leader(now) && !b.is_leader(now), "after {second} s");
        }
        assert_eq!(lock.unwrap().acquired, Some(Timestamp::UNIX_EPOCH), "it was acquired once");
    }

    #[test]
    fn a_lock_that_is_not_renewed_is_acquired_at_the_end_of_its_lease() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        try_acquire_or_renew(&mut a, &mut lock, begin);
        try_acquire_or_renew(&mut b, &mut lock, at(begin, 1));
        assert_eq!(
            b.next_attempt(at(begin, 25)),
            at(begin, 31),
            "the end of the lease comes before the next attempt"
        );
        try_acquire_or_renew(&mut b, &mut lock, at(begin, 30));
        assert!(!b.is_leader(at(begin, 30)), "b has known the record for 29 s");
        try_acquire_or_renew(&mut b, &mut lock, at(begin, 31));
        assert!(b.is_leader(at(begin, 31)));
        assert_eq!(lock.unwrap().transitions, 1);
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_another_can_acquire_the_lock() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        let mut lock = None;
        try_acquire_or_renew(&mut a, &mut lock, begin);
        assert!(a.is_leader(at(begin, 14)));
        assert!(!a.is_leader(at(begin, 15)));
        assert_eq!(a.deadline(), Some(at(begin, 15)));
    }

    #[test]
    fn a_leader_that_stopped_leads_again_by_renewing_a_lock_that_is_still_its_own() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        let mut lock = None;
        try_acquire_or_renew(&mut a, &mut lock, begin);
        try_acquire_or_renew(&mut a, &mut lock, at(begin, 20));
        assert!(a.is_leader(at(begin, 21)));
        assert_eq!(lock.unwrap().transitions, 0);
    }

    #[test]
    fn a_candidate_that_finds_another_holder_does_not_lead() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        let mut lock = None;
        try_acquire_or_renew(&mut a, &mut lock, begin);
        let other = LeaderRecord { holder: "b".to_owned(), ..lock.unwrap() };
        assert_eq!(a.observe(Some(&other), at(begin, 1), Timestamp::UNIX_EPOCH), None);
        assert!(!a.is_leader(at(begin, 1)));
    }

    #[test]
    fn a_lock_that_is_released_is_acquired_at_once() {
        let (mut a, mut b, begin) = (candidate("a"), candidate("b"), Instant::now());
        let mut lock = None;
        try_acquire_or_renew(&mut a, &mut lock, begin);
        try_acquire_or_renew(&mut b, &mut lock, begin);
        lock = a.release(Timestamp::UNIX_EPOCH);
        assert!(!a.is_leader(begin));
        assert_eq!(a.release(Timestamp::UNIX_EPOCH), None, "there is nothing to release twice");
        try_acquire_or_renew(&mut b, &mut lock, at(begin, 1));
        assert!(b.is_leader(at(begin, 1)));
    }

    #[test]
    fn leases_of_others_are_respected_within_bounds() {
        let (mut a, begin) = (candidate("a"), Instant::now());
        for (seconds, free_after) in [(-5, 0), (0, 0), (10, 10), (i32::MAX, 3600)] {
            let other =
                LeaderRecord { holder: format!("other {seconds}"), seconds, ..LeaderRecord::default() };
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
