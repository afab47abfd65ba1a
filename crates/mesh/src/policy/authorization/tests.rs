#![allow(clippy::unwrap_used)]
use super::*;
use crate::policy::evaluator::{Traffic, is_allowed, matches};
use facts::{Condition as When, Meta, Operation, PolicyTargetRef, Rule, Source};
use model::Str;
use proto::security::{Match, Rules, StringMatch, string_match::MatchType};
use std::sync::LazyLock;

mod identities;

static ROOT: LazyLock<Ns> = LazyLock::new(|| Ns::own("istio-system"));
const OFF: Options = Options { dry_run_enabled: false, configures_waypoints: false };
const ON: Options = Options { dry_run_enabled: true, configures_waypoints: false };

/// As in a mesh with the usual trust domain.
fn lower(policy: &AuthorizationPolicy, root_namespace: &Ns, options: Options) -> Lowered {
    super::lower(policy, root_namespace, &TrustSettings::default(), options)
}

fn policy(spec: AuthorizationSpec) -> AuthorizationPolicy {
    AuthorizationPolicy {
        meta: Meta { name: Name::new("shop", "web"), ..Meta::default() },
        dry_run: false,
        spec: Ok(spec),
    }
}

fn rules(action: facts::Action, rules: Vec<Rule>) -> AuthorizationPolicy {
    policy(AuthorizationSpec { action, rules, ..AuthorizationSpec::default() })
}

fn allow(rule: Rule) -> AuthorizationPolicy {
    rules(facts::Action::Allow, vec![rule])
}

fn deny(rule: Rule) -> AuthorizationPolicy {
    rules(facts::Action::Deny, vec![rule])
}

fn from(source: Source) -> Rule {
    Rule { from: vec![source], ..Rule::default() }
}

fn to(operation: Operation) -> Rule {
    Rule { to: vec![operation], ..Rule::default() }
}

fn when(key: &str, values: &[&str], not_values: &[&str]) -> Rule {
    Rule {
        when: vec![When { key: key.into(), values: list(values), not_values: list(not_values) }],
        ..Rule::default()
    }
}

fn list(values: &[&str]) -> Vec<Str> {
    values.iter().map(|v| Str::from(*v)).collect()
}

fn refused(selector: Option<Labels>) -> AuthorizationPolicy {
    let mut policy = rules(facts::Action::Allow, Vec::new());
    policy.spec = Err(Refused {
        selector,
        target_refs: Vec::new(),
        diagnostic: Diagnostic {
            code: "AP001",
            severity: Severity::Error,
            object: Some(reference(&policy)),
            field: "spec.action".to_owned(),
            message: "\"ALOW\" is not an action".to_owned(),
            help: String::new(),
            place: None,
        },
    });
    policy
}

fn in_root(mut policy: AuthorizationPolicy) -> AuthorizationPolicy {
    policy.meta.name = Name::new(&ROOT, "web");
    policy
}

fn sent(policy: &AuthorizationPolicy) -> Authorization {
    lower(policy, &ROOT, OFF).authorization.unwrap()
}

fn told(policy: &AuthorizationPolicy) -> Condition {
    lower(policy, &ROOT, OFF).condition.unwrap()
}

fn codes(policy: &AuthorizationPolicy) -> Vec<(&'static str, String)> {
    lower(policy, &ROOT, OFF).diagnostics.into_iter().map(|d| (d.code, d.field)).collect()
}

/// The groups of what is sent; each group a list of `Rules`, each a list of matches.
fn shape(policy: &AuthorizationPolicy) -> Vec<Vec<Vec<Match>>> {
    sent(policy).groups.into_iter().map(|g| g.rules.into_iter().map(|r| r.matches).collect()).collect()
}

fn exact(text: &str) -> StringMatch {
    StringMatch { match_type: Some(MatchType::Exact(text.to_owned())) }
}

fn ports(ports: &[u32]) -> Match {
    Match { destination_ports: ports.to_vec(), ..Match::default() }
}

// ---- the policy as a whole

#[test]
fn a_dry_run_is_not_sent_while_dry_run_is_off() {
    let mut policy = deny(Rule::default());
    policy.dry_run = true;
    let lowered = lower(&policy, &ROOT, OFF);
    assert_eq!(lowered.authorization, None);
    let condition = lowered.condition.unwrap();
    assert_eq!((condition.status, condition.reason), (false, "UnsupportedValue"));
    assert_eq!(
        condition.message,
        "found policy \"shop/web\" using dry-run annotation, but support for ambient dry-run \
         authorizationPolicies isn't enabled"
    );
    assert_eq!(lowered.diagnostics[0].code, code::DRY_RUN_DISABLED);
    assert_eq!(scope_of(&policy, &ROOT, OFF), None);
}

#[test]
fn a_dry_run_is_sent_marked_while_dry_run_is_on() {
    let mut policy = deny(Rule::default());
    assert!(!lower(&policy, &ROOT, ON).authorization.unwrap().dry_run);
    policy.dry_run = true;
    let sent = lower(&policy, &ROOT, ON).authorization.unwrap();
    assert!(sent.dry_run);
    assert!(is_allowed([&sent], &Traffic::default()), "it is only logged");
}

#[test]
fn a_policy_with_target_refs_is_not_for_ztunnels() {
    let mut policy = deny(Rule::default());
    policy.spec.as_mut().unwrap().target_refs = vec![PolicyTargetRef::default()];
    policy.spec.as_mut().unwrap().action = facts::Action::Custom;
    assert_eq!(lower(&policy, &ROOT, OFF), Lowered::default());
    assert_eq!(scope_of(&policy, &ROOT, OFF), None);
}

#[test]
fn the_scope_follows_from_selector_and_root_namespace() {
    let of = |p: AuthorizationPolicy| sent(&p).scope();
    let with = |selector: &[(&str, &str)]| {
        policy(AuthorizationSpec {
            selector: Some(Labels::new(selector.to_vec())),
            ..AuthorizationSpec::default()
        })
    };
    assert_eq!(of(allow(Rule::default())), Scope::Namespace);
    assert_eq!(of(in_root(allow(Rule::default()))), Scope::Global);
    assert_eq!(of(with(&[("app", "web")])), Scope::WorkloadSelector);
    assert_eq!(of(in_root(with(&[("app", "web")]))), Scope::WorkloadSelector);
    assert_eq!(of(with(&[])), Scope::WorkloadSelector);
    assert_eq!(codes(&with(&[])), [(code::EMPTY_SELECTOR, "spec.selector".to_owned())]);
}

#[test]
fn a_selector_policy_is_listed_by_the_labelled_workloads_of_its_namespace_or_of_all_from_the_root() {
    let web = Labels::new([("app", "web")]);
    let own = policy(AuthorizationSpec { selector: Some(web.clone()), ..AuthorizationSpec::default() });
    let labels = Labels::new([("app", "web"), ("version", "v1")]);
    let scope = scope_of(&own, &ROOT, OFF).unwrap();
    assert!(scope.covers(&"shop".into(), &labels));
    assert!(!scope.covers(&"other".into(), &labels));
    assert!(!scope.covers(&"shop".into(), &Labels::default()), "a workload without labels is not selected");
    let scope = scope_of(&in_root(own), &ROOT, OFF).unwrap();
    assert!(scope.covers(&"shop".into(), &labels) && scope.covers(&"other".into(), &labels));
    assert!(!scope.covers(&"other".into(), &Labels::new([("app", "db")])));
}

#[test]
fn no_workload_lists_a_policy_without_labels_to_select() {
    assert_eq!(scope_of(&allow(Rule::default()), &ROOT, OFF), None);
    let empty =
        policy(AuthorizationSpec { selector: Some(Labels::default()), ..AuthorizationSpec::default() });
    assert_eq!(scope_of(&empty, &ROOT, OFF), None);
}

#[test]
fn an_edit_of_the_rules_leaves_the_scope_equal() {
    let with = |action, rules| {
        policy(AuthorizationSpec {
            selector: Some(Labels::new([("app", "web")])),
            action,
            rules,
            ..AuthorizationSpec::default()
        })
    };
    let before = scope_of(&with(facts::Action::Allow, vec![]), &ROOT, OFF);
    let mut edited = with(facts::Action::Deny, vec![Rule::default()]);
    edited.meta.generation = 7;
    assert!(before.is_some());
    assert_eq!(before, scope_of(&edited, &ROOT, OFF));
}

#[test]
fn audit_and_custom_are_not_sent() {
    for (action, name) in [(facts::Action::Audit, "AUDIT"), (facts::Action::Custom, "CUSTOM")] {
        let policy = rules(action, vec![Rule::default()]);
        let lowered = lower(&policy, &ROOT, OFF);
        assert_eq!(lowered.authorization, None);
        let message = format!("ztunnel does not support the {name} action");
        assert_eq!(lowered.condition, Some(Condition { status: false, reason: "UnsupportedValue", message }));
        assert_eq!(lowered.diagnostics[0].code, code::UNSUPPORTED_ACTION);
        assert_eq!(scope_of(&policy, &ROOT, OFF), None);
    }
}

#[test]
fn each_rule_is_one_group_in_order_under_the_name_of_the_policy() {
    let port = |p| to(Operation { ports: list(&[p]), ..Operation::default() });
    let policy = rules(facts::Action::Deny, vec![port("80"), port("90")]);
    let lowered = sent(&policy);
    assert_eq!((&*lowered.namespace, &*lowered.name, lowered.action()), ("shop", "web", Action::Deny));
    assert_eq!(shape(&policy), [vec![vec![ports(&[80])]], vec![vec![ports(&[90])]]]);
    let accepted = Condition { status: true, reason: "Accepted", message: "attached to ztunnel".to_owned() };
    assert_eq!(told(&policy), accepted);
    assert!(codes(&policy).is_empty());
}

#[test]
fn without_rules_allow_denies_all_and_deny_does_nothing() {
    let allow = sent(&rules(facts::Action::Allow, vec![]));
    let deny = sent(&rules(facts::Action::Deny, vec![]));
    assert!(allow.groups.is_empty() && deny.groups.is_empty());
    assert!(!is_allowed([&allow], &Traffic::default().from("td", "a", "x")));
    assert!(is_allowed([&deny], &Traffic::default()));
}

// ---- rules

#[test]
fn a_rule_with_nothing_in_it_matches_everything() {
    assert_eq!(shape(&allow(Rule::default())), [Vec::<Vec<Match>>::new()]);
    assert!(matches(&sent(&allow(Rule::default())), &Traffic::default()));
    assert!(codes(&allow(Rule::default())).is_empty());
}

#[test]
fn to_comes_first_then_from_then_one_part_per_condition() {
    let rule = Rule {
        from: vec![
            Source { namespaces: list(&["a"]), ..Source::default() },
            Source { principals: list(&["td/ns/a/sa/p"]), ..Source::default() },
        ],
        to: vec![Operation { ports: list(&["80"]), not_ports: list(&["81"]), ..Operation::default() }],
        when: [when("source.namespace", &["b"], &[]).when, when("destination.port", &["90"], &["91"]).when]
            .concat(),
    };
    let expected = vec![
        vec![Match { not_destination_ports: vec![81], ..ports(&[80]) }],
        vec![
            Match { namespaces: vec![exact("a")], ..Match::default() },
            Match { principals: vec![exact("td/ns/a/sa/p")], ..Match::default() },
        ],
        vec![Match { namespaces: vec![exact("b")], ..Match::default() }],
        vec![Match { not_destination_ports: vec![91], ..ports(&[90]) }],
    ];
    assert_eq!(shape(&allow(rule)), [expected]);
}

#[test]
fn every_field_of_a_source_has_its_place() {
    let source = Source {
        principals: list(&["td/ns/a/sa/p"]),
        not_principals: list(&["td/ns/a/sa/np"]),
        namespaces: list(&["n"]),
        not_namespaces: list(&["nn"]),
        service_accounts: list(&["sa"]),
        not_service_accounts: list(&["other/nsa"]),
        ip_blocks: list(&["10.0.0.1"]),
        not_ip_blocks: list(&["10.0.0.0/8"]),
        ..Source::default()
    };
    let account = |namespace: &str, name: &str| proto::security::ServiceAccountMatch {
        namespace: namespace.to_owned(),
        service_account: name.to_owned(),
    };
    let address =
        |bytes: [u8; 4], length| proto::security::Address { address: bytes.to_vec().into(), length };
    let expected = Match {
        principals: vec![exact("td/ns/a/sa/p")],
        not_principals: vec![exact("td/ns/a/sa/np")],
        namespaces: vec![exact("n")],
        not_namespaces: vec![exact("nn")],
        service_accounts: vec![account("shop", "sa")],
        not_service_accounts: vec![account("other", "nsa")],
        source_ips: vec![address([10, 0, 0, 1], 32)],
        not_source_ips: vec![address([10, 0, 0, 0], 8)],
        ..Match::default()
    };
    assert_eq!(shape(&allow(from(source))), [vec![vec![expected]]]);
}

#[test]
fn every_condition_a_ztunnel_knows_has_its_place() {
    let only = |rule: Rule| shape(&allow(rule)).remove(0).remove(0).remove(0);
    let address = |last| proto::security::Address { address: vec![10, 0, 0, last].into(), length: 32 };
    let ip = ["10.0.0.1"].as_slice();
    let not_ip = ["10.0.0.2"].as_slice();
    let source = Match { source_ips: vec![address(1)], not_source_ips: vec![address(2)], ..Match::default() };
    assert_eq!(only(when("source.ip", ip, not_ip)), source);
    let destination = Match {
        destination_ips: vec![address(1)],
        not_destination_ips: vec![address(2)],
        ..Match::default()
    };
    assert_eq!(only(when("destination.ip", ip, not_ip)), destination);
    let namespace =
        Match { namespaces: vec![exact("a")], not_namespaces: vec![exact("b")], ..Match::default() };
    assert_eq!(only(when("source.namespace", &["a"], &["b"])), namespace);
    let principal = Match {
        principals: vec![exact("t/ns/a/sa/a")],
        not_principals: vec![exact("t/ns/b/sa/b")],
        ..Match::default()
    };
    assert_eq!(only(when("source.principal", &["t/ns/a/sa/a"], &["t/ns/b/sa/b"])), principal);
    let port = Match { not_destination_ports: vec![81], ..ports(&[80]) };
    assert_eq!(only(when("destination.port", &["80"], &["81"])), port);
}

// ---- HTTP attributes

fn http_sources() -> Vec<(&'static str, Source)> {
    let v = list(&["v"]);
    vec![
        ("requestPrincipals", Source { request_principals: v.clone(), ..Source::default() }),
        ("notRequestPrincipals", Source { not_request_principals: v.clone(), ..Source::default() }),
        ("remoteIpBlocks", Source { remote_ip_blocks: v.clone(), ..Source::default() }),
        ("notRemoteIpBlocks", Source { not_remote_ip_blocks: v.clone(), ..Source::default() }),
        ("trustDomains", Source { trust_domains: v.clone(), ..Source::default() }),
        ("notTrustDomains", Source { not_trust_domains: v, ..Source::default() }),
    ]
}

fn http_operations() -> Vec<(&'static str, Operation)> {
    let v = list(&["v"]);
    vec![
        ("hosts", Operation { hosts: v.clone(), ..Operation::default() }),
        ("notHosts", Operation { not_hosts: v.clone(), ..Operation::default() }),
        ("methods", Operation { methods: v.clone(), ..Operation::default() }),
        ("notMethods", Operation { not_methods: v.clone(), ..Operation::default() }),
        ("paths", Operation { paths: v.clone(), ..Operation::default() }),
        ("notPaths", Operation { not_paths: v, ..Operation::default() }),
    ]
}

const HTTP_KEYS: [&str; 8] = [
    "remote.ip",
    "connection.sni",
    "request.headers[x]",
    "request.auth.principal",
    "request.auth.claims[iss]",
    "source.serviceAccount",
    "experimental.envoy.filters.a[b]",
    "request.experimental.inline.headers[x]",
];

#[test]
fn each_http_attribute_makes_an_allow_rule_vanish_and_a_deny_rule_dead() {
    let mut each: Vec<(&str, Rule)> = Vec::new();
    each.extend(http_sources().into_iter().map(|(name, s)| (name, from(s))));
    each.extend(http_operations().into_iter().map(|(name, o)| (name, to(o))));
    each.extend(HTTP_KEYS.iter().map(|key| (*key, when(key, &["v"], &[]))));
    for (name, rule) in each {
        let allowing = allow(rule.clone());
        assert!(shape(&allowing).is_empty(), "{name}");
        let condition = told(&allowing);
        assert_eq!((condition.status, condition.reason), (true, "UnsupportedValue"));
        assert_eq!(
            condition.message,
            format!(
                "ztunnel does not support HTTP attributes (found: {name}). In ambient mode you must use a waypoint \
                 proxy to enforce HTTP rules. Within an ALLOW policy, rules matching HTTP attributes are omitted. \
                 This will be more restrictive than requested."
            )
        );
        assert_eq!(codes(&allowing), [(code::HTTP_ATTRIBUTE, "spec.rules".to_owned())]);

        let denying = deny(rule);
        assert_eq!(shape(&denying), [vec![vec![Match::default()]]], "{name}");
        assert!(!matches(&sent(&denying), &Traffic::default()));
        let condition = told(&denying);
        assert_eq!((condition.status, condition.reason), (true, "UnsupportedValue"));
        assert_eq!(
            condition.message,
            format!(
                "ztunnel does not support HTTP attributes (found: {name}). In ambient mode you must use a waypoint \
                 proxy to enforce HTTP rules. After omitting unsupported HTTP attributes, this DENY policy has no \
                 enforceable rules at ztunnel and will have no effect. Deploy a waypoint proxy and use a targetRef to \
                 enforce this policy."
            )
        );
    }
}

#[test]
fn an_allow_policy_keeps_its_rules_without_http_attributes() {
    let kept = to(Operation { ports: list(&["80"]), ..Operation::default() });
    let mut dropped = kept.clone();
    dropped.to[0].methods = list(&["GET"]);
    let policy = rules(facts::Action::Allow, vec![dropped, kept]);
    assert_eq!(shape(&policy), [vec![vec![ports(&[80])]]]);
    assert!(told(&policy).message.contains("(found: methods)"));
}

#[test]
fn a_deny_rule_of_both_kinds_is_widened_and_says_so() {
    let rule = Rule {
        from: vec![Source {
            namespaces: list(&["a"]),
            request_principals: list(&["jwt"]),
            ..Source::default()
        }],
        to: vec![Operation { ports: list(&["80"]), paths: list(&["/admin"]), ..Operation::default() }],
        when: Vec::new(),
    };
    let policy = deny(rule);
    let namespace = Match { namespaces: vec![exact("a")], ..Match::default() };
    assert_eq!(shape(&policy), [vec![vec![ports(&[80])], vec![namespace]]]);
    assert!(!is_allowed([&sent(&policy)], &Traffic::default().from("td", "a", "x")));
    assert!(is_allowed([&sent(&policy)], &Traffic::default().from("td", "b", "x")));
    let condition = told(&policy);
    assert_eq!((condition.status, condition.reason), (true, "UnsupportedValue"));
    assert_eq!(
        condition.message,
        "ztunnel does not support HTTP attributes (found: paths, requestPrincipals). In ambient mode you must use a \
         waypoint proxy to enforce HTTP rules. DENY policy with HTTP attributes is enforced without the HTTP rules. \
         This will be more restrictive than requested."
    );
}

#[test]
fn one_effective_group_makes_a_deny_policy_effective() {
    let dead = to(Operation { methods: list(&["GET"]), ..Operation::default() });
    let half = Rule { from: vec![Source { namespaces: list(&["a"]), ..Source::default() }], ..dead.clone() };
    let message = |rules_: Vec<Rule>| told(&rules(facts::Action::Deny, rules_)).message;
    assert!(
        message(vec![dead.clone(), half.clone()]).contains("no enforceable rules"),
        "each part must be able to match"
    );
    assert!(message(vec![dead.clone(), Rule::default()]).contains("enforced without the HTTP rules"));
    let alive = to(Operation { ports: list(&["80"]), ..Operation::default() });
    assert!(message(vec![dead, half, alive]).contains("enforced without the HTTP rules"));
}

#[test]
fn what_a_deny_policy_does_without_http_attributes_is_told_as_it_is_sent() {
    let from = || vec![Source { namespaces: list(&["a"]), ..Source::default() }];
    let get = || Operation { methods: list(&["GET"]), ..Operation::default() };
    let port = || Operation { ports: list(&["80"]), ..Operation::default() };
    let rule = |from: Vec<Source>, to: Vec<Operation>| Rule { from, to, when: Vec::new() };
    let alive = || rule(from(), vec![port()]);
    let dead = || rule(from(), vec![get()]);
    let traffic = Traffic::default().from("td", "a", "x");
    let told = |of: Vec<Rule>| {
        let policy = rules(facts::Action::Deny, of);
        let found = lower(&policy, &ROOT, OFF)
            .diagnostics
            .into_iter()
            .find(|d| d.code == code::HTTP_ATTRIBUTE)
            .unwrap();
        (found.severity, found.message, is_allowed([&sent(&policy)], &traffic))
    };
    let so = |effect: &str| format!("a ztunnel cannot enforce methods, so {effect}");
    // A source does not help an entry that has nothing else: whom it names is let through.
    let nothing = (Severity::Error, so("the policy denies nothing"), true);
    assert_eq!(told(vec![dead()]), nothing);
    assert_eq!(
        told(vec![rule(vec![], vec![port(), get()]), dead()]),
        (Severity::Error, so("spec.rules[1] denies nothing"), false)
    );
    assert_eq!(
        told(vec![dead(), alive(), dead()]),
        (Severity::Error, so("spec.rules[0] and spec.rules[2] deny nothing"), false)
    );
    let entry = so("the entries that have nothing else deny nothing");
    assert_eq!(told(vec![rule(from(), vec![get(), port()])]), (Severity::Error, entry, false));
    let both = Operation { ports: list(&["80"]), ..get() };
    let wider = so("the entries that have them are enforced without them, and deny more than written");
    assert_eq!(told(vec![rule(from(), vec![both])]), (Severity::Warning, wider, false));
}

// ---- what is not understood

/// Every kind of list: a rule with one good and one bad value, and with a bad value only.
fn unclear() -> Vec<(&'static str, Sign, Rule, Rule)> {
    let both = |good: &str, bad: &str, make: &dyn Fn(Vec<Str>) -> Rule| {
        (make(list(&[good, bad])), make(list(&[bad])))
    };
    let mut cases = Vec::new();
    let mut add = |name, sign, (mixed, only): (Rule, Rule)| cases.push((name, sign, mixed, only));
    let s = Source::default;
    let o = Operation::default;
    use Sign::{Negative, Positive};
    add("ports", Positive, both("80", "http", &|v| to(Operation { ports: v, ..o() })));
    add("notPorts", Negative, both("81", "http", &|v| to(Operation { not_ports: v, ..o() })));
    add("ipBlocks", Positive, both("10.0.0.1", "10.0.0", &|v| from(Source { ip_blocks: v, ..s() })));
    add("notIpBlocks", Negative, both("10.0.0.9", "", &|v| from(Source { not_ip_blocks: v, ..s() })));
    add("namespaces", Positive, both("a", "", &|v| from(Source { namespaces: v, ..s() })));
    add("notNamespaces", Negative, both("b", "", &|v| from(Source { not_namespaces: v, ..s() })));
    add("principals", Positive, both("td/*", "", &|v| from(Source { principals: v, ..s() })));
    add("notPrincipals", Negative, both("td/ns/other/*", "", &|v| from(Source { not_principals: v, ..s() })));
    add("serviceAccounts", Positive, both("a/x", "a/*", &|v| from(Source { service_accounts: v, ..s() })));
    add(
        "notServiceAccounts",
        Negative,
        both("a/y", "a/*", &|v| from(Source { not_service_accounts: v, ..s() })),
    );
    let when = |key: &'static str, positive: bool| {
        move |v: Vec<Str>| {
            let (values, not_values) = if positive { (v, Vec::new()) } else { (Vec::new(), v) };
            Rule { when: vec![When { key: key.into(), values, not_values }], ..Rule::default() }
        }
    };
    for (key, good, other, bad) in [
        ("source.ip", "10.0.0.1", "10.0.0.9", "x"),
        ("destination.ip", "10.0.0.2", "10.0.0.9", "x"),
        ("destination.port", "80", "81", "http"),
        ("source.namespace", "a", "b", ""),
        ("source.principal", "td/*", "td/ns/other/*", ""),
    ] {
        add(key, Positive, both(good, bad, &when(key, true)));
        add(key, Negative, both(other, bad, &when(key, false)));
    }
    cases
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Sign {
    Positive,
    Negative,
}

#[test]
fn an_unclear_value_never_lets_an_allow_policy_allow_more() {
    // This traffic matches every good value of a positive list and none of a negative one.
    let traffic = Traffic::default().from("td", "a", "x");
    for (name, sign, mixed, only) in unclear() {
        assert!(!matches(&sent(&allow(only)), &traffic), "{name} {sign:?}: nothing but unclear values");
        assert_eq!(matches(&sent(&allow(mixed)), &traffic), sign == Sign::Positive, "{name} {sign:?}");
    }
}

#[test]
fn an_unclear_value_never_lets_a_deny_policy_deny_less() {
    let hit = Traffic::default().from("td", "a", "x");
    for (name, sign, mixed, only) in unclear() {
        assert!(matches(&sent(&deny(mixed.clone())), &hit), "{name} {sign:?}");
        assert!(
            matches(&sent(&deny(only)), &Traffic::default().source([1, 1, 1, 1]).port(9)),
            "{name} {sign:?}"
        );
        let condition = told(&deny(mixed));
        assert_eq!((condition.status, condition.reason), (true, "PartiallyInvalid"), "{name} {sign:?}");
    }
}

#[test]
fn an_unclear_value_spoils_only_its_own_entry_of_an_allow_policy() {
    let bad = Source { not_ip_blocks: list(&["x"]), namespaces: list(&["a"]), ..Source::default() };
    let good = Source { namespaces: list(&["b"]), ..Source::default() };
    let policy = sent(&allow(Rule { from: vec![bad, good], ..Rule::default() }));
    assert!(!matches(&policy, &Traffic::default().from("td", "a", "x")));
    assert!(matches(&policy, &Traffic::default().from("td", "b", "x")));
}

#[test]
fn an_unclear_value_widens_only_its_own_list_of_a_deny_policy() {
    let source =
        Source { ip_blocks: list(&["10.0.0.1", "x"]), namespaces: list(&["a"]), ..Source::default() };
    let policy = sent(&deny(from(source)));
    let elsewhere = Traffic::default().source([192, 0, 2, 1]);
    assert!(matches(&policy, &elsewhere.clone().from("td", "a", "x")));
    assert!(!matches(&policy, &elsewhere.from("td", "b", "x")));
}

#[test]
fn an_unclear_value_is_named_with_its_place_and_remedy() {
    let policy = deny(Rule {
        to: vec![
            Operation { ports: list(&["80"]), ..Operation::default() },
            Operation { ports: list(&["80", "http"]), ..Operation::default() },
        ],
        ..Rule::default()
    });
    let lowered = lower(&policy, &ROOT, OFF);
    let [only] = &lowered.diagnostics[..] else { panic!("one diagnostic") };
    assert_eq!((only.code, only.severity), (code::UNCLEAR_VALUE, Severity::Error));
    assert_eq!(
        only.to_string(),
        "AuthorizationPolicy shop/web, spec.rules[0].to[1].operation.ports[1]: \"http\" is not a port from 0 to 65535, \
         so the whole list is ignored and more is denied than written (help: write a port from 0 to 65535)"
    );
    assert_eq!(
        lowered.condition.unwrap().message,
        "enforced more strictly than written: spec.rules[0].to[1].operation.ports[1]: \"http\" is not a port from 0 to \
         65535, so the whole list is ignored and more is denied than written"
    );
}

#[test]
fn an_entry_without_fields_allows_nothing_and_denies_everything() {
    let empty = || [from(Source::default()), to(Operation::default()), when("source.ip", &[], &[])];
    for rule in empty() {
        assert!(!matches(&sent(&allow(rule.clone())), &Traffic::default()));
        assert!(matches(&sent(&deny(rule.clone())), &Traffic::default()));
        assert_eq!(codes(&allow(rule.clone()))[0].0, code::EMPTY_ENTRY);
        assert_eq!(codes(&deny(rule))[0].0, code::EMPTY_ENTRY);
    }
}

#[test]
fn an_unknown_condition_allows_nothing_and_always_holds_for_deny() {
    for key in ["source.ipp", "", "destination.labels[app]", "request.header[x]"] {
        let rule = when(key, &["v"], &[]);
        assert!(shape(&allow(rule.clone())).is_empty(), "{key:?}");
        assert!(matches(&sent(&deny(rule.clone())), &Traffic::default()), "{key:?}");
        let (code, field) = codes(&deny(rule)).remove(1);
        assert_eq!((code, &*field), (code::UNKNOWN_KEY, "spec.rules[0].when[0].key"));
    }
}

#[test]
fn findings_are_bounded_and_the_rest_is_counted() {
    let many: Vec<String> = (0..5000).map(|i| format!("{}{i}", "x".repeat(500))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let policy = deny(to(Operation { ports: list(&many), ..Operation::default() }));
    let lowered = lower(&policy, &ROOT, OFF);
    assert_eq!(lowered.diagnostics.len(), 17);
    let last = lowered.diagnostics.last().unwrap();
    assert_eq!((last.code, &*last.message), (code::MORE_FINDINGS, "4984 more parts were not understood"));
    assert!(lowered.diagnostics.iter().all(|d| d.message.len() < 300));
    let message = lowered.condition.unwrap().message;
    assert!(message.ends_with("(and 4999 more)") && message.len() < 400, "{message}");
}

// ---- refused policies

#[test]
fn a_refused_policy_denies_what_it_selects_and_says_so() {
    let web = Labels::new([("app", "web")]);
    let policy = refused(Some(web.clone()));
    let lowered = lower(&policy, &ROOT, OFF);
    let sent = lowered.authorization.unwrap();
    assert_eq!((sent.scope(), sent.action()), (Scope::WorkloadSelector, Action::Deny));
    assert_eq!(sent.groups, [Group { rules: Vec::<Rules>::new() }]);
    assert!(!is_allowed([&sent], &Traffic::default().from("td", "a", "x")));
    assert_eq!(scope_of(&policy, &ROOT, OFF).unwrap().selector, web);
    let condition = lowered.condition.unwrap();
    assert_eq!((condition.status, condition.reason), (false, "Invalid"));
    assert_eq!(
        condition.message,
        "the policy is not understood, so it denies all traffic: spec.action: \"ALOW\" is not an action"
    );
    assert_eq!(lowered.diagnostics.len(), 1);
    assert_eq!(lowered.diagnostics[0].code, "AP001");
}

#[test]
fn a_refused_policy_without_selector_denies_its_namespace_or_from_the_root_the_mesh() {
    assert_eq!(sent(&refused(None)).scope(), Scope::Namespace);
    assert_eq!(sent(&in_root(refused(None))).scope(), Scope::Global);
    assert_eq!(scope_of(&refused(None), &ROOT, OFF), None);
}

#[test]
fn a_refused_policy_with_target_refs_denies_nothing_at_ztunnels() {
    let mut policy = refused(None);
    policy.spec.as_mut().unwrap_err().target_refs = vec![PolicyTargetRef::default()];
    let lowered = lower(&policy, &ROOT, OFF);
    assert_eq!((lowered.authorization, lowered.condition), (None, None));
    assert_eq!(lowered.diagnostics[0].code, "AP001");
    assert_eq!(scope_of(&policy, &ROOT, OFF), None);
}

#[test]
fn a_refused_dry_run_never_enforces() {
    let mut policy = refused(None);
    policy.dry_run = true;
    assert_eq!(lower(&policy, &ROOT, OFF).authorization, None);
    assert!(lower(&policy, &ROOT, ON).authorization.unwrap().dry_run);
}
