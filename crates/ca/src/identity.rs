//! SPIFFE identities of workloads: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

use crate::refusal::{Code, Refusal};
use model::{InvalidTrustDomain, Str, TrustDomain, is_dns_label};
use std::fmt;

/// The scheme that every SPIFFE id begins with.
pub(crate) const SCHEME: &str = "spiffe://";

/// Longest SPIFFE id, in bytes (SPIFFE-ID, section 2.3).
const MAX_BYTES: usize = 2048;

/// What is wrong with a text that should be an identity.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// The text does not begin with `spiffe://`.
    #[error("identity does not begin with spiffe://")]
    Scheme,
    /// The text is longer than a SPIFFE id may be.
    #[error("identity is longer than 2048 bytes")]
    TooLong,
    /// The path is not `/ns/<namespace>/sa/<service account>`.
    #[error("identity is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Shape,
    /// The trust domain is empty, too long, or has other characters than `a-z 0-9 . - _`.
    #[error("identity has an invalid trust domain; use lower-case letters, digits, '.', '-' and '_'")]
    TrustDomain,
    /// The namespace is not a DNS label (RFC 1123).
    #[error("identity has an invalid namespace; a DNS label is expected")]
    Namespace,
    /// The service account is not a DNS subdomain (RFC 1123).
    #[error("identity has an invalid service account; a DNS subdomain is expected")]
    ServiceAccount,
}

impl From<InvalidTrustDomain> for IdentityError {
    fn from(_: InvalidTrustDomain) -> Self {
        Self::TrustDomain
    }
}

impl Refusal for IdentityError {
    fn code(&self) -> Code {
        Code::Unauthenticated
    }

    fn reason(&self) -> &'static str {
        "identity_invalid"
    }
}

/// The identity of a workload; each part is valid by construction.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Identity {
    trust_domain: TrustDomain,
    namespace: Str,
    service_account: Str,
}

impl Identity {
    /// Builds an identity from its parts.
    ///
    /// # Errors
    /// [`IdentityError`] naming the part that Kubernetes could not have named so.
    pub fn new(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        if !is_dns_label(namespace) {
            return Err(IdentityError::Namespace);
        }
        if service_account.len() > 253 || !service_account.split('.').all(is_dns_label) {
            return Err(IdentityError::ServiceAccount);
        }
        Ok(Self {
            trust_domain: trust_domain.clone(),
            namespace: Str::from(namespace),
            service_account: Str::from(service_account),
        })
    }

    /// Reads a SPIFFE id. What is read formats to the same bytes again.
    ///
    /// # Errors
    /// [`IdentityError`] naming the part that is wrong.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        if uri.len() > MAX_BYTES {
            return Err(IdentityError::TooLong);
        }
        let path = uri.strip_prefix(SCHEME).ok_or(IdentityError::Scheme)?;
        let mut parts = path.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Self::new(&TrustDomain::parse(domain)?, namespace, account)
            }
            _ => Err(IdentityError::Shape),
        }
    }

    /// Returns the trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the name of the Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wrong_identities_are_refused_by_part() {
        for (text, error) in [
            ("", IdentityError::Scheme),
            ("http://td/ns/a/sa/b", IdentityError::Scheme),
            ("spiffe://td/ns/a/sa", IdentityError::Shape),
            ("spiffe://td/ns/a/sa/b/c", IdentityError::Shape),
            ("spiffe://td/sa/a/ns/b", IdentityError::Shape),
            ("spiffe:///ns/a/sa/b", IdentityError::TrustDomain),
            ("spiffe://TD/ns/a/sa/b", IdentityError::TrustDomain),
            ("spiffe://td,x/ns/a/sa/b", IdentityError::TrustDomain),
            ("spiffe://td/ns//sa/b", IdentityError::Namespace),
            ("spiffe://td/ns/-a/sa/b", IdentityError::Namespace),
            ("spiffe://td/ns/a.b/sa/b", IdentityError::Namespace),
            ("spiffe://td/ns/a/sa/", IdentityError::ServiceAccount),
            ("spiffe://td/ns/a/sa/b,spiffe:", IdentityError::ServiceAccount),
            ("spiffe://td/ns/a/sa/b..c", IdentityError::ServiceAccount),
            ("spiffe://td/ns/a/sa/b%2f", IdentityError::ServiceAccount),
        ] {
            assert_eq!(Identity::parse(text), Err(error), "{text}");
        }
        let long = format!("spiffe://{}/ns/a/sa/b", "x".repeat(3000));
        assert_eq!(Identity::parse(&long), Err(IdentityError::TooLong));
    }

    proptest! {
        #[test]
        fn what_parses_formats_to_the_same_text(text in "spiffe://[a-z.,/A-]{0,9}/ns/[a-z0-9.-]{0,9}/sa/[a-z0-9./-]{0,9}") {
            if let Ok(identity) = Identity::parse(&text) {
                prop_assert_eq!(identity.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".*") {
            let _ = Identity::parse(&text);
        }
    }
}
