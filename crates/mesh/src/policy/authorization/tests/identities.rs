//! Values that no identity can have, and principals of other trust domains.

use super::*;
use model::TrustDomain;

/// A rule for each field of sources and each key of conditions, by the field's path after `spec.rules[0].`,
/// and whether it is a list of exceptions.
fn fields(value: &str) -> Vec<(&'static str, bool, Rule)> {
    let v = || list(&[value]);
    let s = Source::default;
    vec![
        ("from[0].source.principals[0]", false, from(Source { principals: v(), ..s() })),
        ("from[0].source.notPrincipals[0]", true, from(Source { not_principals: v(), ..s() })),
        ("when[0].values[0]", false, when("source.principal", &[value], &[])),
        ("when[0].notValues[0]", true, when("source.principal", &[], &[value])),
    ]
}

fn namespaces(value: &str) -> Vec<(&'static str, bool, Rule)> {
    let v = || list(&[value]);
    let s = Source::default;
    vec![
        ("from[0].source.namespaces[0]", false, from(Source { namespaces: v(), ..s() })),
        ("from[0].source.notNamespaces[0]", true, from(Source { not_namespaces: v(), ..s() })),
        ("when[0].values[0]", false, when("source.namespace", &[value], &[])),
        ("when[0].notValues[0]", true, when("source.namespace", &[], &[value])),
    ]
}

fn accounts(value: &str) -> Vec<(&'static str, bool, Rule)> {
    let v = || list(&[value]);
    let s = Source::default;
    vec![
        ("from[0].source.serviceAccounts[0]", false, from(Source { service_accounts: v(), ..s() })),
        ("from[0].source.notServiceAccounts[0]", true, from(Source { not_service_accounts: v(), ..s() })),
    ]
}

/// Asserts that the rules allow nobody, deny everybody, and name the field with this help.
fn assert_closed(value: &str, rules: Vec<(&'static str, bool, Rule)>, help: &str) {
    for (field, _, rule) in rules {
        for traffic in [Traffic::default(), Traffic::default().from("cluster.local", "bad", "bad")] {
            assert!(!matches(&sent(&allow(rule.clone())), &traffic), "{value:?} in {field} allows");
            assert!(matches(&sent(&deny(rule.clone())), &traffic), "{value:?} in {field} does not deny");
        }
        for policy in [allow(rule.clone()), deny(rule)] {
            let lowered = lower(&policy, &ROOT, OFF);
            let [only] = &lowered.diagnostics[..] else { panic!("{value:?}: {:?}", lowered.diagnostics) };
            assert_eq!((only.code, only.severity), (code::UNCLEAR_VALUE, Severity::Error), "{value:?}");
            assert_eq!(only.field, format!("spec.rules[0].{field}"));
            assert_eq!(only.help, help, "{value:?}");
            assert_eq!(lowered.condition.unwrap().reason, "PartiallyInvalid");
        }
    }
}

#[test]
fn a_principal_that_no_identity_can_have_fails_closed_and_says_what_is_likely_meant() {
    for (value, help) in [
        ("spiffe://cluster.local/ns/bad/sa/bad", "did you mean `cluster.local/ns/bad/sa/bad`?"),
        ("spiffe://cluster.local/ns/bad/*", "did you mean `cluster.local/ns/bad/*`?"),
        ("cluster.local/ns/*/sa/bad", "did you mean `*/sa/bad`?"),
        ("cluster.local/ns/bad/sa/bad ", "did you mean `cluster.local/ns/bad/sa/bad`?"),
        ("cluster.local/ns/Bad/sa/bad", "did you mean `cluster.local/ns/bad/sa/bad`?"),
        ("ns/bad/sa/bad", "did you mean `cluster.local/ns/bad/sa/bad`?"),
        ("bad/bad", "did you mean `cluster.local/ns/bad/sa/bad`?"),
        ("cluster.local/ns/bad", "did you mean `cluster.local/ns/bad/*`?"),
        ("*/ns/bad/*", "write `namespaces: [bad]` for all accounts of a namespace"),
    ] {
        assert_closed(value, fields(value), help);
    }
}

#[test]
fn a_namespace_that_cannot_be_fails_closed_and_says_what_is_likely_meant() {
    for (value, help) in [
        ("Bad", "did you mean `bad`?"),
        (" bad", "did you mean `bad`?"),
        ("cluster.local/ns/bad", "did you mean `bad`?"),
        ("bad/bad", "write `serviceAccounts: [bad/bad]` for one account"),
    ] {
        assert_closed(value, namespaces(value), help);
    }
}

#[test]
fn a_service_account_that_cannot_be_fails_closed_and_says_what_is_likely_meant() {
    for (value, help) in [
        ("bad/Bad", "did you mean `bad/bad`?"),
        ("bad/bad ", "did you mean `bad/bad`?"),
        ("spiffe://cluster.local/ns/bad/sa/bad", "did you mean `bad/bad`?"),
        ("bad/*", "write `namespaces: [bad]` for all accounts of a namespace"),
        ("*/bad", "write `principals: [\"*/sa/bad\"]` for this account of every namespace"),
    ] {
        assert_closed(value, accounts(value), help);
    }
}

fn trust() -> TrustSettings {
    let domain = |text: &str| TrustDomain::parse(text).unwrap();
    TrustSettings {
        trust_domain: domain("corp.test"),
        aliases: vec![domain("old.test")],
        ..TrustSettings::default()
    }
}

#[test]
fn a_principal_of_a_former_trust_domain_is_sent_as_it_is_and_told() {
    for domain in ["cluster.local", "old.test"] {
        let value = format!("{domain}/ns/bad/sa/bad");
        for (field, is_exception, rule) in fields(&value) {
            for (policy, is_deny) in [(allow(rule.clone()), false), (deny(rule.clone()), true)] {
                let lowered = super::super::lower(&policy, &ROOT, &trust(), OFF);
                assert_eq!(lowered.authorization, lower(&policy, &ROOT, OFF).authorization);
                assert_eq!(lowered.condition.unwrap().reason, "Accepted");
                let [only] = &lowered.diagnostics[..] else { panic!("{:?}", lowered.diagnostics) };
                // What denies, or excludes from what is allowed, leaves those open who were meant.
                let is_open = is_deny != is_exception;
                let severity = if is_open { Severity::Error } else { Severity::Warning };
                assert_eq!((only.code, only.severity), (code::OTHER_TRUST_DOMAIN, severity), "{field}");
                assert_eq!(only.field, format!("spec.rules[0].{field}"));
                assert_eq!(
                    only.help,
                    "did you mean `corp.test/ns/bad/sa/bad`? `*/ns/bad/sa/bad` is for every trust domain"
                );
            }
        }
    }
    let policy = deny(from(Source { principals: list(&["cluster.local/ns/bad/*"]), ..Source::default() }));
    let lowered = super::super::lower(&policy, &ROOT, &trust(), OFF);
    assert_eq!(
        lowered.diagnostics[0].to_string(),
        "AuthorizationPolicy shop/web, spec.rules[0].from[0].source.principals[0]: \"cluster.local/ns/bad/*\" is of \
         trust domain cluster.local, and identities of this mesh are of corp.test: it denies nobody of this mesh \
         (help: did you mean `corp.test/ns/bad/*`?)"
    );
}

#[test]
fn a_principal_of_this_trust_domain_or_of_any_is_nothing_to_tell() {
    let principals = list(&["corp.test/ns/a/sa/x", "corp.test/*", "corp*", "*/ns/a/sa/x", "*"]);
    let policy = deny(from(Source { principals, ..Source::default() }));
    assert!(super::super::lower(&policy, &ROOT, &trust(), OFF).diagnostics.is_empty());
}

#[test]
fn a_principal_of_another_mesh_is_worth_knowing() {
    let principals: Vec<String> = (0..20).map(|i| format!("partner.test/ns/a/sa/x{i}")).collect();
    let principals = principals.iter().map(|p| Str::from(p.as_str())).collect();
    let policy = deny(from(Source { principals, ..Source::default() }));
    let told = super::super::lower(&policy, &ROOT, &trust(), OFF).diagnostics;
    let Some((last, listed)) = told.split_last() else { panic!("nothing is told") };
    assert_eq!(listed.len(), 16, "what is told of one policy is bounded");
    assert!(listed.iter().all(|d| (d.code, d.severity) == (code::OTHER_TRUST_DOMAIN, Severity::Info)));
    assert_eq!(
        (last.code, last.message.as_str()),
        (code::MORE_FINDINGS, "4 more principals are of other trust domains")
    );
}
