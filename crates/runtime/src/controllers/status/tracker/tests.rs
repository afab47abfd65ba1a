#![allow(clippy::unwrap_used)]

use super::*;
use plane::Condition;
use xds::{AckState, Refusal, Scope, Writer};

const SECOND: Duration = Duration::from_secs(1);

/// Policies as published, the nodes, and the time.
struct Scene {
    writer: Writer,
    tracker: Tracker,
    nodes: BTreeMap<String, AckState>,
    now: Instant,
}

fn name(policy: &str) -> Name {
    Name::new("shop", policy)
}

impl Scene {
    fn new() -> Self {
        let (writer, tracker) = (Writer::new(), Tracker::new(ReportIntervals::default()));
        Self { writer, tracker, nodes: BTreeMap::new(), now: Instant::now() }
    }

    /// Publishes a policy of this generation, and returns the step.
    fn put(&mut self, policy: &str, generation: i64) -> u64 {
        let body = generation.to_string();
        self.writer.put(&Scope::Mesh, POLICIES, &format!("shop/{policy}"), body.as_bytes()).unwrap();
        let step = self.publish();
        let conditions = Conditions { generation, ..Conditions::default() };
        self.tracker.set_conditions(&name(policy), Some(Arc::new(conditions)));
        step
    }

    fn publish(&mut self) -> u64 {
        let snapshot = self.writer.publish();
        let step = snapshot.step();
        self.tracker.set_snapshot(snapshot);
        step
    }

    fn answers(&mut self, node: &str, step: u64) {
        let state = self.nodes.entry(node.to_owned()).or_default();
        (state.answered, state.capabilities) = (step, u8::MAX);
    }

    fn refuses(&mut self, node: &str, step: u64, message: &str) {
        self.answers(node, step);
        let refusal = Refusal { after: step - 1, step, message: message.to_owned(), is_whole: true };
        self.nodes.get_mut(node).unwrap().refusals = vec![refusal];
    }

    /// Evaluates after this many seconds; returns of how many policies something new is reported.
    fn evaluate_after(&mut self, seconds: u32) -> usize {
        self.now += SECOND * seconds;
        let states = self.nodes.clone().into_iter().collect();
        let summary = AckSummary::new(states, |word| self.tracker.is_sent(word));
        self.tracker.evaluate(&summary, self.now).len()
    }

    fn reported(&self, policy: &str) -> Option<(&'static str, i64)> {
        match self.tracker.distribution(&name(policy)) {
            Distribution::Set(reported) => Some((reported.condition.reason, reported.generation)),
            _ => None,
        }
    }
}

#[test]
fn what_all_nodes_acknowledge_is_reported_once_whichever_nodes_come_and_go() {
    let mut scene = Scene::new();
    let step = scene.put("a", 1);
    scene.answers("n1", step);
    assert_eq!((scene.evaluate_after(0), scene.reported("a")), (1, Some(("Acknowledged", 1))));
    assert_eq!(scene.evaluate_after(1), 0);
    assert_eq!(scene.tracker.interval(), scene.tracker.intervals.idle);
    for round in 0..50 {
        // A node comes, and has answered nothing at first; another one goes.
        let node = format!("n{}", round + 2);
        scene.answers(&node, 0);
        assert_eq!(scene.evaluate_after(5), 0);
        scene.answers(&node, step);
        scene.nodes.pop_first();
        assert_eq!(scene.evaluate_after(60), 0);
    }
    scene.nodes.clear();
    assert_eq!((scene.evaluate_after(60), scene.reported("a")), (0, Some(("Acknowledged", 1))));
}

#[test]
fn an_edit_is_reported_when_all_have_it_and_never_as_pending_if_that_is_soon() {
    let mut scene = Scene::new();
    let step = scene.put("a", 1);
    scene.answers("n1", step);
    scene.evaluate_after(0);
    let step = scene.put("a", 2);
    assert_eq!((scene.evaluate_after(9), scene.reported("a")), (0, Some(("Acknowledged", 1))));
    assert_eq!(scene.tracker.interval(), scene.tracker.intervals.awaiting);
    scene.answers("n1", step);
    // The report before is not ten seconds old yet.
    assert_eq!(scene.evaluate_after(0), 0);
    assert_eq!((scene.evaluate_after(1), scene.reported("a")), (1, Some(("Acknowledged", 2))));
}

#[test]
fn a_node_that_never_answers_is_named_after_a_while_and_then_at_most_once_a_minute() {
    let mut scene = Scene::new();
    let step = scene.put("a", 1);
    for node in ["n1", "n2", "n3"] {
        scene.answers(node, 0);
    }
    assert_eq!((scene.evaluate_after(0), scene.evaluate_after(9)), (0, 0));
    assert_eq!((scene.evaluate_after(1), scene.reported("a")), (1, Some(("Pending", 1))));
    scene.answers("n1", step);
    assert_eq!(scene.evaluate_after(59), 0);
    assert_eq!(scene.evaluate_after(1), 1, "another message, a minute later");
    assert_eq!(scene.evaluate_after(120), 0, "the same message");
    scene.answers("n2", step);
    scene.answers("n3", step);
    assert_eq!((scene.evaluate_after(0), scene.reported("a")), (1, Some(("Acknowledged", 1))));
}

#[test]
fn a_node_that_never_answers_is_checked_rarely_once_it_is_reported() {
    let mut scene = Scene::new();
    let (awaiting, idle) = (scene.tracker.intervals.awaiting, scene.tracker.intervals.idle);
    let step = scene.put("a", 1);
    scene.answers("n1", step);
    scene.answers("stuck", 0);
    assert_eq!((scene.evaluate_after(0), scene.tracker.interval()), (0, awaiting));
    assert_eq!(
        (scene.evaluate_after(10), scene.tracker.interval()),
        (1, awaiting),
        "what is reported now may change soon"
    );
    let (mut evaluations, mut passed) = (0, Duration::ZERO);
    while passed < 600 * SECOND {
        scene.now += scene.tracker.interval();
        passed += scene.tracker.interval();
        assert_eq!(scene.evaluate_after(0), 0);
        evaluations += 1;
    }
    assert!(evaluations <= 62, "{evaluations} evaluations in ten minutes");
    // A policy of its own is awaited as closely as ever.
    let step = scene.put("b", 1);
    scene.answers("n1", step);
    assert_eq!((scene.evaluate_after(0), scene.tracker.interval()), (0, awaiting));
    assert_eq!((scene.evaluate_after(10), scene.evaluate_after(1)), (1, 0));
    assert_eq!(scene.tracker.interval(), idle);
    scene.answers("stuck", step);
    assert_eq!((scene.evaluate_after(10), scene.reported("a")), (2, Some(("Acknowledged", 1))));
}

#[test]
fn a_refusal_is_reported_at_once_and_ends_with_the_next_version() {
    let mut scene = Scene::new();
    let step = scene.put("a", 1);
    scene.refuses("n1", step, "shop/a: no such field");
    scene.answers("n2", step);
    assert_eq!((scene.evaluate_after(0), scene.reported("a")), (1, Some(("Rejected", 1))));
    assert_eq!(scene.tracker.interval(), scene.tracker.intervals.awaiting);
    assert_eq!(scene.evaluate_after(1), 0);
    assert_eq!(scene.tracker.interval(), scene.tracker.intervals.idle);
    // The node comes again, and is first found to have answered nothing.
    scene.nodes.insert("n1".to_owned(), AckState::default());
    assert_eq!(scene.evaluate_after(1), 0);
    scene.refuses("n1", step, "shop/a: no such field");
    assert_eq!(scene.evaluate_after(120), 0);
    let step = scene.put("a", 2);
    scene.answers("n1", step);
    scene.answers("n2", step);
    assert_eq!((scene.evaluate_after(1), scene.reported("a")), (1, Some(("Acknowledged", 2))));
}

#[test]
fn a_new_leader_takes_over_what_was_reported() {
    let stored = |reason: &'static str, generation| {
        let message = "acknowledged by 40 of 40 nodes".to_owned();
        let kind = super::super::acks::DISTRIBUTED;
        Some(Reported::stored(Condition { kind, status: true, reason, message }, generation))
    };
    let mut scene = Scene::new();
    let step = scene.put("a", 7).max(scene.put("b", 7));
    scene.answers("n1", step);
    scene.tracker.adopt(&name("a"), stored("Acknowledged", 7));
    scene.tracker.adopt(&name("b"), stored("Acknowledged", 6));
    assert_eq!((scene.evaluate_after(0), scene.reported("b")), (1, Some(("Acknowledged", 7))));
    // What this one has reported counts more than what it reads afterwards.
    scene.tracker.adopt(&name("b"), stored("Pending", 6));
    assert_eq!(scene.reported("b"), Some(("Acknowledged", 7)));
}

#[test]
fn a_policy_that_no_ztunnel_is_sent_is_not_reported_any_more() {
    let mut scene = Scene::new();
    let step = scene.put("a", 1);
    assert_eq!(
        (scene.evaluate_after(0), scene.reported("a")),
        (0, None),
        "without nodes nothing is reported"
    );
    scene.answers("n1", step);
    assert_eq!(scene.evaluate_after(0), 1);
    scene.writer.remove(&Scope::Mesh, POLICIES, "shop/a");
    scene.publish();
    assert!(matches!(scene.tracker.distribution(&name("a")), Distribution::Remove));
    assert_eq!((scene.evaluate_after(0), scene.evaluate_after(60)), (1, 0));
    scene.tracker.set_conditions(&name("a"), None);
    assert!(matches!(scene.tracker.distribution(&name("a")), Distribution::Keep));
}
