//! Rotation of self-signed roots with overlapping trust, as a pure state machine.
//!
//! ```text
//!             announce(new)              Switch                    Retire
//!  sign old ───────────────▶ sign old ─────────────▶ sign new ───────────────▶ sign new
//!  trust old                 trust old+new  overlap  trust new+old   overlap   trust new
//! ```
//!
//! A peer learns the roots together with its certificate. One overlap after the announcement every
//! certificate, and with it every peer's set of roots, is younger than the announcement; one overlap
//! after the switch every certificate that the old key signed has expired. So `overlap` must be no
//! shorter than the longest life of a certificate in use.
//!
//! Apart from this a root is *renewed* when little of its life is left: same key, same subject, so
//! that old and new verify each other's certificates and no waiting is needed.
//!
//! The state is stored with the root, each step is one conditional update of it, and which step is
//! due follows from the stored times alone: replicas need not talk, and a restart changes nothing.

use crate::bundle::{BundleError, TrustBundle};
use crate::certificate::Certificate;
use crate::entropy::Entropy;
use crate::issuer::{Issuer, IssuerError};
use crate::root::{Root, RootError};
use crate::ttl::{TtlPolicy, at};
use rustls_pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;

/// Why a rotation cannot begin or go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RotationError {
    /// Another root is announced.
    #[error("a root rotation is already in progress; wait for it to end, or abandon it")]
    InProgress,
    /// The announced root has the key of the active one.
    #[error("announced root has the same key as the active one; renew it instead")]
    SameKey,
    /// No step is due.
    #[error("no step of a rotation is due")]
    NotDue,
    /// The announced root is not valid for as long as the rotation lasts.
    #[error("announced root is not valid throughout the rotation")]
    NotValid,
    /// The renewed root cannot be made.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The phases are shorter than certificates live.
    #[error(
        "overlap of roots of {overlap} s is shorter than the default validity of certificates of {life} s; certificates of a root that is replaced would be refused before they end"
    )]
    Overlap {
        /// The overlap in seconds.
        overlap: u64,
        /// The default validity in seconds.
        life: u64,
    },
}

/// The times of a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotationPolicy {
    /// Renew when less than this share of the life is left, at most 50
    /// (`CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE`).
    pub renew_below_percent: u8,
    /// How long each phase of a rotation lasts: at least the longest life of a leaf in use.
    pub overlap: Duration,
    /// Life of a renewed root (`CITADEL_SELF_SIGNED_CA_CERT_TTL`).
    pub life: Duration,
}

impl RotationPolicy {
    /// Checks that certificates of the default life outlive no phase.
    ///
    /// The default and not the longest life, since the latter bounds what may be asked for (90 days unless
    /// it is set) rather than what is: a rotation that waited for it would take half a year.
    ///
    /// # Errors
    /// [`RotationError::Overlap`].
    pub fn check(&self, lives: &TtlPolicy) -> Result<(), RotationError> {
        let (overlap, life) = (self.overlap.as_secs(), lives.default_life().as_secs());
        if overlap < life { Err(RotationError::Overlap { overlap, life }) } else { Ok(()) }
    }

    /// Tells whether a certificate that was asked for with the longest life could be refused by peers
    /// before it ends.
    pub fn cuts_off(&self, lives: &TtlPolicy) -> bool {
        self.overlap < lives.max_life()
    }
}

impl Default for RotationPolicy {
    /// 20 percent, 24 hours (the default life of a leaf), ten years.
    fn default() -> Self {
        Self {
            renew_below_percent: 20,
            overlap: Duration::from_secs(24 * 3600),
            life: Duration::from_secs(87_600 * 3600),
        }
    }
}

/// A root that peers are told to trust, and that does not sign yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// The root.
    pub root: Root,
    /// When it was announced.
    pub announced_at: UnixTime,
}

/// A root that no longer signs, and that peers are still told to trust.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retiring {
    /// Its certificate.
    pub certificate: Certificate,
    /// When it signed last.
    pub since: UnixTime,
}

/// What is to be done to the roots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Sign with the announced root from now on.
    Switch,
    /// Stop trusting roots that no valid certificate leads to any more.
    Retire,
    /// Replace the active root's certificate by one with the same key and a new life.
    Renew,
}

/// The roots of a self-signed authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootState {
    pub(crate) active: Root,
    pub(crate) incoming: Option<Incoming>,
    pub(crate) retiring: Vec<Retiring>,
}

impl RootState {
    /// Builds the state of an authority with one root.
    pub fn new(active: Root) -> Self {
        Self { active, incoming: None, retiring: Vec::new() }
    }

    /// Returns the root that signs.
    pub fn active(&self) -> &Root {
        &self.active
    }

    /// Returns the announced root, if a rotation is in its first phase.
    pub fn incoming(&self) -> Option<&Incoming> {
        self.incoming.as_ref()
    }

    /// Returns the roots that are trusted but sign no more.
    pub fn retiring(&self) -> &[Retiring] {
        &self.retiring
    }

    /// Returns what peers are to trust: the active root, the announced one, the retiring ones.
    ///
    /// # Errors
    /// [`BundleError`] if a stored certificate is not an authority.
    pub fn trust(&self) -> Result<TrustBundle, BundleError> {
        let active = std::iter::once(self.active.certificate());
        let incoming = self.incoming.iter().map(|i| i.root.certificate());
        let retiring = self.retiring.iter().map(|r| &r.certificate);
        TrustBundle::new(active.chain(incoming).chain(retiring).cloned())
    }

    /// Returns the issuer of this state.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn issuer(&self, ttl: TtlPolicy) -> Result<Issuer, IssuerError> {
        let active = &self.active;
        Issuer::new(active.certificate().clone(), Arc::clone(active.key()), Vec::new(), self.trust()?, ttl)
    }

    /// Begins a rotation to `root`.
    ///
    /// # Errors
    /// [`RotationError`] when one is in progress, the key is the active one, or the root is not
    /// valid for as long as its announcement lasts.
    pub fn announce(
        &self,
        root: Root,
        policy: &RotationPolicy,
        now: UnixTime,
    ) -> Result<Self, RotationError> {
        if self.incoming.is_some() {
            return Err(RotationError::InProgress);
        }
        if root.same_key(&self.active) {
            return Err(RotationError::SameKey);
        }
        let validity = root.certificate().validity();
        if !validity.contains(now) || !validity.contains(after(now, policy.overlap)) {
            return Err(RotationError::NotValid);
        }
        Ok(Self { incoming: Some(Incoming { root, announced_at: now }), ..self.clone() })
    }

    /// Returns the state without the announced root. Nothing was signed with it.
    pub fn abandon(&self) -> Self {
        Self { incoming: None, ..self.clone() }
    }

    /// Returns the step that is due at `now`, if any.
    pub fn due(&self, policy: &RotationPolicy, now: UnixTime) -> Option<Step> {
        self.schedule(policy).into_iter().find(|(_, due)| *due <= now).map(|(step, _)| step)
    }

    /// Returns when the next step is due.
    pub fn next_due(&self, policy: &RotationPolicy) -> Option<UnixTime> {
        self.schedule(policy).into_iter().map(|(_, due)| due).min()
    }

    /// Returns all coming steps, the most urgent kind first.
    fn schedule(&self, policy: &RotationPolicy) -> Vec<(Step, UnixTime)> {
        let mut steps = Vec::new();
        if let Some(incoming) = &self.incoming {
            steps.push((Step::Switch, after(incoming.announced_at, policy.overlap)));
        }
        if let Some(due) = self.retiring.iter().map(|r| r.ends(policy)).min() {
            steps.push((Step::Retire, due));
        }
        steps.push((Step::Renew, self.active.renewal_due(policy.renew_below_percent)));
        steps
    }

    /// Returns the state after the step that is due at `now`.
    ///
    /// # Errors
    /// [`RotationError::NotDue`] when there is none; otherwise this state remains the right one.
    pub fn advance(
        &self,
        policy: &RotationPolicy,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Self, RotationError> {
        let mut next = self.clone();
        match self.due(policy, now).ok_or(RotationError::NotDue)? {
            Step::Switch => {
                let incoming = next.incoming.take().ok_or(RotationError::NotDue)?;
                next.replace_active(incoming.root, now);
            }
            Step::Retire => next.retiring.retain(|r| r.ends(policy) > now),
            Step::Renew => {
                let renewed = self.active.renew(policy.life, now, entropy)?;
                next.replace_active(renewed, now);
            }
        }
        Ok(next)
    }

    fn replace_active(&mut self, root: Root, now: UnixTime) {
        let old = std::mem::replace(&mut self.active, root);
        self.retiring.push(Retiring { certificate: old.certificate().clone(), since: now });
    }
}

impl Retiring {
    /// Returns when this root need not be trusted any more.
    fn ends(&self, policy: &RotationPolicy) -> UnixTime {
        after(self.since, policy.overlap).min(self.certificate.validity().not_after)
    }
}

fn after(time: UnixTime, wait: Duration) -> UnixTime {
    at(time.as_secs().saturating_add(wait.as_secs()))
}

#[cfg(test)]
mod tests;
