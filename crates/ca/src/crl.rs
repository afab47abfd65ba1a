//! Certificate revocation lists: checked here, obeyed by the secure port, passed on to peers.

use crate::certificate::{self, Certificate};
use crate::pem::pem;
use crate::signature;
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::collections::{HashMap, HashSet};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

/// Longest text of revocation lists that is read, in bytes: what a ConfigMap can hold.
const MAX_CRL_BYTES: usize = 1000 * 1024;

/// Why revocation lists are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CrlError {
    /// The text is over the bound.
    #[error("revocation lists are longer than 1000 KiB; no ConfigMap could hold them")]
    TooLong,
    /// The text is broken.
    #[error("revocation list {number} is not valid PEM of type X509 CRL")]
    Malformed {
        /// Which block, counted from 1.
        number: usize,
    },
    /// A list is of a kind that peers do not read.
    #[error("revocation list {number} {what}; give complete lists of version 2, one of each authority")]
    Unsupported {
        /// Which block, counted from 1.
        number: usize,
        /// What it is or has.
        what: &'static str,
    },
    /// A certificate of the chain has no list that it signed.
    #[error(
        "no revocation list is signed by {subject}; every certificate of the chain needs one, and may sign it only with the key usage cRLSign"
    )]
    Uncovered {
        /// The subject of that certificate.
        subject: String,
    },
}

/// The certificates that authorities have revoked; the default has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RevocationLists {
    text: String,
    /// Serial numbers, in hexadecimal without leading zeros, by the DER of the issuer's name.
    revoked: HashMap<Vec<u8>, HashSet<String>>,
}

impl RevocationLists {
    /// Reads the lists of a PEM text; blocks of other types are passed over, and never passed on.
    ///
    /// Each certificate of `chain` must have signed one of them. Lists are matched by the issuer's
    /// name and the signature, so that two authorities of one name do not hide each other. Lists of
    /// others (say an intermediate that signs no more) count too: whoever gives this text gives the
    /// authority's key with it.
    ///
    /// # Errors
    /// [`CrlError`].
    pub(crate) fn read(text: &[u8], chain: &[Certificate]) -> Result<Self, CrlError> {
        if text.len() > MAX_CRL_BYTES {
            return Err(CrlError::TooLong);
        }
        let mut blocks = Vec::new();
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            match block {
                Ok((SectionKind::Crl, der)) => blocks.push(der),
                Ok(_) => {}
                Err(_) => return Err(CrlError::Malformed { number: blocks.len() + 1 }),
            }
        }
        let mut lists = Vec::new();
        for (i, der) in blocks.iter().enumerate() {
            let number = i + 1;
            let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
                return Err(CrlError::Malformed { number });
            };
            if let Some(what) = unsupported(&list) {
                return Err(CrlError::Unsupported { number, what });
            }
            lists.push(list);
        }
        if lists.is_empty() {
            return Err(CrlError::Malformed { number: 1 });
        }
        for signer in chain {
            if !lists.iter().any(|list| has_signed(signer, list)) {
                return Err(CrlError::Uncovered { subject: signer.subject().to_owned() });
            }
        }
        let mut revoked = HashMap::<_, HashSet<_>>::new();
        for list in &lists {
            let serials = list.iter_revoked_certificates().map(|entry| hexadecimal(entry.raw_serial()));
            revoked.entry(list.issuer().as_raw().to_vec()).or_default().extend(serials);
        }
        Ok(Self { text: blocks.iter().map(|der| pem("X509 CRL", der)).collect(), revoked })
    }

    /// Returns all lists in PEM, one block after another: the text of `ca-crl.pem`. Empty when there
    /// are none.
    pub fn to_pem(&self) -> &str {
        &self.text
    }

    /// Tells whether there is no list at all.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Tells whether a list of its issuer names a certificate.
    ///
    /// Authorities of one name share their lists: serial numbers are long and random, and one refusal
    /// too many is better than one too few.
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        let serials = self.revoked.get(&certificate.issuer);
        serials.is_some_and(|serials| serials.contains(certificate.serial().trim_start_matches('0')))
    }
}

/// Returns what keeps peers from reading a list (RFC 5280, section 5.2): they would then refuse all of
/// them, or take part of what is revoked for the whole.
fn unsupported(list: &CertificateRevocationList<'_>) -> Option<&'static str> {
    if list.version() != Some(X509Version::V2) {
        return Some("is of version 1");
    }
    list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::IssuingDistributionPoint(point) => {
            point.indirect_crl.then_some("is indirect: it lists certificates of other authorities")
        }
        // A list of what changed since another one is such an extension.
        _ => extension.critical.then_some("has a critical extension that is not known"),
    })
}

fn has_signed(signer: &Certificate, list: &CertificateRevocationList<'_>) -> bool {
    let Some(x509) = certificate::parse(signer.der()) else { return false };
    // RFC 5280, section 6.3.3 (f): peers hold to this.
    let may_sign = x509.key_usage().is_ok_and(|usage| usage.is_none_or(|u| u.value.crl_sign()));
    may_sign
        && list.issuer().as_raw() == signer.subject
        && signature::verify(
            x509.public_key(),
            &list.signature_algorithm,
            list.tbs_cert_list.as_ref(),
            &list.signature_value.data,
        )
        .is_ok()
}

fn hexadecimal(serial: &[u8]) -> String {
    let digits: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.trim_start_matches('0').to_owned()
}
