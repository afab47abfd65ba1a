//! Which nodes have acknowledged a policy: pure, from how far each node has acknowledged all of them.
//!
//! A node answers for everything up to a step of the log, and a policy has the step of its last change.
//! So one sorted list of steps tells of every policy how many nodes have it; nothing is kept for a
//! policy and a node together. Refusals are few, and looked at one by one.

use model::printable;
use plane::Condition;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use xds::{AckState, Capabilities, Refusal};

/// The type of the condition, which is our own.
pub(super) const DISTRIBUTED: &str = "pilothouse.io/Distributed";

/// How many nodes a message names.
const NAMED: usize = 3;
/// How much of a node's name a message shows, in characters.
const NODE_CHARS: usize = 64;
/// How much of a client's reason a message shows, in characters.
const REASON_CHARS: usize = 200;

/// What is to become of the condition `Distributed` of a policy.
#[derive(Clone, Debug)]
pub(in crate::controllers) enum Distribution {
    /// It stays as it is.
    Keep,
    /// It is removed.
    Remove,
    /// It becomes this.
    Set(Reported),
}

/// A condition as it was reported.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::controllers) struct Reported {
    pub condition: Condition,
    /// The generation of the policy that it is about.
    pub generation: i64,
    /// When this replica reported it; nothing when it was read from a status.
    pub at: Option<Instant>,
}

impl Reported {
    /// As read from a status.
    pub fn stored(condition: Condition, generation: i64) -> Self {
        Self { condition, generation, at: None }
    }

    pub fn is_younger(&self, than: Duration, now: Instant) -> bool {
        self.at.is_some_and(|at| now < at + than)
    }
}

/// How far each node has acknowledged all policies.
#[derive(Debug, Default, PartialEq)]
pub(super) struct AckSummary {
    /// Ascending by the step that was answered for, then by name.
    nodes: Vec<NodeAcks>,
    /// Indexes in `nodes` of those that rejected something.
    rejecting: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct NodeAcks {
    node: String,
    answered: u64,
    capabilities: Capabilities,
    refusals: Vec<NodeRefusal>,
}

#[derive(Clone, Debug, PartialEq)]
struct NodeRefusal {
    refusal: Refusal,
    /// The policies that the message names; empty when it may be about any.
    names: BTreeSet<String>,
}

/// What the nodes have answered for one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All have acknowledged it.
    Acknowledged,
    /// Some have not answered yet, and none has rejected it.
    Pending,
    /// Some have rejected it.
    Rejected,
}

/// Every outcome.
pub(super) const OUTCOMES: [Outcome; 3] = [Outcome::Acknowledged, Outcome::Pending, Outcome::Rejected];

impl Outcome {
    /// `reason` of the condition.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Acknowledged => "Acknowledged",
            Self::Pending => "Pending",
            Self::Rejected => "Rejected",
        }
    }
}

/// A policy as sent: its resource's name and the step of its last change.
#[derive(Clone, Copy)]
pub(super) struct SentPolicy<'a> {
    pub name: &'a str,
    pub step: u64,
}

impl AckSummary {
    /// Takes the state of each node; `is_policy` tells whether a text is the name of a resource.
    pub fn new(states: Vec<(String, AckState)>, is_policy: impl Fn(&str) -> bool) -> Self {
        let node_refusal = |refusal: Refusal| {
            let words = refusal.message.split(|c: char| c.is_whitespace() || ",;\"'()[]".contains(c));
            let words = words.map(|word| word.trim_end_matches([':', '.'])).filter(|word| is_policy(word));
            let names = if refusal.is_whole { words.map(str::to_owned).collect() } else { BTreeSet::new() };
            NodeRefusal { refusal, names }
        };
        let mut nodes: Vec<NodeAcks> = states
            .into_iter()
            .map(|(node, state)| {
                let refusals = state.refusals.into_iter().map(&node_refusal).collect();
                let (answered, capabilities) = (state.answered, state.capabilities);
                NodeAcks { node, answered, capabilities, refusals }
            })
            .collect();
        nodes.sort_by(|a, b| (a.answered, &a.node).cmp(&(b.answered, &b.node)));
        let rejecting = (0..nodes.len()).filter(|&at| !nodes[at].refusals.is_empty()).collect();
        Self { nodes, rejecting }
    }

    /// Returns the part of it that counts for a policy that is withheld from some nodes.
    pub fn of_nodes_with(&self, is_sent_to: impl Fn(Capabilities) -> bool) -> AckSummary {
        let nodes: Vec<NodeAcks> =
            self.nodes.iter().filter(|node| is_sent_to(node.capabilities)).cloned().collect();
        let rejecting = (0..nodes.len()).filter(|&at| !nodes[at].refusals.is_empty()).collect();
        Self { nodes, rejecting }
    }

    /// Returns the outcome of a policy; nothing while there is no node.
    pub fn outcome(&self, policy: SentPolicy<'_>) -> Option<Outcome> {
        if self.nodes.is_empty() {
            return None;
        }
        let is_rejected = self.rejecting.iter().any(|&at| self.nodes[at].refusal(policy).is_some());
        Some(match (is_rejected, self.unanswered(policy)) {
            (true, _) => Outcome::Rejected,
            (false, 0) => Outcome::Acknowledged,
            (false, _) => Outcome::Pending,
        })
    }

    /// How many nodes have not answered for it: the first ones.
    fn unanswered(&self, policy: SentPolicy<'_>) -> usize {
        self.nodes.partition_point(|node| node.answered < policy.step)
    }

    /// Describes an outcome as a condition.
    pub fn condition(&self, policy: SentPolicy<'_>, outcome: Outcome) -> Condition {
        let unanswered = self.unanswered(policy);
        let rejected: Vec<(&NodeAcks, &NodeRefusal)> = self
            .rejecting
            .iter()
            .filter_map(|&at| Some((&self.nodes[at], self.nodes[at].refusal(policy)?)))
            .collect();
        let rejected_in_time = rejected.iter().filter(|(node, _)| node.answered >= policy.step).count();
        let (all, have) = (self.nodes.len(), self.nodes.len() - unanswered - rejected_in_time);
        let mut message =
            format!("acknowledged by {have} of {all} nodes connected to the replica that writes this");
        let waiting = self.nodes[..unanswered].iter().filter(|node| node.refusal(policy).is_none());
        let waiting: Vec<&str> = waiting.map(|node| node.node.as_str()).collect();
        if !waiting.is_empty() {
            message.push_str(&format!("; not yet by {}", listed(&waiting)));
        }
        if let Some((_, first)) = rejected.first() {
            let nodes: Vec<&str> = rejected.iter().map(|(node, _)| node.node.as_str()).collect();
            let why = beginning(&first.refusal.message, REASON_CHARS);
            message.push_str(&format!("; refused by {}: {why}", listed(&nodes)));
        }
        let status = outcome == Outcome::Acknowledged;
        Condition { kind: DISTRIBUTED, status, reason: outcome.reason(), message }
    }
}

impl NodeAcks {
    /// The refusal that may be about a policy.
    fn refusal(&self, policy: SentPolicy<'_>) -> Option<&NodeRefusal> {
        let is_about = |of: &&NodeRefusal| {
            (of.refusal.after + 1..=of.refusal.step).contains(&policy.step)
                && (of.names.is_empty() || of.names.contains(policy.name))
        };
        self.refusals.iter().rfind(is_about)
    }
}

/// Some names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let mut text: Vec<String> = names.iter().take(NAMED).map(|name| beginning(name, NODE_CHARS)).collect();
    if names.len() > NAMED {
        text.push(format!("{} more", names.len() - NAMED));
    }
    text.join(", ")
}

/// The beginning of what a client wrote: as much as `max_chars` characters show.
fn beginning(text: &str, max_chars: usize) -> String {
    let shown = printable(text);
    let mut beginning: String = shown.chars().take(max_chars).collect();
    if shown.chars().nth(max_chars).is_some() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(name: &str, answered: u64, refusals: &[(u64, u64, &str)]) -> (String, AckState) {
        let refusals = refusals.iter().map(|&(after, step, message)| Refusal {
            after,
            step,
            message: message.to_owned(),
            is_whole: message.len() < 1_000,
        });
        (
            name.to_owned(),
            AckState { answered, refusals: refusals.collect(), capabilities: Capabilities::MAX },
        )
    }

    fn summary(nodes: Vec<(String, AckState)>) -> AckSummary {
        AckSummary::new(nodes, |word| ["shop/a", "shop/b", "shop/c"].contains(&word))
    }

    fn reported(summary: &AckSummary, name: &str, step: u64) -> (bool, &'static str, String) {
        let policy = SentPolicy { name, step };
        let condition = summary.condition(policy, summary.outcome(policy).unwrap());
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn without_nodes_there_is_no_outcome() {
        assert_eq!(summary(Vec::new()).outcome(SentPolicy { name: "shop/a", step: 1 }), None);
    }

    #[test]
    fn a_policy_is_acknowledged_by_nodes_that_answered_for_its_step() {
        let summary = summary((0..7).map(|n| node(&format!("n{n}"), n, &[])).collect());
        let nodes = "nodes connected to the replica that writes this";
        let message = format!("acknowledged by 6 of 7 {nodes}; not yet by n0");
        assert_eq!(reported(&summary, "shop/a", 1), (false, "Pending", message));
        let message = format!("acknowledged by 1 of 7 {nodes}; not yet by n0, n1, n2, 3 more");
        assert_eq!(reported(&summary, "shop/b", 6), (false, "Pending", message));
        let message = format!("acknowledged by 7 of 7 {nodes}");
        assert_eq!(reported(&summary, "shop/c", 0), (true, "Acknowledged", message));
    }

    #[test]
    fn a_refusal_that_names_a_policy_is_about_that_one_until_it_changes() {
        let summary = summary(vec![
            node("n1", 5, &[(2, 5, "shop/a: no such action; shop/x: odd")]),
            node("n2", 5, &[]),
        ]);
        let (status, reason, message) = reported(&summary, "shop/a", 4);
        assert_eq!((status, reason), (false, "Rejected"));
        assert_eq!(
            message,
            "acknowledged by 1 of 2 nodes connected to the replica that writes this; refused by n1: \
             shop/a: no such action; shop/x: odd"
        );
        assert_eq!(reported(&summary, "shop/b", 4).1, "Acknowledged");
        assert_eq!(reported(&summary, "shop/a", 2).1, "Acknowledged");
        assert_eq!(reported(&summary, "shop/a", 6).1, "Pending");
    }

    #[test]
    fn a_refusal_that_names_nothing_or_was_cut_is_about_all_that_was_sent() {
        let cut = format!("shop/a: {}", "x".repeat(1_000));
        for message in ["cannot decode", cut.as_str()] {
            let summary = summary(vec![node("n1", 5, &[(2, 5, message)])]);
            assert_eq!(reported(&summary, "shop/a", 3).1, "Rejected");
            assert_eq!(reported(&summary, "shop/b", 5).1, "Rejected");
            assert_eq!(reported(&summary, "shop/c", 2).1, "Acknowledged");
        }
    }

    #[test]
    fn the_text_of_a_client_is_shown_in_one_bounded_line() {
        let message = format!("shop/a:\n\u{1b}[31m{}", "y".repeat(500));
        let summary = summary(vec![node(&"n".repeat(500), 3, &[(0, 3, &message)])]);
        let (_, _, message) = reported(&summary, "shop/a", 3);
        assert!(!message.contains(char::is_control) && message.chars().count() < 400, "{message}");
        assert!(message.ends_with("yy…"));
    }

    #[test]
    fn nodes_that_are_not_sent_a_policy_do_not_count_for_it() {
        let mut old = node("old", 1, &[(0, 1, "no")]);
        old.1.capabilities = 0;
        let summary = summary(vec![old, node("new", 4, &[])]);
        assert_eq!(reported(&summary, "shop/a", 4).1, "Pending");
        let sent = summary.of_nodes_with(|capabilities| capabilities & 1 != 0);
        assert_eq!(reported(&sent, "shop/a", 4).1, "Acknowledged");
        assert_eq!(reported(&sent, "shop/a", 1).1, "Acknowledged");
    }
}
