//! `AuthorizationPolicy` to a wire authorization, its condition and its diagnostics.

use super::reader::{Enforcer, Finding, RuleReader};
use super::rule::RuleAction;
use super::{code, http, wire};
use crate::settings::TrustSettings;
use model::facts::{self, AuthorizationPolicy, AuthorizationSpec, Refused};
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Severity};
use proto::security::{Action, Authorization, Group, Scope};

#[cfg(test)]
mod tests;

/// Settings that decide which policies are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Options {
    /// Policies with annotation `istio.io/dry-run` are sent, marked so. Only ztunnels from 1.29 on
    /// heed the mark; older ones enforce.
    pub(crate) dry_run_enabled: bool,
    /// Waypoints enforce what targets them.
    pub(crate) configures_waypoints: bool,
}

/// The condition `ZtunnelAccepted` of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Condition {
    /// `status`.
    pub(crate) status: bool,
    /// `reason`.
    pub(crate) reason: &'static str,
    /// `message`.
    pub(crate) message: String,
}

/// What an `AuthorizationPolicy` becomes.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Lowered {
    /// What ztunnels are sent, named as the policy; `None` when it is not for them.
    pub(crate) authorization: Option<Authorization>,
    /// What the policy is told; `None` when it is for waypoints only.
    pub(crate) condition: Option<Condition>,
    /// What its author should know, in the order of the policy's fields. Of a refused policy this
    /// includes the reason of the refusal.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Which workloads list a policy. Changes of a policy's rules leave it equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PolicyScope {
    /// The name by which workloads list the policy.
    pub(crate) name: Name,
    /// The only namespace whose workloads list it; `None` for every namespace, which is so for a
    /// policy in the root namespace.
    pub(crate) namespace: Option<Ns>,
    /// Pairs that a workload must have; never empty.
    pub(crate) selector: Labels,
}

impl PolicyScope {
    /// Tells whether a workload of this namespace and with these labels lists the policy.
    pub(crate) fn covers(&self, namespace: &Ns, labels: &Labels) -> bool {
        self.namespace.as_ref().is_none_or(|own| own == namespace) && self.selector.is_subset_of(labels)
    }
}

/// Returns which workloads list `policy`; `None` when none does, because it is not for ztunnels, or
/// covers a whole namespace or the mesh, or has an empty selector.
///
/// [`lower`] gives an authorization whenever this gives a scope.
pub(crate) fn scope_of(
    policy: &AuthorizationPolicy,
    root_namespace: &Ns,
    options: Options,
) -> Option<PolicyScope> {
    let Destination::Ztunnel(_) = destination(policy, options) else { return None };
    let name = policy.meta.name.clone();
    let selector = policy.selector().filter(|s| !s.is_empty())?.clone();
    let namespace = (name.ns != *root_namespace).then(|| name.ns.clone());
    Some(PolicyScope { name, namespace, selector })
}

/// Returns what `policy` becomes. A policy whose `spec` was refused denies everything to what it
/// selects, as far as that could be read.
pub(crate) fn lower(
    policy: &AuthorizationPolicy,
    root_namespace: &Ns,
    trust: &TrustSettings,
    options: Options,
) -> Lowered {
    match destination(policy, options) {
        Destination::Waypoint => Lowered { diagnostics: refusal(policy), ..Lowered::default() },
        Destination::Nowhere(why) => not_sent(policy, &why, options),
        Destination::Ztunnel(Err(refused)) => deny_all(policy, refused, root_namespace),
        Destination::Ztunnel(Ok((action, spec))) => {
            lower_spec(policy, spec, action, root_namespace, trust, options)
        }
    }
}

/// Where a policy goes.
enum Destination<'a> {
    Waypoint,
    Nowhere(Unsupported),
    Ztunnel(Result<(Action, &'a AuthorizationSpec), &'a Refused>),
}

/// What keeps a policy from being sent.
enum Unsupported {
    DryRun,
    Action(&'static str),
}

fn destination(policy: &AuthorizationPolicy, options: Options) -> Destination<'_> {
    let of_ztunnels = match &policy.spec {
        Ok(spec) => spec.target_refs.is_empty().then_some(Ok(spec)),
        // One with a selector besides its targets, which no API server takes, denies what that selects.
        Err(refused) => {
            (refused.target_refs.is_empty() || refused.selector.is_some()).then_some(Err(refused))
        }
    };
    // Waypoints know of dry runs, whatever ztunnels do.
    let is_ignored = of_ztunnels.is_some() || !options.configures_waypoints;
    if policy.dry_run && !options.dry_run_enabled && is_ignored {
        return Destination::Nowhere(Unsupported::DryRun);
    }
    let spec = match of_ztunnels {
        Some(Ok(spec)) => spec,
        Some(Err(refused)) => return Destination::Ztunnel(Err(refused)),
        None => return Destination::Waypoint,
    };
    match spec.action {
        facts::Action::Allow => Destination::Ztunnel(Ok((Action::Allow, spec))),
        facts::Action::Deny => Destination::Ztunnel(Ok((Action::Deny, spec))),
        facts::Action::Audit => Destination::Nowhere(Unsupported::Action("AUDIT")),
        facts::Action::Custom => Destination::Nowhere(Unsupported::Action("CUSTOM")),
    }
}

fn not_sent(policy: &AuthorizationPolicy, why: &Unsupported, options: Options) -> Lowered {
    let (message, diagnostic) = match why {
        Unsupported::DryRun => (
            format!(
                "found policy \"{}\" using dry-run annotation, but support for ambient dry-run \
                 authorizationPolicies isn't enabled",
                policy.meta.name
            ),
            Diagnostic {
                code: code::DRY_RUN_DISABLED,
                severity: Severity::Warning,
                object: Some(reference(policy)),
                field: "metadata.annotations[istio.io/dry-run]".to_owned(),
                message: "dry run is not enabled, so the policy is not evaluated".to_owned(),
                help: "remove the annotation to enforce the policy, or enable dry run once every ztunnel is 1.29 \
                       or later"
                    .to_owned(),
                place: None,
            },
        ),
        Unsupported::Action(action) => (
            format!("ztunnel does not support the {action} action"),
            Diagnostic {
                code: code::UNSUPPORTED_ACTION,
                severity: Severity::Error,
                object: Some(reference(policy)),
                field: "spec.action".to_owned(),
                message: format!("a ztunnel cannot enforce {action}, so the policy is not in force"),
                help: if options.configures_waypoints {
                    "use ALLOW or DENY".to_owned()
                } else {
                    "use ALLOW or DENY; this control plane configures no waypoints, which could enforce it".to_owned()
                },
                place: None,
            },
        ),
    };
    Lowered {
        authorization: None,
        condition: Some(Condition { status: false, reason: "UnsupportedValue", message }),
        diagnostics: vec![diagnostic],
    }
}

fn deny_all(policy: &AuthorizationPolicy, refused: &Refused, root_namespace: &Ns) -> Lowered {
    let authorization = Authorization {
        // A group without rules matches everything.
        groups: vec![Group::default()],
        ..frame(policy, Action::Deny, root_namespace)
    };
    Lowered {
        authorization: Some(authorization),
        condition: Some(refused_condition(refused)),
        diagnostics: refusal(policy),
    }
}

/// Returns the condition of a policy that denies what it selects, since it was refused.
pub(super) fn refused_condition(refused: &Refused) -> Condition {
    let message = refused_in_words(refused, "it denies all traffic");
    Condition { status: false, reason: "Invalid", message }
}

/// Returns why a policy was refused, and what follows from it.
pub(super) fn refused_in_words(refused: &Refused, effect: &str) -> String {
    let cause = &refused.diagnostic;
    let field = if cause.field.is_empty() { String::new() } else { format!("{}: ", cause.field) };
    format!("the policy is not understood, so {effect}: {field}{}", cause.message)
}

/// Returns why the policy was refused, if it was.
fn refusal(policy: &AuthorizationPolicy) -> Vec<Diagnostic> {
    policy.spec.as_ref().err().map(|refused| refused.diagnostic.clone()).into_iter().collect()
}

fn lower_spec(
    policy: &AuthorizationPolicy,
    spec: &AuthorizationSpec,
    action: Action,
    root_namespace: &Ns,
    trust: &TrustSettings,
    options: Options,
) -> Lowered {
    let rule_action = match action {
        Action::Allow => RuleAction::Allow,
        Action::Deny => RuleAction::Deny,
    };
    let mut lowering = RuleReader::new(Enforcer::Ztunnel, rule_action, &policy.meta.name.ns, trust);
    let mut groups = Vec::with_capacity(spec.rules.len());
    for (i, rule) in spec.rules.iter().enumerate() {
        groups.extend(lowering.rule(i, rule).as_ref().map(wire::group));
    }

    let mut diagnostics = Vec::new();
    if spec.selector.as_ref().is_some_and(Labels::is_empty) {
        diagnostics.push(empty_selector(policy));
    }
    let effect = match action {
        Action::Allow => http::Effect::AllowsLess,
        Action::Deny if lowering.dead.len() < groups.len() => http::Effect::DeniesMore,
        Action::Deny => http::Effect::DeniesNothing,
    };
    if !lowering.http.is_empty() {
        diagnostics.push(http_attributes(policy, &lowering, effect, options));
    }
    let condition = condition(&lowering, effect);
    diagnostics.extend(findings(policy, lowering));

    let authorization = Authorization { groups, ..frame(policy, action, root_namespace) };
    Lowered { authorization: Some(authorization), condition: Some(condition), diagnostics }
}

/// Returns what was found on reading rules, as diagnostics: what was not understood, then principals of other trust
/// domains.
pub(super) fn findings(policy: &AuthorizationPolicy, reader: RuleReader<'_>) -> Vec<Diagnostic> {
    let left_out = [
        (reader.finding_count - reader.findings.len(), Severity::Error, "parts were not understood"),
        (
            reader.elsewhere_count - reader.elsewhere.len(),
            Severity::Warning,
            "principals are of other trust domains",
        ),
    ];
    let [unclear, elsewhere] = left_out.map(|(count, severity, what)| {
        (count > 0).then(|| more_findings(policy, severity, format!("{count} more {what}")))
    });
    let mut all: Vec<Diagnostic> = reader.findings.into_iter().map(|f| not_understood(policy, f)).collect();
    all.extend(unclear);
    let others = reader.elsewhere.into_iter();
    all.extend(others.map(|(severity, f)| Diagnostic { severity, ..not_understood(policy, f) }));
    all.extend(elsewhere);
    all
}

/// Returns what was not understood of a policy, in words; `None` where everything was.
pub(super) fn stricter(reader: &RuleReader<'_>) -> Option<String> {
    let first = reader.findings.first()?;
    let more = match reader.finding_count - 1 {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some(format!("enforced more strictly than written: {}: {}{more}", first.field, first.message))
}

/// Returns the authorization of `policy` without its groups.
fn frame(policy: &AuthorizationPolicy, action: Action, root_namespace: &Ns) -> Authorization {
    let name = &policy.meta.name;
    let scope = if policy.selector().is_some() {
        Scope::WorkloadSelector
    } else if name.ns == *root_namespace {
        Scope::Global
    } else {
        Scope::Namespace
    };
    Authorization {
        name: name.name.to_string(),
        namespace: name.ns.to_string(),
        scope: scope.into(),
        action: action.into(),
        dry_run: policy.dry_run,
        ..Authorization::default()
    }
}

fn condition(lowering: &RuleReader<'_>, effect: http::Effect) -> Condition {
    let http = (!lowering.http.is_empty()).then(|| http::message(&lowering.http, effect));
    let (reason, message) = match (stricter(lowering), http) {
        (None, None) => ("Accepted", "attached to ztunnel".to_owned()),
        (None, Some(http)) => ("UnsupportedValue", http),
        (Some(text), http) => {
            let http = http.map(|h| format!("; {h}")).unwrap_or_default();
            ("PartiallyInvalid", format!("{text}{http}"))
        }
    };
    Condition { status: true, reason, message }
}

pub(super) fn reference(policy: &AuthorizationPolicy) -> ObjectRef {
    ObjectRef { kind: Kind::AuthorizationPolicy, name: policy.meta.name.clone() }
}

fn not_understood(policy: &AuthorizationPolicy, finding: Finding) -> Diagnostic {
    let Finding { code, field, message, help } = finding;
    let object = Some(reference(policy));
    Diagnostic { code, severity: Severity::Error, object, field, message, help, place: None }
}

fn more_findings(policy: &AuthorizationPolicy, severity: Severity, message: String) -> Diagnostic {
    Diagnostic {
        code: code::MORE_FINDINGS,
        severity,
        object: Some(reference(policy)),
        field: "spec.rules".to_owned(),
        message,
        help: "fix those that are named to see the next".to_owned(),
        place: None,
    }
}

fn empty_selector(policy: &AuthorizationPolicy) -> Diagnostic {
    Diagnostic {
        code: code::EMPTY_SELECTOR,
        severity: Severity::Warning,
        object: Some(reference(policy)),
        field: "spec.selector".to_owned(),
        message: "an empty selector attaches the policy to no workload".to_owned(),
        help: "remove `selector` to cover the whole namespace, or give labels in `matchLabels`".to_owned(),
        place: None,
    }
}

fn http_attributes(
    policy: &AuthorizationPolicy,
    lowering: &RuleReader<'_>,
    effect: http::Effect,
    options: Options,
) -> Diagnostic {
    let (severity, consequence) = match effect {
        http::Effect::AllowsLess => (Severity::Warning, "the rules that have them allow nothing".to_owned()),
        http::Effect::DeniesNothing => (Severity::Error, "the policy denies nothing".to_owned()),
        http::Effect::DeniesMore => match lowering.dead.as_slice() {
            [] if lowering.has_dead_entry => {
                (Severity::Error, "the entries that have nothing else deny nothing".to_owned())
            }
            [] => (
                Severity::Warning,
                "the entries that have them are enforced without them, and deny more than written".to_owned(),
            ),
            [one] => (Severity::Error, format!("spec.rules[{one}] denies nothing")),
            [first, more @ ..] => {
                let rules: Vec<String> = more.iter().map(|rule| format!("spec.rules[{rule}]")).collect();
                (Severity::Error, format!("spec.rules[{first}] and {} deny nothing", rules.join(", ")))
            }
        },
    };
    let found = http::join(&lowering.http);
    let help = if options.configures_waypoints {
        "write sources and ports only, or let a waypoint enforce the policy: name it, or what is bound to it, in \
         spec.targetRefs"
    } else {
        "write sources and ports only; this control plane configures no waypoints, which could enforce the rest"
    };
    Diagnostic {
        code: code::HTTP_ATTRIBUTE,
        severity,
        object: Some(reference(policy)),
        field: "spec.rules".to_owned(),
        message: format!("a ztunnel cannot enforce {found}, so {consequence}"),
        help: help.to_owned(),
        place: None,
    }
}
