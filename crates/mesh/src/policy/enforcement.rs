//! The policy that refuses to a workload what did not come through its waypoints.
//!
//! It denies, since policies that allow are alternatives: one of ours would let in whom a user's
//! keeps out, and one of a user's whom ours keeps out.

use model::{Name, Ns, Str};
use proto::security::{
    Action, Authorization, Group, Match, Rules, Scope, StringMatch, string_match::MatchType,
};
use std::collections::BTreeSet;

/// Namespaces and names of service accounts.
pub(crate) type AccountNames = BTreeSet<(Ns, Str)>;

/// Ports that only some accounts may reach.
#[derive(Clone, Debug)]
pub(crate) struct PortRule<'a> {
    ports: &'a BTreeSet<u16>,
    accounts: AccountNames,
}

impl<'a> PortRule<'a> {
    /// A rule for these ports; without accounts it stays shut.
    pub(crate) fn new(ports: &'a BTreeSet<u16>, accounts: AccountNames) -> Self {
        Self { ports, accounts }
    }
}

/// Returns the policy that denies, at the ports of each rule, all but its accounts, and at every
/// other port all but those of `rest`, if that is given.
pub(crate) fn waypoint_enforcement(
    name: Name,
    port_rules: &[PortRule<'_>],
    rest: Option<&AccountNames>,
    trust_domain: &str,
) -> Authorization {
    let but = |accounts: &AccountNames| Match {
        not_principals: accounts
            .iter()
            .map(|(ns, account)| StringMatch {
                match_type: Some(MatchType::Exact(format!("{trust_domain}/ns/{ns}/sa/{account}"))),
            })
            .collect(),
        ..Match::default()
    };
    let numbers = |ports: &BTreeSet<u16>| ports.iter().map(|port| u32::from(*port)).collect();
    let mut matches: Vec<Match> = port_rules
        .iter()
        .filter(|rule| !rule.ports.is_empty())
        .map(|rule| Match { destination_ports: numbers(rule.ports), ..but(&rule.accounts) })
        .collect();
    if let Some(accounts) = rest {
        let exceptions: BTreeSet<u16> =
            port_rules.iter().flat_map(|rule| rule.ports.iter().copied()).collect();
        matches.push(Match { not_destination_ports: numbers(&exceptions), ..but(accounts) });
    }
    Authorization {
        name: name.name.to_string(),
        namespace: name.ns.to_string(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        groups: matches.into_iter().map(group).collect(),
        ..Authorization::default()
    }
}

/// A match without fields never matches; a group without rules always does. Here, nothing that is
/// asked for means everything.
fn group(only: Match) -> Group {
    let rules = if only == Match::default() { Vec::new() } else { vec![Rules { matches: vec![only] }] };
    Group { rules }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::evaluator::{Traffic, is_allowed, matches};
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    fn accounts(names: &[&str]) -> AccountNames {
        names.iter().map(|name| (Ns::own("shop"), Str::from(*name))).collect()
    }

    fn name() -> Name {
        Name::new("shop", "guard")
    }

    fn from(account: &'static str, port: u16) -> Traffic {
        Traffic::default().from("td", "shop", account).port(port)
    }

    #[test]
    fn without_accounts_nobody_comes_in() {
        let ports = BTreeSet::from([80]);
        let shut = waypoint_enforcement(name(), &[PortRule::new(&ports, accounts(&[]))], None, "td");
        assert!(matches(&shut, &from("wp", 80)) && matches(&shut, &Traffic::default()));
        assert!(!matches(&shut, &from("wp", 81)));
        let all = waypoint_enforcement(name(), &[], Some(&accounts(&[])), "td");
        assert!(matches(&all, &from("wp", 81)) && matches(&all, &Traffic::default()));
    }

    #[test]
    fn an_account_of_the_same_name_elsewhere_is_another() {
        let ports = BTreeSet::from([80]);
        let policy = waypoint_enforcement(name(), &[PortRule::new(&ports, accounts(&["wp"]))], None, "td");
        assert!(!matches(&policy, &from("wp", 80)));
        assert!(matches(&policy, &Traffic::default().from("td", "far", "wp").port(80)));
        assert!(matches(&policy, &Traffic::default().from("other", "shop", "wp").port(80)));
    }

    proptest! {
        #[test]
        fn exactly_those_who_have_no_account_for_a_port_are_refused(
            a in subsequence(vec!["x", "y", "z"], 0..=3),
            b in subsequence(vec!["x", "y", "z"], 0..=3),
            rest in proptest::option::of(subsequence(vec!["x", "y", "z"], 0..=3)),
        ) {
            let (p, q) = (BTreeSet::from([80, 81]), BTreeSet::from([82]));
            let port_rules = [PortRule::new(&p, accounts(&a)), PortRule::new(&q, accounts(&b))];
            let policy = waypoint_enforcement(name(), &port_rules, rest.as_deref().map(accounts).as_ref(), "td");
            for port in 79..84 {
                let allowed = match port {
                    80 | 81 => Some(&a),
                    82 => Some(&b),
                    _ => rest.as_ref(),
                };
                for who in ["x", "y", "z"] {
                    let expected = allowed.is_none_or(|list| list.contains(&who));
                    prop_assert_eq!(is_allowed([&policy], &from(who, port)), expected, "{} {}", who, port);
                }
                let plain = is_allowed([&policy], &Traffic::default().port(port));
                prop_assert_eq!(plain, allowed.is_none(), "plaintext {}", port);
            }
        }
    }
}
