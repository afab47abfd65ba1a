//! What certificates are signed with, from one moment to the next.

use super::signer::Signer;
use super::stats::Counts;
use super::trouble::{Notice, Trouble};
use ca::{BundleError, RevocationLists};
use model::rfc3339;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// How many notices may wait to be told; what comes while so many wait is not told.
const NOTICES: usize = 32;

/// What is in force, all of one generation. What has not changed stays the same `Arc`.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What certificates are signed by, and the roots that peers are told to trust.
    pub signer: Arc<Signer>,
    /// The certificates that are refused although they lead to a root.
    pub revoked: Arc<RevocationLists>,
}

/// What is in force, as it changes; `None` until key material has been found or made.
pub type Changes = watch::Receiver<Option<InForce>>;

/// How the authority came to what it has, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorityStatus {
    /// Where the key material is kept; empty while there is none.
    pub source: String,
    /// What is wrong with newer key material, or why there is none.
    pub trouble: Option<Trouble>,
}

/// Holds what is in force. Material that does not follow from it is refused; it then stays.
#[derive(Clone)]
pub struct Authority {
    in_force: watch::Sender<Option<InForce>>,
    status: Arc<Mutex<AuthorityStatus>>,
    troubles: Arc<Counts>,
    notices: Option<mpsc::Sender<Notice>>,
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            in_force: watch::Sender::new(None),
            status: Arc::default(),
            troubles: Arc::new(Counts::of(&["missing", "refused", "unreadable", "unwritable"])),
            notices: None,
        }
    }
}

impl Authority {
    /// Makes an authority, and what tells each time that something is wrong with its key material, or
    /// is so no more.
    pub(super) fn with_notices() -> (Self, mpsc::Receiver<Notice>) {
        let (notices, told) = mpsc::channel(NOTICES);
        (Self { notices: Some(notices), ..Self::default() }, told)
    }

    /// Returns what signs now.
    pub fn current(&self) -> Option<Arc<Signer>> {
        self.in_force.borrow().as_ref().map(|now| Arc::clone(&now.signer))
    }

    /// Returns what is in force, as it changes.
    pub fn changes(&self) -> Changes {
        self.in_force.subscribe()
    }

    /// Returns where the key material is from, and what is wrong with newer one.
    pub fn status(&self) -> AuthorityStatus {
        self.status.lock().clone()
    }

    /// Returns how often something was wrong, by kind.
    pub fn troubles(&self) -> &Counts {
        &self.troubles
    }

    /// Puts in force what follows from the present roots.
    ///
    /// # Errors
    /// [`BundleError`] when peers with the old roots and peers with the new ones could not meet.
    pub(super) fn follow(
        &self,
        signer: impl Into<Signer>,
        revoked: RevocationLists,
        source: &str,
        several_roots: bool,
    ) -> Result<(), BundleError> {
        let signer = signer.into();
        if let Some(old) = self.current() {
            signer.trust().check_follows(old.trust(), several_roots)?;
        }
        self.put(signer, revoked, source);
        Ok(())
    }

    /// Puts in force what is known to follow from the present roots.
    pub(super) fn put(&self, signer: impl Into<Signer>, revoked: RevocationLists, source: &str) {
        let signer = signer.into();
        self.status.lock().source = source.to_owned();
        self.fine();
        self.in_force.send_if_modified(|now| {
            let (old, old_revoked) = now.take().map(|now| (now.signer, now.revoked)).unzip();
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
                    "certificates are signed with key material",
                );
            } else if are_new {
                tracing::info!(source, "there are new revocation lists");
            }
            *now = Some(InForce { signer, revoked });
            is_new || are_new
        });
    }

    /// Records that nothing is wrong any more.
    pub(super) fn fine(&self) {
        let mut status = self.status.lock();
        let Some(trouble) = status.trouble.take() else { return };
        tracing::info!(source = status.source, "nothing is wrong with key material any more");
        self.tell(Notice::end(&trouble, &status.source));
    }

    /// Records what is wrong; counts, logs and tells it unless it is known.
    pub(super) fn trouble(&self, trouble: Trouble) {
        let mut status = self.status.lock();
        if status.trouble.as_ref() == Some(&trouble) {
            return;
        }
        if self.in_force.borrow().is_some() {
            tracing::error!("{trouble}; certificates are signed with what was in force");
        } else {
            tracing::error!("{trouble}; no certificate is signed");
        }
        self.troubles.add(trouble.kind.name());
        self.tell(Notice::of(&trouble));
        status.trouble = Some(trouble);
    }

    /// Never waits: who tells is no part of signing.
    fn tell(&self, notice: Notice) {
        if let Some(notices) = &self.notices
            && notices.try_send(notice).is_err()
        {
            tracing::debug!("too many notices wait; one is not told");
        }
    }
}
