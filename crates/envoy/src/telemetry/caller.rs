//! Who calls, as the node proxy of the caller says in the header `baggage` of its CONNECT.

use proto::envoy::extensions::filters::http::header_to_metadata::v3::Config;
use proto::envoy::extensions::filters::http::header_to_metadata::v3::config::{KeyValuePair, Rule};
use proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::matcher::regex;

/// The filter state that has [`caller`].
pub(crate) const CALLER: &str = "pilothouse.caller";
const METADATA: &str = "pilothouse.baggage";
/// What is read of a caller, and the keys that it has.
const PARTS: [(&str, &str); 4] = [
    ("workload", r"k8s\.(?:cronjob|daemonset|deployment|job|pod|replicaset|statefulset)\.name"),
    ("service", r"service\.name"),
    ("version", r"service\.version"),
    ("cluster", r"k8s\.cluster\.name"),
];

/// Returns what reads the header of a CONNECT.
pub(crate) fn baggage() -> Config {
    let rule = |(part, key): &(&str, &str)| Rule {
        header: "baggage".to_owned(),
        on_header_present: Some(KeyValuePair {
            metadata_namespace: METADATA.to_owned(),
            key: (*part).to_owned(),
            // What does not match would stay whole, so everything matches. A name is what names of objects and labels
            // are made of: what a caller says never ends a label.
            regex_value_rewrite: Some(RegexMatchAndSubstitute {
                pattern: Some(regex(&format!(r"^(?:(?:.*,)?[ \t]*{key}=([A-Za-z0-9._-]{{0,63}}))?.*$"))),
                substitution: r"\1".to_owned(),
            }),
        }),
    };
    Config { request_rules: PARTS.iter().map(rule).collect() }
}

/// Returns the format of who calls: workload, service, version and cluster by the header, `-` for what it does not say,
/// and the identity by the certificate.
pub(crate) fn caller() -> String {
    let parts = PARTS.iter().map(|(part, _)| format!("%DYNAMIC_METADATA({METADATA}:{part})%;"));
    parts.collect::<String>() + "%DOWNSTREAM_PEER_URI_SAN%"
}
