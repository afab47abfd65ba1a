//! Names: of certificates, compared as sets, and of signers.

use super::ExternalRefusal;
use crate::identity::SCHEME;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;

/// Longest name of a signer, in bytes: what the API server takes.
const MAX_SIGNER: usize = 571;

/// The subject alternative names of a certificate, sorted; one that is there twice counts twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NameSet(Vec<Name>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Name {
    Uri(String),
    Dns(String),
    Address(Vec<u8>),
    /// Of a kind that nobody asks for.
    Other,
}

impl NameSet {
    /// Returns the names as a request has them: an address, a SPIFFE id, else a DNS name.
    pub(super) fn of(names: &[&str]) -> Self {
        Self::sorted(names.iter().map(|name| match name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V4(ip)) => Name::Address(ip.octets().to_vec()),
            Ok(IpAddr::V6(ip)) => Name::Address(ip.octets().to_vec()),
            Err(_) if name.starts_with(SCHEME) => Name::Uri((*name).to_owned()),
            Err(_) => Name::Dns((*name).to_owned()),
        }))
    }

    /// Returns the names that a certificate has.
    pub(super) fn found(names: &[GeneralName<'_>]) -> Self {
        Self::sorted(names.iter().map(|name| match name {
            GeneralName::URI(uri) => Name::Uri((*uri).to_owned()),
            GeneralName::DNSName(name) => Name::Dns((*name).to_owned()),
            GeneralName::IPAddress(address) => Name::Address(address.to_vec()),
            _ => Name::Other,
        }))
    }

    fn sorted(names: impl Iterator<Item = Name>) -> Self {
        let mut all: Vec<Name> = names.collect();
        all.sort();
        Self(all)
    }
}

/// Which signers may be asked: one by name, and those of a domain that a caller may choose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignerNames {
    default: String,
    domain: String,
}

impl SignerNames {
    /// Takes the name of the signer (`K8S_SIGNER`), as in `domain.example/name`, and the domain of
    /// those that may be chosen (`CERT_SIGNER_DOMAIN`); an empty one lets nobody choose.
    ///
    /// # Errors
    /// [`ExternalRefusal::SignerName`].
    pub fn new(default: &str, domain: &str) -> Result<Self, ExternalRefusal> {
        let wrong = |name: &str| ExternalRefusal::SignerName(name.chars().take(MAX_SIGNER).collect());
        if !is_signer(default) {
            return Err(wrong(default));
        }
        if !domain.is_empty() && !is_dotted(domain) {
            return Err(wrong(domain));
        }
        Ok(Self { default: default.to_owned(), domain: domain.to_owned() })
    }

    /// Returns the signer that is asked where a caller chooses none.
    pub fn default_signer(&self) -> &str {
        &self.default
    }

    /// Returns the signer for a caller that has chosen `chosen` (metadata `CertSigner`).
    ///
    /// # Errors
    /// [`ExternalRefusal`] when none may be chosen, or not by that name.
    pub fn choose(&self, chosen: &str) -> Result<String, ExternalRefusal> {
        if chosen.is_empty() {
            return Ok(self.default.clone());
        }
        if self.domain.is_empty() {
            return Err(ExternalRefusal::NoChoice);
        }
        let name = format!("{}/{chosen}", self.domain);
        if is_signer(&name) {
            Ok(name)
        } else {
            Err(ExternalRefusal::SignerName(name.chars().take(MAX_SIGNER).collect()))
        }
    }
}

/// Tells whether a name has two parts, each as the API server takes them.
fn is_signer(name: &str) -> bool {
    let parts = name.split_once('/');
    name.len() <= MAX_SIGNER && parts.is_some_and(|(domain, rest)| is_dotted(domain) && is_dotted(rest))
}

/// Tells whether a text is labels of lower case with dots between.
fn is_dotted(text: &str) -> bool {
    let ends_well = |label: &str| !label.starts_with('-') && !label.ends_with('-');
    let is_label = |label: &str| {
        let is_of_label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(is_of_label) && ends_well(label)
    };
    text.split('.').all(is_label)
}
