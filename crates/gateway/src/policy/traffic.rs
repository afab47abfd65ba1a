//! Retries towards backends.

use engine::Builder;
use model::facts::{BackendTarget, BackendTrafficPolicy, Meta, RetryConstraint};
use model::{Kind, Name};
use output::{Condition, Outputs};

use super::target::{ACCEPTED, ByTarget, Further, Held, Inputs, Policy, VALID};

/// How many requests to a backend may be retries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendTraffic {
    /// The policy that says it.
    pub policy: Name,
    /// The bound; `None` where it says nothing of retries.
    pub retries: Option<RetryConstraint>,
}

impl Policy for BackendTrafficPolicy {
    const KIND: Kind = Kind::XBackendTrafficPolicy;
    const IS_TOLD_OF_GATEWAYS: bool = false;

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn targets(&self) -> &[BackendTarget] {
        &self.targets
    }

    fn is_for(kind: Kind) -> bool {
        kind == Kind::Service
    }
}

/// Declares what holds.
pub(super) fn declare(b: &mut Builder, out: &mut Outputs, inputs: &Inputs) -> Held<BackendTraffic> {
    let names = ["backend_traffic_policies", "backend_traffic_policy_by_target"];
    let policies = ByTarget::declare(b, names, inputs.traffic, inputs);
    let conditions = policies.declare_conditions(
        b,
        "backend_traffic_policy_conditions",
        inputs.traffic,
        inputs,
        |_, policy: &BackendTrafficPolicy| {
            let message = match policy.session {
                None => VALID.to_owned(),
                Some(_) => {
                    format!("{VALID}, but Istio does not support the following fields: sessionPersistence")
                }
            };
            let accepted = Condition { kind: ACCEPTED, status: true, reason: ACCEPTED, message };
            Further { conditions: vec![accepted], is_pending: false }
        },
    );
    out.conditions(b, Kind::XBackendTrafficPolicy, conditions);
    policies.declare_held(b, "backend_traffic", |_, policy: &BackendTrafficPolicy| BackendTraffic {
        policy: policy.meta.name.clone(),
        retries: policy.retries,
    })
}
