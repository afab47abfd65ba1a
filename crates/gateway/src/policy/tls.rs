//! TLS towards backends.

use engine::{Builder, Table};
use model::facts::{BackendTarget, BackendTlsPolicy, Meta, ObjectReference, SubjectAltName};
use model::{Kind, Name, Str};
use output::{Condition, Outputs};

use super::target::{ACCEPTED, ByTarget, Inputs, Policy, PolicyTarget, RESOLVED_REFS, VALID};

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
    ConfigMap(Name),
    /// Nobody, since the policy is not valid: connections fail.
    Nobody,
}

impl Policy for BackendTlsPolicy {
    const KIND: Kind = Kind::BackendTLSPolicy;

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

/// Declares what holds.
pub(super) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    inputs: &Inputs,
) -> Table<PolicyTarget, BackendTls> {
    let names = ["backend_tls_policies", "backend_tls_policy_by_target"];
    let policies = ByTarget::declare(b, names, inputs.tls, inputs);
    let conditions = policies.declare_conditions(
        b,
        "backend_tls_policy_conditions",
        inputs.tls,
        inputs,
        |policy: &BackendTlsPolicy| verification(policy).1,
    );
    out.conditions(b, Kind::BackendTLSPolicy, conditions);
    policies.declare_held(b, "backend_tls", |policy: &BackendTlsPolicy| BackendTls {
        policy: policy.meta.name.clone(),
        hostname: policy.hostname.clone(),
        subject_alt_names: policy.subject_alt_names.clone(),
        verification: verification(policy).0,
    })
}

/// Whom a policy trusts, and what its author is told of that.
fn verification(policy: &BackendTlsPolicy) -> (Verification, Vec<Condition>) {
    let condition =
        |kind, status, reason, message: &str| Condition { kind, status, reason, message: message.to_owned() };
    let resolved = condition(RESOLVED_REFS, true, RESOLVED_REFS, VALID);
    match (policy.roots.as_slice(), policy.well_known.as_str()) {
        ([], "System") => (Verification::System, vec![condition(ACCEPTED, true, ACCEPTED, VALID), resolved]),
        ([], "") => {
            let message = "neither caCertificateRefs nor wellKnownCACertificates is set";
            (Verification::Nobody, vec![condition(ACCEPTED, false, "Invalid", message), resolved])
        }
        ([], other) => {
            let message = format!("unknown wellKnownCACertificates {other:?}");
            (Verification::Nobody, vec![condition(ACCEPTED, false, "Invalid", &message), resolved])
        }
        (roots, _) => match roots.iter().find(|root| is_config_map(root)) {
            Some(root) => {
                let message = match roots.len() {
                    1 => VALID.to_owned(),
                    _ => format!("{VALID}; warning: only the first caCertificateRefs will be used"),
                };
                let accepted = condition(ACCEPTED, true, ACCEPTED, &message);
                (Verification::ConfigMap(root.target(&policy.meta.name.ns)), vec![accepted, resolved])
            }
            None => {
                let kinds: Vec<&str> = roots.iter().map(|root| root.kind.as_str()).collect();
                let message = format!("caCertificateRefs of kinds {kinds:?}, only ConfigMap is supported");
                let conditions = vec![
                    condition(ACCEPTED, false, "NoValidCACertificate", &message),
                    condition(RESOLVED_REFS, false, "InvalidKind", &message),
                ];
                (Verification::Nobody, conditions)
            }
        },
    }
}

fn is_config_map(root: &ObjectReference) -> bool {
    root.is("", "ConfigMap")
}
