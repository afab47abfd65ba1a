use std::net::IpAddr;

use proto::security::string_match::MatchType;
use proto::security::{
    Action, Address, Authorization, Group, Match, Rules, Scope, ServiceAccountMatch, StringMatch,
};

use super::{addresses, pod, policies, policy_resource, workload_resource};
use crate::client::{Decision, State};

const POD: &str = "Kubernetes//Pod/shop/a";
const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn text(value: MatchType) -> StringMatch {
    StringMatch { match_type: Some(value) }
}

fn exact(value: &str) -> StringMatch {
    text(MatchType::Exact(value.to_owned()))
}

fn range(ip: [u8; 4], length: u32) -> Address {
    Address { address: ip.to_vec().into(), length }
}

fn group(rules: &[&[Match]]) -> Group {
    let rules = rules.iter().map(|matches| Rules { matches: matches.to_vec() });
    Group { rules: rules.collect() }
}

fn policy(name: &str, action: Action, groups: Vec<Group>) -> Authorization {
    Authorization {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        scope: Scope::Namespace.into(),
        action: action.into(),
        groups,
        ..Default::default()
    }
}

/// Pod `a` at 10.0.0.1 in `shop`, which names `shop/named`, with these policies.
fn state(all: &[Authorization]) -> State {
    let mut state = State::new(false);
    state.apply(&policies("p", all.iter().map(policy_resource).collect()));
    state.apply(&addresses("a", vec![workload_resource("1", &pod("a", [10, 0, 0, 1], &["shop/named"]))]));
    state
}

fn decide(state: &State, source: Option<&str>, port: u16) -> Decision {
    state.allowed(source, IpAddr::from([10, 0, 7, 7]), POD, port).unwrap()
}

/// Whether an ALLOW policy with this one match lets the web account in on port 80.
fn admits(one: Match) -> bool {
    admits_from(Some(WEB), one)
}

fn admits_from(source: Option<&str>, one: Match) -> bool {
    decide(&state(&[policy("p", Action::Allow, vec![group(&[&[one]])])]), source, 80).is_allowed()
}

#[test]
fn without_policies_everything_passes() {
    assert_eq!(decide(&state(&[]), None, 80), Decision::Allowed { by: None });
    assert!(state(&[]).allowed(None, IpAddr::from([1, 1, 1, 1]), "nobody", 80).is_none());
}

#[test]
fn an_allow_policy_without_groups_refuses_everything() {
    let all = [policy("none", Action::Allow, vec![])];
    assert_eq!(decide(&state(&all), Some(WEB), 80), Decision::Denied { by: None });
}

#[test]
fn a_deny_policy_without_groups_refuses_nothing() {
    assert!(decide(&state(&[policy("none", Action::Deny, vec![])]), None, 80).is_allowed());
}

#[test]
fn deny_comes_before_allow() {
    let everything = || vec![group(&[])];
    let all = [policy("a", Action::Allow, everything()), policy("b", Action::Deny, everything())];
    assert_eq!(decide(&state(&all), None, 80), Decision::Denied { by: Some("shop/b".to_owned()) });
    assert_eq!(decide(&state(&all[..1]), None, 80), Decision::Allowed { by: Some("shop/a".to_owned()) });
}

#[test]
fn dry_run_policies_do_not_count() {
    let mut deny = policy("a", Action::Deny, vec![group(&[])]);
    deny.dry_run = true;
    let mut allow = policy("b", Action::Allow, vec![]);
    allow.dry_run = true;
    assert_eq!(decide(&state(&[deny, allow]), None, 80), Decision::Allowed { by: None });
}

#[test]
fn scope_decides_which_policies_count() {
    let deny = |name: &str, namespace: &str, scope: Scope| {
        let mut policy = policy(name, Action::Deny, vec![group(&[])]);
        policy.namespace = namespace.to_owned();
        policy.scope = scope.into();
        policy
    };
    let counts = |policy: Authorization| !decide(&state(&[policy]), None, 80).is_allowed();
    assert!(counts(deny("p", "elsewhere", Scope::Global)));
    assert!(counts(deny("p", "shop", Scope::Namespace)));
    assert!(!counts(deny("p", "elsewhere", Scope::Namespace)));
    assert!(counts(deny("named", "shop", Scope::WorkloadSelector)));
    assert!(!counts(deny("p", "shop", Scope::WorkloadSelector)));
}

#[test]
fn an_empty_match_matches_nothing_an_empty_rule_everything() {
    assert!(!admits(Match::default()));
    let all = [policy("p", Action::Allow, vec![group(&[&[]])])];
    assert!(decide(&state(&all), None, 80).is_allowed());
}

#[test]
fn rules_are_anded_matches_and_groups_ored() {
    let port = |port| Match { destination_ports: vec![port], ..Default::default() };
    let from_web = || Match { principals: vec![exact(&WEB["spiffe://".len()..])], ..Default::default() };
    let all = [policy(
        "p",
        Action::Allow,
        vec![group(&[&[port(80), port(81)], &[from_web()]]), group(&[&[port(90)]])],
    )];
    let state = state(&all);
    assert!(decide(&state, Some(WEB), 80).is_allowed());
    assert!(decide(&state, Some(WEB), 81).is_allowed());
    assert!(!decide(&state, None, 81).is_allowed());
    assert!(decide(&state, None, 90).is_allowed());
    assert!(!decide(&state, Some(WEB), 443).is_allowed());
}

#[test]
fn principals_match_without_the_scheme() {
    let principal = |value| Match { principals: vec![text(value)], ..Default::default() };
    assert!(admits(principal(MatchType::Exact("cluster.local/ns/shop/sa/web".to_owned()))));
    assert!(!admits(principal(MatchType::Exact(WEB.to_owned()))));
    assert!(admits(principal(MatchType::Prefix("cluster.local/ns/shop/".to_owned()))));
    assert!(admits(principal(MatchType::Suffix("/sa/web".to_owned()))));
    assert!(!admits(principal(MatchType::Suffix("/sa/db".to_owned()))));
    assert!(admits(principal(MatchType::Presence(()))));
    assert!(!admits_from(None, principal(MatchType::Presence(()))));
}

#[test]
fn not_presence_is_plaintext() {
    let plaintext = Match { not_principals: vec![text(MatchType::Presence(()))], ..Default::default() };
    let strict = [policy("strict", Action::Deny, vec![group(&[&[plaintext]])])];
    assert!(!decide(&state(&strict), None, 80).is_allowed());
    assert!(decide(&state(&strict), Some(WEB), 80).is_allowed());
}

#[test]
fn namespaces_and_accounts_come_from_the_identity() {
    let namespaces = |name: &str| Match { namespaces: vec![exact(name)], ..Default::default() };
    assert!(admits(namespaces("shop")));
    assert!(!admits(namespaces("sho")));
    assert!(!admits_from(None, namespaces("shop")));
    let not = Match { not_namespaces: vec![exact("other")], ..Default::default() };
    assert!(admits_from(None, not));
    let account = |account: &str| {
        let account =
            ServiceAccountMatch { namespace: "shop".to_owned(), service_account: account.to_owned() };
        Match { service_accounts: vec![account], ..Default::default() }
    };
    assert!(admits(account("web")));
    assert!(!admits(account("db")));
    assert!(!admits_from(None, account("web")));
}

#[test]
fn ranges_match_by_prefix() {
    let source = |range| Match { source_ips: vec![range], ..Default::default() };
    assert!(admits(source(range([10, 0, 0, 0], 16))));
    assert!(admits(source(range([10, 0, 7, 7], 32))));
    assert!(!admits(source(range([10, 0, 7, 8], 32))));
    assert!(admits(source(range([0, 0, 0, 0], 0))));
    // bits beyond the prefix do not count
    assert!(admits(source(range([10, 0, 99, 99], 16))));
    let v6 = Address { address: vec![0; 16].into(), length: 0 };
    assert!(!admits(source(v6)));
    let not = Match { not_destination_ips: vec![range([10, 0, 0, 1], 32)], ..Default::default() };
    assert!(!admits(not));
}

#[test]
fn invalid_values_fall_out_of_their_list() {
    let broken = || Address { address: vec![1].into(), length: 8 };
    // one good value left: the condition stays
    let mixed = Match { source_ips: vec![broken(), range([1, 1, 1, 1], 32)], ..Default::default() };
    assert!(!admits(mixed));
    // none left beside another condition: that one decides
    let other = Match { source_ips: vec![broken()], destination_ports: vec![80], ..Default::default() };
    assert!(admits(other));
    // none left at all: an empty match
    let none = Match { source_ips: vec![broken()], ..Default::default() };
    assert!(!admits(none));
    let no_case = Match { principals: vec![StringMatch::default()], ..Default::default() };
    assert!(!admits(no_case));
}
