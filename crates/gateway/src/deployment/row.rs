//! What is deployed for one gateway, as others read it.

use model::Str;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

use super::fields;

/// The kind of an object that is deployed, in the order in which objects are applied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ManifestKind {
    /// Core `ServiceAccount`.
    ServiceAccount,
    /// `Deployment`.
    Deployment,
    /// Core `Service`.
    Service,
    /// `HorizontalPodAutoscaler`.
    HorizontalPodAutoscaler,
    /// `PodDisruptionBudget`.
    PodDisruptionBudget,
}

impl ManifestKind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] = [
        Self::ServiceAccount,
        Self::Deployment,
        Self::Service,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// Returns its API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::Service => "",
            Self::Deployment => "apps",
            Self::HorizontalPodAutoscaler => "autoscaling",
            Self::PodDisruptionBudget => "policy",
        }
    }

    /// Returns the version in which it is written.
    pub fn version(self) -> &'static str {
        if self == Self::HorizontalPodAutoscaler { "v2" } else { "v1" }
    }

    /// Returns its plural resource name, as in API paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Deployment => "deployments",
            Self::Service => "services",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
        }
    }
}

impl fmt::Display for ManifestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One object, as it is applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Manifest {
    /// Its kind.
    pub kind: ManifestKind,
    /// Its name; its namespace is that of the gateway.
    pub name: Str,
    /// The apply configuration: all fields that are ours.
    pub body: Arc<Value>,
}

impl Manifest {
    /// Returns what an object holds of the fields that are ours. It equals the body where the object is as
    /// it is to be; an API server may also hold the same in other words.
    pub fn held_by(&self, stored: &Value) -> Value {
        let mut held = fields::picked(&self.body, stored);
        // Items of a list do not repeat what the list is of.
        for field in ["apiVersion", "kind"] {
            held[field] = self.body[field].clone();
        }
        held
    }
}

/// Why nothing is deployed anew: what runs already stays as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What is wrong, with the field or key, as a condition says it.
    pub message: String,
}

impl Fault {
    pub(super) fn new(message: String) -> Self {
        Self { message }
    }
}

/// What is deployed for a gateway.
#[derive(Clone, PartialEq, Debug)]
pub struct GatewayDeployment {
    /// The uid of the Gateway, which owns the objects; empty where there is none, as in folders.
    pub uid: Str,
    /// Its objects, in the order in which they are applied.
    ///
    /// # Errors
    /// Why it cannot be said what they are: then nothing is touched.
    pub manifests: Result<Vec<Manifest>, Fault>,
}
