//! Plugged-in key material: polled and activated as it changes.

use super::material_files::{Files, data_of, is_unavailable, read_files};
use crate::authority::{Authority, OwnSigner, Problem, ProblemKind};
use crate::clock::Clock;
use crate::identity_index::IdentityIndex;
use crate::settings::SigningIntermediate;
use ca::{CRL_FILE, KeyMaterial, SystemEntropy, TtlPolicy};
use cluster::error_message;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The Secret of plugged-in key material.
pub(super) const PLUGGED_IN_SECRET: &str = "cacerts";

/// How often files are polled. The kubelet updates a mounted Secret by swapping symlinks, which inotify
/// does not report reliably; a poll costs a few small reads.
const FILE_POLL: Duration = Duration::from_secs(2);

/// How often a Secret is polled. Watching it would need permission to list Secrets.
const SECRET_POLL: Duration = Duration::from_secs(5);

/// Activates plugged-in key material.
pub(super) struct PluggedIn {
    /// Certificate lifetimes.
    pub ttl: TtlPolicy,
    /// Whether the set of roots may change.
    pub allow_multiple_roots: bool,
    /// Whether revocation lists are read.
    pub reads_revocations: bool,
    /// Below which signing keys an intermediate of this process signs.
    pub signing_intermediate: SigningIntermediate,
    /// Receives the key material.
    pub authority: Authority,
    /// Knows the trust domain.
    pub index: Arc<IdentityIndex>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl PluggedIn {
    /// Polls the files in `dir`. Does not return.
    pub async fn follow_files(&self, dir: &Path) {
        let source = dir.display().to_string();
        let mut changes = Changes::default();
        loop {
            let problem = match read_files(dir) {
                Ok(files) => changes.update(files, |files| self.activate(files, &source, None)),
                Err(error) => {
                    changes = Changes::default();
                    Some(unreadable_files(dir, &error))
                }
            };
            if let Some(problem) = problem {
                self.authority.report(problem);
            }
            self.clock.sleep(FILE_POLL).await;
        }
    }

    /// Polls the Secret. Does not return.
    pub async fn follow_secret(&self, secrets: Api<Secret>, source: &str) {
        let secret = Some(PLUGGED_IN_SECRET);
        let mut active_version = None;
        loop {
            match secrets.get_opt(PLUGGED_IN_SECRET).await {
                Ok(Some(found)) => {
                    let version = found.metadata.resource_version.clone().unwrap_or_default();
                    if active_version.as_ref() != Some(&version) {
                        // Refused material is retried: it may only not be valid yet.
                        active_version = match self.activate(&data_of(&found), source, secret) {
                            Ok(()) => Some(version),
                            Err(problem) => {
                                self.authority.report(problem);
                                None
                            }
                        };
                    }
                }
                Ok(None) => {
                    active_version = None;
                    let text = format!("{source} is gone; restore it");
                    self.authority.report(Problem { kind: ProblemKind::Missing, secret, text });
                }
                // An unavailable API server does not affect the active key material.
                Err(error) if self.authority.current().is_some() && is_unavailable(&error) => {
                    tracing::debug!(%error, "cannot read {source}");
                }
                Err(error) => {
                    active_version = None;
                    let text = format!(
                        "cannot read {source}: {}; grant get on secrets there",
                        error_message(&error)
                    );
                    self.authority.report(Problem { kind: ProblemKind::Unreadable, secret, text });
                }
            }
            self.clock.sleep(SECRET_POLL).await;
        }
    }

    /// Activates key material if all of it is valid; otherwise the active one stays.
    fn activate(&self, files: &Files, source: &str, secret: Option<&'static str>) -> Result<(), Problem> {
        let mut files = Cow::Borrowed(files);
        if !self.reads_revocations && files.contains_key(CRL_FILE) {
            files.to_mut().remove(CRL_FILE);
        }
        let outcome = match KeyMaterial::from_files(&files, self.clock.now()) {
            Ok(Some(material)) => self.update(&material, source),
            Ok(None) => Err("holds no key material any more; restore it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        outcome.map_err(|error| {
            let text = format!("key material in {source} is refused: {error}");
            Problem { kind: ProblemKind::Refused, secret, text }
        })
    }

    fn update(&self, material: &KeyMaterial, source: &str) -> Result<(), String> {
        let issuer = material.issuer(self.ttl).map_err(|e| e.to_string())?;
        let domain = self.index.mesh().trust_domain.clone();
        issuer.check_with_peers(&domain, self.clock.now(), &SystemEntropy).map_err(|e| e.to_string())?;
        let revoked = material.revoked().clone();
        // Peers with lists want one of every authority in a chain, and an intermediate would have none.
        let below = self.signing_intermediate.is_plugged_in() && revoked.is_empty();
        let signer = OwnSigner::new(issuer, below.then_some(domain));
        let updated = self.authority.update(signer, revoked, source, self.allow_multiple_roots);
        updated.map_err(|e| e.to_string())
    }
}

/// The files of earlier polls.
#[derive(Default)]
struct Changes {
    /// The files that are active.
    active: Option<Files>,
    /// The files of the previous poll.
    previous: Option<Files>,
}

impl Changes {
    /// Activates files that are not active yet; returns the problem to report.
    ///
    /// Files are replaced one after another, and a poll may read some old and some new ones: a problem is
    /// reported when two polls in a row have found it. Refused files are retried at each poll, since they
    /// may become valid.
    fn update(
        &mut self,
        files: Files,
        activate: impl FnOnce(&Files) -> Result<(), Problem>,
    ) -> Option<Problem> {
        if self.active.as_ref() == Some(&files) {
            return None;
        }
        let outcome = activate(&files);
        self.active = outcome.is_ok().then(|| files.clone());
        let is_unchanged = self.previous.as_ref() == Some(&files);
        self.previous = Some(files);
        outcome.err().filter(|_| is_unchanged)
    }
}

/// Returns the problem of files that cannot be read.
pub(super) fn unreadable_files(dir: &Path, error: &io::Error) -> Problem {
    let text = format!("cannot read {}: {error}", dir.display());
    Problem { kind: ProblemKind::Unreadable, secret: None, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        [("ca-cert.pem".to_owned(), text.as_bytes().to_vec())].into()
    }

    fn good(_: &Files) -> Result<(), Problem> {
        Ok(())
    }

    fn bad(_: &Files) -> Result<(), Problem> {
        Err(Problem { kind: ProblemKind::Refused, secret: None, text: "bad".to_owned() })
    }

    fn not_called(_: &Files) -> Result<(), Problem> {
        unreachable!("it is active")
    }

    #[test]
    fn files_read_during_an_update_are_not_reported_and_invalid_ones_are() {
        let mut changes = Changes::default();
        assert_eq!(changes.update(files("old"), good), None);
        assert_eq!(changes.update(files("old"), not_called), None);
        assert_eq!(changes.update(files("half written"), bad), None, "read between two writes");
        assert_eq!(changes.update(files("new"), good), None);
        assert_eq!(changes.update(files("invalid"), bad), None);
        assert!(changes.update(files("invalid"), bad).is_some(), "unchanged since the previous poll");
        assert_eq!(changes.update(files("new"), good), None, "activated again, which resolves the problem");
    }

    #[test]
    fn refused_files_are_retried_without_a_change() {
        let mut changes = Changes::default();
        assert_eq!(changes.update(files("not yet valid"), bad), None);
        assert!(changes.update(files("not yet valid"), bad).is_some());
        assert_eq!(changes.update(files("not yet valid"), good), None);
        assert_eq!(changes.update(files("not yet valid"), not_called), None);
    }
}
