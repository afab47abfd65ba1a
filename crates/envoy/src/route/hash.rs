//! What of requests is hashed, so that equal ones go to one instance.

use model::facts::HashKey;
use proto::envoy::config::route::v3::route_action::HashPolicy;
use proto::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};

use crate::message::duration;

/// Returns how requests are hashed.
pub(super) fn policies(by: &[HashKey]) -> Vec<HashPolicy> {
    by.iter().map(policy).collect()
}

fn policy(of: &HashKey) -> HashPolicy {
    let specifier = match of {
        HashKey::Header(name) => PolicySpecifier::Header(Header { header_name: name.to_string() }),
        HashKey::Cookie { name, path, ttl, attributes } => {
            let attribute = |(name, value): &(_, _)| CookieAttribute { name: text(name), value: text(value) };
            PolicySpecifier::Cookie(Cookie {
                name: name.to_string(),
                ttl: ttl.map(duration),
                path: path.to_string(),
                attributes: attributes.iter().map(attribute).collect(),
            })
        }
        HashKey::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        HashKey::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() }),
    };
    HashPolicy { policy_specifier: Some(specifier) }
}

fn text(of: &model::Str) -> String {
    of.to_string()
}
