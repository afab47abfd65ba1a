//! Requests that are passed on to an external signer (Kubernetes CertificateSigningRequest).
//!
//! Such a signer copies what the request says, so that here, and only here, its content counts; and
//! what it returns is held against what was asked, since it is not us who sign.

mod answer;
mod names;
mod request;
mod roots;

pub use answer::{AnswerError, root_of_answer};
pub use names::SignerNames;
pub use request::{ExternalRequest, MIN_EXTERNAL_LIFE, Purpose};
pub use roots::SignerRoots;

use crate::der::oid;
use crate::identity::Identity;
use crate::key::KeyError;
use crate::refusal::{Code, Refusal};
use crate::request::{self as pkcs10, RequestError, SigningRequest};
use crate::ttl::TtlError;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};

/// Why a request is not passed on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExternalRefusal {
    /// The request itself is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The request's names are not exactly the caller's identity.
    #[error("certificate request must name exactly {0} as URI, and nothing else")]
    Names(String),
    /// The subject says something.
    #[error("certificate request must have an empty subject, or an empty organization in it")]
    Subject,
    /// The request asks for more than names.
    #[error("certificate request must have no attribute or extension but the subject alternative name")]
    Extension,
    /// The life asked for is refused.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// The life asked for is shorter than can be asked for.
    #[error("requested validity of {asked} s is below the minimum of {min} s of external signers")]
    TooShort {
        /// Seconds asked for.
        asked: u64,
        /// Fewest seconds.
        min: u64,
    },
    /// A caller chooses a signer where none can be chosen.
    #[error("CertSigner is given, and there is no domain of signers to choose from; set CERT_SIGNER_DOMAIN")]
    NoChoice,
    /// The name cannot be one of a signer.
    #[error("{0:?} is no name of a signer; it is written domain.example/name, in lower case")]
    SignerName(String),
    /// A server of the control plane has a key that leaves cannot have.
    #[error("a serving certificate needs an RSA, P-256 or P-384 key")]
    ServerKey,
    /// The request of a server of the control plane cannot be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Refusal for ExternalRefusal {
    fn code(&self) -> Code {
        match self {
            Self::Ttl(e) => e.code(),
            Self::ServerKey | Self::Key(_) => Code::Internal,
            _ => Code::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(e) => e.reason(),
            Self::Names(_) => "csr_names",
            Self::Subject => "csr_subject",
            Self::Extension => "csr_extension",
            Self::Ttl(e) => e.reason(),
            Self::TooShort { .. } => "ttl_under_minimum",
            Self::NoChoice | Self::SignerName(_) => "signer_name",
            Self::ServerKey | Self::Key(_) => "signing_failed",
        }
    }
}

/// Checks that a request in PEM asks for `identity` and for nothing else.
///
/// # Errors
/// [`ExternalRefusal`].
pub fn check_external_request(text: &str, identity: &Identity) -> Result<SigningRequest, ExternalRefusal> {
    checked(text, identity).map(|(_, request)| request)
}

/// Checks a request, and returns its DER with what was read of it.
fn checked(text: &str, identity: &Identity) -> Result<(Vec<u8>, SigningRequest), ExternalRefusal> {
    let der = pkcs10::one_block(text)?;
    let request = check(&der, identity)?;
    Ok((der, request))
}

fn check(der: &[u8], identity: &Identity) -> Result<SigningRequest, ExternalRefusal> {
    let parsed = pkcs10::parse(der)?;
    let verified = SigningRequest::verified(&parsed)?;
    let info = &parsed.certification_request_info;

    let empty_organization = |oid: &[u8], value: &[u8]| oid::is(oid, oid::ORGANIZATION) && value.is_empty();
    let mut subject = info.subject.iter_attributes();
    let first = subject.next();
    if subject.next().is_some()
        || first.is_some_and(|a| !empty_organization(a.attr_type().as_bytes(), a.as_slice()))
    {
        return Err(ExternalRefusal::Subject);
    }

    let names = || ExternalRefusal::Names(identity.to_string());
    let mut named = false;
    for attribute in info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute() else {
            return Err(ExternalRefusal::Extension);
        };
        for extension in &wanted.extensions {
            let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
                return Err(ExternalRefusal::Extension);
            };
            for name in &san.general_names {
                match name {
                    GeneralName::URI(uri) if !named && *uri == identity.to_string() => named = true,
                    _ => return Err(names()),
                }
            }
        }
    }
    if named { Ok(verified) } else { Err(names()) }
}

#[cfg(test)]
mod tests;
