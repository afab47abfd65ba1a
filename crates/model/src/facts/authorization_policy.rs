use super::{Meta, PolicyTargetRef, Refused};
use crate::{Labels, Str};

/// `spec.action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Action {
    /// `ALLOW`, the default.
    #[default]
    Allow,
    /// `DENY`.
    Deny,
    /// `AUDIT`: never for a ztunnel.
    Audit,
    /// `CUSTOM`: never for a ztunnel.
    Custom,
}

/// `spec.rules[].from[].source`. Strings stay as written; each list is in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // the fields are those of `security.istio.io` `Source`, name for name
pub struct Source {
    pub principals: Vec<Str>,
    pub not_principals: Vec<Str>,
    pub request_principals: Vec<Str>,
    pub not_request_principals: Vec<Str>,
    pub namespaces: Vec<Str>,
    pub not_namespaces: Vec<Str>,
    pub service_accounts: Vec<Str>,
    pub not_service_accounts: Vec<Str>,
    pub trust_domains: Vec<Str>,
    pub not_trust_domains: Vec<Str>,
    pub ip_blocks: Vec<Str>,
    pub not_ip_blocks: Vec<Str>,
    pub remote_ip_blocks: Vec<Str>,
    pub not_remote_ip_blocks: Vec<Str>,
}

/// `spec.rules[].to[].operation`. Strings stay as written; each list is in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // the fields are those of `security.istio.io` `Operation`, name for name
pub struct Operation {
    pub hosts: Vec<Str>,
    pub not_hosts: Vec<Str>,
    pub ports: Vec<Str>,
    pub not_ports: Vec<Str>,
    pub methods: Vec<Str>,
    pub not_methods: Vec<Str>,
    pub paths: Vec<Str>,
    pub not_paths: Vec<Str>,
}

/// `spec.rules[].when[]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Condition {
    /// `key`, such as `source.ip`.
    pub key: Str,
    /// `values`.
    pub values: Vec<Str>,
    /// `notValues`.
    pub not_values: Vec<Str>,
}

/// `spec.rules[]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// `from`.
    pub from: Vec<Source>,
    /// `to`.
    pub to: Vec<Operation>,
    /// `when`.
    pub when: Vec<Condition>,
}

/// The understood `spec` of an `AuthorizationPolicy`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthorizationSpec {
    /// `selector.matchLabels`; `Some` even when the selector is written empty.
    pub selector: Option<Labels>,
    /// `targetRefs`, then `targetRef`.
    pub target_refs: Vec<PolicyTargetRef>,
    /// `action`.
    pub action: Action,
    /// `provider.name` of a CUSTOM action; empty when unset.
    pub provider: Str,
    /// `rules`, in order.
    pub rules: Vec<Rule>,
}

/// Facts of an `AuthorizationPolicy`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationPolicy {
    /// Metadata.
    pub meta: Meta,
    /// Annotation `istio.io/dry-run` is true in the sense of Go's `ParseBool`.
    pub dry_run: bool,
    /// `spec`, or why it was not understood.
    pub spec: Result<AuthorizationSpec, Refused>,
}

impl AuthorizationPolicy {
    /// Returns the selector, of a policy that was refused as well.
    pub fn selector(&self) -> Option<&Labels> {
        match &self.spec {
            Ok(spec) => spec.selector.as_ref(),
            Err(refused) => refused.selector.as_ref(),
        }
    }

    /// Returns what it targets, of a policy that was refused as well.
    pub fn target_refs(&self) -> &[PolicyTargetRef] {
        match &self.spec {
            Ok(spec) => &spec.target_refs,
            Err(refused) => &refused.target_refs,
        }
    }
}
