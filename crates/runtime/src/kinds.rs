//! Names of kinds as people type them.

use model::{Kind, nearest};

/// Names that are given to what people type.
const ALIASES: [(&str, Kind); 14] = [
    ("po", Kind::Pod),
    ("workload", Kind::Pod),
    ("svc", Kind::Service),
    ("se", Kind::ServiceEntry),
    ("we", Kind::WorkloadEntry),
    ("ap", Kind::AuthorizationPolicy),
    ("policy", Kind::AuthorizationPolicy),
    ("pa", Kind::PeerAuthentication),
    ("ra", Kind::RequestAuthentication),
    ("ns", Kind::Namespace),
    ("no", Kind::Node),
    ("cm", Kind::ConfigMap),
    ("gc", Kind::GatewayClass),
    ("gw", Kind::Gateway),
];

/// Returns the kind of a word as kubectl takes it.
///
/// # Errors
/// That there is none, with the one that may have been meant.
pub fn kind_of(word: &str) -> Result<Kind, String> {
    let lower = word.to_lowercase();
    let by_name = |kind: &&Kind| lower == kind.name().to_lowercase() || lower == kind.plural();
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == lower).map(|(_, kind)| *kind);
    Kind::ALL.iter().find(by_name).copied().or_else(alias).ok_or_else(|| {
        let meant = nearest_kind(word).map(|kind| format!("; did you mean {kind}?")).unwrap_or_default();
        format!("there is no kind \"{word}\" that is read{meant}")
    })
}

/// Returns the name of the kind that a word is likely meant to be.
pub fn nearest_kind(word: &str) -> Option<&'static str> {
    nearest(word, Kind::ALL.iter().map(|kind| kind.name()))
}
