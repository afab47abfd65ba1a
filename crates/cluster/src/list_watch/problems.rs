//! What keeps the source from reading, said once, in one sentence, with how to mend it.

use crate::error::root_cause;
use model::Kind;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::sync::watch;

/// What keeps the source from reading at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Troubles {
    /// What is wrong with the API server as a whole: one sentence.
    pub server: Option<String>,
    /// What is wrong with single kinds: one sentence each.
    pub kinds: BTreeMap<Kind, String>,
}

impl Troubles {
    /// Tells whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.server.is_none() && self.kinds.is_empty()
    }
}

impl fmt::Display for Troubles {
    /// One line for each trouble.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, sentence) in self.server.iter().chain(self.kinds.values()).enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{sentence}")?;
        }
        Ok(())
    }
}

/// What stands in the way of one request.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The version asked for is no longer, or not yet, there (410, 504): list again.
    Outdated,
    /// The kind is not served (404) and need not be.
    NotInstalled,
    /// There was no answer.
    Unreachable(String),
    /// The API server does not answer properly, whatever the kind.
    Unwell(String),
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

impl Trouble {
    /// Reads a failure that the API server tells.
    pub(super) fn from_status(kind: Kind, verb: &str, code: u16, message: &str) -> Self {
        let message = message.trim().trim_end_matches('.').to_owned();
        match code {
            410 => Trouble::Outdated,
            504 if verb == "watch" => Trouble::Outdated,
            // What is part of every API server is only missing where there is none.
            404 if kind.is_built_in() => Trouble::Unwell(format!("it does not serve {}", kind.plural())),
            404 => Trouble::NotInstalled,
            401 => Trouble::Unwell("it does not accept the credentials".to_owned()),
            403 => Trouble::Forbidden { verb: verb.to_owned(), message },
            429 | 500.. => Trouble::Unwell(message),
            _ => Trouble::Failed(format!("cannot {verb} {}: {message} (HTTP {code})", resource(kind))),
        }
    }

    /// Reads a failure without an answer.
    pub(super) fn from_client(error: &::kube::Error) -> Self {
        Trouble::Unreachable(root_cause(error))
    }

    /// Tells that a request cannot even be written, as with a bad namespace in the settings.
    pub(super) fn from_request(error: &::kube::core::request::Error) -> Self {
        Trouble::Failed(format!("cannot ask the API server: {}", root_cause(error)))
    }

    /// Tells that no answer came in time.
    pub(super) fn silent(limit: Duration) -> Self {
        Trouble::Unreachable(format!("no answer within {} s", limit.as_secs()))
    }

    /// Tells that an answer is not what it should be.
    pub(super) fn malformed(kind: Kind, error: &serde_json::Error) -> Self {
        Trouble::Failed(format!(
            "the answer of the API server for {} cannot be read: {error}; check that the address is that of a Kubernetes API server",
            resource(kind)
        ))
    }

    /// Tells that an answer lacks the version to go on from.
    pub(super) fn no_version(kind: Kind) -> Self {
        Trouble::Failed(format!("the answer of the API server for {} has no resourceVersion", resource(kind)))
    }
}

/// Returns the name of a kind in RBAC and on the command line: `gateways.gateway.networking.k8s.io`.
fn resource(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

/// Collects the troubles of all kinds; each is logged when it comes and when it goes.
pub(super) struct Reports {
    url: String,
    state: watch::Sender<Troubles>,
}

impl Reports {
    pub(super) fn new(url: String) -> Self {
        Self { url, state: watch::Sender::new(Troubles::default()) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Troubles> {
        self.state.subscribe()
    }

    /// Notes that `kind` could not be read.
    pub(super) fn report(&self, kind: Kind, trouble: Trouble) {
        let url = &self.url;
        let (of_server, sentence) = match trouble {
            Trouble::Outdated | Trouble::NotInstalled => return,
            Trouble::Unreachable(cause) => (
                true,
                format!(
                    "cannot reach the Kubernetes API server at {url}: {cause}; check the address and that the server is up; trying again"
                ),
            ),
            Trouble::Unwell(cause) => (
                true,
                format!(
                    "the Kubernetes API server at {url} does not answer as it should: {cause}; check the server and the credentials; trying again"
                ),
            ),
            Trouble::Forbidden { verb, message } => (
                false,
                format!(
                    "not allowed to {verb} {name}: {message}; grant the verbs list and watch on {name} to this user, as the chart's ClusterRole does; trying again",
                    name = resource(kind)
                ),
            ),
            Trouble::Failed(sentence) => (false, format!("{sentence}; trying again")),
        };
        let is_new = self.state.send_if_modified(|troubles| {
            if of_server {
                let is_first = troubles.server.is_none();
                // One cause stands for all: twelve kinds fail in twelve ways at once.
                troubles.server.get_or_insert_with(|| sentence.clone());
                is_first
            } else {
                troubles.kinds.insert(kind, sentence.clone()).as_ref() != Some(&sentence)
            }
        });
        if is_new {
            tracing::error!("{sentence}");
        }
    }

    /// Notes that `kind` was read.
    pub(super) fn fine(&self, kind: Kind) {
        let is_new = self.state.send_if_modified(|troubles| {
            let was_away = troubles.server.take().is_some();
            troubles.kinds.remove(&kind).is_some() || was_away
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
    fn one_sentence_stands_for_an_api_server_that_is_away() {
        let reports = Reports::new("https://10.0.0.1".to_owned());
        for &kind in Kind::ALL {
            reports.report(kind, Trouble::Unreachable("connection refused".to_owned()));
        }
        let troubles = reports.subscribe().borrow().clone();
        assert_eq!(
            troubles.to_string(),
            "cannot reach the Kubernetes API server at https://10.0.0.1: connection refused; \
             check the address and that the server is up; trying again"
        );
        reports.fine(Kind::Pod);
        assert!(reports.subscribe().borrow().is_empty());
    }

    #[test]
    fn a_forbidden_kind_is_told_with_the_resource_to_grant() {
        let reports = Reports::new(String::new());
        let status = Trouble::from_status(Kind::Gateway, "list", 403, "User \"x\" cannot list it.");
        reports.report(Kind::Gateway, status);
        let sentence = reports.subscribe().borrow().to_string();
        assert!(sentence.starts_with(
            "not allowed to list gateways.gateway.networking.k8s.io: User \"x\" cannot list it; grant"
        ));
        reports.fine(Kind::Pod);
        assert_eq!(reports.subscribe().borrow().kinds.len(), 1, "another kind is not concerned");
        reports.fine(Kind::Gateway);
        assert!(reports.subscribe().borrow().is_empty());
    }

    #[test]
    fn only_kinds_of_definitions_may_be_absent() {
        assert!(matches!(Trouble::from_status(Kind::Gateway, "list", 404, ""), Trouble::NotInstalled));
        assert!(matches!(Trouble::from_status(Kind::Pod, "list", 404, ""), Trouble::Unwell(_)));
    }
}
