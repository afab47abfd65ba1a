//! `AuthorizationPolicy` with targets to what waypoints enforce, its condition and its diagnostics.

use model::facts::{Action, AuthorizationPolicy, AuthorizationSpec, PathNormalization, PolicyTargetRef};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, Str};
use std::sync::Arc;

use super::asked::Asked;
use super::authorization::{Condition, findings, reference, refused_condition, stricter};
use super::code;
use super::reader::{Enforcer, RuleReader};
use super::rule::{Rule, RuleAction};
use crate::settings::TrustSettings;

/// What waypoints make of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaypointPolicy {
    /// What it is for; one of them is enough.
    pub targets: Vec<PolicyTarget>,
    /// What becomes of traffic that matches.
    pub action: WaypointAction,
    /// Whether it is only tried, and what it would do told.
    pub dry_run: bool,
    /// In order: alternatives. Without any, nothing matches.
    pub rules: Vec<Rule>,
}

/// What becomes of traffic that a policy matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WaypointAction {
    /// It is allowed, and what no policy allows is not.
    Allow,
    /// It is denied.
    Deny,
    /// Somebody is asked about it; `None` if there is nobody, so it is denied.
    Ask(Option<Arc<Asked>>),
    /// It is marked for whoever logs.
    Audit,
}

/// What a policy is for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PolicyTarget {
    /// A `Service` or a `ServiceEntry`.
    Service(Kind, Name),
    /// All that goes through a waypoint.
    Gateway(Name),
    /// All that goes through any waypoint of a class.
    Class(Str),
    /// All that gateways of a namespace do, and that is for services of it; of the root namespace, all.
    /// No policy of access is for that: ztunnels enforce one without targets.
    Namespace(Ns),
}

/// A policy at waypoints, and what its author is told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct AtWaypoints {
    /// `None` if it has no effect.
    pub policy: Option<WaypointPolicy>,
    /// What of the policy is not as written; `None` if all is.
    pub fault: Option<Condition>,
    pub diagnostics: Vec<Diagnostic>,
    /// The provider that is to be asked, for CUSTOM.
    pub provider: Option<Str>,
}

/// Returns what waypoints make of `policy`; `None` for one without targets. What is not understood denies.
pub(crate) fn at_waypoints(
    policy: &AuthorizationPolicy,
    root_namespace: &Ns,
    trust: &TrustSettings,
    normalization: PathNormalization,
) -> Option<AtWaypoints> {
    let refs = policy.target_refs();
    if refs.is_empty() {
        return None;
    }
    let of = |action, rules| WaypointPolicy {
        targets: targets(&policy.meta.name.ns, refs, root_namespace),
        action,
        dry_run: policy.dry_run,
        rules,
    };
    let spec = match &policy.spec {
        Ok(spec) => spec,
        Err(refused) => {
            return Some(AtWaypoints {
                policy: Some(of(WaypointAction::Deny, vec![Rule::default()])),
                provider: None,
                fault: Some(refused_condition(refused)),
                // Why it was refused is told whoever enforces it.
                diagnostics: Vec::new(),
            });
        }
    };
    let (action, read_as, provider) = match spec.action {
        Action::Allow => (WaypointAction::Allow, RuleAction::Allow, None),
        Action::Deny => (WaypointAction::Deny, RuleAction::Deny, None),
        Action::Audit => (WaypointAction::Audit, RuleAction::Deny, None),
        // Who that is is found out later. What is not understood is asked about, too.
        Action::Custom => (WaypointAction::Ask(None), RuleAction::Deny, Some(spec.provider.clone())),
    };
    let (rules, reader) = read(policy, spec, read_as, trust, normalization);
    let fault =
        stricter(&reader).map(|message| Condition { status: true, reason: "PartiallyInvalid", message });
    let mut diagnostics = findings(policy, reader);
    if policy.dry_run && matches!(spec.action, Action::Custom | Action::Audit) {
        let message = "only ALLOW and DENY can be tried: the policy changes nothing";
        diagnostics.push(told_of_action(
            policy,
            Severity::Warning,
            message.to_owned(),
            "remove istio.io/dry-run",
        ));
        return Some(AtWaypoints { policy: None, fault, diagnostics, provider: None });
    }
    if spec.action == Action::Audit {
        let message =
            "AUDIT marks requests for access logs (envoy.common, access_log_hint), and nothing more";
        let help = "let the format of the access log show the mark, or remove the policy";
        diagnostics.push(told_of_action(policy, Severity::Info, message.to_owned(), help));
    }
    Some(AtWaypoints { policy: Some(of(action, rules)), fault, diagnostics, provider })
}

/// Returns what the author of a policy is told whose provider nobody can ask.
pub(crate) fn unanswered(policy: &Name, provider: &str, why: &str) -> (Condition, Diagnostic) {
    let message = format!("provider {provider:?} cannot be asked, so what the rules match is denied: {why}");
    let diagnostic = Diagnostic {
        code: code::UNANSWERED,
        severity: Severity::Error,
        object: Some(ObjectRef { kind: Kind::AuthorizationPolicy, name: policy.clone() }),
        field: "spec.provider.name".to_owned(),
        message: message.clone(),
        help: "name an entry of extensionProviders in the mesh settings, and let it name a service and a port that are there".to_owned(),
        place: None,
    };
    (Condition { status: false, reason: "UnsupportedValue", message }, diagnostic)
}

fn read<'p>(
    policy: &'p AuthorizationPolicy,
    spec: &'p AuthorizationSpec,
    action: RuleAction,
    trust: &'p TrustSettings,
    normalization: PathNormalization,
) -> (Vec<Rule>, RuleReader<'p>) {
    let enforcer = Enforcer::Waypoint(normalization);
    let mut reader = RuleReader::new(enforcer, action, &policy.meta.name.ns, trust);
    let rules = spec.rules.iter().enumerate().filter_map(|(i, rule)| reader.rule(i, rule)).collect();
    (rules, reader)
}

/// Returns the rules of a policy as waypoints enforce them, none of a policy that was refused.
pub fn rules_at_waypoints(
    policy: &AuthorizationPolicy,
    action: RuleAction,
    trust: &TrustSettings,
    normalization: PathNormalization,
) -> Vec<Rule> {
    let spec = policy.spec.as_ref().ok();
    spec.map(|spec| read(policy, spec, action, trust, normalization).0).unwrap_or_default()
}

/// Returns what references mean. One into another namespace means nothing: nobody is to deny traffic there.
pub(crate) fn targets(own: &Ns, refs: &[PolicyTargetRef], root_namespace: &Ns) -> Vec<PolicyTarget> {
    let is_own = |of: &&PolicyTargetRef| of.namespace.is_empty() || **own == *of.namespace;
    let target = |of: &PolicyTargetRef| {
        let name = Name { ns: own.clone(), name: of.name.clone() };
        match of.kind.as_str() {
            "Service" => Some(PolicyTarget::Service(Kind::Service, name)),
            "ServiceEntry" => Some(PolicyTarget::Service(Kind::ServiceEntry, name)),
            "Gateway" => Some(PolicyTarget::Gateway(name)),
            "GatewayClass" => (own == root_namespace).then(|| PolicyTarget::Class(of.name.clone())),
            _ => None,
        }
    };
    refs.iter().filter(is_own).filter_map(target).collect()
}

fn told_of_action(
    policy: &AuthorizationPolicy,
    severity: Severity,
    message: String,
    help: &str,
) -> Diagnostic {
    Diagnostic {
        code: code::WAYPOINT_ACTION,
        severity,
        object: Some(reference(policy)),
        field: "spec.action".to_owned(),
        message,
        help: help.to_owned(),
        place: None,
    }
}
