//! TLS towards backends.

use engine::{Builder, Cx};
use model::facts::{BackendTarget, BackendTlsPolicy, Meta, ObjectReference, Roots, SubjectAltName};
use model::{Kind, Name, Str};
use output::{Condition, Outputs};

use super::target::{ACCEPTED, ByTarget, Further, Held, Inputs, Policy, RESOLVED_REFS, VALID};
use crate::reference::{Missing, References};

/// How connections to a backend are secured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendTls {
    /// The policy that says it.
    pub policy: Name,
    /// The name that is asked for, and verified unless `subject_alt_names` has any.
    pub hostname: Str,
    /// The names of which a certificate must have one.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// Whom to trust.
    pub verification: Verification,
}

/// Whom to trust for certificates of a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verification {
    /// The roots of the system.
    System,
    /// The roots in this ConfigMap, in the namespace of the policy.
    ConfigMap(Name, Roots),
    /// Nobody, since the policy is not valid or its roots were not read yet: connections fail.
    Nobody,
}

impl Policy for BackendTlsPolicy {
    const KIND: Kind = Kind::BackendTLSPolicy;
    const IS_TOLD_OF_GATEWAYS: bool = true;

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn targets(&self) -> &[BackendTarget] {
        &self.targets
    }

    fn is_for(_: Kind) -> bool {
        true
    }
}

/// Whom a policy trusts, and what its author is told of that.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Trust {
    verification: Verification,
    conditions: Vec<Condition>,
    is_pending: bool,
}

/// Declares what holds.
pub(super) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) -> Held<BackendTls> {
    let names = ["backend_tls_policies", "backend_tls_policy_by_target"];
    let policies = ByTarget::declare(b, names, inputs.tls, inputs);
    let trust = {
        let (is_ours, in_scope, references) = (inputs.is_ours.clone(), inputs.in_scope, inputs.references);
        b.derive("backend_tls_trust", inputs.tls, move |cx, name, policy: &BackendTlsPolicy| {
            let is_served = is_ours(&policy.meta) && *cx.memo(in_scope, &name.ns)?;
            is_served.then(|| trust(cx, references, policy))
        })
    };
    let conditions = policies.declare_conditions(
        b,
        "backend_tls_policy_conditions",
        inputs.tls,
        inputs,
        move |cx, policy: &BackendTlsPolicy| {
            let trust = cx.get(trust, &policy.meta.name);
            let conditions = trust.as_ref().map(|trust| trust.conditions.clone()).unwrap_or_default();
            Further { conditions, is_pending: trust.is_some_and(|trust| trust.is_pending) }
        },
    );
    out.conditions(b, Kind::BackendTLSPolicy, conditions);
    policies.declare_held(b, "backend_tls", move |cx, policy: &BackendTlsPolicy| BackendTls {
        policy: policy.meta.name.clone(),
        hostname: policy.hostname.clone(),
        subject_alt_names: policy.subject_alt_names.clone(),
        verification: cx
            .get(trust, &policy.meta.name)
            .map_or(Verification::Nobody, |trust| trust.verification.clone()),
    })
}

fn trust(cx: &Cx<'_>, references: References, policy: &BackendTlsPolicy) -> Trust {
    let condition =
        |kind, status, reason, message: &str| Condition { kind, status, reason, message: message.to_owned() };
    let accepted = |message: &str| condition(ACCEPTED, true, ACCEPTED, message);
    let resolved = condition(RESOLVED_REFS, true, RESOLVED_REFS, VALID);
    let without_roots = |verification, accepted| Trust {
        verification,
        conditions: vec![accepted, resolved.clone()],
        is_pending: false,
    };
    match (policy.roots.as_slice(), policy.well_known.as_str()) {
        ([], "System") => return without_roots(Verification::System, accepted(VALID)),
        ([], "") => {
            let message = "neither caCertificateRefs nor wellKnownCACertificates is set";
            return without_roots(Verification::Nobody, condition(ACCEPTED, false, "Invalid", message));
        }
        ([], other) => {
            let message = format!("unknown wellKnownCACertificates {other:?}");
            return without_roots(Verification::Nobody, condition(ACCEPTED, false, "Invalid", &message));
        }
        _ => {}
    }
    let (mut valid, mut faults, mut is_pending) = (Vec::new(), Vec::new(), false);
    for (i, root) in policy.roots.iter().enumerate() {
        match config_map(cx, references, policy, root) {
            Ok(found) => valid.push(found),
            Err(None) => is_pending = true,
            Err(Some((reason, why))) => faults.push((reason, format!("caCertificateRefs[{i}]: {why}"))),
        }
    }
    let messages = faults.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ");
    let refs = match faults.first() {
        Some((reason, _)) => condition(RESOLVED_REFS, false, reason, &messages),
        None => resolved.clone(),
    };
    let others = valid.len() > 1;
    match valid.into_iter().next() {
        Some(verification) => {
            let accepted = match others {
                false => accepted(VALID),
                true => accepted(&format!("{VALID}; warning: only the first caCertificateRefs will be used")),
            };
            Trust { verification, conditions: vec![accepted, refs], is_pending }
        }
        None => {
            let accepted = condition(ACCEPTED, false, "NoValidCACertificate", &messages);
            Trust { verification: Verification::Nobody, conditions: vec![accepted, refs], is_pending }
        }
    }
}

/// Returns the roots that a policy refers to, in its own namespace.
///
/// # Errors
/// The reason and why there are none; nothing while that is not known.
fn config_map(
    cx: &Cx<'_>,
    references: References,
    policy: &BackendTlsPolicy,
    root: &ObjectReference,
) -> Result<Verification, Option<(&'static str, String)>> {
    if !root.is("", "ConfigMap") {
        return Err(Some((
            "InvalidKind",
            format!("kind {:?}, only ConfigMap is supported", root.kind.as_str()),
        )));
    }
    let name = root.target(&policy.meta.name.ns);
    let invalid = |why: String| Err(Some(("InvalidCACertificateRef", why)));
    match references.config_map(cx, &name) {
        Ok(map) => match &map.roots {
            Ok(roots) => Ok(Verification::ConfigMap(name, roots.clone())),
            Err(why) => invalid(format!("configmap {name} is not valid: {why}")),
        },
        Err(Missing::Pending) => Err(None),
        Err(Missing::Absent) => invalid(format!("configmap {name} not found")),
        Err(Missing::Unreadable(why)) => invalid(format!("configmap {name} cannot be read: {why}")),
    }
}
