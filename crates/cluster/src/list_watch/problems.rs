//! What keeps the source from reading, reported once, in one sentence that says how to fix it.

use crate::error::root_cause;
use model::Kind;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::sync::watch;

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

/// Returns the name of a kind in RBAC and on the command line: `gateways.gateway.networking.k8s.io`.
fn resource(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

/// Collects the problems of all kinds; each is logged when it appears and when it is over.
pub(super) struct ProblemReporter {
    url: String,
    state: watch::Sender<SourceProblems>,
}

impl ProblemReporter {
    pub(super) fn new(url: String) -> Self {
        Self { url, state: watch::Sender::new(SourceProblems::default()) }
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
        let is_new = self.state.send_if_modified(|problems| {
            if of_server {
                let is_first = problems.server.is_none();
                // One cause is reported for all kinds, which all fail at once, each in its way.
                problems.server.get_or_insert_with(|| sentence.clone());
                is_first
            } else {
                problems.kinds.insert(kind, sentence.clone()).as_ref() != Some(&sentence)
            }
        });
        if is_new {
            tracing::error!("{sentence}");
        }
    }

    /// Records that `kind` was read.
    pub(super) fn clear(&self, kind: Kind) {
        let is_new = self.state.send_if_modified(|problems| {
            let was_away = problems.server.take().is_some();
            problems.kinds.remove(&kind).is_some() || was_away
        });
        if is_new {
            tracing::info!(%kind, url = self.url, "the Kubernetes API server answers again");
        }
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
        reporter.clear(Kind::Pod);
        assert!(reporter.subscribe().borrow().is_empty());
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
