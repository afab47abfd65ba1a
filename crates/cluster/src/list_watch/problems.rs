//! What keeps the source from reading, in one sentence that says how to fix it, and told once.
//!
//! ```text
//! watchers of kinds ──report, clear──▶ SourceProblems ──▶ pages, metrics: at once
//!                                           └──▶ tell: lines, once it has settled, summed up by connection
//! ```

use crate::error::{resource_name, root_cause};
use model::Kind;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::Level;

/// What keeps the source from reading at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceProblems {
    /// What is wrong with the API server as a whole: one sentence.
    pub server: Option<String>,
    /// What is wrong with single kinds: one sentence each.
    pub kinds: BTreeMap<Kind, String>,
}

impl SourceProblems {
    /// Returns the problems, that of the whole API server first.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.server.iter().chain(self.kinds.values()).map(String::as_str)
    }

    /// Tells whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.server.is_none() && self.kinds.is_empty()
    }
}

impl fmt::Display for SourceProblems {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, sentence) in self.sentences().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{sentence}")?;
        }
        Ok(())
    }
}

/// Why one request failed.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// The version asked for is no longer, or not yet, available (410, 504): list again.
    VersionExpired,
    /// The kind is not served (404) and need not be.
    NotInstalled,
    /// There was no answer.
    Unreachable(String),
    /// The API server does not answer properly, whatever the kind.
    BadServer(String),
    /// The kind may not be read (403).
    Forbidden {
        /// `list` or `watch`.
        verb: String,
        /// What the API server says: who may not do what.
        message: String,
    },
    /// The kind cannot be read for another reason: a whole sentence.
    Failed(String),
}

impl RequestFailure {
    /// Classifies a failure that the API server answered with.
    pub(super) fn from_status(kind: Kind, verb: &str, code: u16, message: &str) -> Self {
        let message = message.trim().trim_end_matches('.').to_owned();
        match code {
            410 => RequestFailure::VersionExpired,
            504 if verb == "watch" => RequestFailure::VersionExpired,
            // What is part of every API server is only missing where there is none.
            404 if kind.is_built_in() => {
                RequestFailure::BadServer(format!("it does not serve {}", kind.plural()))
            }
            404 => RequestFailure::NotInstalled,
            401 => RequestFailure::BadServer("it does not accept the credentials".to_owned()),
            403 => RequestFailure::Forbidden { verb: verb.to_owned(), message },
            429 | 500.. => RequestFailure::BadServer(message),
            _ => RequestFailure::Failed(format!("cannot {verb} {}: {message} (HTTP {code})", resource(kind))),
        }
    }

    /// The request cannot even be written, as with a bad namespace in the settings.
    pub(super) fn from_request(error: &::kube::core::request::Error) -> Self {
        RequestFailure::Failed(format!("cannot ask the API server: {}", root_cause(error)))
    }

    /// No answer came in time.
    pub(super) fn timed_out(limit: Duration) -> Self {
        RequestFailure::Unreachable(format!("no answer within {} s", limit.as_secs()))
    }

    /// The answer is not what it should be.
    pub(super) fn malformed(kind: Kind, error: &serde_json::Error) -> Self {
        RequestFailure::Failed(format!(
            "the answer of the API server for {} cannot be read: {error}; check that the address is that of a Kubernetes API server",
            resource(kind)
        ))
    }

    /// The answer lacks the version to go on from.
    pub(super) fn no_version(kind: Kind) -> Self {
        RequestFailure::Failed(format!(
            "the answer of the API server for {} has no resourceVersion",
            resource(kind)
        ))
    }
}

/// Returns the name of a kind in RBAC and on the command line.
fn resource(kind: Kind) -> String {
    resource_name(kind.group(), kind.plural())
}

/// Collects the problems of all kinds.
pub(super) struct ProblemReporter {
    url: String,
    state: watch::Sender<SourceProblems>,
    /// The kinds for which the API server does not answer, or not as it should, each with a sentence.
    unanswered: Mutex<BTreeMap<Kind, String>>,
}

impl ProblemReporter {
    pub(super) fn new(url: String) -> Self {
        Self { url, state: watch::Sender::new(SourceProblems::default()), unanswered: Mutex::default() }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<SourceProblems> {
        self.state.subscribe()
    }

    /// Records that `kind` could not be read.
    pub(super) fn report(&self, kind: Kind, failure: RequestFailure) {
        let url = &self.url;
        let (of_server, sentence) = match failure {
            RequestFailure::VersionExpired | RequestFailure::NotInstalled => return,
            RequestFailure::Unreachable(cause) => (
                true,
                format!(
                    "cannot reach the Kubernetes API server at {url}: {cause}; check the address and that the server is up; trying again"
                ),
            ),
            RequestFailure::BadServer(cause) => (
                true,
                format!(
                    "the Kubernetes API server at {url} does not answer as it should: {cause}; check the server and the credentials; trying again"
                ),
            ),
            RequestFailure::Forbidden { verb, message } => (
                false,
                format!(
                    "not allowed to {verb} {name}: {message}; grant the verbs list and watch on {name} to this user, as the chart's ClusterRole does; trying again",
                    name = resource(kind)
                ),
            ),
            RequestFailure::Failed(sentence) => (false, format!("{sentence}; trying again")),
        };
        if of_server {
            self.update(kind, Some(sentence), None);
        } else {
            self.update(kind, None, Some(sentence));
        }
    }

    /// Records that `kind` was read.
    pub(super) fn clear(&self, kind: Kind) {
        self.update(kind, None, None);
    }

    /// Records what is wrong with the server, as `kind` sees it, and with the kind itself. One cause is
    /// told for all kinds, which fail at once, each in its way; it is over when none of them sees it.
    fn update(&self, kind: Kind, of_server: Option<String>, of_kind: Option<String>) {
        let mut unanswered = self.unanswered.lock();
        match of_server {
            Some(sentence) => drop(unanswered.insert(kind, sentence)),
            None => drop(unanswered.remove(&kind)),
        }
        self.state.send_if_modified(|problems| {
            let before = problems.clone();
            let still = problems.server.take().filter(|told| unanswered.values().any(|other| other == told));
            problems.server = still.or_else(|| unanswered.values().next().cloned());
            match of_kind {
                Some(sentence) => drop(problems.kinds.insert(kind, sentence)),
                None => drop(problems.kinds.remove(&kind)),
            }
            *problems != before
        });
    }

    /// Writes lines of what begins and ends, once it has lasted; it never ends.
    pub(super) async fn tell(&self) {
        let (mut state, mut told) = (self.subscribe(), Lines::default());
        loop {
            let began = Instant::now();
            loop {
                let settle = told.settle(&state.borrow_and_update()).min(UNSETTLED);
                let until = (Instant::now() + settle).min(began + UNSETTLED);
                tokio::select! {
                    // The sender is here.
                    _ = state.changed() => {}
                    () = sleep_until(until) => break,
                }
            }
            let now = state.borrow_and_update().clone();
            for (level, line) in told.lines(&now, &self.url) {
                match level {
                    Level::ERROR => tracing::error!("{line}"),
                    _ => tracing::info!("{line}"),
                }
            }
            let _ = state.changed().await;
        }
    }
}

/// How long a problem has lasted when it is told: what is over sooner is none.
const SETTLE: Duration = Duration::from_secs(1);

/// The same while an API server comes back, which refuses for a moment what it will allow: longer than the
/// longest pause between two requests of a kind.
const SETTLE_AFTER_OUTAGE: Duration = Duration::from_secs(6);

/// How long at most nothing is told because something changes all the time.
const UNSETTLED: Duration = Duration::from_secs(30);

/// How many kinds have a line each.
const LINES: usize = 2;

/// The lines that were written, by what they told.
#[derive(Debug, Default)]
struct Lines(SourceProblems);

impl Lines {
    /// Returns for how long nothing more may change before lines are written.
    fn settle(&self, now: &SourceProblems) -> Duration {
        match (&self.0.server, now.is_empty()) {
            (_, true) => Duration::ZERO,
            (None, false) => SETTLE,
            (Some(_), false) => SETTLE_AFTER_OUTAGE,
        }
    }

    /// Returns the lines that lead from what was told to what is wrong now: one for the API server, and a
    /// few for all kinds together.
    fn lines(&mut self, now: &SourceProblems, url: &str) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        if self.0.server != now.server {
            lines.push(match &now.server {
                Some(sentence) => (Level::ERROR, sentence.clone()),
                None => (Level::INFO, format!("the Kubernetes API server at {url} answers again")),
            });
            self.0.server = now.server.clone();
        }
        // Of single kinds nothing is known meanwhile.
        if now.server.is_some() {
            return lines;
        }
        let new: Vec<(&Kind, &String)> =
            now.kinds.iter().filter(|(kind, sentence)| self.0.kinds.get(*kind) != Some(*sentence)).collect();
        let (own, summed) = new.split_at(if new.len() > LINES { 1 } else { new.len() });
        let names =
            |kinds: &[&Kind]| kinds.iter().map(|kind| resource(**kind)).collect::<Vec<_>>().join(", ");
        lines.extend(own.iter().map(|(_, sentence)| (Level::ERROR, (*sentence).clone())));
        if !summed.is_empty() {
            let summed: Vec<&Kind> = summed.iter().map(|(kind, _)| *kind).collect();
            let line = format!(
                "{} more kinds cannot be read either: {}; /debug/sourcez says why",
                summed.len(),
                names(&summed)
            );
            lines.push((Level::ERROR, line));
        }
        let over: Vec<&Kind> = self.0.kinds.keys().filter(|kind| !now.kinds.contains_key(*kind)).collect();
        if !over.is_empty() {
            lines.push((Level::INFO, format!("can be read again: {}", names(&over))));
        }
        self.0.kinds = now.kinds.clone();
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unreachable_api_server_is_one_problem_for_all_kinds() {
        let reporter = ProblemReporter::new("https://10.0.0.1".to_owned());
        for &kind in Kind::ALL {
            reporter.report(kind, RequestFailure::Unreachable("connection refused".to_owned()));
        }
        let problems = reporter.subscribe().borrow().clone();
        assert_eq!(
            problems.to_string(),
            "cannot reach the Kubernetes API server at https://10.0.0.1: connection refused; \
             check the address and that the server is up; trying again"
        );
        // It is over when every kind is answered.
        for &kind in Kind::ALL {
            assert!(!reporter.subscribe().borrow().is_empty());
            reporter.clear(kind);
        }
        assert!(reporter.subscribe().borrow().is_empty());
    }

    #[test]
    fn an_api_server_that_starts_again_is_one_line_when_it_is_gone_and_one_when_it_is_back() {
        let reporter = ProblemReporter::new("https://10.0.0.1".to_owned());
        let (state, mut told) = (reporter.subscribe(), Lines::default());
        let mut lines = Vec::new();
        let mut settled = |lines: &mut Vec<String>| {
            let now = state.borrow().clone();
            let new = told.lines(&now, "https://10.0.0.1");
            lines.extend(new.into_iter().map(|(level, line)| format!("{level} {line}")));
        };
        settled(&mut lines);
        let unreachable = || RequestFailure::Unreachable("connection refused".to_owned());
        Kind::ALL.iter().for_each(|kind| reporter.report(*kind, unreachable()));
        settled(&mut lines);
        // It comes back kind by kind: some are refused, unanswered or forbidden for a moment.
        let (first, later) = Kind::ALL.split_at(Kind::ALL.len() / 2);
        for kind in first {
            reporter.report(*kind, RequestFailure::from_status(*kind, "list", 503, "not ready"));
            settled(&mut lines);
            reporter.report(*kind, RequestFailure::from_status(*kind, "list", 403, "no roles yet"));
            settled(&mut lines);
            reporter.clear(*kind);
            settled(&mut lines);
        }
        for kind in later {
            settled(&mut lines);
            reporter.report(*kind, unreachable());
            settled(&mut lines);
            reporter.clear(*kind);
        }
        settled(&mut lines);
        let gone = "ERROR cannot reach the Kubernetes API server at https://10.0.0.1: connection refused; check the \
                    address and that the server is up; trying again";
        assert_eq!(lines, [gone, "INFO the Kubernetes API server at https://10.0.0.1 answers again"]);
    }

    #[test]
    fn kinds_that_may_not_be_read_are_summed_up() {
        let reporter = ProblemReporter::new(String::new());
        let mut told = Lines::default();
        let forbidden = |kind| RequestFailure::from_status(kind, "list", 403, "User \"x\" cannot list it");
        let kinds = [Kind::Pod, Kind::Service, Kind::Node];
        kinds.iter().for_each(|kind| reporter.report(*kind, forbidden(*kind)));
        let lines = told.lines(&reporter.subscribe().borrow(), "");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].1.starts_with("not allowed to list "), "{lines:?}");
        assert!(lines[1].1.starts_with("2 more kinds cannot be read either: "), "{lines:?}");
        assert_eq!(told.lines(&reporter.subscribe().borrow(), ""), []);
        kinds.iter().for_each(|kind| reporter.clear(*kind));
        let lines = told.lines(&reporter.subscribe().borrow(), "");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].1.starts_with("can be read again: "), "{lines:?}");
    }

    #[test]
    fn the_problem_of_a_forbidden_kind_names_the_resource_to_grant() {
        let reporter = ProblemReporter::new(String::new());
        let status = RequestFailure::from_status(Kind::Gateway, "list", 403, "User \"x\" cannot list it.");
        reporter.report(Kind::Gateway, status);
        let sentence = reporter.subscribe().borrow().to_string();
        assert!(sentence.starts_with(
            "not allowed to list gateways.gateway.networking.k8s.io: User \"x\" cannot list it; grant"
        ));
        reporter.clear(Kind::Pod);
        assert_eq!(reporter.subscribe().borrow().kinds.len(), 1, "another kind does not clear it");
        reporter.clear(Kind::Gateway);
        assert!(reporter.subscribe().borrow().is_empty());
    }

    #[test]
    fn only_kinds_of_definitions_may_be_absent() {
        assert!(matches!(
            RequestFailure::from_status(Kind::Gateway, "list", 404, ""),
            RequestFailure::NotInstalled
        ));
        assert!(matches!(
            RequestFailure::from_status(Kind::Pod, "list", 404, ""),
            RequestFailure::BadServer(_)
        ));
    }
}
