//! How far the nodes have come with a policy: pure, from how far each has come with all of them.
//!
//! A node answers for everything up to a step of the log, and a policy has the step of its last change.
//! So one sorted list of steps tells of every policy how many nodes have it; nothing is kept for a
//! policy and a node together. Refusals are few, and looked at one by one.

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

/// What a policy's status should say of how far nodes have come with it.
#[derive(Clone, Debug)]
pub(in crate::controllers) enum Distribution {
    /// What it says already.
    Untouched,
    /// Nothing.
    Gone,
    /// This.
    Is(Said),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::controllers) struct Said {
    pub condition: Condition,
    /// The generation of the policy that it is about.
    pub generation: i64,
    /// When this replica said it; nothing when it was found.
    pub at: Option<Instant>,
}

impl Said {
    /// What was found in a status.
    pub fn found(condition: Condition, generation: i64) -> Self {
        Self { condition, generation, at: None }
    }

    pub fn is_younger(&self, than: Duration, now: Instant) -> bool {
        self.at.is_some_and(|at| now < at + than)
    }
}

/// What nodes have come to, with all policies.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Survey {
    /// Ascending by what was answered for, then by name.
    nodes: Vec<Surveyed>,
    /// Places in `nodes` of those that refused something.
    refusing: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Surveyed {
    node: String,
    answered: u64,
    capabilities: Capabilities,
    refusals: Vec<Refused>,
}

#[derive(Clone, Debug, PartialEq)]
struct Refused {
    of: Refusal,
    /// The policies that the message names; empty when it may be about any.
    names: BTreeSet<String>,
}

/// How far the nodes have come with one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All have acknowledged it.
    Acknowledged,
    /// Some have not answered yet, and none has refused it.
    Pending,
    /// Some have refused it.
    Rejected,
}

/// Every verdict.
pub(super) const VERDICTS: [Verdict; 3] = [Verdict::Acknowledged, Verdict::Pending, Verdict::Rejected];

impl Verdict {
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
pub(super) struct Sent<'a> {
    pub name: &'a str,
    pub step: u64,
}

impl Survey {
    /// Takes what each node has come to; `is_policy` tells whether a text is the name of a resource.
    pub fn new(standings: Vec<(String, AckState)>, is_policy: impl Fn(&str) -> bool) -> Self {
        let refused = |of: Refusal| {
            let words = of.message.split(|c: char| c.is_whitespace() || ",;\"'()[]".contains(c));
            let words = words.map(|word| word.trim_end_matches([':', '.'])).filter(|word| is_policy(word));
            let names = if of.is_whole { words.map(str::to_owned).collect() } else { BTreeSet::new() };
            Refused { of, names }
        };
        let mut nodes: Vec<Surveyed> = standings
            .into_iter()
            .map(|(node, standing)| {
                let refusals = standing.refusals.into_iter().map(&refused).collect();
                let (answered, capabilities) = (standing.answered, standing.capabilities);
                Surveyed { node, answered, capabilities, refusals }
            })
            .collect();
        nodes.sort_by(|a, b| (a.answered, &a.node).cmp(&(b.answered, &b.node)));
        let refusing = (0..nodes.len()).filter(|&at| !nodes[at].refusals.is_empty()).collect();
        Self { nodes, refusing }
    }

    /// Returns the part of it that counts for a policy that not all nodes are sent.
    pub fn of_those(&self, are_sent_it: impl Fn(Capabilities) -> bool) -> Survey {
        let nodes: Vec<Surveyed> =
            self.nodes.iter().filter(|node| are_sent_it(node.capabilities)).cloned().collect();
        let refusing = (0..nodes.len()).filter(|&at| !nodes[at].refusals.is_empty()).collect();
        Self { nodes, refusing }
    }

    /// Judges a policy; nothing while there is no node.
    pub fn verdict(&self, policy: Sent<'_>) -> Option<Verdict> {
        if self.nodes.is_empty() {
            return None;
        }
        let is_refused = self.refusing.iter().any(|&at| self.nodes[at].refusal(policy).is_some());
        Some(match (is_refused, self.behind(policy)) {
            (true, _) => Verdict::Rejected,
            (false, 0) => Verdict::Acknowledged,
            (false, _) => Verdict::Pending,
        })
    }

    /// How many nodes have not answered for it: the first ones.
    fn behind(&self, policy: Sent<'_>) -> usize {
        self.nodes.partition_point(|node| node.answered < policy.step)
    }

    /// Puts a verdict into words.
    pub fn condition(&self, policy: Sent<'_>, verdict: Verdict) -> Condition {
        let behind = self.behind(policy);
        let refused: Vec<(&Surveyed, &Refused)> = self
            .refusing
            .iter()
            .filter_map(|&at| Some((&self.nodes[at], self.nodes[at].refusal(policy)?)))
            .collect();
        let refused_in_time = refused.iter().filter(|(node, _)| node.answered >= policy.step).count();
        let (all, have) = (self.nodes.len(), self.nodes.len() - behind - refused_in_time);
        let mut message =
            format!("acknowledged by {have} of {all} nodes connected to the replica that writes this");
        let waiting = self.nodes[..behind].iter().filter(|node| node.refusal(policy).is_none());
        let waiting: Vec<&str> = waiting.map(|node| node.node.as_str()).collect();
        if !waiting.is_empty() {
            message.push_str(&format!("; not yet by {}", some(&waiting)));
        }
        if let Some((_, first)) = refused.first() {
            let nodes: Vec<&str> = refused.iter().map(|(node, _)| node.node.as_str()).collect();
            let why = plain(&first.of.message, REASON_CHARS);
            message.push_str(&format!("; refused by {}: {why}", some(&nodes)));
        }
        let status = verdict == Verdict::Acknowledged;
        Condition { kind: DISTRIBUTED, status, reason: verdict.reason(), message }
    }
}

impl Surveyed {
    /// The refusal that may be about a policy.
    fn refusal(&self, policy: Sent<'_>) -> Option<&Refused> {
        let is_about = |refused: &&Refused| {
            (refused.of.after + 1..=refused.of.step).contains(&policy.step)
                && (refused.names.is_empty() || refused.names.contains(policy.name))
        };
        self.refusals.iter().rfind(is_about)
    }
}

/// Some names, and how many more there are.
fn some(names: &[&str]) -> String {
    let mut text: Vec<String> = names.iter().take(NAMED).map(|name| plain(name, NODE_CHARS)).collect();
    if names.len() > NAMED {
        text.push(format!("{} more", names.len() - NAMED));
    }
    text.join(", ")
}

/// What a client said, in one bounded line.
fn plain(text: &str, most: usize) -> String {
    let mut line: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
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

    fn survey(nodes: Vec<(String, AckState)>) -> Survey {
        Survey::new(nodes, |word| ["shop/a", "shop/b", "shop/c"].contains(&word))
    }

    fn said(survey: &Survey, name: &str, step: u64) -> (bool, &'static str, String) {
        let policy = Sent { name, step };
        let condition = survey.condition(policy, survey.verdict(policy).unwrap());
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn without_nodes_there_is_nothing_to_say() {
        assert_eq!(survey(Vec::new()).verdict(Sent { name: "shop/a", step: 1 }), None);
    }

    #[test]
    fn a_policy_is_acknowledged_by_who_answered_for_its_step() {
        let survey = survey((0..7).map(|n| node(&format!("n{n}"), n, &[])).collect());
        let nodes = "nodes connected to the replica that writes this";
        let message = format!("acknowledged by 6 of 7 {nodes}; not yet by n0");
        assert_eq!(said(&survey, "shop/a", 1), (false, "Pending", message));
        let message = format!("acknowledged by 1 of 7 {nodes}; not yet by n0, n1, n2, 3 more");
        assert_eq!(said(&survey, "shop/b", 6), (false, "Pending", message));
        let message = format!("acknowledged by 7 of 7 {nodes}");
        assert_eq!(said(&survey, "shop/c", 0), (true, "Acknowledged", message));
    }

    #[test]
    fn a_refusal_that_names_a_policy_is_about_that_one_until_it_changes() {
        let survey =
            survey(vec![node("n1", 5, &[(2, 5, "shop/a: no such action; shop/x: odd")]), node("n2", 5, &[])]);
        let (status, reason, message) = said(&survey, "shop/a", 4);
        assert_eq!((status, reason), (false, "Rejected"));
        assert_eq!(
            message,
            "acknowledged by 1 of 2 nodes connected to the replica that writes this; refused by n1: \
             shop/a: no such action; shop/x: odd"
        );
        assert_eq!(said(&survey, "shop/b", 4).1, "Acknowledged");
        assert_eq!(said(&survey, "shop/a", 2).1, "Acknowledged");
        assert_eq!(said(&survey, "shop/a", 6).1, "Pending");
    }

    #[test]
    fn a_refusal_that_names_nothing_or_was_cut_is_about_all_that_was_sent() {
        let cut = format!("shop/a: {}", "x".repeat(1_000));
        for message in ["cannot decode", cut.as_str()] {
            let survey = survey(vec![node("n1", 5, &[(2, 5, message)])]);
            assert_eq!(said(&survey, "shop/a", 3).1, "Rejected");
            assert_eq!(said(&survey, "shop/b", 5).1, "Rejected");
            assert_eq!(said(&survey, "shop/c", 2).1, "Acknowledged");
        }
    }

    #[test]
    fn what_a_client_says_is_shown_in_one_bounded_line() {
        let message = format!("shop/a:\n\u{1b}[31m{}", "y".repeat(500));
        let survey = survey(vec![node(&"n".repeat(500), 3, &[(0, 3, &message)])]);
        let (_, _, message) = said(&survey, "shop/a", 3);
        assert!(!message.contains(char::is_control) && message.chars().count() < 400, "{message}");
        assert!(message.ends_with("yy…"));
    }

    #[test]
    fn nodes_that_are_not_sent_a_policy_do_not_count_for_it() {
        let mut old = node("old", 1, &[(0, 1, "no")]);
        old.1.capabilities = 0;
        let survey = survey(vec![old, node("new", 4, &[])]);
        assert_eq!(said(&survey, "shop/a", 4).1, "Pending");
        let sent = survey.of_those(|capabilities| capabilities & 1 != 0);
        assert_eq!(said(&sent, "shop/a", 4).1, "Acknowledged");
        assert_eq!(said(&sent, "shop/a", 1).1, "Acknowledged");
    }
}
