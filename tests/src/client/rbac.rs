//! Evaluates policies on a connection, as a ztunnel does.

use std::net::IpAddr;

use proto::security::string_match::MatchType;
use proto::security::{Address, Authorization, Match, ServiceAccountMatch, StringMatch};

/// A connection as a policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The peer's identity, `spiffe://<trust domain>/ns/<namespace>/sa/<account>`; none for plaintext.
    pub source: Option<String>,
    /// The peer's address.
    pub source_ip: IpAddr,
    /// The workload's address.
    pub destination_ip: IpAddr,
    /// The workload's port.
    pub port: u16,
}

/// Whether a connection passes, and by which policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It passes.
    Allowed {
        /// The ALLOW policy that matched; none if no ALLOW policy counts.
        by: Option<String>,
    },
    /// It is refused.
    Denied {
        /// The DENY policy that matched; none if no ALLOW policy matched.
        by: Option<String>,
    },
}

impl Decision {
    /// Whether the connection passes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Whether any group of the policy matches: groups are ORed, their rules ANDed, the matches of a
/// rule ORed. No groups match nothing; a group without rules, or a rule without matches,
/// everything; an empty match nothing.
pub fn matches(policy: &Authorization, connection: &Connection) -> bool {
    let peer = Peer::of(connection);
    policy.groups.iter().any(|group| {
        group.rules.iter().all(|rules| {
            rules.matches.is_empty() || rules.matches.iter().any(|one| match_one(one, connection, &peer))
        })
    })
}

/// The parts of the peer's identity that matchers look at; empty without one.
struct Peer<'a> {
    principal: Option<&'a str>,
    namespace: &'a str,
    account: Option<(&'a str, &'a str)>,
}

impl<'a> Peer<'a> {
    fn of(connection: &'a Connection) -> Self {
        let principal = connection.source.as_deref().and_then(|uri| uri.strip_prefix("spiffe://"));
        let account = principal.and_then(|principal| {
            let mut parts = principal.split('/').skip(1);
            match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => Some((namespace, account)),
                _ => None,
            }
        });
        Self { principal, namespace: account.map_or("", |(namespace, _)| namespace), account }
    }
}

/// The conditions of one field: one of `positive` (if any) and none of `negative`.
struct Field<'a, T> {
    positive: Vec<&'a T>,
    negative: Vec<&'a T>,
}

impl<'a, T> Field<'a, T> {
    /// Values that `valid` refuses fall out of their list, as they do in a ztunnel.
    fn new(positive: &'a [T], negative: &'a [T], valid: impl Fn(&T) -> bool) -> Self {
        let keep = |list: &'a [T]| list.iter().filter(|value| valid(value)).collect();
        Self { positive: keep(positive), negative: keep(negative) }
    }

    fn is_empty(&self) -> bool {
        self.positive.is_empty() && self.negative.is_empty()
    }

    fn holds(&self, test: impl Fn(&T) -> bool) -> bool {
        (self.positive.is_empty() || self.positive.iter().any(|value| test(value)))
            && !self.negative.iter().any(|value| test(value))
    }
}

fn match_one(one: &Match, connection: &Connection, peer: &Peer<'_>) -> bool {
    let has_case = |value: &StringMatch| value.match_type.is_some();
    let namespaces = Field::new(&one.namespaces, &one.not_namespaces, has_case);
    let principals = Field::new(&one.principals, &one.not_principals, has_case);
    let sources = Field::new(&one.source_ips, &one.not_source_ips, |value| range(value).is_some());
    let targets = Field::new(&one.destination_ips, &one.not_destination_ips, |value| range(value).is_some());
    let ports = Field::new(&one.destination_ports, &one.not_destination_ports, |_| true);
    let accounts = Field::new(&one.service_accounts, &one.not_service_accounts, |_| true);
    let empty = namespaces.is_empty()
        && principals.is_empty()
        && sources.is_empty()
        && targets.is_empty()
        && ports.is_empty()
        && accounts.is_empty();
    let account = |value: &ServiceAccountMatch| {
        peer.account == Some((value.namespace.as_str(), value.service_account.as_str()))
    };
    !empty
        && namespaces.holds(|value| text(value, peer.namespace))
        && principals.holds(|value| peer.principal.is_some_and(|principal| text(value, principal)))
        && sources.holds(|value| contains(value, connection.source_ip))
        && targets.holds(|value| contains(value, connection.destination_ip))
        // a ztunnel narrows the number to 16 bits
        && ports.holds(|value| *value as u16 == connection.port)
        && accounts.holds(account)
}

fn text(value: &StringMatch, found: &str) -> bool {
    match &value.match_type {
        Some(MatchType::Exact(exact)) => found == exact,
        Some(MatchType::Prefix(prefix)) => found.starts_with(prefix.as_str()),
        Some(MatchType::Suffix(suffix)) => found.ends_with(suffix.as_str()),
        Some(MatchType::Presence(_)) => !found.is_empty(),
        None => false,
    }
}

/// The bits of an address, left-aligned in 128, with its length and the prefix length.
fn range(address: &Address) -> Option<(u128, usize, u32)> {
    let ip = super::ip(&address.address)?;
    let (bits, width) = bits(ip);
    (address.length <= width as u32).then_some((bits, width, address.length))
}

fn bits(ip: IpAddr) -> (u128, usize) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    }
}

fn contains(address: &Address, ip: IpAddr) -> bool {
    let Some((network, width, length)) = range(address) else { return false };
    let (found, found_width) = bits(ip);
    // a shift by the full 128 bits is what prefix length 0 asks for
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    width == found_width && network & mask == found & mask
}
