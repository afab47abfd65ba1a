//! Certificates that are read: roots, chains, and certificates of clients.

use crate::identity::{Identity, IdentityError};
use crate::pem::pem;
use crate::signature::{self, SignatureError};
use crate::ttl::{Validity, at};
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::fmt;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Longest certificate that is read, in bytes of DER.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// Most certificates that one text may hold.
pub(crate) const MAX_CERTIFICATES: usize = 100;

/// Longest text of certificates that is read, in bytes: what a Secret can hold.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Why certificates cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// The text holds no certificate.
    #[error("no certificate found; PEM blocks of type CERTIFICATE are expected")]
    Missing,
    /// The text or its number of certificates is over the bound.
    #[error("too many certificates; at most 100 in at most 1 MiB are read")]
    TooMany,
    /// The PEM text is broken.
    #[error("certificate {number} is not valid PEM: {reason}")]
    Pem {
        /// Which block, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The DER inside a block is not a certificate.
    #[error("certificate {number} is not valid DER of X.509")]
    Der {
        /// Which block, counted from 1.
        number: usize,
    },
}

/// A certificate with the facts that matter here.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) key_id: Option<Vec<u8>>,
    pub(crate) public_key: Vec<u8>,
    validity: Validity,
    is_ca: bool,
    path_length: Option<u32>,
    serial: String,
    subject_text: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject_text)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError::Der`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read(der).ok_or(CertificateError::Der { number: 1 })
    }

    fn read(der: &[u8]) -> Option<Self> {
        let parsed = parse(der)?;
        let key_id = parsed.extensions().iter().find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let may_sign = match parsed.key_usage() {
            Ok(usage) => usage.is_none_or(|u| u.value.key_cert_sign()),
            Err(_) => false,
        };
        let constraints = parsed.basic_constraints();
        let seconds = |time: i64| at(u64::try_from(time).unwrap_or(0));
        Some(Self {
            der: der.to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            key_id,
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            validity: Validity {
                not_before: seconds(parsed.validity().not_before.timestamp()),
                not_after: seconds(parsed.validity().not_after.timestamp()),
            },
            is_ca: may_sign && matches!(&constraints, Ok(Some(b)) if b.value.ca),
            path_length: constraints.ok().flatten().and_then(|b| b.value.path_len_constraint),
            serial: parsed.raw_serial().iter().map(|b| format!("{b:02x}")).collect(),
            subject_text: parsed.subject().to_string(),
        })
    }

    /// Reads all certificates of a PEM text, in order; blocks of other types are passed over.
    ///
    /// # Errors
    /// [`CertificateError`] when there is none, or any is broken.
    pub fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, CertificateError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(CertificateError::TooMany);
        }
        let mut found = Vec::new();
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            let number = found.len() + 1;
            let (kind, der) = block.map_err(|e| CertificateError::Pem { number, reason: e.to_string() })?;
            if kind != SectionKind::Certificate {
                continue;
            }
            if number > MAX_CERTIFICATES {
                return Err(CertificateError::TooMany);
            }
            found.push(Self::read(&der).ok_or(CertificateError::Der { number })?);
        }
        if found.is_empty() { Err(CertificateError::Missing) } else { Ok(found) }
    }

    /// Returns the certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate as one PEM block, ending in a newline.
    pub fn to_pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// Returns the time during which the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Tells whether the certificate may sign others: CA=true, and keyCertSign unless it has no
    /// key usage.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Returns how many authorities may be between this one and a leaf; none for any number.
    pub(crate) fn path_length(&self) -> Option<u32> {
        self.path_length
    }

    /// Returns what restricts certificates below this authority apart from the length of the chain and
    /// extended key usages, in words; none if nothing does.
    pub(crate) fn restriction(&self) -> Option<&'static str> {
        let parsed = parse(&self.der)?;
        parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NameConstraints(_) => Some("name constraints"),
            ParsedExtension::PolicyConstraints(_) | ParsedExtension::InhibitAnyPolicy(_) => {
                Some("constraints of policies")
            }
            ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. }
                if extension.critical =>
            {
                Some("a critical extension that is not known")
            }
            _ => None,
        })
    }

    /// Returns the serial number in lower-case hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Returns the subject as text, for messages.
    pub fn subject(&self) -> &str {
        &self.subject_text
    }

    /// Returns the one identity of a client's certificate. The caller has verified its chain.
    ///
    /// # Errors
    /// [`IdentityError::Shape`] unless the certificate has exactly one URI among its names
    /// (X.509-SVID, section 2), else what is wrong with the URI.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let parsed = parse(&self.der).ok_or(IdentityError::Shape)?;
        let names = parsed.subject_alternative_name().ok().flatten().ok_or(IdentityError::Shape)?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => Identity::parse(uri),
            _ => Err(IdentityError::Shape),
        }
    }

    /// Verifies that the key of `signer` signed this certificate.
    pub(crate) fn verify_signed_by(&self, signer: &Self) -> Result<(), SignatureError> {
        let (Some(this), Some(signer)) = (parse(&self.der), parse(&signer.der)) else {
            return Err(SignatureError::Mismatch);
        };
        signature::verify(
            signer.public_key(),
            &this.signature_algorithm,
            this.tbs_certificate.as_ref(),
            &this.signature_value.data,
        )
    }
}

/// Reads a certificate without bytes after it, within the bound.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return None;
    }
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Some(parsed),
        _ => None,
    }
}
