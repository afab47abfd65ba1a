//! Attributes of HTTP in rules: found and named here, enforced only by waypoints.

use model::facts::{Operation, Source};
use std::collections::BTreeSet;

/// What leaving the HTTP attributes out does to a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// The rules that have some are left out of an ALLOW policy.
    AllowsLess,
    /// A DENY policy is enforced without them.
    DeniesMore,
    /// Nothing is left of a DENY policy.
    DeniesNothing,
}

/// Returns the names of the fields of `operation` that are HTTP.
pub(super) fn fields_of_operation(operation: &Operation) -> impl Iterator<Item = &str> {
    let Operation { hosts, not_hosts, ports: _, not_ports: _, methods, not_methods, paths, not_paths } =
        operation;
    [
        ("hosts", hosts),
        ("notHosts", not_hosts),
        ("methods", methods),
        ("notMethods", not_methods),
        ("paths", paths),
        ("notPaths", not_paths),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(name, _)| name)
}

/// Returns the names of the fields of `source` that a ztunnel cannot enforce, as HTTP.
pub(super) fn fields_of_source(source: &Source) -> impl Iterator<Item = &str> {
    [
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
        // Not HTTP, but a match has no field for it either; among its principals it would allow more.
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(name, _)| name)
}

/// Tells whether `key` is an attribute of a condition (`security.istio.io` `Condition.key`) that a
/// waypoint can enforce and a ztunnel cannot.
pub(super) fn is_known_key(key: &str) -> bool {
    const KEYS: [&str; 7] = [
        "connection.sni",
        "remote.ip",
        "request.auth.audiences",
        "request.auth.presenter",
        "request.auth.principal",
        "source.serviceAccount",
        "source.trustDomain",
    ];
    const PREFIXES: [&str; 4] = [
        "experimental.envoy.filters.",
        "request.auth.claims[",
        "request.experimental.inline.headers[",
        "request.headers[",
    ];
    KEYS.contains(&key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Returns the message of the condition that tells of HTTP attributes. Its text is part of the
/// contract with users of istiod.
pub(super) fn message(found: &BTreeSet<&str>, effect: Effect) -> String {
    let found = join(found);
    let effect = match effect {
        Effect::AllowsLess => {
            "Within an ALLOW policy, rules matching HTTP attributes are omitted. \
             This will be more restrictive than requested."
        }
        Effect::DeniesMore => {
            "DENY policy with HTTP attributes is enforced without the HTTP rules. \
             This will be more restrictive than requested."
        }
        Effect::DeniesNothing => {
            "After omitting unsupported HTTP attributes, this DENY policy has no enforceable rules at ztunnel \
             and will have no effect. Deploy a waypoint proxy and use a targetRef to enforce this policy."
        }
    };
    format!(
        "ztunnel does not support HTTP attributes (found: {found}). \
         In ambient mode you must use a waypoint proxy to enforce HTTP rules. {effect}"
    )
}

/// Returns the names in order, separated by commas.
pub(super) fn join(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}
