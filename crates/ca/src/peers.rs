//! What peers make of an issuer's certificates, found out before there are any: one that nobody gets
//! is signed, and judged by the library by which ztunnels verify.
//!
//! The search for a chain asks whether authorities are what they say; this asks for the rest, such as
//! name constraints, extended key usages and critical extensions, all together.

use crate::entropy::Entropy;
use crate::issuer::{IssueError, Issuer};
use crate::key::{KeyError, SigningKey};
use model::TrustDomain;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

/// How long the certificate that nobody gets would live.
const LIFE: Duration = Duration::from_secs(60);

/// Why an issuer is of no use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerError {
    /// Nothing can be signed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// No key can be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No peer would accept what is signed.
    #[error("peers refuse certificates that {subject} signs: {reason}")]
    Refused {
        /// The subject of the signing certificate.
        subject: String,
        /// What is wrong, and how to fix it.
        reason: String,
    },
}

impl Issuer {
    /// Checks that peers accept the certificates of workloads of `trust_domain`, as clients and as
    /// servers, with no more than what an answer holds.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn check_with_peers(
        &self,
        trust_domain: &TrustDomain,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<(), PeerError> {
        let name = format!("spiffe://{trust_domain}/ns/default/sa/default");
        let issued = self.issue_serving(&SigningKey::generate_p256()?, &[&name], LIFE, now, entropy)?;
        let der = |list: &[crate::Certificate]| -> Vec<CertificateDer<'static>> {
            list.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect()
        };
        let (roots, between) = (der(self.trust().roots()), der(self.intermediates()));
        let leaf = CertificateDer::from(issued.leaf);
        let verify = || {
            let roots = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>()?;
            let leaf = EndEntityCert::try_from(&leaf)?;
            for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
                leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &roots, &between, now, usage, None, None)?;
            }
            Ok(())
        };
        verify().map_err(|error| PeerError::Refused {
            subject: self.certificate().subject().to_owned(),
            reason: reason(&error, &name),
        })
    }
}

fn reason(error: &Error, name: &str) -> String {
    match error {
        Error::UnknownIssuer => {
            "the chain that they are given leads to none of the roots; add the missing intermediates".to_owned()
        }
        Error::NameConstraintViolation => format!(
            "name constraints of an authority above it do not permit {name}, or are of a kind that peers do not know; have it issued without them"
        ),
        Error::RequiredEkuNotFoundContext(_) => {
            "the extended key usage of an authority lacks clientAuth or serverAuth; have it issued with both, or without that extension".to_owned()
        }
        Error::UnsupportedCriticalExtension => {
            "an authority has a critical extension that peers do not know; have it issued without it".to_owned()
        }
        Error::PathLenConstraintViolated => {
            "an authority permits fewer authorities below it than there are (pathLenConstraint)".to_owned()
        }
        other => format!("{other}; correct the chain"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::fixture::{Foreign, NOW, authority};
    use crate::{Certificate, Issuer, SigningKey, SystemEntropy, TrustBundle, TrustDomain, TtlPolicy};
    use rcgen::{
        CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints,
    };
    use std::sync::Arc;

    /// What peers make of an authority below a root.
    fn refusal(root: &Foreign, params: CertificateParams) -> Option<String> {
        let signing = Foreign::below(root, params);
        let key = Arc::new(SigningKey::from_pem(&signing.key_pem).unwrap());
        let chain: Vec<Certificate> = vec![signing.certificate.clone()];
        let trust = TrustBundle::new([root.certificate.clone()]).unwrap();
        let issuer = Issuer::new(signing.certificate, key, chain, trust, TtlPolicy::default()).unwrap();
        let domain = TrustDomain::parse("cluster.local").unwrap();
        issuer.check_with_peers(&domain, NOW, &SystemEntropy).err().map(|error| error.to_string())
    }

    fn constrained(permitted: GeneralSubtree) -> CertificateParams {
        let mut params = authority("signing");
        let constraints =
            NameConstraints { permitted_subtrees: vec![permitted], excluded_subtrees: Vec::new() };
        params.name_constraints = Some(constraints);
        params
    }

    #[test]
    fn authority_that_every_peer_refuses_is_found_out() {
        let root = Foreign::root("root");
        let mut only_servers = authority("signing");
        only_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut unknown = authority("signing");
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
        extension.set_criticality(true);
        unknown.custom_extensions = vec![extension];
        let other_subject = GeneralSubtree::DirectoryName(rcgen::DistinguishedName::new());
        for (params, expected) in [
            (only_servers, "lacks clientAuth or serverAuth"),
            (unknown, "a critical extension that peers do not know"),
            (constrained(other_subject), "do not permit spiffe://cluster.local/ns/default/sa/default"),
        ] {
            let refused = refusal(&root, params).unwrap();
            assert!(refused.starts_with("peers refuse certificates that CN=signing signs: "), "{refused}");
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn authority_with_what_peers_understand_is_fine() {
        let root = Foreign::root("root");
        let mut both = authority("signing");
        both.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // Of names that certificates of workloads do not have.
        let of_hosts = constrained(GeneralSubtree::DnsName("example.org".to_owned()));
        for params in [authority("signing"), both, of_hosts] {
            assert_eq!(refusal(&root, params), None);
        }
    }
}
