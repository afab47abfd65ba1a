//! The certificate authority: which signer and roots are active.

mod events;
mod intermediate;
mod own_signer;
mod problem;
mod signer;

pub(crate) use events::Events;
pub(crate) use own_signer::OwnSigner;
pub(crate) use problem::Notice;
pub use problem::{Problem, ProblemKind};
pub use signer::Signer;

use crate::stats::Counts;
use ca::{BundleError, RevocationLists};
use model::rfc3339;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Capacity of the notice channel; notices beyond it are dropped.
const NOTICES: usize = 32;

/// The active key material, all of one generation. Parts that have not changed keep their `Arc`.
#[derive(Debug, Clone)]
pub struct ActiveMaterial {
    /// Signs certificates, and knows the roots that peers are told to trust.
    pub signer: Arc<Signer>,
    /// Certificates that are refused although they chain to a root.
    pub revoked: Arc<RevocationLists>,
}

/// Receives the active key material whenever it changes; `None` until some has been loaded or created.
pub type MaterialReceiver = watch::Receiver<Option<ActiveMaterial>>;

/// Where the active key material comes from, for debug views.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorityStatus {
    /// The source of the key material; empty while there is none.
    pub source: String,
    /// The problem with newer key material, or the reason why there is none.
    pub problem: Option<Problem>,
}

/// Holds the active key material. An update that does not follow from it is refused and changes nothing.
#[derive(Clone)]
pub struct Authority {
    active: watch::Sender<Option<ActiveMaterial>>,
    status: Arc<Mutex<AuthorityStatus>>,
    problems: Arc<Counts>,
    notices: Option<mpsc::Sender<Notice>>,
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            active: watch::Sender::new(None),
            status: Arc::default(),
            problems: Arc::new(Counts::of(&["missing", "refused", "unreadable", "unwritable"])),
            notices: None,
        }
    }
}

impl Authority {
    /// Creates an authority and the receiver of notices about problems with its key material.
    pub(crate) fn with_notices() -> (Self, mpsc::Receiver<Notice>) {
        let (notices, receiver) = mpsc::channel(NOTICES);
        (Self { notices: Some(notices), ..Self::default() }, receiver)
    }

    /// Returns the active signer.
    pub fn current(&self) -> Option<Arc<Signer>> {
        self.active.borrow().as_ref().map(|active| Arc::clone(&active.signer))
    }

    /// Subscribes to the active key material.
    pub fn changes(&self) -> MaterialReceiver {
        self.active.subscribe()
    }

    /// Returns the source of the key material and the current problem.
    pub fn status(&self) -> AuthorityStatus {
        self.status.lock().clone()
    }

    /// Returns how many problems there were, by kind.
    pub fn problems(&self) -> &Counts {
        &self.problems
    }

    /// Activates key material if its roots follow from the active ones.
    ///
    /// # Errors
    /// [`BundleError`] when peers with the old roots could not verify peers with the new ones.
    pub(crate) fn update(
        &self,
        signer: impl Into<Signer>,
        revoked: RevocationLists,
        source: &str,
        allow_multiple_roots: bool,
    ) -> Result<(), BundleError> {
        let signer = signer.into();
        if let Some(old) = self.current() {
            signer.trust().check_follows(old.trust(), allow_multiple_roots)?;
        }
        self.activate(signer, revoked, source);
        Ok(())
    }

    /// Activates key material whose roots are known to follow from the active ones.
    pub(crate) fn activate(&self, signer: impl Into<Signer>, revoked: RevocationLists, source: &str) {
        let signer = signer.into();
        self.status.lock().source = source.to_owned();
        self.resolve();
        self.active.send_if_modified(|active| {
            let (old, old_revoked) = active.take().map(|active| (active.signer, active.revoked)).unzip();
            let (signer, is_new) = match old {
                Some(old) if old.is_same(&signer) => (old, false),
                _ => (Arc::new(signer), true),
            };
            let (revoked, are_new) = match old_revoked {
                Some(old) if *old == revoked => (old, false),
                _ => (Arc::new(revoked), true),
            };
            if is_new {
                let roots = signer.trust().roots();
                let first = signer.certificate().or(roots.first());
                tracing::info!(
                    source,
                    subject = first.map(ca::Certificate::subject),
                    serial = first.map(ca::Certificate::serial),
                    not_after = first.map(|certificate| rfc3339(certificate.validity().not_after.as_secs())),
                    roots = roots.len(),
                    "activated key material",
                );
            } else if are_new {
                tracing::info!(source, "activated revocation lists");
            }
            *active = Some(ActiveMaterial { signer, revoked });
            is_new || are_new
        });
    }

    /// Clears the current problem.
    pub(crate) fn resolve(&self) {
        let mut status = self.status.lock();
        let Some(problem) = status.problem.take() else { return };
        tracing::info!(source = status.source, "the problem with key material is resolved");
        self.notify(Notice::resolved(&problem, &status.source));
    }

    /// Sets the current problem. Counts, logs and announces it unless it is the same as before.
    pub(crate) fn report(&self, problem: Problem) {
        let mut status = self.status.lock();
        if status.problem.as_ref() == Some(&problem) {
            return;
        }
        if self.active.borrow().is_some() {
            tracing::error!("{problem}; the active key material stays");
        } else {
            tracing::error!("{problem}; no certificate can be signed");
        }
        self.problems.add(problem.kind.name());
        self.notify(Notice::of(&problem));
        status.problem = Some(problem);
    }

    /// Sends a notice without waiting: signing must not depend on who receives it.
    fn notify(&self, notice: Notice) {
        if let Some(notices) = &self.notices
            && notices.try_send(notice).is_err()
        {
            tracing::debug!("the notice channel is full; dropped a notice");
        }
    }
}
