//! Rules as ztunnels read them.

use bytes::Bytes;
use proto::security::{
    Address, Group, Match, Rules, ServiceAccountMatch, StringMatch, string_match::MatchType,
};
use std::net::IpAddr;

use super::rule::{Account, Entry, Lists, Network, Pattern, Rule, Test};

/// Returns the group of a rule: one `Rules` for each part.
pub(super) fn group(rule: &Rule) -> Group {
    let rules = rule.parts.iter().map(|part| Rules { matches: part.iter().map(entry).collect() });
    Group { rules: rules.collect() }
}

/// An entry that never matches is a match without fields, which is what a ztunnel makes of one.
fn entry(of: &Entry) -> Match {
    let mut all = Match::default();
    let Entry::All(tests) = of else { return all };
    for test in tests {
        match test {
            Test::SourceIp(of) => {
                (all.source_ips, all.not_source_ips) = lists(of, address);
            }
            Test::DestinationIp(of) => {
                (all.destination_ips, all.not_destination_ips) = lists(of, address);
            }
            Test::DestinationPort(of) => {
                (all.destination_ports, all.not_destination_ports) = lists(of, |port| u32::from(*port));
            }
            Test::Principal(of) => (all.principals, all.not_principals) = lists(of, text),
            Test::Namespace(of) => (all.namespaces, all.not_namespaces) = lists(of, text),
            Test::ServiceAccount(of) => {
                (all.service_accounts, all.not_service_accounts) = lists(of, account);
            }
            // Not read for ztunnels.
            Test::RemoteIp(_)
            | Test::TrustDomain(_)
            | Test::Host(_)
            | Test::Method(_)
            | Test::Path(_)
            | Test::Header(..)
            | Test::ServerName(_)
            | Test::RequestPrincipal(_)
            | Test::Claim(..) => {}
        }
    }
    all
}

fn lists<T, U>(of: &Lists<T>, write: impl Fn(&T) -> U) -> (Vec<U>, Vec<U>) {
    (of.any.iter().map(&write).collect(), of.none.iter().map(&write).collect())
}

fn address(of: &Network) -> Address {
    let address = match of.address {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    };
    Address { address, length: of.length.into() }
}

fn text(of: &Pattern) -> StringMatch {
    let match_type = match of {
        Pattern::Any => MatchType::Presence(()),
        Pattern::Prefix(text) => MatchType::Prefix(text.to_string()),
        Pattern::Suffix(text) => MatchType::Suffix(text.to_string()),
        Pattern::Exact(text) => MatchType::Exact(text.to_string()),
    };
    StringMatch { match_type: Some(match_type) }
}

fn account(of: &Account) -> ServiceAccountMatch {
    ServiceAccountMatch { namespace: of.namespace.to_string(), service_account: of.name.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn presence_is_written_on_the_wire() {
        assert_eq!(text(&Pattern::Any).encode_to_vec(), [0x22, 0]);
    }

    #[test]
    fn an_address_has_the_bytes_of_its_family_and_keeps_its_host_bits() {
        let of = |address: &str, length| Network {
            address: address.parse().unwrap_or(IpAddr::from([0; 4])),
            length,
        };
        assert_eq!(address(&of("1.2.3.4", 16)).address.as_ref(), [1, 2, 3, 4]);
        assert_eq!((address(&of("::", 3)).address.len(), address(&of("::", 3)).length), (16, 3));
    }
}
