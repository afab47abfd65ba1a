//! An intermediate authority of this process, for a signing key that is slow.
//!
//! ```text
//!  signing certificate (RSA)        0.5 to 3 ms for a signature: one, for each generation below it
//!     └─ intermediate (P-256)       20 µs for a signature: one for each leaf
//!          └─ leaves
//! ```
//!
//! Its key is made here, stays in memory, and is gone with the process: another replica has another one.
//! It is made only where peers accept it wherever they accept the signing certificate. They trust the same
//! roots as before, and get it with each leaf, in the answer and from one another in handshakes.

use crate::certificate::{Certificate, CertificateError};
use crate::chain::{ChainError, verify_chain};
use crate::der::{Writer, oid};
use crate::entropy::{Entropy, NoEntropy};
use crate::issuer::{Issuer, IssuerError};
use crate::key::{KeyError, SigningKey};
use crate::peers::PeerError;
use crate::profile::{self, Parts};
use crate::serial::Serial;
use crate::ttl::{TtlError, Validity};
use model::TrustDomain;
use rustls_pki_types::UnixTime;
use std::sync::Arc;

/// How many bytes of the key id are in the name of an intermediate: names of replicas must differ, since
/// peers may look an authority up by its name.
const NAME_BYTES: usize = 8;

/// Why there is no intermediate. The issuer itself still signs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IntermediateError {
    /// An authority restricts what is below it.
    #[error("authority {subject} has {what}, which an intermediate below it may not meet for every peer")]
    Restricted {
        /// The subject of that authority.
        subject: String,
        /// What it has.
        what: &'static str,
    },
    /// The chain does not permit another authority.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Peers refuse what the intermediate signs.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// The signing certificate has expired.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// No serial number could be drawn.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// No key could be made, or the signature failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate that was made cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate that was made cannot sign.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

impl Issuer {
    /// Makes an intermediate with a new P-256 key below this issuer, and returns the issuer that signs with
    /// it: under the same roots, with the same lives of leaves. Its answers have one certificate more, after
    /// the leaf.
    ///
    /// The intermediate lives for twice the longest life that may be asked for, so that its first half
    /// shortens no leaf, and never longer than the signing certificate. It may sign leaves for TLS and
    /// nothing else.
    ///
    /// # Errors
    /// [`IntermediateError`] when a peer that accepts leaves of this issuer might refuse those of the
    /// intermediate: for the length of the chain, for name constraints, or as the library of ztunnels says.
    pub fn intermediate(
        &self,
        trust_domain: &TrustDomain,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<Self, IntermediateError> {
        for authority in self.above() {
            if let Some(what) = authority.restriction() {
                return Err(IntermediateError::Restricted { subject: authority.subject().to_owned(), what });
            }
        }
        let certificate = self.certificate();
        let life = self.ttl().max_life().saturating_mul(2);
        let validity = Validity::of_leaf(now, life, certificate.validity().not_after)?;
        let key = SigningKey::generate_p256()?;
        let key_id = profile::key_id(key.public_key());
        let mut subject = Writer::default();
        let own: String = key_id.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let common_name = format!("pilothouse-{own}");
        profile::name_of(
            &mut subject,
            &[(oid::ORGANIZATION, trust_domain.as_str()), (oid::COMMON_NAME, &common_name)],
        );
        let serial = Serial::draw(entropy)?;
        let parts = Parts {
            serial: serial.as_bytes(),
            algorithm: &self.key().signature_algorithm(),
            issuer: &certificate.subject,
            not_before: validity.not_before,
            not_after: validity.not_after,
            subject: &subject.finish(),
            public_key: &key.public_key_info(),
        };
        let body = profile::to_be_signed(&parts, |w| {
            w.raw(&profile::intermediate_extensions(&key_id, certificate.key_id.as_deref()));
        });
        let own = Certificate::from_der(&self.key().sign_structure(&body)?)?;
        let between: Vec<Certificate> = std::iter::once(&own).chain(self.intermediates()).cloned().collect();
        // Peers differ in whether a limit of the root on the length counts: here it does.
        verify_chain(&own, &between, self.trust().roots(), now)?;
        let issuer = Self::new(own, Arc::new(key), between, self.trust().clone(), self.ttl())?;
        issuer.check_with_peers(trust_domain, now, entropy)?;
        Ok(issuer)
    }

    /// Tells whether an `intermediate` below this issuer is to be replaced by a new one: it is not valid
    /// now, or half of its life is over and a new one would live longer.
    pub fn is_due(&self, intermediate: &Self, now: UnixTime) -> bool {
        let own = intermediate.certificate().validity();
        let is_longest = own.not_after >= self.certificate().validity().not_after;
        !own.contains(now) || (!is_longest && own.half_life() <= now)
    }

    /// Returns the authorities that a certificate below this issuer may lead through. Of the roots, those
    /// that this issuer leads to.
    fn above(&self) -> impl Iterator<Item = &Certificate> {
        let own = || std::iter::once(self.certificate()).chain(self.intermediates());
        let roots = self.trust().roots().iter();
        own().chain(roots.filter(move |root| own().any(|below| below.issuer == root.subject)))
    }
}

#[cfg(test)]
mod tests;
