//! What a ztunnel decides, for tests: the evaluation that authorizations are written for.

use ipnet::IpNet;
use proto::security::string_match::MatchType;
use proto::security::{Action, Address, Authorization, Match, ServiceAccountMatch, StringMatch};
use std::net::IpAddr;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    /// Trust domain, namespace and service account; `None` for plaintext.
    pub(super) identity: Option<(&'static str, &'static str, &'static str)>,
}

impl Default for Traffic {
    /// Plaintext from 10.0.0.1 to 10.0.0.2, port 80.
    fn default() -> Self {
        Self { source: [10, 0, 0, 1].into(), destination: [10, 0, 0, 2].into(), port: 80, identity: None }
    }
}

impl Traffic {
    pub(super) fn from(
        self,
        trust_domain: &'static str,
        namespace: &'static str,
        account: &'static str,
    ) -> Self {
        Self { identity: Some((trust_domain, namespace, account)), ..self }
    }

    pub(super) fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub(super) fn source(self, source: [u8; 4]) -> Self {
        Self { source: source.into(), ..self }
    }
}

/// Tells whether traffic passes policies that all cover its destination.
pub(super) fn is_allowed<'a>(
    policies: impl IntoIterator<Item = &'a Authorization>,
    traffic: &Traffic,
) -> bool {
    let (deny, allow): (Vec<_>, Vec<_>) =
        policies.into_iter().filter(|p| !p.dry_run).partition(|p| p.action() == Action::Deny);
    if deny.iter().any(|p| matches(p, traffic)) {
        return false;
    }
    allow.is_empty() || allow.iter().any(|p| matches(p, traffic))
}

/// Tells whether `policy` matches, whatever its action.
pub(super) fn matches(policy: &Authorization, traffic: &Traffic) -> bool {
    policy.groups.iter().any(|group| {
        group
            .rules
            .iter()
            .all(|rules| rules.matches.is_empty() || rules.matches.iter().any(|m| holds(m, traffic)))
    })
}

fn holds(m: &Match, traffic: &Traffic) -> bool {
    let principal = traffic.identity.map(|(td, ns, sa)| format!("{td}/ns/{ns}/sa/{sa}"));
    // Plaintext has no principal to compare, but has the empty namespace.
    let is_principal = |s: &StringMatch| principal.as_ref().is_some_and(|p| is_text(s, p));
    let is_namespace = |s: &StringMatch| is_text(s, traffic.identity.map_or("", |(_, ns, _)| ns));
    let is_account = |s: &ServiceAccountMatch| {
        traffic.identity.is_some_and(|(_, ns, sa)| s.namespace == ns && s.service_account == sa)
    };
    *m != Match::default()
        && list(&m.namespaces, &m.not_namespaces, is_namespace)
        && list(&m.principals, &m.not_principals, is_principal)
        && list(&m.service_accounts, &m.not_service_accounts, is_account)
        && list(&m.source_ips, &m.not_source_ips, |a| contains(a, traffic.source))
        && list(&m.destination_ips, &m.not_destination_ips, |a| contains(a, traffic.destination))
        && list(&m.destination_ports, &m.not_destination_ports, |p| *p == u32::from(traffic.port))
}

fn list<T>(positive: &[T], negative: &[T], hits: impl Fn(&T) -> bool) -> bool {
    (positive.is_empty() || positive.iter().any(&hits)) && !negative.iter().any(hits)
}

fn is_text(s: &StringMatch, text: &str) -> bool {
    match s.match_type.as_ref() {
        Some(MatchType::Exact(t)) => text == t,
        Some(MatchType::Prefix(t)) => text.starts_with(t.as_str()),
        Some(MatchType::Suffix(t)) => text.ends_with(t.as_str()),
        Some(MatchType::Presence(())) => !text.is_empty(),
        None => {
            panic!("a match without a case is dropped by ztunnels, which changes the meaning of its list")
        }
    }
}

fn contains(address: &Address, ip: IpAddr) -> bool {
    let base: IpAddr = match address.address.len() {
        4 => <[u8; 4]>::try_from(&address.address[..]).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(&address.address[..]).map(IpAddr::from),
    }
    .unwrap_or_else(|_| panic!("an address of {} bytes is dropped by ztunnels", address.address.len()));
    let length = u8::try_from(address.length).unwrap_or(u8::MAX);
    match IpNet::new(base, length) {
        Ok(net) => net.contains(&ip),
        Err(_) => panic!("a length of {length} is dropped by ztunnels"),
    }
}
