//! Which change was made when, and when each stream saw it.
//!
//! A change that a stream never saw by itself, because a later one of the same pod overtook it,
//! counts as seen with the later one: by then the stream knew of it. It is counted as coalesced.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::report::{Latency, Propagation};

/// What a stream should see of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The pod at this address.
    Address(IpAddr),
    /// The pod healthy or not.
    Ready(bool),
    /// The pod no more.
    Gone,
}

/// What a stream saw of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is there.
    Pod {
        /// Its addresses.
        ips: Vec<IpAddr>,
        /// Whether it is healthy.
        ready: bool,
    },
    /// It was removed.
    Gone,
}

impl Expected {
    fn is_met_by(&self, seen: &Seen) -> bool {
        match (self, seen) {
            (Self::Gone, Seen::Gone) => true,
            (Self::Address(ip), Seen::Pod { ips, .. }) => ips.contains(ip),
            (Self::Ready(expected), Seen::Pod { ready, .. }) => expected == ready,
            _ => false,
        }
    }
}

/// A change that was begun: to be handed back when the API server answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    pod: String,
    number: u64,
}

struct Change {
    number: u64,
    expected: Expected,
    sent: Instant,
    answered: Option<Instant>,
    /// When each sampled stream saw it.
    seen: Vec<Option<Instant>>,
}

struct Book {
    open: bool,
    next: u64,
    begun: u64,
    failed: u64,
    coalesced: u64,
    changes: HashMap<String, VecDeque<Change>>,
    from_answer: [Histogram<u64>; 2],
    from_request: Histogram<u64>,
    write: Histogram<u64>,
}

/// The changes of a run, shared by those who make them and the streams that see them.
pub struct Ledger {
    streams: usize,
    book: Mutex<Book>,
    settled: Notify,
}

impl Ledger {
    /// A ledger for this many sampled streams.
    pub fn new(streams: usize) -> Self {
        let book = Book {
            open: false,
            next: 0,
            begun: 0,
            failed: 0,
            coalesced: 0,
            changes: HashMap::new(),
            from_answer: [histogram(), histogram()],
            from_request: histogram(),
            write: histogram(),
        };
        Self { streams, book: Mutex::new(book), settled: Notify::new() }
    }

    /// How many streams are sampled.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Whether changes are being made: before that, nothing need be decoded.
    pub fn is_open(&self) -> bool {
        self.book().open
    }

    /// From now on changes are made.
    pub fn open(&self) {
        self.book().open = true;
    }

    /// Notes that a change is about to be sent.
    pub fn begin(&self, pod: &str, expected: Expected, sent: Instant) -> Ticket {
        let mut book = self.book();
        book.next += 1;
        book.begun += 1;
        let number = book.next;
        let seen = vec![None; self.streams];
        let change = Change { number, expected, sent, answered: None, seen };
        book.changes.entry(pod.to_owned()).or_default().push_back(change);
        Ticket { pod: pod.to_owned(), number }
    }

    /// Notes that the API server answered.
    pub fn answer(&self, ticket: &Ticket, at: Instant) {
        let mut book = self.book();
        if let Some(change) = book.find(ticket) {
            change.answered = Some(at);
            let took = at.saturating_duration_since(change.sent);
            record(&mut book.write, took);
        }
        book.settle(&ticket.pod);
        drop(book);
        self.settled.notify_waiters();
    }

    /// Notes that the API server refused the change.
    pub fn fail(&self, ticket: &Ticket) {
        let mut book = self.book();
        book.failed += 1;
        if let Some(changes) = book.changes.get_mut(&ticket.pod) {
            changes.retain(|change| change.number != ticket.number);
        }
        book.settle(&ticket.pod);
        drop(book);
        self.settled.notify_waiters();
    }

    /// Notes what a stream saw of a pod.
    pub fn seen(&self, stream: usize, pod: &str, seen: &Seen, at: Instant) {
        let mut book = self.book();
        let Some(changes) = book.changes.get_mut(pod) else { return };
        let Some(latest) = changes.iter().rposition(|change| change.expected.is_met_by(seen)) else { return };
        let mut overtaken = 0;
        for (place, change) in changes.iter_mut().enumerate().take(latest + 1) {
            if let Some(slot) = change.seen.get_mut(stream)
                && slot.is_none()
            {
                *slot = Some(at);
                overtaken += u64::from(place < latest);
            }
        }
        book.coalesced += overtaken;
        book.settle(pod);
        drop(book);
        self.settled.notify_waiters();
    }

    /// Waits until every change was answered and seen, at most this long.
    pub async fn drain(&self, limit: Duration) {
        let settled = async {
            loop {
                let notified = self.settled.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if self.book().changes.is_empty() {
                    return;
                }
                notified.await;
            }
        };
        // what is missing afterwards is reported as such
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// What was measured so far.
    pub fn propagation(&self) -> Propagation {
        let book = self.book();
        let missing = book.changes.values().flatten().flat_map(|change| &change.seen);
        let [update, removal] = &book.from_answer;
        Propagation {
            changes: book.begun,
            failed: book.failed,
            coalesced: book.coalesced,
            missing: missing.filter(|seen| seen.is_none()).count() as u64,
            update: Latency::of(update),
            removal: Latency::of(removal),
            from_request: Latency::of(&book.from_request),
            api_write: Latency::of(&book.write),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn find(&mut self, ticket: &Ticket) -> Option<&mut Change> {
        self.changes.get_mut(&ticket.pod)?.iter_mut().find(|change| change.number == ticket.number)
    }

    /// Closes the changes of a pod that were answered and seen everywhere.
    fn settle(&mut self, pod: &str) {
        let Some(changes) = self.changes.get_mut(pod) else { return };
        changes.retain(|change| {
            let Some(answered) = change.answered else { return true };
            if change.seen.iter().any(Option::is_none) {
                return true;
            }
            let [update, removal] = &mut self.from_answer;
            let histogram = if change.expected == Expected::Gone { removal } else { update };
            for at in change.seen.iter().flatten() {
                // a stream may be faster than the answer: that is no time at all
                record(histogram, at.saturating_duration_since(answered));
                record(&mut self.from_request, at.saturating_duration_since(change.sent));
            }
            false
        });
        if changes.is_empty() {
            self.changes.remove(pod);
        }
    }
}

/// Microseconds from 1 to an hour's, to three digits; what is longer counts as an hour.
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constants that the library allows")]
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds and digits in range")
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(took.as_micros().try_into().unwrap_or(u64::MAX));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([11, 0, 0, last])
    }

    fn at_ip(last: u8) -> Seen {
        Seen::Pod { ips: vec![ip(last)], ready: true }
    }

    #[test]
    fn time_counts_from_the_answer_on_every_stream() {
        let (ledger, t) = (Ledger::new(2), Instant::now());
        let ticket = ledger.begin("a/b", Expected::Address(ip(1)), t);
        ledger.answer(&ticket, t + 10 * MS);
        ledger.seen(0, "a/b", &at_ip(1), t + 12 * MS);
        assert_eq!(ledger.propagation().missing, 1);
        ledger.seen(1, "a/b", &at_ip(1), t + 30 * MS);
        let found = ledger.propagation();
        assert_eq!((found.missing, found.update.count), (0, 2));
        assert!((19.9..20.1).contains(&found.update.max_ms), "{found:?}");
        assert!((9.9..10.1).contains(&found.api_write.max_ms), "{found:?}");
    }

    #[test]
    fn a_stream_faster_than_the_answer_took_no_time() {
        let (ledger, t) = (Ledger::new(1), Instant::now());
        let ticket = ledger.begin("a/b", Expected::Gone, t);
        ledger.seen(0, "a/b", &Seen::Gone, t + MS);
        assert_eq!(ledger.propagation().removal.count, 0);
        ledger.answer(&ticket, t + 5 * MS);
        let found = ledger.propagation();
        assert_eq!((found.removal.count, found.removal.max_ms), (1, 0.0));
        assert!(found.from_request.max_ms > 0.9);
    }

    #[test]
    fn an_overtaken_change_counts_as_seen_with_the_later_one() {
        let (ledger, t) = (Ledger::new(1), Instant::now());
        for last in [1, 2] {
            let ticket = ledger.begin("a/b", Expected::Address(ip(last)), t);
            ledger.answer(&ticket, t);
        }
        ledger.seen(0, "a/b", &at_ip(2), t + 7 * MS);
        let found = ledger.propagation();
        assert_eq!((found.update.count, found.coalesced, found.missing), (2, 1, 0));
    }

    #[test]
    fn an_old_sight_settles_no_later_change() {
        let (ledger, t) = (Ledger::new(1), Instant::now());
        let ticket = ledger.begin("a/b", Expected::Address(ip(2)), t);
        ledger.answer(&ticket, t);
        ledger.seen(0, "a/b", &at_ip(1), t);
        ledger.seen(0, "a/other", &at_ip(2), t);
        assert_eq!(ledger.propagation().missing, 1);
    }

    #[test]
    fn readiness_is_told_by_status() {
        let (ledger, t) = (Ledger::new(1), Instant::now());
        let ticket = ledger.begin("a/b", Expected::Ready(false), t);
        ledger.answer(&ticket, t);
        ledger.seen(0, "a/b", &at_ip(1), t);
        assert_eq!(ledger.propagation().update.count, 0);
        ledger.seen(0, "a/b", &Seen::Pod { ips: vec![], ready: false }, t);
        assert_eq!(ledger.propagation().update.count, 1);
    }

    #[test]
    fn a_refused_change_is_not_awaited() {
        let (ledger, t) = (Ledger::new(1), Instant::now());
        let ticket = ledger.begin("a/b", Expected::Gone, t);
        ledger.fail(&ticket);
        let found = ledger.propagation();
        assert_eq!((found.failed, found.missing), (1, 0));
    }

    #[tokio::test]
    async fn draining_ends_with_the_last_sight_or_at_the_limit() {
        let (ledger, t) = (std::sync::Arc::new(Ledger::new(1)), Instant::now());
        let ticket = ledger.begin("a/b", Expected::Gone, t);
        ledger.answer(&ticket, t);
        ledger.drain(MS).await;
        assert_eq!(ledger.propagation().missing, 1);
        let waiting = std::sync::Arc::clone(&ledger);
        let drained = tokio::spawn(async move { waiting.drain(Duration::from_secs(60)).await });
        ledger.seen(0, "a/b", &Seen::Gone, t);
        drained.await.unwrap();
        assert_eq!(ledger.propagation().missing, 0);
    }
}
