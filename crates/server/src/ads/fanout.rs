//! Who is shown a new snapshot when: the streams of the nodes that it is about, then all others.
//!
//! ```text
//! engine ──▶ watch: newest snapshot ─┐
//!       └──▶ Concerned: node names ──┴▶ one task ── invites ──▶ places of those nodes
//!                                           └────── then opens ──▶ all places, a few at a time
//! ```
//!
//! A workload that starts can speak only when the ztunnel beside it knows it; everybody else may learn
//! of it a moment later. The order is one of what a stream may *see*, so it holds whatever the executor
//! runs first, and whatever else wakes a stream meanwhile.
//!
//! - Nobody waits for a client. Those that are invited take the snapshot when they next run, which they
//!   can at once unless their client has not taken what came before: such a one is not waited for. And
//!   the wait ends after some turns of the executor, should a client have shut its window meanwhile.
//! - Others are woken some at a time, between which the executor serves them. A newer snapshot does not
//!   queue behind them: those whom it is about come first again, and the others get the newer one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;
use model::Str;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::yield_now;
use xds::Snapshot;

/// How many streams are woken at once: few enough that whoever comes next does not wait long.
const AT_ONCE: usize = 32;
/// How many turns of the executor those that are told first may take.
const PATIENCE: usize = 64;
/// How many nodes may be told first. What is about more than these is about everybody.
const NODES: usize = 256;

/// The nodes that changes are about which have not been shown yet, with the step of the newest.
#[derive(Debug, Default)]
pub struct Concerned(Mutex<BTreeMap<Str, u64>>);

impl Concerned {
    /// Notes the nodes that a snapshot is about; to be called before it is published.
    pub fn note(&self, step: u64, nodes: impl IntoIterator<Item = Str>) {
        let mut all = self.0.lock();
        for node in nodes {
            if all.len() == NODES {
                return all.clear();
            }
            all.insert(node, step);
        }
    }

    /// Takes the nodes that snapshots up to a step are about.
    fn take(&self, step: u64) -> Vec<Str> {
        let mut all = self.0.lock();
        let later = all.iter().filter(|(_, of)| **of > step).map(|(node, of)| (node.clone(), *of)).collect();
        std::mem::replace(&mut *all, later)
            .into_iter()
            .filter(|(_, of)| *of <= step)
            .map(|(n, _)| n)
            .collect()
    }
}

/// What streams may see, and where they wait for more.
#[derive(Debug, Clone, Default)]
pub(super) struct Fanout(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    shown: Mutex<Shown>,
    seats: Mutex<Seats>,
}

/// The snapshots that streams may see; neither ever goes back.
#[derive(Debug, Default)]
struct Shown {
    /// Those who are invited to it.
    ahead: Option<Arc<Snapshot>>,
    /// All; never newer than `ahead`.
    open: Option<Arc<Snapshot>>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    all: BTreeMap<u64, Arc<Seat>>,
    by_node: HashMap<String, BTreeSet<u64>>,
}

/// What is known of one stream.
#[derive(Debug, Default)]
struct Seat {
    waker: AtomicWaker,
    /// It may see the snapshot that is ahead up to this step.
    invited: AtomicU64,
    /// Up to this step it has been given what it lacked, or been told that there is nothing.
    told: AtomicU64,
    /// It has given its client something that the transport has not asked to follow yet.
    gives: AtomicBool,
}

/// The places that have still to be looked at for a snapshot, in two stretches: up to the last that
/// there was when it was opened, then from the first on. It is bounded by places and not by a number
/// of them: those that come and go meanwhile take nobody's turn.
#[derive(Debug, Default)]
struct Round([Range<u64>; 2]);

/// The place of a stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    fanout: Fanout,
    id: u64,
    seat: Arc<Seat>,
    node: Option<String>,
}

impl Fanout {
    /// Takes a place for a stream, which sees what all do.
    pub fn join(&self) -> Place {
        let mut seats = self.0.seats.lock();
        let (id, seat) = (seats.next, Arc::<Seat>::default());
        seats.next += 1;
        seats.all.insert(id, Arc::clone(&seat));
        Place { fanout: self.clone(), id, seat, node: None }
    }

    /// Shows a snapshot to the streams of some nodes, and returns those that can take it at once.
    fn invite(&self, snapshot: &Arc<Snapshot>, nodes: &[Str]) -> Vec<Arc<Seat>> {
        self.0.shown.lock().ahead = Some(Arc::clone(snapshot));
        let seats = self.0.seats.lock();
        let of = nodes.iter().filter_map(|node| seats.by_node.get(node.as_str())).flatten();
        let first: Vec<Arc<Seat>> = of.filter_map(|id| seats.all.get(id)).cloned().collect();
        drop(seats);
        let can_take = |seat: &Arc<Seat>| {
            seat.invited.store(snapshot.step(), Ordering::Release);
            let is_free = !seat.gives.load(Ordering::Acquire);
            seat.waker.wake();
            is_free
        };
        first.into_iter().filter(can_take).collect()
    }

    /// Lets all streams see a snapshot; they are not woken by this.
    fn open(&self, snapshot: Arc<Snapshot>) {
        self.0.shown.lock().open = Some(snapshot);
    }

    /// Begins a round over all places that there are, with the one that a former round came to first.
    /// Whoever joins later sees what is open already.
    fn round(&self, from: u64) -> Round {
        Round([from..self.0.seats.lock().next, 0..from])
    }

    /// Wakes some of the streams that a round has still to come to and that lack this step.
    fn wake_some(&self, round: &mut Round, step: u64) {
        let Some(ids) = round.0.iter_mut().find(|ids| !ids.is_empty()) else { return };
        let some: Vec<(u64, Arc<Seat>)> = {
            let seats = self.0.seats.lock();
            seats.all.range(ids.clone()).take(AT_ONCE).map(|(&id, seat)| (id, Arc::clone(seat))).collect()
        };
        ids.start = match some.last() {
            Some((last, _)) if some.len() == AT_ONCE => last + 1,
            _ => ids.end,
        };
        for (_, seat) in some.iter().filter(|(_, seat)| seat.told.load(Ordering::Acquire) < step) {
            seat.waker.wake();
        }
    }

    /// Shows every snapshot to the streams, until nobody publishes any more.
    pub async fn run(self, mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>, concerned: Arc<Concerned>) {
        // One that is there already counts as news.
        snapshots.mark_changed();
        let (mut round, mut step) = (Round::default(), 0);
        loop {
            if round.is_over() && snapshots.changed().await.is_err() {
                return;
            }
            if round.is_over() || snapshots.has_changed().unwrap_or(false) {
                let Some(newest) = snapshots.borrow_and_update().clone() else { continue };
                step = newest.step();
                let first = self.invite(&newest, &concerned.take(step));
                for _ in 0..PATIENCE {
                    if first.iter().all(|seat| seat.told.load(Ordering::Acquire) >= step) {
                        break;
                    }
                    yield_now().await;
                }
                self.open(newest);
                // Who has not been woken for the one before comes first.
                round = self.round(round.next());
            }
            self.wake_some(&mut round, step);
            yield_now().await;
        }
    }
}

impl Round {
    fn is_over(&self) -> bool {
        self.0.iter().all(Range::is_empty)
    }

    /// The place that it comes to next.
    fn next(&self) -> u64 {
        let [later, earlier] = &self.0;
        if later.is_empty() { earlier.start } else { later.start }
    }
}

impl Place {
    /// Says of which node the stream is, once it is known to be.
    pub fn settle(&mut self, node: &str) {
        if self.node.is_some() || node.is_empty() {
            return;
        }
        let mut seats = self.fanout.0.seats.lock();
        seats.by_node.entry(node.to_owned()).or_default().insert(self.id);
        self.node = Some(node.to_owned());
    }

    /// Returns the newest snapshot that the stream may see, and has it woken for the next.
    pub fn look(&self, cx: &Context<'_>) -> Option<Arc<Snapshot>> {
        // First the waker: what is shown from here on wakes it.
        self.seat.waker.register(cx.waker());
        let shown = self.fanout.0.shown.lock();
        let invited = self.seat.invited.load(Ordering::Acquire);
        let ahead = shown.ahead.as_ref().filter(|ahead| ahead.step() <= invited);
        ahead.or(shown.open.as_ref()).cloned()
    }

    /// Notes how the stream's turn ended: whether its client was given something, and up to which step
    /// it has been served.
    pub fn end_turn(&self, gave: bool, step: u64) {
        self.seat.gives.store(gave, Ordering::Release);
        self.seat.told.fetch_max(step, Ordering::AcqRel);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody waits for it any more.
        self.seat.told.store(u64::MAX, Ordering::Release);
        let mut seats = self.fanout.0.seats.lock();
        seats.all.remove(&self.id);
        let Some(node) = &self.node else { return };
        if let Some(of_node) = seats.by_node.get_mut(node) {
            of_node.remove(&self.id);
            if of_node.is_empty() {
                seats.by_node.remove(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<Str> {
        of.iter().map(|name| Str::from(*name)).collect()
    }

    #[test]
    fn nodes_of_what_is_not_published_yet_wait_for_it() {
        let concerned = Concerned::default();
        concerned.note(1, names(&["a", "b"]));
        concerned.note(2, names(&["b", "c"]));
        assert_eq!(concerned.take(1), names(&["a"]));
        assert_eq!(concerned.take(2), names(&["b", "c"]));
        assert_eq!(concerned.take(2), names(&[]));
    }

    #[test]
    fn nodes_are_bounded_and_no_node_is_kept_without_a_stream() {
        let concerned = Concerned::default();
        concerned.note(1, (0..=NODES).map(|n| Str::from(n.to_string())));
        assert_eq!(concerned.take(1), names(&[]));
        let fanout = Fanout::default();
        let (mut one, mut two) = (fanout.join(), fanout.join());
        for place in [&mut one, &mut two] {
            place.settle("");
            place.settle("a");
            // A stream is of the node that it was found to be of.
            place.settle("b");
        }
        assert_eq!(fanout.0.seats.lock().by_node.len(), 1);
        drop(one);
        assert_eq!(fanout.0.seats.lock().by_node["a"].len(), 1);
        drop(two);
        assert!(fanout.0.seats.lock().by_node.is_empty() && fanout.0.seats.lock().all.is_empty());
    }
}
