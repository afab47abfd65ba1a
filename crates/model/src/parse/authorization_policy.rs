use super::enumeration::Enumeration;
use super::policy::{self, Policy, TargetRef, TargetRefs};
use super::selector::WorkloadSelector;
use super::text::{Text, or_empty, shared_list};
use super::{code, wrong::Wrong};
use crate::facts::{Action, AuthorizationPolicy, AuthorizationSpec, Condition, Operation, Rule, Source};
use crate::{Kind, shared};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    selector: Option<WorkloadSelector<'a>>,
    #[serde(borrow, alias = "target_refs")]
    target_refs: Option<Vec<TargetRef<'a>>>,
    #[serde(borrow, alias = "target_ref")]
    target_ref: Option<TargetRef<'a>>,
    action: Option<Enumeration>,
    #[serde(borrow)]
    provider: Option<Provider<'a>>,
    #[serde(borrow)]
    rules: Option<Vec<RuleManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Provider<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

// A rule must be understood whole: a matcher that is skipped would let an ALLOW match more than was
// written. An API server drops what its definitions do not know, so this concerns files and newer
// definitions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RuleManifest<'a> {
    #[serde(borrow)]
    from: Option<Vec<From<'a>>>,
    #[serde(borrow)]
    to: Option<Vec<To<'a>>>,
    #[serde(borrow)]
    when: Option<Vec<When<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct From<'a> {
    #[serde(borrow)]
    source: Option<SourceManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct To<'a> {
    #[serde(borrow)]
    operation: Option<OperationManifest<'a>>,
}

type List<'a> = Option<Vec<Text<'a>>>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
struct SourceManifest<'a> {
    #[serde(borrow)]
    principals: List<'a>,
    #[serde(borrow, alias = "not_principals")]
    not_principals: List<'a>,
    #[serde(borrow, alias = "request_principals")]
    request_principals: List<'a>,
    #[serde(borrow, alias = "not_request_principals")]
    not_request_principals: List<'a>,
    #[serde(borrow)]
    namespaces: List<'a>,
    #[serde(borrow, alias = "not_namespaces")]
    not_namespaces: List<'a>,
    #[serde(borrow, alias = "service_accounts")]
    service_accounts: List<'a>,
    #[serde(borrow, alias = "not_service_accounts")]
    not_service_accounts: List<'a>,
    #[serde(borrow, alias = "trust_domains")]
    trust_domains: List<'a>,
    #[serde(borrow, alias = "not_trust_domains")]
    not_trust_domains: List<'a>,
    #[serde(borrow, alias = "ip_blocks")]
    ip_blocks: List<'a>,
    #[serde(borrow, alias = "not_ip_blocks")]
    not_ip_blocks: List<'a>,
    #[serde(borrow, alias = "remote_ip_blocks")]
    remote_ip_blocks: List<'a>,
    #[serde(borrow, alias = "not_remote_ip_blocks")]
    not_remote_ip_blocks: List<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
struct OperationManifest<'a> {
    #[serde(borrow)]
    hosts: List<'a>,
    #[serde(borrow, alias = "not_hosts")]
    not_hosts: List<'a>,
    #[serde(borrow)]
    ports: List<'a>,
    #[serde(borrow, alias = "not_ports")]
    not_ports: List<'a>,
    #[serde(borrow)]
    methods: List<'a>,
    #[serde(borrow, alias = "not_methods")]
    not_methods: List<'a>,
    #[serde(borrow)]
    paths: List<'a>,
    #[serde(borrow, alias = "not_paths")]
    not_paths: List<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
struct When<'a> {
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    values: List<'a>,
    #[serde(borrow, alias = "not_values")]
    not_values: List<'a>,
}

const ACTIONS: &[(&str, i64, Action)] = &[
    ("ALLOW", 0, Action::Allow),
    ("DENY", 1, Action::Deny),
    ("AUDIT", 2, Action::Audit),
    ("CUSTOM", 3, Action::Custom),
];

/// Returns the facts of an `AuthorizationPolicy`.
///
/// # Errors
/// Only when the document is no JSON or names no object.
pub(super) fn parse(json: &[u8]) -> Result<AuthorizationPolicy, Wrong> {
    let Policy { meta, dry_run, spec } =
        policy::parse(Kind::AuthorizationPolicy, json, code::AUTHORIZATION_FIELD, lower)?;
    Ok(AuthorizationPolicy { meta, dry_run, spec })
}

fn lower(spec: Spec<'_>) -> Result<AuthorizationSpec, Wrong> {
    let action = match &spec.action {
        Some(action) => action.pick(ACTIONS, code::AUTHORIZATION_ACTION, "spec.action".to_owned())?,
        None => Action::Allow,
    };
    Ok(AuthorizationSpec {
        selector: spec.selector.map(|s| s.labels()),
        target_refs: TargetRefs { target_refs: spec.target_refs, target_ref: spec.target_ref }.lower(),
        action,
        provider: spec.provider.map(|p| shared(or_empty(&p.name))).unwrap_or_default(),
        rules: spec.rules.unwrap_or_default().into_iter().map(RuleManifest::lower).collect(),
    })
}

impl RuleManifest<'_> {
    fn lower(self) -> Rule {
        let from = self.from.unwrap_or_default().into_iter();
        let to = self.to.unwrap_or_default().into_iter();
        Rule {
            from: from.map(|f| f.source.unwrap_or_default().lower()).collect(),
            to: to.map(|t| t.operation.unwrap_or_default().lower()).collect(),
            when: self.when.unwrap_or_default().into_iter().map(When::lower).collect(),
        }
    }
}

impl SourceManifest<'_> {
    fn lower(self) -> Source {
        Source {
            principals: shared_list(self.principals),
            not_principals: shared_list(self.not_principals),
            request_principals: shared_list(self.request_principals),
            not_request_principals: shared_list(self.not_request_principals),
            namespaces: shared_list(self.namespaces),
            not_namespaces: shared_list(self.not_namespaces),
            service_accounts: shared_list(self.service_accounts),
            not_service_accounts: shared_list(self.not_service_accounts),
            trust_domains: shared_list(self.trust_domains),
            not_trust_domains: shared_list(self.not_trust_domains),
            ip_blocks: shared_list(self.ip_blocks),
            not_ip_blocks: shared_list(self.not_ip_blocks),
            remote_ip_blocks: shared_list(self.remote_ip_blocks),
            not_remote_ip_blocks: shared_list(self.not_remote_ip_blocks),
        }
    }
}

impl OperationManifest<'_> {
    fn lower(self) -> Operation {
        Operation {
            hosts: shared_list(self.hosts),
            not_hosts: shared_list(self.not_hosts),
            ports: shared_list(self.ports),
            not_ports: shared_list(self.not_ports),
            methods: shared_list(self.methods),
            not_methods: shared_list(self.not_methods),
            paths: shared_list(self.paths),
            not_paths: shared_list(self.not_paths),
        }
    }
}

impl When<'_> {
    fn lower(self) -> Condition {
        Condition {
            key: shared(or_empty(&self.key)),
            values: shared_list(self.values),
            not_values: shared_list(self.not_values),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use crate::facts::Refused;
    use serde_json::{Value, json};

    fn policy(mut manifest: Value) -> AuthorizationPolicy {
        if manifest.get("metadata").is_none() {
            manifest["metadata"] = json!({"name": "p", "namespace": "shop"});
        }
        parse(manifest.to_string().as_bytes()).unwrap()
    }

    fn spec(spec: Value) -> AuthorizationSpec {
        policy(json!({"spec": spec})).spec.unwrap()
    }

    fn refused(spec: Value) -> Refused {
        policy(json!({"spec": spec})).spec.unwrap_err()
    }

    #[test]
    fn a_matcher_that_is_not_known_refuses_the_policy_and_keeps_its_selector() {
        for rule in [
            json!({"from": [{"source": {"namespaces": ["a"], "ipBlock": ["10.0.0.0/8"]}}]}),
            json!({"to": [{"operation": {"ports": ["80"], "method": ["GET"]}}]}),
            json!({"when": [{"key": "source.ip", "value": ["10.0.0.1"]}]}),
            json!({"form": []}),
        ] {
            let refused = refused(json!({"selector": {"matchLabels": {"app": "web"}}, "rules": [rule]}));
            assert!(refused.diagnostic.field.starts_with("spec.rules[0]"), "{}", refused.diagnostic);
            assert_eq!(refused.selector, Some(Labels::new([("app", "web")])));
        }
        // Outside the rules a field more cannot widen anything.
        assert!(spec(json!({"later": 1, "rules": [{}]})).rules.len() == 1);
    }

    #[test]
    fn every_field_of_a_rule_is_read() {
        let lists = |names: &[&str]| -> Value {
            names.iter().map(|n| ((*n).to_owned(), json!([n]))).collect::<serde_json::Map<_, _>>().into()
        };
        let source = [
            "principals",
            "notPrincipals",
            "requestPrincipals",
            "notRequestPrincipals",
            "namespaces",
            "notNamespaces",
            "serviceAccounts",
            "notServiceAccounts",
            "trustDomains",
            "notTrustDomains",
            "ipBlocks",
            "notIpBlocks",
            "remoteIpBlocks",
            "notRemoteIpBlocks",
        ];
        let operation =
            ["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"];
        let spec = spec(json!({
            "selector": {"matchLabels": {"app": "web"}}, "action": "DENY",
            "rules": [{
                "from": [{"source": lists(&source)}], "to": [{"operation": lists(&operation)}],
                "when": [{"key": "source.ip", "values": ["10.0.0.0/8"], "notValues": ["10.0.0.1"]}],
            }],
        }));
        let one = |text: &str| vec![crate::Str::from(text)];
        let expected = AuthorizationSpec {
            selector: Some(Labels::new([("app", "web")])),
            action: Action::Deny,
            rules: vec![Rule {
                from: vec![Source {
                    principals: one("principals"),
                    not_principals: one("notPrincipals"),
                    request_principals: one("requestPrincipals"),
                    not_request_principals: one("notRequestPrincipals"),
                    namespaces: one("namespaces"),
                    not_namespaces: one("notNamespaces"),
                    service_accounts: one("serviceAccounts"),
                    not_service_accounts: one("notServiceAccounts"),
                    trust_domains: one("trustDomains"),
                    not_trust_domains: one("notTrustDomains"),
                    ip_blocks: one("ipBlocks"),
                    not_ip_blocks: one("notIpBlocks"),
                    remote_ip_blocks: one("remoteIpBlocks"),
                    not_remote_ip_blocks: one("notRemoteIpBlocks"),
                }],
                to: vec![Operation {
                    hosts: one("hosts"),
                    not_hosts: one("notHosts"),
                    ports: one("ports"),
                    not_ports: one("notPorts"),
                    methods: one("methods"),
                    not_methods: one("notMethods"),
                    paths: one("paths"),
                    not_paths: one("notPaths"),
                }],
                when: vec![Condition {
                    key: "source.ip".into(),
                    values: one("10.0.0.0/8"),
                    not_values: one("10.0.0.1"),
                }],
            }],
            ..AuthorizationSpec::default()
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn both_spellings_of_a_field_are_one() {
        let camel = json!({"targetRefs": [{"kind": "Service", "name": "web"}], "rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.1"], "notServiceAccounts": ["a"]}}]}]});
        let snake = json!({"target_refs": [{"kind": "Service", "name": "web"}], "rules": [{"from": [{"source": {"ip_blocks": ["10.0.0.1"], "not_service_accounts": ["a"]}}]}]});
        assert_eq!(spec(camel), spec(snake));
    }

    #[test]
    fn target_refs_go_before_the_legacy_one() {
        let spec = spec(json!({
            "targetRef": {"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "w"},
            "targetRefs": [{"kind": "Service", "group": "", "name": "web", "namespace": "shop"}],
        }));
        let names: Vec<&str> = spec.target_refs.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["web", "w"]);
        assert_eq!(spec.target_refs[0].namespace, "shop");
    }

    #[test]
    fn an_empty_selector_is_not_an_absent_one() {
        assert_eq!(spec(json!({"selector": {}})).selector, Some(Labels::default()));
        assert_eq!(spec(json!({"selector": null})).selector, None);
        assert_eq!(spec(json!({})).selector, None);
    }

    #[test]
    fn empty_rules_and_rules_with_nothing_differ() {
        assert!(spec(json!({"rules": []})).rules.is_empty());
        assert!(spec(json!({"rules": null})).rules.is_empty());
        assert_eq!(spec(json!({"rules": [{}]})).rules, [Rule::default()]);
        let empty_source = Rule { from: vec![Source::default()], ..Rule::default() };
        assert_eq!(spec(json!({"rules": [{"from": [{}]}]})).rules, [empty_source]);
    }

    #[test]
    fn no_spec_is_an_allow_policy_that_allows_nothing() {
        let policy = policy(json!({}));
        assert_eq!(policy.spec.unwrap(), AuthorizationSpec::default());
    }

    #[test]
    fn actions_are_read_by_name_and_by_number() {
        for (written, action) in [
            (json!("ALLOW"), Action::Allow),
            (json!("DENY"), Action::Deny),
            (json!("AUDIT"), Action::Audit),
            (json!("CUSTOM"), Action::Custom),
            (json!(1), Action::Deny),
            (json!(null), Action::Allow),
        ] {
            assert_eq!(spec(json!({"action": written})).action, action);
        }
        let custom = spec(json!({"action": "CUSTOM", "provider": {"name": "opa"}}));
        assert_eq!(custom.provider, "opa");
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_selector() {
        let web = json!({"matchLabels": {"app": "web"}});
        for (wrong, field) in [
            (json!({"selector": web, "action": "ALLOW_ALL"}), "spec.action"),
            (json!({"selector": web, "action": 7}), "spec.action"),
            (json!({"selector": web, "rules": {}}), "spec.rules"),
            (json!({"selector": web, "rules": [null]}), "spec.rules[0]"),
            (json!({"selector": web, "rules": [{"from": [null]}]}), "spec.rules[0].from[0]"),
            (
                json!({"selector": web, "rules": [{"to": [{"operation": {"ports": [80]}}]}]}),
                "spec.rules[0].to[0].operation.ports[0]",
            ),
            (
                json!({"selector": web, "rules": [{"when": [{"key": "source.ip", "values": "10.0.0.1"}]}]}),
                "spec.rules[0].when[0].values",
            ),
            (
                json!({"selector": web, "rules": [{"from": [{"source": {"namespaces": [null]}}]}]}),
                "spec.rules[0].from[0].source.namespaces[0]",
            ),
        ] {
            let refused = refused(wrong);
            assert_eq!(refused.diagnostic.field, field);
            assert_eq!(refused.selector, Some(Labels::new([("app", "web")])), "{field}");
            assert_eq!(refused.diagnostic.object.unwrap().to_string(), "AuthorizationPolicy shop/p");
        }
    }

    #[test]
    fn a_selector_that_cannot_be_read_covers_the_whole_scope() {
        for selector in [
            json!("app=web"),
            json!({"matchLabels": {"app": null}}),
            json!({"matchLabels": {"app": 1}}),
            json!({"matchLabels": ["app"]}),
        ] {
            assert_eq!(refused(json!({"selector": selector})).selector, None);
        }
        for spec in [json!([]), json!("x"), json!(1), json!(true)] {
            assert_eq!(refused(spec).selector, None);
        }
    }

    #[test]
    fn a_refused_policy_keeps_its_targets() {
        let refused = refused(json!({"targetRefs": [{"kind": "Gateway", "name": "w"}], "action": "NO"}));
        assert_eq!(refused.target_refs[0].name, "w");
        assert_eq!(refused.selector, None);
    }

    #[test]
    fn wrong_metadata_refuses_a_policy_that_has_a_name() {
        let policy = policy(json!({
            "metadata": {"name": "p", "namespace": "shop", "labels": ["x"]},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }));
        assert_eq!(policy.meta.name, crate::Name::new("shop", "p"));
        let refused = policy.spec.unwrap_err();
        assert_eq!(refused.diagnostic.field, "metadata.labels");
        assert_eq!(refused.selector, Some(Labels::new([("app", "web")])));
    }

    #[test]
    fn nesting_without_end_refuses_the_policy() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let json = format!(r#"{{"metadata":{{"name":"p","namespace":"shop"}},"spec":{{"rules":{deep}}}}}"#);
        assert!(parse(json.as_bytes()).unwrap().spec.is_err());
    }

    #[test]
    fn dry_run_is_what_go_takes_for_true() {
        for (text, dry) in [
            ("true", true),
            ("1", true),
            ("T", true),
            ("t", true),
            ("TRUE", true),
            ("True", true),
            ("tRUE", false),
            ("yes", false),
            ("", false),
            ("false", false),
        ] {
            let policy = policy(json!({"metadata": {
                "name": "p", "namespace": "shop", "annotations": {"istio.io/dry-run": text},
            }}));
            assert_eq!(policy.dry_run, dry, "{text}");
        }
    }
}
