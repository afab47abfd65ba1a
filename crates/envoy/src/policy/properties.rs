//! Random policies against random requests: what is sent decides as the policies, read directly, do.

#![allow(clippy::expect_used)]

use super::evaluator::{Claim, Request, passes};
use super::{At, FILTERS, Policies};
use mesh::TrustSettings;
use mesh::policy::{RuleAction, WaypointAction, WaypointPolicy, rules_at_waypoints};
use model::facts::{
    AuthorizationPolicy, AuthorizationSpec, Condition, Meta, Operation, PathNormalization, Rule, Source,
};
use model::{Name, Str};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value and what it says of a request; `None` when that depends on how it is read.
type Value = (&'static str, fn(&Request) -> Option<bool>);

fn part(r: &Request, at: usize) -> &str {
    r.peer.split('/').nth(at).unwrap_or_default()
}

fn ns(r: &Request) -> &str {
    part(r, 4)
}

fn sa(r: &Request) -> &str {
    part(r, 6)
}

const PRINCIPALS: &[Value] = &[
    ("td/ns/a/sa/x", |r| Some(r.peer == "spiffe://td/ns/a/sa/x")),
    ("td/ns/b*", |r| Some(r.peer.starts_with("spiffe://td/ns/b"))),
    ("*/sa/y", |r| Some(sa(r) == "y")),
    ("*", |_| Some(true)),
    ("spiffe://td/ns/a/sa/x", |_| None),
];
const NAMESPACES: &[Value] = &[
    ("a", |r| Some(ns(r) == "a")),
    ("a*", |r| Some(ns(r).starts_with('a'))),
    ("*b", |r| Some(ns(r).ends_with('b'))),
    ("A", |_| None),
];
const ACCOUNTS: &[Value] = &[
    ("x", |r| Some(ns(r) == "a" && sa(r) == "x")),
    ("b/y", |r| Some(ns(r) == "b" && sa(r) == "y")),
    ("b/*", |_| None),
];
const DOMAINS: &[Value] =
    &[("td", |r| Some(part(r, 2) == "td")), ("td*", |_| Some(true)), ("td td", |_| None)];
const SOURCES: &[Value] = &[
    ("10.0.0.1", |r| Some(r.source.to_string() == "10.0.0.1")),
    ("10.0.0.7/24", |r| Some(r.source.to_string().starts_with("10.0.0."))),
    ("::/0", |r| Some(r.source.is_ipv6())),
    ("web", |_| None),
];
const REMOTES: &[Value] = &[
    ("10.0.0.0/24", |r| Some(r.remote.to_string().starts_with("10.0.0."))),
    ("::1", |r| Some(r.remote.is_ipv6())),
    ("10.0.0.0/33", |_| None),
];
const DESTINATIONS: &[Value] = &[
    ("10.0.0.0/16", |r| Some(r.destination.is_ipv4())),
    ("::1", |r| Some(r.destination.is_ipv6())),
    ("db", |_| None),
];
const PORTS: &[Value] = &[
    ("80", |r| Some(r.destination.port() == 80)),
    ("081", |r| Some(r.destination.port() == 81)),
    ("http", |_| None),
];
const HOSTS: &[Value] = &[
    ("web.org", |r| Some(plain_host(r) == "web.org")),
    ("WEB.org:81", |r| Some(plain_host(r) == "web.org" && r.host.ends_with(":81"))),
    ("*.org", |r| Some(plain_host(r).ends_with(".org"))),
    ("web.*", |r| Some(plain_host(r).starts_with("web."))),
    ("*", |_| Some(true)),
    ("http://web.org", |_| None),
];
const METHODS: &[Value] = &[
    ("GET", |r| Some(r.method == "GET")),
    ("P*", |r| Some(r.method.starts_with('P'))),
    ("*T", |r| Some(r.method.ends_with('T'))),
    ("*", |_| Some(true)),
    ("get", |_| None),
];
const PATHS: &[Value] = &[
    ("/a", |r| Some(r.plain_path() == "/a")),
    ("/a/*", |r| Some(r.plain_path().starts_with("/a/"))),
    ("*.txt", |r| Some(r.plain_path().ends_with(".txt"))),
    ("/a/{*}", |r| Some(segments(r).len() == 2 && segments(r)[0] == "a" && !segments(r)[1].is_empty())),
    ("/{*}/b/{**}", |r| {
        let all = segments(r);
        Some(all.len() > 2 && !all[0].is_empty() && all[1] == "b")
    }),
    ("/%C3%A4", |r| Some(r.plain_path().eq_ignore_ascii_case("/%c3%a4"))),
    ("*", |_| Some(true)),
    ("/a/../b", |_| None),
    ("/a?b", |_| None),
];
const SERVER_NAMES: &[Value] = &[
    ("Web.org", |r| Some(r.server_name.eq_ignore_ascii_case("web.org"))),
    ("*.org", |r| Some(r.server_name.to_lowercase().ends_with(".org"))),
    ("*", |r| Some(!r.server_name.is_empty())),
    ("web org", |_| None),
];
/// Of one header. Whether a part of a value with commas is the header's is a matter of reading.
const ROLES: &[Value] = &[
    ("admin", |r| role(r, |value| value == "admin")),
    ("ad*", |r| role(r, |value| value.starts_with("ad"))),
    ("*min", |r| role(r, |value| value.ends_with("min"))),
    ("*", |r| Some(r.headers.iter().any(|(name, _)| name == "x-role"))),
    (" admin", |_| None),
];

fn plain_host(r: &Request) -> String {
    let host = r.host.to_lowercase();
    let name = host.split(':').next().unwrap_or_default();
    name.trim_end_matches('.').to_owned()
}

fn segments(r: &Request) -> Vec<&str> {
    r.plain_path().split('/').skip(1).collect()
}

fn role(r: &Request, is_it: fn(&str) -> bool) -> Option<bool> {
    let values = || r.headers.iter().filter(|(name, _)| name == "x-role").map(|(_, value)| value.as_str());
    if values().any(is_it) {
        return Some(true);
    }
    if values().flat_map(|value| value.split(',')).any(|one| is_it(one.trim())) { None } else { Some(false) }
}

/// Of tokens: issuers are `https://a` and `https://a/b`, subjects `x` and `y/z`.
const REQUEST_PRINCIPALS: &[Value] = &[
    ("*", |r| Some(!r.claims.is_empty())),
    ("https://a/x", |r| Some(token(r) == "https://a/x")),
    ("https://a/b/x", |r| Some(token(r) == "https://a/b/x")),
    ("https://a/y/z", |r| Some(token(r) == "https://a/y/z")),
    ("https://a/*", |r| Some(token(r).starts_with("https://a/"))),
    ("https://a/b*", |r| Some(token(r).starts_with("https://a/b"))),
    ("https://a/y*", |r| Some(token(r).starts_with("https://a/y"))),
    ("*/x", |r| Some(token(r).ends_with("/x"))),
    ("*b/y/z", |r| Some(token(r).ends_with("b/y/z"))),
    ("*z", |r| Some(token(r).ends_with('z'))),
    ("https://a", |_| None),
];
const GROUPS: &[Value] = &[
    ("dev", |r| Some(claims(r, "groups", |of| of == "dev"))),
    ("de*", |r| Some(claims(r, "groups", |of| of.starts_with("de")))),
    ("*v", |r| Some(claims(r, "groups", |of| of.ends_with('v')))),
    ("*", |r| match r.claims.get("groups") {
        // Whether there is one of none.
        Some(Claim::List(all)) if all.is_empty() => None,
        claim => Some(claim.is_some()),
    }),
    ("true", |r| Some(claims(r, "groups", |of| of == "true"))),
    ("", |_| None),
];
const AUDIENCES: &[Value] = &[
    ("web", |r| Some(claims(r, "aud", |of| of == "web"))),
    ("a*", |r| Some(claims(r, "aud", |of| of.starts_with('a')))),
];

fn token(r: &Request) -> String {
    let text = |name: &str| match r.claims.get(name) {
        Some(Claim::Text(text)) => *text,
        _ => "",
    };
    format!("{}/{}", text("iss"), text("sub"))
}

fn claims(r: &Request, name: &str, is_it: fn(&str) -> bool) -> bool {
    match r.claims.get(name) {
        None => false,
        Some(Claim::Text(text)) => is_it(text),
        Some(Claim::List(all)) => all.iter().any(|text| is_it(text)),
        // It has a name, and no beginning or end of one. "true" is the only value here that has one.
        Some(Claim::Flag(flag)) => *flag && is_it("true") && !is_it("trueish"),
    }
}

const UNKNOWN_KEY: &str = "source.ipp";
const UNREAD_KEY: &str = "experimental.envoy.filters.some[key]";
const ROLE_KEY: &str = "request.headers[X-Role]";
const KEYS: &[(&str, &[Value], bool)] = &[
    ("source.ip", SOURCES, false),
    ("remote.ip", REMOTES, false),
    ("source.namespace", NAMESPACES, false),
    ("source.principal", PRINCIPALS, false),
    ("source.serviceAccount", ACCOUNTS, false),
    ("source.trustDomain", DOMAINS, false),
    ("destination.ip", DESTINATIONS, false),
    ("destination.port", PORTS, false),
    ("connection.sni", SERVER_NAMES, false),
    (ROLE_KEY, ROLES, true),
    ("request.auth.principal", REQUEST_PRINCIPALS, true),
    ("request.auth.claims[groups]", GROUPS, true),
    ("request.auth.audiences", AUDIENCES, true),
];

/// How to read what is open, and whether anything was.
struct Reading {
    bits: u64,
    /// Attributes of requests are open, too.
    is_stream: bool,
    was_open: bool,
}

impl Reading {
    fn open(&mut self, text: &str) -> bool {
        self.was_open = true;
        let hash = text.bytes().fold(7_u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
        self.bits >> (hash % 64) & 1 == 1
    }

    fn field(
        &mut self,
        table: &[Value],
        is_of_requests: bool,
        any: &[Str],
        none: &[Str],
        r: &Request,
    ) -> bool {
        let mut hits = |text: &Str| {
            let (_, says) =
                table.iter().find(|(known, _)| known == text).expect("every value is in its table");
            let says = if is_of_requests && self.is_stream { None } else { says(r) };
            says.unwrap_or_else(|| self.open(text))
        };
        // All are looked at, so that what is open is seen.
        let any_hits = any.iter().filter(|text| hits(text)).count();
        let none_hits = none.iter().filter(|text| hits(text)).count();
        (any.is_empty() || any_hits > 0) && none_hits == 0
    }

    fn rule(&mut self, rule: &Rule, r: &Request) -> bool {
        let to = rule.to.iter().filter(|of| self.operation(of, r)).count();
        let from = rule.from.iter().filter(|of| self.source(of, r)).count();
        let when = rule.when.iter().filter(|of| self.condition(of, r)).count();
        (rule.to.is_empty() || to > 0) && (rule.from.is_empty() || from > 0) && when == rule.when.len()
    }

    fn operation(&mut self, o: &Operation, r: &Request) -> bool {
        self.was_open |= *o == Operation::default();
        let all = [
            self.field(HOSTS, true, &o.hosts, &o.not_hosts, r),
            self.field(METHODS, true, &o.methods, &o.not_methods, r),
            self.field(PATHS, true, &o.paths, &o.not_paths, r),
            self.field(PORTS, false, &o.ports, &o.not_ports, r),
        ];
        all.into_iter().all(|holds| holds)
    }

    fn source(&mut self, s: &Source, r: &Request) -> bool {
        self.was_open |= *s == Source::default();
        let all = [
            self.field(PRINCIPALS, false, &s.principals, &s.not_principals, r),
            self.field(NAMESPACES, false, &s.namespaces, &s.not_namespaces, r),
            self.field(ACCOUNTS, false, &s.service_accounts, &s.not_service_accounts, r),
            self.field(DOMAINS, false, &s.trust_domains, &s.not_trust_domains, r),
            self.field(SOURCES, false, &s.ip_blocks, &s.not_ip_blocks, r),
            self.field(REMOTES, false, &s.remote_ip_blocks, &s.not_remote_ip_blocks, r),
            self.field(REQUEST_PRINCIPALS, true, &s.request_principals, &s.not_request_principals, r),
        ];
        all.into_iter().all(|holds| holds)
    }

    fn condition(&mut self, c: &Condition, r: &Request) -> bool {
        match KEYS.iter().find(|(key, ..)| *key == c.key) {
            Some((_, table, is_of_requests)) => {
                self.was_open |= c.values.is_empty() && c.not_values.is_empty();
                self.field(table, *is_of_requests, &c.values, &c.not_values, r)
            }
            None => self.open(&c.key),
        }
    }

    fn allows(&mut self, policies: &[(RuleAction, Vec<Rule>)], r: &Request) -> bool {
        let (mut denied, mut allowed, mut has_allow) = (false, false, false);
        for (action, rules) in policies {
            let matches = rules.iter().filter(|rule| self.rule(rule, r)).count() > 0;
            match action {
                RuleAction::Deny => denied |= matches,
                RuleAction::Allow => (has_allow, allowed) = (true, allowed || matches),
            }
        }
        !denied && (!has_allow || allowed)
    }
}

fn values(table: &'static [Value]) -> impl Strategy<Value = Vec<Str>> {
    let texts: Vec<_> = table.iter().map(|(text, _)| Str::from(*text)).collect();
    prop_oneof![3 => Just(Vec::new()), 2 => subsequence(texts, 1..=2)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let first = (values(HOSTS), values(HOSTS), values(METHODS), values(METHODS));
    let second = (values(PATHS), values(PATHS), values(PORTS), values(PORTS));
    (first, second, 0..4_usize).prop_map(|((h, nh, m, nm), (p, np, t, nt), only)| match only {
        0 => Operation { hosts: h, not_hosts: nh, ..Operation::default() },
        1 => Operation { methods: m, not_methods: nm, ports: t, not_ports: nt, ..Operation::default() },
        2 => Operation { paths: p, not_paths: np, ..Operation::default() },
        _ => Operation { hosts: h, not_methods: nm, paths: p, not_ports: nt, ..Operation::default() },
    })
}

fn source() -> impl Strategy<Value = Source> {
    let first = (values(PRINCIPALS), values(PRINCIPALS), values(NAMESPACES), values(NAMESPACES));
    let second = (values(ACCOUNTS), values(ACCOUNTS), values(DOMAINS), values(DOMAINS));
    let third = (values(SOURCES), values(SOURCES), values(REMOTES), values(REMOTES));
    let tokens = (values(REQUEST_PRINCIPALS), values(REQUEST_PRINCIPALS));
    let all = (first, second, third, tokens, 0..14_usize);
    all.prop_map(|((p, np, n, nn), (a, na, d, nd), (s, ns, r, nr), (t, nt), only)| match only {
        0 | 1 => Source { principals: p, not_principals: np, ..Source::default() },
        2 | 3 => Source { namespaces: n, not_namespaces: nn, ..Source::default() },
        4 | 5 => Source { service_accounts: a, not_service_accounts: na, ..Source::default() },
        6 => Source { trust_domains: d, not_trust_domains: nd, ..Source::default() },
        7 | 8 => Source { ip_blocks: s, not_ip_blocks: ns, ..Source::default() },
        9 => Source { remote_ip_blocks: r, not_remote_ip_blocks: nr, ..Source::default() },
        10 => Source { request_principals: t, principals: p, ..Source::default() },
        11 | 12 => Source { request_principals: t, not_request_principals: nt, ..Source::default() },
        _ => Source { namespaces: n, not_service_accounts: na, ip_blocks: s, ..Source::default() },
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let known = select(KEYS).prop_flat_map(|(key, table, _)| {
        (values(table), values(table)).prop_map(move |(values, not_values)| Condition {
            key: Str::from(key),
            values,
            not_values,
        })
    });
    let other = select(&[UNKNOWN_KEY, UNREAD_KEY][..]).prop_map(|key| Condition {
        key: Str::from(key),
        values: vec![Str::from("v")],
        not_values: Vec::new(),
    });
    prop_oneof![12 => known, 1 => other]
}

fn policies() -> impl Strategy<Value = Vec<(RuleAction, Vec<Rule>)>> {
    let rule = (
        proptest::collection::vec(source(), 0..3),
        proptest::collection::vec(operation(), 0..3),
        proptest::collection::vec(condition(), 0..3),
    )
        .prop_map(|(from, to, when)| Rule { from, to, when });
    let one = (select(vec![RuleAction::Allow, RuleAction::Deny]), proptest::collection::vec(rule, 0..3));
    proptest::collection::vec(one, 1..4)
}

fn requests() -> impl Strategy<Value = Request> {
    let ip = || {
        select(vec!["10.0.0.1", "10.0.0.9", "10.0.1.1", "::1"]).prop_map(|a| a.parse().expect("an address"))
    };
    let peer = (select(vec!["td", "tds"]), select(vec!["a", "b", "ab"]), select(vec!["x", "y"]))
        .prop_map(|(td, ns, sa)| format!("spiffe://{td}/ns/{ns}/sa/{sa}"));
    let hosts =
        vec!["web.org", "WEB.org.", "web.org:81", "web.org.:81", "a.web.org:80", "web.com", "10.0.0.1"];
    let paths = vec![
        "/",
        "/a",
        "/a?x=/a/b.txt",
        "/A",
        "/a/",
        "/a/b",
        "/a/b.txt",
        "/a/b/",
        "/a/b/c",
        "/x/b/c.txt",
        "/x/c",
        "/%c3%A4",
        "/b.txt?q",
    ];
    let roles = vec!["admin", "adm", "xmin", "user", "user,admin", "user, admin"];
    let headers = proptest::collection::vec((select(vec!["x-role", "x-other"]), select(roles)), 0..3);
    let text = |all: Vec<&'static str>| select(all).prop_map(str::to_owned);
    let groups = select(vec![
        None,
        Some(Claim::Text("dev")),
        Some(Claim::Text("true")),
        Some(Claim::List(vec!["ops", "dev"])),
        Some(Claim::List(vec![])),
        Some(Claim::Flag(true)),
        Some(Claim::Flag(false)),
    ]);
    let audience = select(vec![None, Some(Claim::Text("web")), Some(Claim::List(vec!["api", "web"]))]);
    let names = (select(vec!["https://a", "https://a/b"]), select(vec!["x", "y/z"]));
    let claims = proptest::option::of((names, groups, audience)).prop_map(|token| {
        let Some(((iss, sub), groups, aud)) = token else { return BTreeMap::new() };
        let own = [("iss", Some(Claim::Text(iss))), ("sub", Some(Claim::Text(sub)))];
        let all = own.into_iter().chain([("groups", groups), ("aud", aud)]);
        all.filter_map(|(name, claim)| Some((name, claim?))).collect()
    });
    let request = (text(vec!["GET", "POST", "PUT"]), text(hosts), text(paths), headers, claims);
    let names = text(vec!["", "web.org", "WEB.org", "a.org", "web.com"]);
    (peer, (ip(), ip(), ip()), 79..83_u16, names, request).prop_map(
        |(peer, (source, remote, destination), port, server_name, (method, host, path, headers, claims))| {
            Request {
                peer,
                source,
                remote,
                destination: (destination, port).into(),
                server_name,
                method,
                host,
                path,
                headers: headers
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                claims,
            }
        },
    )
}

/// What is sent for policies.
fn sent(policies: &[(RuleAction, Vec<Rule>)]) -> Policies {
    let trust =
        TrustSettings { trust_domain: model::TrustDomain::parse("td").expect("one"), ..Default::default() };
    let all = policies.iter().enumerate().map(|(i, (action, rules))| {
        let policy = AuthorizationPolicy {
            meta: Meta { name: Name::new("a", &format!("policy-{i}")), ..Meta::default() },
            dry_run: false,
            spec: Ok(AuthorizationSpec { rules: rules.clone(), ..AuthorizationSpec::default() }),
        };
        let rules = rules_at_waypoints(&policy, *action, &trust, PathNormalization::default());
        let action = match action {
            RuleAction::Allow => WaypointAction::Allow,
            RuleAction::Deny => WaypointAction::Deny,
        };
        let policy = WaypointPolicy { targets: Vec::new(), action, dry_run: false, rules };
        (Name::new("a", &format!("policy-{i}")), Arc::new(policy))
    });
    Policies { access: all.collect(), ..Policies::default() }
}

fn decide(policies: &Policies, at: At, request: &Request) -> bool {
    let stages = policies.stages(at);
    assert!(
        stages
            .iter()
            .map(|stage| stage.filter)
            .is_sorted_by_key(|of| FILTERS.iter().position(|(f, ..)| *f == of))
    );
    stages.iter().all(|stage| passes(stage.rules.as_ref(), request))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_pass_exactly_if_the_policies_say_so(
        policies in policies(),
        requests in proptest::collection::vec(requests(), 12),
        bits in any::<u64>(),
    ) {
        let sent = sent(&policies);
        for request in &requests {
            let mut reading = Reading { bits, is_stream: false, was_open: false };
            let as_written = reading.allows(&policies, request);
            let passes = decide(&sent, At::Requests, request);
            prop_assert!(as_written || !passes, "passes: {request:?}\n{sent:?}");
            prop_assert!(reading.was_open || passes == as_written, "does not pass: {request:?}\n{sent:?}");
        }
    }

    #[test]
    fn streams_never_pass_where_some_request_would_not(
        policies in policies(),
        requests in proptest::collection::vec(requests(), 12),
        bits in any::<u64>(),
    ) {
        let sent = sent(&policies);
        for request in &requests {
            // The address that proxies say is not known.
            let request = &Request { remote: request.source, ..request.clone() };
            let mut reading = Reading { bits, is_stream: true, was_open: false };
            let as_written = reading.allows(&policies, request);
            let passes = decide(&sent, At::Streams, request);
            prop_assert!(as_written || !passes, "passes: {request:?}\n{sent:?}");
            prop_assert!(reading.was_open || passes == as_written, "does not pass: {request:?}\n{sent:?}");
            // A CONNECT is refused only if its stream would be, and for all but the name that a client says.
            let connects = decide(&sent, At::Connect(request.destination), request);
            prop_assert!(connects || !passes, "no CONNECT: {request:?}\n{sent:?}");
            prop_assert!(passes || !connects || sent.asks_for_server_name(), "CONNECT: {request:?}\n{sent:?}");
        }
    }
}
