//! The policy that lets a waypoint reach what is behind it, without its users' asking (off by default).

use model::{Name, Str};
use proto::security::{
    Action, Authorization, Group, Match, Rules, Scope, StringMatch, string_match::MatchType,
};
use std::collections::BTreeSet;

/// Returns the name of the implicit policy of `waypoint`, as its workloads list it; `None` without
/// service accounts, as [`implicit_waypoint_allow`].
pub(crate) fn implicit_waypoint_name(waypoint: &Name, service_accounts: &BTreeSet<Str>) -> Option<Name> {
    // No Kubernetes object can have this name: underscores are illegal there.
    let name = || format!("istio_allow_waypoint_{}_{}", waypoint.ns, waypoint.name);
    (!service_accounts.is_empty()).then(|| Name::new(&waypoint.ns, &name()))
}

/// Returns the policy that allows the identities of `waypoint`: its `service_accounts`, all in its own
/// namespace. `None` without service accounts, since nobody could be named.
pub(crate) fn implicit_waypoint_allow(
    waypoint: &Name,
    service_accounts: &BTreeSet<Str>,
    trust_domain: &str,
) -> Option<Authorization> {
    let name = implicit_waypoint_name(waypoint, service_accounts)?;
    let principals = service_accounts
        .iter()
        .map(|account| StringMatch {
            match_type: Some(MatchType::Exact(format!("{trust_domain}/ns/{}/sa/{account}", waypoint.ns))),
        })
        .collect();
    let only = Match { principals, ..Match::default() };
    Some(Authorization {
        name: name.name.to_string(),
        namespace: name.ns.to_string(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Allow.into(),
        groups: vec![Group { rules: vec![Rules { matches: vec![only] }] }],
        ..Authorization::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::evaluator::{Traffic, matches};

    #[test]
    fn a_waypoint_is_allowed_by_each_of_its_identities() {
        let waypoint = Name::new("shop", "waypoint");
        let accounts = BTreeSet::from([Str::from("wp-b"), Str::from("wp-a")]);
        let policy = implicit_waypoint_allow(&waypoint, &accounts, "example.org").unwrap();
        assert_eq!(policy.namespace, "shop");
        assert_eq!(policy.name, "istio_allow_waypoint_shop_waypoint");
        assert_eq!(policy.scope(), Scope::WorkloadSelector);
        assert_eq!(policy.action(), Action::Allow);
        let exact = |text: &str| StringMatch { match_type: Some(MatchType::Exact(text.to_owned())) };
        assert_eq!(
            policy.groups[0].rules[0].matches[0].principals,
            [exact("example.org/ns/shop/sa/wp-a"), exact("example.org/ns/shop/sa/wp-b")]
        );
        let from = |td, ns, sa| matches(&policy, &Traffic::default().from(td, ns, sa));
        assert!(from("example.org", "shop", "wp-a") && from("example.org", "shop", "wp-b"));
        assert!(!from("example.org", "shop", "web"));
        assert!(!from("example.org", "other", "wp-a"));
        assert!(!from("cluster.local", "shop", "wp-a"));
        assert!(!matches(&policy, &Traffic::default()));
    }

    #[test]
    fn a_waypoint_is_listed_exactly_when_its_policy_exists() {
        let waypoint = Name::new("shop", "waypoint");
        let none = BTreeSet::new();
        assert_eq!(implicit_waypoint_name(&waypoint, &none), None);
        assert_eq!(implicit_waypoint_allow(&waypoint, &none, "cluster.local"), None);
        let some = BTreeSet::from([Str::from("wp")]);
        let name = implicit_waypoint_name(&waypoint, &some).unwrap();
        let policy = implicit_waypoint_allow(&waypoint, &some, "cluster.local").unwrap();
        assert_eq!(name, Name::new(&policy.namespace, &policy.name));
    }
}
