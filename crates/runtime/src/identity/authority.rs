//! What certificates are signed with, from one moment to the next.

use ca::{BundleError, Issuer};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// The issuer in force; `None` until key material has been found or made.
pub type Issuers = watch::Receiver<Option<Arc<Issuer>>>;

/// How the authority came to what it has, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorityStatus {
    /// Where the key material is kept; empty while there is none.
    pub source: String,
    /// What is wrong with newer key material, or why there is none.
    pub trouble: Option<String>,
}

/// Holds the issuer in force. Material that does not follow from it is refused; it then stays.
#[derive(Clone)]
pub struct Authority {
    issuer: watch::Sender<Option<Arc<Issuer>>>,
    status: Arc<Mutex<AuthorityStatus>>,
}

impl Default for Authority {
    fn default() -> Self {
        Self { issuer: watch::Sender::new(None), status: Arc::default() }
    }
}

impl Authority {
    /// Returns the issuer in force.
    pub fn current(&self) -> Option<Arc<Issuer>> {
        self.issuer.borrow().clone()
    }

    /// Returns the issuer in force, as it changes.
    pub fn issuers(&self) -> Issuers {
        self.issuer.subscribe()
    }

    /// Returns where the key material is from, and what is wrong with newer one.
    pub fn status(&self) -> AuthorityStatus {
        self.status.lock().clone()
    }

    /// Puts an issuer in force whose roots follow from the present ones.
    ///
    /// # Errors
    /// [`BundleError`] when peers with the old roots and peers with the new ones could not meet.
    pub(super) fn follow(
        &self,
        issuer: Issuer,
        source: &str,
        several_roots: bool,
    ) -> Result<(), BundleError> {
        if let Some(old) = self.current() {
            issuer.trust().check_follows(old.trust(), several_roots)?;
        }
        self.put(issuer, source);
        Ok(())
    }

    /// Puts an issuer in force that is known to follow from the present one.
    pub(super) fn put(&self, issuer: Issuer, source: &str) {
        *self.status.lock() = AuthorityStatus { source: source.to_owned(), trouble: None };
        let unchanged = self.current().is_some_and(|old| {
            old.certificate() == issuer.certificate()
                && old.trust() == issuer.trust()
                && old.intermediates() == issuer.intermediates()
        });
        if unchanged {
            return;
        }
        tracing::info!(
            source,
            subject = issuer.certificate().subject(),
            serial = issuer.certificate().serial(),
            expires = issuer.certificate().validity().not_after.as_secs(),
            roots = issuer.trust().roots().len(),
            "certificates are signed with key material",
        );
        self.issuer.send_replace(Some(Arc::new(issuer)));
    }

    /// Records that nothing is wrong any more.
    pub(super) fn fine(&self) {
        self.status.lock().trouble = None;
    }

    /// Records what is wrong, and logs it unless it is known.
    pub(super) fn trouble(&self, trouble: String) {
        let mut status = self.status.lock();
        if status.trouble.as_ref() == Some(&trouble) {
            return;
        }
        if self.issuer.borrow().is_some() {
            tracing::error!("{trouble}; certificates are signed with what was in force");
        } else {
            tracing::error!("{trouble}; no certificate is signed");
        }
        status.trouble = Some(trouble);
    }
}
