//! Which stream sees a new snapshot when: the streams of the nodes that it affects, then all others.
//!
//! ```text
//! engine ──▶ watch: newest snapshot ────┐
//!       └──▶ AffectedNodes: node names ─┴▶ one task ── publishes early ──▶ subscribers of those nodes
//!                                              └────── then to all ─────▶ all subscribers, a few at a time
//! ```
//!
//! A workload that starts can be reached only once the ztunnel beside it knows it; everybody else may learn
//! of it a moment later. The order is one of what a stream may *see*, so it holds whatever the executor
//! runs first, and whatever else wakes a stream meanwhile.
//!
//! - Nobody waits for a client. Subscribers of affected nodes take the snapshot when they next run, which
//!   they can at once unless their client has not taken what came before: such a one is not waited for.
//!   And the wait ends after some turns of the executor, should a client have shut its window meanwhile.
//! - Streams of gateways and waypoints are woken by changes of their own scope alone, and those of ztunnels
//!   by changes of the mesh.
//! - Others are woken some at a time, between which the executor serves them. A newer snapshot does not
//!   queue behind them: subscribers that it affects come first again, and the others get the newer one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;
use model::Str;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::yield_now;
use xds::{Scope, Snapshot};

/// How many streams are woken at once: few enough that other tasks do not wait long.
const WAKE_BATCH: usize = 32;
/// How many turns of the executor the subscribers of affected nodes may take before all others go on.
const MAX_EARLY_TURNS: usize = 64;
/// How many nodes may be served early. A change that affects more is for everybody at once.
const MAX_NODES: usize = 256;

/// The nodes that changes not shown yet affect, with the step of the newest such change.
#[derive(Debug, Default)]
pub struct AffectedNodes(Mutex<BTreeMap<Str, u64>>);

impl AffectedNodes {
    /// Adds the nodes that a snapshot affects; to be called before it is published.
    pub fn add(&self, step: u64, nodes: impl IntoIterator<Item = Str>) {
        let mut all = self.0.lock();
        for node in nodes {
            if all.len() == MAX_NODES {
                return all.clear();
            }
            all.insert(node, step);
        }
    }

    /// Takes the nodes that snapshots up to a step affect.
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

/// What streams may see, and who waits for more.
#[derive(Debug, Clone, Default)]
pub(super) struct Fanout(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    visible: Mutex<Visible>,
    subscribers: Mutex<Subscribers>,
}

/// The snapshots that streams may see; neither ever goes back.
#[derive(Debug, Default)]
struct Visible {
    /// To subscribers of affected nodes.
    early: Option<Arc<Snapshot>>,
    /// To all; never newer than `early`.
    all: Option<Arc<Snapshot>>,
}

#[derive(Debug, Default)]
struct Subscribers {
    next: u64,
    /// Those that follow the mesh, and those of which it is not known yet.
    by_id: BTreeMap<u64, Arc<Subscriber>>,
    by_node: HashMap<String, BTreeSet<u64>>,
    /// Those that follow the scope of one proxy.
    by_scope: HashMap<Arc<str>, BTreeMap<u64, Arc<Subscriber>>>,
}

/// What is known of one stream.
#[derive(Debug, Default)]
struct Subscriber {
    waker: AtomicWaker,
    /// It may see the early snapshot up to this step.
    early_step: AtomicU64,
    /// Up to this step it has sent what its client lacked, or found nothing to send.
    served_step: AtomicU64,
    /// It has handed out a frame that the transport has not asked to follow yet.
    is_sending: AtomicBool,
}

/// The subscribers that have still to be looked at for a snapshot, as two ranges of ids: up to the last
/// that there was when it became visible to all, then from the first on. It is bounded by ids and not by
/// a count: subscribers that come and go meanwhile take nobody's turn.
#[derive(Debug, Default)]
struct Round {
    of_mesh: [Range<u64>; 2],
    /// The subscribers of scopes that changed.
    of_scopes: VecDeque<Arc<Subscriber>>,
}

/// A stream's subscription, until it is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    fanout: Fanout,
    id: u64,
    subscriber: Arc<Subscriber>,
    node: Option<String>,
    scopes: Vec<Arc<str>>,
}

impl Fanout {
    /// Subscribes a stream, which sees what all do.
    pub fn subscribe(&self) -> Subscription {
        let mut subscribers = self.0.subscribers.lock();
        let (id, subscriber) = (subscribers.next, Arc::<Subscriber>::default());
        subscribers.next += 1;
        subscribers.by_id.insert(id, Arc::clone(&subscriber));
        Subscription { fanout: self.clone(), id, subscriber, node: None, scopes: Vec::new() }
    }

    /// Shows a snapshot to the streams of some nodes, and returns those that can take it at once.
    fn publish_early(&self, snapshot: &Arc<Snapshot>, nodes: &[Str]) -> Vec<Arc<Subscriber>> {
        self.0.visible.lock().early = Some(Arc::clone(snapshot));
        let subscribers = self.0.subscribers.lock();
        let ids = nodes.iter().filter_map(|node| subscribers.by_node.get(node.as_str())).flatten();
        let affected: Vec<Arc<Subscriber>> =
            ids.filter_map(|id| subscribers.by_id.get(id)).cloned().collect();
        drop(subscribers);
        let can_take = |subscriber: &Arc<Subscriber>| {
            subscriber.early_step.store(snapshot.step(), Ordering::Release);
            let is_idle = !subscriber.is_sending.load(Ordering::Acquire);
            subscriber.waker.wake();
            is_idle
        };
        affected.into_iter().filter(can_take).collect()
    }

    /// Lets all streams see a snapshot; they are not woken by this.
    fn publish_to_all(&self, snapshot: Arc<Snapshot>) {
        self.0.visible.lock().all = Some(snapshot);
    }

    /// The ranges of a round over all subscribers that there are, beginning with the one that a former
    /// round came to. A stream that subscribes later sees what is visible to all already.
    fn ranges(&self, from: u64) -> [Range<u64>; 2] {
        [from..self.0.subscribers.lock().next, 0..from]
    }

    /// The subscribers of all scopes of proxies that changed after a step.
    fn of_changed_scopes(&self, snapshot: &Snapshot, step: u64) -> Vec<Arc<Subscriber>> {
        let by_scope = &self.0.subscribers.lock().by_scope;
        match snapshot.proxies_changed_after(step) {
            Some(names) => {
                let of_scopes = names.filter_map(|name| by_scope.get(name));
                of_scopes.flat_map(BTreeMap::values).cloned().collect()
            }
            // Some that lost everything are forgotten: each looks for itself.
            None => by_scope.values().flat_map(BTreeMap::values).cloned().collect(),
        }
    }

    /// Wakes some of the streams that a round has still to come to and that lack this step.
    fn wake_some(&self, round: &mut Round, step: u64) {
        let of_scopes = round.of_scopes.len().min(WAKE_BATCH);
        round.of_scopes.drain(..of_scopes).for_each(|subscriber| subscriber.waker.wake());
        let Some(ids) = round.of_mesh.iter_mut().find(|ids| !ids.is_empty()) else { return };
        let some: Vec<(u64, Arc<Subscriber>)> = {
            let all = self.0.subscribers.lock();
            let next = all.by_id.range(ids.clone()).take(WAKE_BATCH);
            next.map(|(&id, subscriber)| (id, Arc::clone(subscriber))).collect()
        };
        ids.start = match some.last() {
            Some((last, _)) if some.len() == WAKE_BATCH => last + 1,
            _ => ids.end,
        };
        let lacks_it = |subscriber: &Subscriber| subscriber.served_step.load(Ordering::Acquire) < step;
        for (_, subscriber) in some.iter().filter(|(_, subscriber)| lacks_it(subscriber)) {
            subscriber.waker.wake();
        }
    }

    /// Shows every snapshot to the streams, until nobody publishes any more.
    pub async fn run(
        self,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        affected: Arc<AffectedNodes>,
    ) {
        // One that is there already counts as a change.
        snapshots.mark_changed();
        let (mut round, mut step, mut seen) = (Round::default(), 0, 0);
        loop {
            if round.is_over() && snapshots.changed().await.is_err() {
                return;
            }
            if round.is_over() || snapshots.has_changed().unwrap_or(false) {
                let Some(newest) = snapshots.borrow_and_update().clone() else { continue };
                let before = std::mem::replace(&mut seen, newest.step());
                let is_of_mesh = newest.changed(&Scope::Mesh) > before;
                step = if is_of_mesh { seen } else { step };
                let nodes = if is_of_mesh { affected.take(step) } else { Vec::new() };
                let early = self.publish_early(&newest, &nodes);
                for _ in 0..MAX_EARLY_TURNS {
                    if early.iter().all(|of| of.served_step.load(Ordering::Acquire) >= step) {
                        break;
                    }
                    yield_now().await;
                }
                self.publish_to_all(Arc::clone(&newest));
                round.of_scopes.extend(self.of_changed_scopes(&newest, before));
                if is_of_mesh {
                    // Who has not been woken for the one before comes first.
                    round.of_mesh = self.ranges(round.next());
                }
            }
            self.wake_some(&mut round, step);
            yield_now().await;
        }
    }
}

impl Round {
    fn is_over(&self) -> bool {
        self.of_mesh.iter().all(Range::is_empty) && self.of_scopes.is_empty()
    }

    /// The subscriber that it comes to next.
    fn next(&self) -> u64 {
        let [later, earlier] = &self.of_mesh;
        if later.is_empty() { earlier.start } else { later.start }
    }
}

impl Subscription {
    /// Says of which node the stream is, once that is known. It stays of that node.
    pub fn set_node(&mut self, node: &str) {
        if self.node.is_some() || node.is_empty() {
            return;
        }
        let mut subscribers = self.fanout.0.subscribers.lock();
        subscribers.by_node.entry(node.to_owned()).or_default().insert(self.id);
        self.node = Some(node.to_owned());
    }

    /// Says which scopes of a proxy the stream follows, once that is known: it is not woken for the mesh any
    /// more. It stays with those scopes.
    pub fn set_scopes<'s>(&mut self, scopes: impl Iterator<Item = &'s Arc<str>>) {
        if !self.scopes.is_empty() {
            return;
        }
        let mut subscribers = self.fanout.0.subscribers.lock();
        subscribers.by_id.remove(&self.id);
        for scope in scopes {
            let of_scope = subscribers.by_scope.entry(Arc::clone(scope)).or_default();
            of_scope.insert(self.id, Arc::clone(&self.subscriber));
            self.scopes.push(Arc::clone(scope));
        }
    }

    /// Returns the newest snapshot that the stream may see, and has it woken for the next.
    pub fn latest(&self, cx: &Context<'_>) -> Option<Arc<Snapshot>> {
        // First the waker: what becomes visible from here on wakes it.
        self.subscriber.waker.register(cx.waker());
        let visible = self.fanout.0.visible.lock();
        let early_step = self.subscriber.early_step.load(Ordering::Acquire);
        let early = visible.early.as_ref().filter(|early| early.step() <= early_step);
        early.or(visible.all.as_ref()).cloned()
    }

    /// Notes how the stream's turn ended: whether it handed out a frame, and up to which step its client
    /// has been served.
    pub fn end_turn(&self, is_sending: bool, step: u64) {
        self.subscriber.is_sending.store(is_sending, Ordering::Release);
        self.subscriber.served_step.fetch_max(step, Ordering::AcqRel);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Nobody waits for it any more.
        self.subscriber.served_step.store(u64::MAX, Ordering::Release);
        let mut subscribers = self.fanout.0.subscribers.lock();
        subscribers.by_id.remove(&self.id);
        for scope in &self.scopes {
            let Some(of_scope) = subscribers.by_scope.get_mut(scope) else { continue };
            of_scope.remove(&self.id);
            if of_scope.is_empty() {
                subscribers.by_scope.remove(scope);
            }
        }
        let Some(node) = &self.node else { return };
        if let Some(of_node) = subscribers.by_node.get_mut(node) {
            of_node.remove(&self.id);
            if of_node.is_empty() {
                subscribers.by_node.remove(node);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::task::{Wake, Waker};
    use xds::{ResourceType, Writer};

    /// Counts how often a stream is woken.
    #[derive(Default)]
    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A stream that looks, and then is served what it saw.
    fn turn(subscription: &Subscription, count: &Arc<Count>) -> Option<u64> {
        let waker = Waker::from(Arc::clone(count));
        let seen = subscription.latest(&Context::from_waker(&waker)).map(|snapshot| snapshot.step());
        subscription.end_turn(false, seen.unwrap_or_default());
        seen
    }

    #[tokio::test]
    async fn a_stream_is_woken_for_its_own_scope_alone() {
        let mut writer = Writer::new();
        let (publish, snapshots) = watch::channel(Some(writer.publish()));
        let fanout = Fanout::default();
        let mut streams = [fanout.subscribe(), fanout.subscribe(), fanout.subscribe()];
        streams[1].set_scopes(["shop/waypoint".into(), "shop/waypoint@zone=r/a".into()].iter());
        streams[2].set_scopes(["bank/waypoint".into()].iter());
        let counts: [Arc<Count>; 3] = Default::default();
        tokio::spawn(fanout.clone().run(snapshots, Arc::default()));
        let mut step = 1;
        let mut woken_by = async |scope: Scope, of: ResourceType, body: &[u8]| {
            streams.iter().zip(&counts).for_each(|(stream, count)| {
                turn(stream, count);
            });
            counts.iter().for_each(|count| count.0.store(0, Ordering::Relaxed));
            writer.put(&scope, of, "x", body).unwrap();
            publish.send_replace(Some(writer.publish()));
            step += 1;
            // Until it is visible, and the streams to be woken for it have been.
            while fanout.0.visible.lock().all.as_ref().is_none_or(|all| all.step() < step) {
                yield_now().await;
            }
            for _ in 0..8 {
                yield_now().await;
            }
            counts.each_ref().map(|count| count.0.load(Ordering::Relaxed))
        };
        assert_eq!(woken_by(Scope::Mesh, ResourceType::Address, b"\x12\x00").await, [1, 0, 0]);
        let shop = || Scope::proxy("shop/waypoint");
        assert_eq!(woken_by(shop(), ResourceType::Cluster, b"1").await, [0, 1, 0]);
        assert_eq!(woken_by(shop(), ResourceType::Cluster, b"2").await, [0, 1, 0]);
        assert_eq!(
            woken_by(Scope::proxy("shop/waypoint@zone=r/a"), ResourceType::Endpoint, b"1").await,
            [0, 1, 0]
        );
        assert_eq!(
            woken_by(Scope::proxy("shop/waypoint@zone=r/b"), ResourceType::Endpoint, b"1").await,
            [0, 0, 0]
        );
        assert_eq!(woken_by(Scope::proxy("none"), ResourceType::Cluster, b"1").await, [0, 0, 0]);
        assert_eq!(woken_by(Scope::Mesh, ResourceType::Address, b"\x12\x02\x0a\x00").await, [1, 0, 0]);
        drop(streams);
        let subscribers = fanout.0.subscribers.lock();
        assert!(subscribers.by_scope.is_empty() && subscribers.by_id.is_empty());
    }

    fn names(of: &[&str]) -> Vec<Str> {
        of.iter().map(|name| Str::from(*name)).collect()
    }

    #[test]
    fn nodes_of_what_is_not_published_yet_wait_for_it() {
        let affected = AffectedNodes::default();
        affected.add(1, names(&["a", "b"]));
        affected.add(2, names(&["b", "c"]));
        assert_eq!(affected.take(1), names(&["a"]));
        assert_eq!(affected.take(2), names(&["b", "c"]));
        assert_eq!(affected.take(2), names(&[]));
    }

    #[test]
    fn nodes_are_bounded_and_no_node_is_kept_without_a_stream() {
        let affected = AffectedNodes::default();
        affected.add(1, (0..=MAX_NODES).map(|n| Str::from(n.to_string())));
        assert_eq!(affected.take(1), names(&[]));
        let fanout = Fanout::default();
        let (mut one, mut two) = (fanout.subscribe(), fanout.subscribe());
        for subscription in [&mut one, &mut two] {
            subscription.set_node("");
            subscription.set_node("a");
            // A stream is of the node that it was found to be of.
            subscription.set_node("b");
        }
        assert_eq!(fanout.0.subscribers.lock().by_node.len(), 1);
        drop(one);
        assert_eq!(fanout.0.subscribers.lock().by_node["a"].len(), 1);
        drop(two);
        assert!(
            fanout.0.subscribers.lock().by_node.is_empty() && fanout.0.subscribers.lock().by_id.is_empty()
        );
    }
}
