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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RuleManifest<'a> {
    #[serde(borrow)]
    from: Option<Vec<From<'a>>>,
    #[serde(borrow)]
    to: Option<Vec<To<'a>>>,
    #[serde(borrow)]
    when: Option<Vec<When<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct From<'a> {
    #[serde(borrow)]
    source: Option<SourceManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct To<'a> {
    #[serde(borrow)]
    operation: Option<OperationManifest<'a>>,
}

type List<'a> = Option<Vec<Text<'a>>>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
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
#[serde(rename_all = "camelCase", expecting = "an object")]
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
#[serde(rename_all = "camelCase", expecting = "an object")]
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
