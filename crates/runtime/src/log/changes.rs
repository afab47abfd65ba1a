//! One line for each commit while there are few, and one for many.

use super::budget::Budget;
use super::line::Line;
use model::{Event, Kind};
use plane::ResourceChange;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tracing::Level;

/// How many commits are told one by one at once; one more each second.
const BURST: u32 = 5;
/// How many names of changed resources a line carries.
const MAX_NAMES: usize = 4;

/// Events by kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventCounts(Vec<u64>);

impl EventCounts {
    /// Counts the events that are about single objects.
    pub fn of(events: &[Event]) -> Self {
        let mut counts = vec![0; Kind::ALL.len()];
        for event in events {
            let kind = match event {
                Event::Put(object) => object.kind(),
                Event::Reject(of, _) | Event::Remove(of) => of.kind,
                // What is read by reference is no kind of its own here.
                Event::Begin(_)
                | Event::Synced(_)
                | Event::OnDemand
                | Event::Answer(..)
                | Event::Forget(_)
                | Event::Keys(..) => continue,
            };
            counts[kind as usize] += 1;
        }
        Self(counts)
    }

    fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// The most frequent first.
    fn text(&self) -> String {
        let mut counted: Vec<(u64, Kind)> =
            self.0.iter().copied().zip(Kind::ALL.iter().copied()).filter(|(count, _)| *count > 0).collect();
        counted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let texts: Vec<String> = counted.iter().map(|(count, kind)| format!("{kind} {count}")).collect();
        texts.join(", ")
    }
}

/// A commit that changed resources.
#[derive(Debug)]
pub struct Commit<'c> {
    /// What it changed.
    pub resources: &'c [ResourceChange],
    /// Its events.
    pub events: &'c EventCounts,
    /// How many events it had in all.
    pub event_count: usize,
    /// How long it took.
    pub took: Duration,
}

impl Commit<'_> {
    fn removed(&self) -> usize {
        self.resources.iter().filter(|change| change.body.is_none()).count()
    }

    /// A few names, or counts.
    fn text(&self) -> String {
        let removed = self.removed();
        let mut line = match (self.resources.len() - removed, removed) {
            (n, 0) => format!("{n} changed:"),
            (0, n) => format!("{n} removed:"),
            (c, r) => format!("{c} changed, {r} removed:"),
        };
        for change in self.resources.iter().take(MAX_NAMES) {
            let sign = if change.body.is_some() { "" } else { "-" };
            // Writing to a string cannot fail.
            let _ = write!(line, " {sign}{}", change.name);
        }
        if self.resources.len() > MAX_NAMES {
            let _ = write!(line, " and {} more", self.resources.len() - MAX_NAMES);
        }
        let _ = write!(line, " events={} took={:?}", self.event_count, self.took);
        line
    }
}

/// Commits that are not told one by one.
#[derive(Debug, Default)]
struct HeldBack {
    commits: u64,
    changed: usize,
    removed: usize,
    events: EventCounts,
    slowest: Duration,
}

/// What is told of commits.
#[derive(Debug)]
pub(super) struct Changes {
    budget: Budget,
    held_back: HeldBack,
}

impl Default for Changes {
    fn default() -> Self {
        Self { budget: Budget::new(BURST), held_back: HeldBack::default() }
    }
}

impl Changes {
    /// Returns the line of a commit; `None` while lines are held back.
    pub(super) fn line(&mut self, commit: &Commit<'_>, now: Instant) -> Option<Line> {
        if self.held_back.commits == 0 && self.budget.take(now) {
            return Some(Line { level: Level::INFO, code: None, text: commit.text() });
        }
        let (held, removed) = (&mut self.held_back, commit.removed());
        held.commits += 1;
        held.changed += commit.resources.len() - removed;
        held.removed += removed;
        held.events.add(commit.events);
        held.slowest = held.slowest.max(commit.took);
        None
    }

    /// Returns one line of what was held back, if anything was.
    pub(super) fn sum(&mut self) -> Option<Line> {
        let HeldBack { commits, changed, removed, events, slowest } = std::mem::take(&mut self.held_back);
        if commits == 0 {
            return None;
        }
        let removed = if removed > 0 { format!(", {removed} removed") } else { String::new() };
        let text = format!(
            "{changed} changed{removed} in {commits} more commits, by events of {}; slowest commit {slowest:?}",
            events.text()
        );
        Some(Line { level: Level::INFO, code: None, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Name, ObjectRef};
    use proto::ResourceType;

    fn change(name: &str, is_there: bool) -> ResourceChange {
        ResourceChange {
            resource_type: ResourceType::Address,
            scope: xds::Scope::Mesh,
            name: name.to_owned(),
            body: is_there.then(Default::default),
            resend: false,
            needs: 0,
        }
    }

    fn events(kinds: &[Kind]) -> EventCounts {
        let of = |kind: &Kind| Event::Remove(ObjectRef { kind: *kind, name: Name::new("shop", "web") });
        EventCounts::of(&kinds.iter().map(of).collect::<Vec<_>>())
    }

    #[test]
    fn a_few_commits_have_a_line_each() {
        let (mut changes, now) = (Changes::default(), Instant::now());
        let resources: Vec<_> = (0..6).map(|n| change(&format!("pod-{n}"), n != 1)).collect();
        let events = events(&[Kind::Pod]);
        let commit = Commit {
            resources: &resources,
            events: &events,
            event_count: 3,
            took: Duration::from_micros(150),
        };
        let line = changes.line(&commit, now).map(|line| line.text);
        assert_eq!(
            line.as_deref(),
            Some("5 changed, 1 removed: pod-0 -pod-1 pod-2 pod-3 and 2 more events=3 took=150µs")
        );
        assert_eq!(changes.sum(), None);
    }

    #[test]
    fn a_flood_is_summed_up_with_its_kinds_and_its_slowest_commit() {
        let (mut changes, start) = (Changes::default(), Instant::now());
        let mut lines = 0;
        for n in 0..700_u32 {
            let (resources, took) = ([change("a", true), change("b", n % 7 > 0)], Duration::from_micros(100));
            let events = events(if n % 7 == 0 { &[Kind::Service, Kind::Pod] } else { &[Kind::Pod] });
            let took = if n == 99 { Duration::from_millis(4) } else { took };
            let commit = Commit { resources: &resources, events: &events, event_count: 1, took };
            lines += u32::from(changes.line(&commit, start + Duration::from_millis(10) * n).is_some());
        }
        assert_eq!(lines, 5, "once a line is held back, all are until they are summed up");
        let sum = changes.sum().map(|line| line.text);
        assert_eq!(
            sum.as_deref(),
            Some(
                "1291 changed, 99 removed in 695 more commits, by events of Pod 695, Service 99; slowest commit 4ms"
            )
        );
        assert_eq!(changes.sum(), None);
        let commit = Commit { resources: &[], events: &events(&[]), event_count: 0, took: Duration::ZERO };
        assert!(changes.line(&commit, start + Duration::from_secs(8)).is_some(), "then they are told again");
    }
}
