//! `AuthorizationPolicy` with targets to what waypoints enforce, its condition and its diagnostics.

use model::facts::{Action, AuthorizationPolicy, AuthorizationSpec, PathNormalization, PolicyTargetRef};
use model::{Diagnostic, Kind, Name, Ns, Severity, Str};

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
    pub action: RuleAction,
    /// Whether it is only tried, and what it would do told.
    pub dry_run: bool,
    /// In order: alternatives. Without any, nothing matches.
    pub rules: Vec<Rule>,
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
}

/// A policy at waypoints, and what its author is told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct AtWaypoints {
    /// `None` if it has no effect.
    pub policy: Option<WaypointPolicy>,
    /// What of the policy is not as written; `None` if all is.
    pub fault: Option<Condition>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Returns what waypoints make of `policy`; `None` for one without targets. What is not understood denies.
pub(crate) fn at_waypoints(
    policy: &AuthorizationPolicy,
    root_namespace: &Ns,
    trust: &TrustSettings,
    normalization: PathNormalization,
) -> Option<AtWaypoints> {
    let refs = match &policy.spec {
        Ok(spec) => &spec.target_refs,
        Err(refused) => &refused.target_refs,
    };
    if refs.is_empty() {
        return None;
    }
    let of = |action, rules| WaypointPolicy {
        targets: targets(policy, refs, root_namespace),
        action,
        dry_run: policy.dry_run,
        rules,
    };
    let spec = match &policy.spec {
        Ok(spec) => spec,
        Err(refused) => {
            return Some(AtWaypoints {
                policy: Some(of(RuleAction::Deny, vec![Rule::default()])),
                fault: Some(refused_condition(refused)),
                // Why it was refused is told whoever enforces it.
                diagnostics: Vec::new(),
            });
        }
    };
    let action = match spec.action {
        Action::Audit => {
            let message = "AUDIT changes nothing at waypoints of this version: nothing is recorded";
            let told = told_of_action(policy, Severity::Warning, message.to_owned());
            return Some(AtWaypoints { policy: None, fault: None, diagnostics: vec![told] });
        }
        Action::Allow => RuleAction::Allow,
        Action::Deny | Action::Custom => RuleAction::Deny,
    };
    let (rules, reader) = read(policy, spec, action, trust, normalization);
    let mut fault =
        stricter(&reader).map(|message| Condition { status: true, reason: "PartiallyInvalid", message });
    let mut diagnostics = findings(policy, reader);
    if spec.action == Action::Custom {
        let message = format!(
            "waypoints of this version ask no provider such as {:?}: what the rules match is denied",
            &*spec.provider
        );
        diagnostics.insert(0, told_of_action(policy, Severity::Error, message.clone()));
        fault = Some(Condition { status: false, reason: "UnsupportedValue", message });
    }
    Some(AtWaypoints { policy: Some(of(action, rules)), fault, diagnostics })
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
fn targets(policy: &AuthorizationPolicy, refs: &[PolicyTargetRef], root_namespace: &Ns) -> Vec<PolicyTarget> {
    let own = &policy.meta.name.ns;
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

fn told_of_action(policy: &AuthorizationPolicy, severity: Severity, message: String) -> Diagnostic {
    Diagnostic {
        code: code::WAYPOINT_ACTION,
        severity,
        object: Some(reference(policy)),
        field: "spec.action".to_owned(),
        message,
        help: "use ALLOW or DENY".to_owned(),
        place: None,
    }
}
