//! The grammar of who a peer can be: principals, namespaces and service accounts.
//!
//! A ztunnel knows a peer by `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, and compares texts as they are. A value
//! that no such identity can have matches nobody: it is not understood (see
//! `docs/adr/0032-values-no-identity-can-have.md`), and `likely` tells what may have been meant.

use model::{TrustDomain, is_dns_label};

use super::rule::Pattern;

/// Longest name of a service account, in bytes.
const MAX_ACCOUNT: usize = 253;

/// One part of an identity.
#[derive(Clone, Copy)]
enum Part {
    TrustDomain,
    Word(&'static str),
    Namespace,
    Account,
}

const PARTS: [Part; 5] =
    [Part::TrustDomain, Part::Word("ns"), Part::Namespace, Part::Word("sa"), Part::Account];

impl Part {
    fn is_whole(self, text: &str) -> bool {
        match self {
            Self::TrustDomain => TrustDomain::parse(text).is_ok(),
            Self::Word(word) => text == word,
            Self::Namespace => is_dns_label(text),
            Self::Account => is_account(text),
        }
    }

    /// Tells whether some whole part begins so.
    fn begins(self, text: &str) -> bool {
        match self {
            Self::Word(word) => word.starts_with(text),
            _ => text.is_empty() || self.is_whole(text) || self.is_whole(&format!("{text}0")),
        }
    }

    /// Tells whether some whole part ends so.
    fn ends(self, text: &str) -> bool {
        match self {
            Self::Word(word) => word.ends_with(text),
            _ => text.is_empty() || self.is_whole(text) || self.is_whole(&format!("0{text}")),
        }
    }
}

/// Tells whether a service account can have this name: Kubernetes takes DNS subdomains (RFC 1123), with
/// labels of any length.
pub(super) fn is_account(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|b| plain(*b))
            && bytes.last().is_some_and(|b| plain(*b))
            && bytes.iter().all(|b| plain(*b) || *b == b'-')
    };
    text.len() <= MAX_ACCOUNT && text.split('.').all(label)
}

/// Tells whether some identity can have this principal.
pub(super) fn is_principal(value: &str) -> bool {
    let whole = |(part, text): (&Part, &&str)| part.is_whole(text);
    match Pattern::of(value) {
        Pattern::Any => true,
        Pattern::Exact(text) => {
            let texts: Vec<&str> = text.split('/').collect();
            texts.len() == PARTS.len() && PARTS.iter().zip(&texts).all(whole)
        }
        Pattern::Prefix(text) => {
            let mut texts: Vec<&str> = text.split('/').collect();
            let last = texts.pop().unwrap_or_default();
            let rest = PARTS.get(texts.len());
            rest.is_some_and(|part| part.begins(last)) && PARTS.iter().zip(&texts).all(whole)
        }
        Pattern::Suffix(text) => {
            let texts: Vec<&str> = text.split('/').collect();
            let Some((first, rest)) = texts.split_first() else { return false };
            let parts = PARTS.len().checked_sub(texts.len()).map(|at| &PARTS[at..]);
            parts
                .and_then(<[Part]>::split_first)
                .is_some_and(|(part, parts)| part.ends(first) && parts.iter().zip(rest).all(whole))
        }
    }
}

/// Returns the trust domain that a principal names whole, if it names one.
pub(super) fn trust_domain_of(principal: &str) -> Option<&str> {
    match Pattern::of(principal) {
        Pattern::Any | Pattern::Suffix(_) => None,
        Pattern::Prefix(text) | Pattern::Exact(text) => text.split_once('/').map(|(domain, _)| domain),
    }
}

/// Tells whether some namespace matches this value.
pub(super) fn is_namespace(value: &str) -> bool {
    match Pattern::of(value) {
        Pattern::Any => true,
        Pattern::Exact(text) => Part::Namespace.is_whole(text),
        Pattern::Prefix(text) => Part::Namespace.begins(text),
        Pattern::Suffix(text) => Part::Namespace.ends(text),
    }
}

/// Tells whether some trust domain matches this value.
pub(super) fn is_trust_domain(value: &str) -> bool {
    match Pattern::of(value) {
        Pattern::Any => true,
        Pattern::Exact(text) => Part::TrustDomain.is_whole(text),
        Pattern::Prefix(text) => Part::TrustDomain.begins(text),
        Pattern::Suffix(text) => Part::TrustDomain.ends(text),
    }
}
