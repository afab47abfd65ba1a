//! Requests that are passed on to an external signer (Kubernetes CertificateSigningRequest).
//!
//! Such a signer copies what the request says, so that here, and only here, its content counts.

use crate::der::oid;
use crate::identity::Identity;
use crate::refusal::{Code, Refusal};
use crate::request::{self, RequestError, SigningRequest};
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
}

impl Refusal for ExternalRefusal {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(e) => e.reason(),
            Self::Names(_) => "csr_names",
            Self::Subject => "csr_subject",
            Self::Extension => "csr_extension",
        }
    }
}

/// Checks that a request in PEM asks for `identity` and for nothing else.
///
/// # Errors
/// [`ExternalRefusal`].
pub fn check_external_request(text: &str, identity: &Identity) -> Result<SigningRequest, ExternalRefusal> {
    let der = request::one_block(text)?;
    let parsed = request::parse(&der)?;
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
