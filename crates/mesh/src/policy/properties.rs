//! Random policies against random traffic: what is sent never allows what the policy, read directly,
//! denies.

#![allow(clippy::expect_used)]

use super::evaluator::{Traffic, matches};
use super::{Options, lower, scope_of};
use crate::settings::TrustSettings;
use model::facts::{
    Action, AuthorizationPolicy, AuthorizationSpec, Condition, Meta, Operation, Rule, Source,
};
use model::{Labels, Name, Str};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A value and what it says of traffic; `None` when it cannot be understood.
type Value = (&'static str, fn(&Traffic) -> Option<bool>);

fn ns(t: &Traffic) -> &'static str {
    t.identity.map_or("", |(_, ns, _)| ns)
}

fn sa(t: &Traffic) -> &'static str {
    t.identity.map_or("", |(_, _, sa)| sa)
}

const NAMESPACES: &[Value] = &[
    ("a", |t| Some(ns(t) == "a")),
    ("b", |t| Some(ns(t) == "b")),
    ("a*", |t| Some(ns(t) == "a" || ns(t) == "ab")),
    ("*b", |t| Some(ns(t) == "b" || ns(t) == "ab")),
    ("*", |t| Some(t.identity.is_some())),
    ("", |_| None),
    ("A", |_| None),
    ("a ", |_| None),
    ("*a*", |_| None),
    ("a*b", |_| None),
];

const PRINCIPALS: &[Value] = &[
    ("td/ns/a/sa/x", |t| Some(t.identity == Some(("td", "a", "x")))),
    ("td/ns/b*", |t| Some(ns(t) == "b")),
    ("*/sa/y", |t| Some(sa(t) == "y")),
    ("*", |t| Some(t.identity.is_some())),
    ("other/ns/a/sa/x", |_| Some(false)),
    ("td", |_| None),
    ("spiffe://td/ns/a/sa/x", |_| None),
    ("td/ns/*/sa/x", |_| None),
    ("td/ns/A/sa/x", |_| None),
    ("td/ns/a/sa/x ", |_| None),
    ("", |_| None),
];

const ACCOUNTS: &[Value] = &[
    ("x", |t| Some(ns(t) == "a" && sa(t) == "x")),
    ("b/y", |t| Some(ns(t) == "b" && sa(t) == "y")),
    ("a/*", |_| None),
    ("a/b/c", |_| None),
    ("X", |_| None),
    ("b/ y", |_| None),
    ("", |_| None),
];

const SOURCES: &[Value] = &[
    ("10.0.0.1", |t| Some(t.source.to_string() == "10.0.0.1")),
    ("10.0.0.7/24", |t| Some(t.source.to_string().starts_with("10.0.0."))),
    ("::/0", |t| Some(t.source.is_ipv6())),
    ("web", |_| None),
    ("10.0.0.0/33", |_| None),
    ("", |_| None),
];

const DESTINATIONS: &[Value] = &[
    ("10.0.0.1", |t| Some(t.destination.to_string() == "10.0.0.1")),
    ("10.0.0.0/23", |t| Some(t.destination.is_ipv4())),
    ("::1", |t| Some(t.destination.is_ipv6())),
    ("10.0.0.0/", |_| None),
];

const PORTS: &[Value] = &[
    ("80", |t| Some(t.port == 80)),
    ("081", |t| Some(t.port == 81)),
    ("http", |_| None),
    ("65616", |_| None),
];

const HTTP_KEY: &str = "request.headers[x]";
const UNKNOWN_KEY: &str = "source.ipp";
const KEYS: &[(&str, &[Value])] = &[
    ("source.ip", SOURCES),
    ("source.namespace", NAMESPACES),
    ("source.principal", PRINCIPALS),
    ("destination.ip", DESTINATIONS),
    ("destination.port", PORTS),
];

/// How to read what the text of a policy leaves open.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The truth of values that are not understood, by a hash of their text.
    unclear: u64,
    /// The truth of HTTP attributes.
    http: bool,
}

impl Reading {
    fn unclear(self, text: &str) -> bool {
        let hash = text.bytes().fold(7_u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
        self.unclear >> (hash % 64) & 1 == 1
    }

    /// The positive and the negative list of one field.
    fn field(self, table: &[Value], positive: &[Str], negative: &[Str], t: &Traffic) -> bool {
        let hits = |text: &Str| {
            let (_, says) =
                table.iter().find(|(known, _)| known == text).expect("every value is in its table");
            says(t).unwrap_or_else(|| self.unclear(text))
        };
        (positive.is_empty() || positive.iter().any(hits)) && !negative.iter().any(hits)
    }

    fn rule(self, rule: &Rule, t: &Traffic) -> bool {
        (rule.to.is_empty() || rule.to.iter().any(|o| self.operation(o, t)))
            && (rule.from.is_empty() || rule.from.iter().any(|s| self.source(s, t)))
            && rule.when.iter().all(|c| self.condition(c, t))
    }

    fn operation(self, o: &Operation, t: &Traffic) -> bool {
        self.field(PORTS, &o.ports, &o.not_ports, t) && (o.methods.is_empty() || self.http)
    }

    fn source(self, s: &Source, t: &Traffic) -> bool {
        self.field(NAMESPACES, &s.namespaces, &s.not_namespaces, t)
            && self.field(PRINCIPALS, &s.principals, &s.not_principals, t)
            && self.field(ACCOUNTS, &s.service_accounts, &s.not_service_accounts, t)
            && self.field(SOURCES, &s.ip_blocks, &s.not_ip_blocks, t)
            && (s.not_request_principals.is_empty() || self.http)
    }

    fn condition(self, c: &Condition, t: &Traffic) -> bool {
        match KEYS.iter().find(|(key, _)| *key == c.key) {
            Some((_, table)) => self.field(table, &c.values, &c.not_values, t),
            None if c.key == HTTP_KEY => self.http,
            None => self.unclear(&c.key),
        }
    }
}

/// Tells whether every part of the policy is one that a ztunnel enforces as written.
fn is_plain(spec: &AuthorizationSpec) -> bool {
    let understood = |table: &[Value], lists: [&[Str]; 2]| {
        lists.into_iter().flatten().all(|text| {
            table.iter().any(|(known, says)| known == text && says(&Traffic::default()).is_some())
        })
    };
    spec.rules.iter().all(|rule| {
        rule.to.iter().all(|o| {
            o.methods.is_empty() && understood(PORTS, [&o.ports, &o.not_ports]) && *o != Operation::default()
        }) && rule.from.iter().all(|s| {
            s.not_request_principals.is_empty()
                && *s != Source::default()
                && understood(NAMESPACES, [&s.namespaces, &s.not_namespaces])
                && understood(PRINCIPALS, [&s.principals, &s.not_principals])
                && understood(ACCOUNTS, [&s.service_accounts, &s.not_service_accounts])
                && understood(SOURCES, [&s.ip_blocks, &s.not_ip_blocks])
        }) && rule.when.iter().all(|c| {
            let table = KEYS.iter().find(|(key, _)| *key == c.key).map(|(_, table)| table);
            table.is_some_and(|table| understood(table, [&c.values, &c.not_values]))
                && !(c.values.is_empty() && c.not_values.is_empty())
        })
    })
}

/// Up to two values of a table; every value, or only those that are understood.
fn values(table: &'static [Value], is_valid: bool) -> impl Strategy<Value = Vec<Str>> {
    let texts: Vec<_> = table
        .iter()
        .filter(|(_, says)| !is_valid || says(&Traffic::default()).is_some())
        .map(|(text, _)| Str::from(*text))
        .collect();
    prop_oneof![2 => Just(Vec::new()), 3 => subsequence(texts, 1..=2)]
}

fn rarely(text: &'static str, is_valid: bool) -> impl Strategy<Value = Vec<Str>> {
    let weight = u32::from(!is_valid);
    prop_oneof![9 => Just(Vec::new()), weight => Just(vec![Str::from(text)])]
}

fn source(v: bool) -> impl Strategy<Value = Source> {
    let ids = (values(NAMESPACES, v), values(NAMESPACES, v), values(PRINCIPALS, v), values(PRINCIPALS, v));
    let rest = (values(ACCOUNTS, v), values(ACCOUNTS, v), values(SOURCES, v), values(SOURCES, v));
    (ids, rest, rarely("x", v)).prop_map(
        |((namespaces, not_namespaces, principals, not_principals), (sa, not_sa, ip, not_ip), jwt)| Source {
            namespaces,
            not_namespaces,
            principals,
            not_principals,
            service_accounts: sa,
            not_service_accounts: not_sa,
            ip_blocks: ip,
            not_ip_blocks: not_ip,
            not_request_principals: jwt,
            ..Source::default()
        },
    )
}

/// Sources of one kind of field only, which match far more often than [`source`].
fn narrow_source(v: bool) -> impl Strategy<Value = Source> {
    (source(v), 0..4_usize).prop_map(|(s, kept)| {
        let mut one = Source { not_request_principals: s.not_request_principals, ..Source::default() };
        match kept {
            0 => (one.namespaces, one.not_namespaces) = (s.namespaces, s.not_namespaces),
            1 => (one.principals, one.not_principals) = (s.principals, s.not_principals),
            2 => {
                (one.service_accounts, one.not_service_accounts) =
                    (s.service_accounts, s.not_service_accounts)
            }
            _ => (one.ip_blocks, one.not_ip_blocks) = (s.ip_blocks, s.not_ip_blocks),
        }
        one
    })
}

fn operation(v: bool) -> impl Strategy<Value = Operation> {
    (values(PORTS, v), values(PORTS, v), rarely("GET", v)).prop_map(|(ports, not_ports, methods)| Operation {
        ports,
        not_ports,
        methods,
        ..Operation::default()
    })
}

fn condition(v: bool) -> impl Strategy<Value = Condition> {
    let known = select(KEYS).prop_flat_map(move |(key, table)| {
        (values(table, v), values(table, v)).prop_map(move |(values, not_values)| Condition {
            key: Str::from(key),
            values,
            not_values,
        })
    });
    let other = select(&[HTTP_KEY, UNKNOWN_KEY][..]).prop_map(|key| Condition {
        key: Str::from(key),
        values: vec![Str::from("v")],
        not_values: Vec::new(),
    });
    prop_oneof![6 => known, u32::from(!v) => other]
}

fn policies(is_valid: bool) -> impl Strategy<Value = AuthorizationPolicy> {
    let v = is_valid;
    let from = prop_oneof![source(v), narrow_source(v)];
    let rule = (
        proptest::collection::vec(from, 0..3),
        proptest::collection::vec(operation(v), 0..3),
        proptest::collection::vec(condition(v), 0..3),
    )
        .prop_map(|(from, to, when)| Rule { from, to, when });
    let selectors = vec![None, Some(Labels::default()), Some(Labels::new([("app", "web")]))];
    let actions = vec![Action::Allow, Action::Deny];
    (select(actions), proptest::collection::vec(rule, 0..3), select(selectors)).prop_map(
        |(action, rules, selector)| AuthorizationPolicy {
            meta: Meta { name: Name::new("a", "policy"), ..Meta::default() },
            dry_run: false,
            spec: Ok(AuthorizationSpec { selector, action, rules, ..AuthorizationSpec::default() }),
        },
    )
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let ip = || {
        select(vec!["10.0.0.1", "10.0.0.9", "10.0.1.1", "::1"]).prop_map(|a| a.parse().expect("an address"))
    };
    let identity =
        proptest::option::weighted(0.8, (Just("td"), select(vec!["a", "b", "ab"]), select(vec!["x", "y"])));
    (ip(), ip(), 79..83_u16, identity).prop_map(|(source, destination, port, identity)| Traffic {
        source,
        destination,
        port,
        identity,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_never_allows_what_any_reading_of_the_policy_denies(
        policy in policies(false),
        traffic in proptest::collection::vec(traffic(), 12),
        unclear in any::<u64>(),
        http in any::<bool>(),
    ) {
        let sent = lower(&policy, &"root".into(), &TrustSettings::default(), Options::default()).authorization.expect("the policy is sent");
        let spec = policy.spec.as_ref().expect("the policy is understood");
        for t in &traffic {
            // A rule that denies by HTTP attributes alone is specified to deny nothing at a ztunnel.
            let reading = Reading { unclear, http: http && spec.action == Action::Allow };
            let as_written = spec.rules.iter().any(|rule| reading.rule(rule, t));
            match spec.action {
                Action::Allow => prop_assert!(as_written || !matches(&sent, t), "allows {t:?} under {reading:?}"),
                _ => prop_assert!(!as_written || matches(&sent, t), "does not deny {t:?} under {reading:?}"),
            }
        }
    }

    #[test]
    fn a_policy_of_addresses_ports_and_identities_is_enforced_exactly(
        policy in policies(true),
        traffic in proptest::collection::vec(traffic(), 12),
    ) {
        let spec = policy.spec.as_ref().expect("the policy is understood");
        prop_assume!(is_plain(spec));
        let lowered = lower(&policy, &"root".into(), &TrustSettings::default(), Options::default());
        let sent = lowered.authorization.expect("the policy is sent");
        for t in &traffic {
            let reading = Reading { unclear: 0, http: false };
            let as_written = spec.rules.iter().any(|rule| reading.rule(rule, t));
            prop_assert_eq!(as_written, matches(&sent, t), "{:?}", t);
        }
        prop_assert_eq!(sent.groups.len(), spec.rules.len());
        prop_assert_eq!(lowered.condition.map(|c| c.reason), Some("Accepted"));
    }

    #[test]
    fn a_policy_is_listed_only_if_it_is_sent_for_listing(policy in policies(false)) {
        let sent = lower(&policy, &"root".into(), &TrustSettings::default(), Options::default()).authorization.expect("the policy is sent");
        if let Some(scope) = scope_of(&policy, &"root".into(), Options::default()) {
            prop_assert_eq!(sent.scope(), proto::security::Scope::WorkloadSelector);
            prop_assert_eq!(scope.name, Name::new(&sent.namespace, &sent.name));
        } else {
            let spec = policy.spec.as_ref().expect("the policy is understood");
            prop_assert!(spec.selector.as_ref().is_none_or(Labels::is_empty));
        }
    }
}
