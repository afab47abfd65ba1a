//! What is known of a cluster.

use std::collections::{BTreeMap, BTreeSet};

/// Everything that findings are made of.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Where the API server is.
    pub url: String,
    /// The version as it is told, such as `v1.33.4-gke.1`.
    pub version: String,
    /// The namespace of the control plane.
    pub namespace: String,
    /// The revision; empty for the one without a name.
    pub revision: String,
    /// The resources that are served, as `plural.group`.
    pub served: BTreeSet<String>,
    /// What installing takes, and whether this user may.
    pub rights: Vec<(String, bool)>,
    /// Deployments with the label `app: istiod`, in all namespaces.
    pub control_planes: Vec<ControlPlane>,
    /// Objects with the names that our chart has, and the release of helm that owns each.
    pub taken: Vec<(String, Option<String>)>,
    /// Locks in the namespace that have a holder.
    pub locks: Vec<Lock>,
    /// Entries of webhooks that lead to a control plane.
    pub webhooks: Vec<Webhook>,
    /// The roots that namespaces are told, as PEM.
    pub roots: Option<String>,
    /// Secrets in which a root may be, by name, and whether each holds one.
    pub secrets: BTreeMap<String, bool>,
    /// Namespaces that ask for sidecars.
    pub sidecars: Vec<String>,
    /// What the monitoring port says, where it was asked.
    pub metrics: Option<Result<String, String>>,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
}

/// A Deployment of a control plane.
#[derive(Debug, Clone, Default)]
pub(super) struct ControlPlane {
    pub namespace: String,
    pub name: String,
    /// Whether it is Pilothouse.
    pub is_ours: bool,
    /// Its image.
    pub image: String,
    /// Replicas that are to be, and that are ready.
    pub wanted: i32,
    pub ready: i32,
    /// Why pods are not ready, as far as they say.
    pub why: Vec<String>,
}

/// A lock that controllers of control planes take.
#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub name: String,
    pub holder: String,
    /// When it was renewed last, in seconds since 1970.
    pub renewed: Option<u64>,
    /// For how many seconds from then it holds.
    pub seconds: u64,
}

/// An entry of a webhook.
#[derive(Debug, Clone, Default)]
pub(super) struct Webhook {
    /// The kind and the name of its configuration.
    pub config: String,
    /// The revision that its configuration is of.
    pub revision: String,
    /// The name of the entry.
    pub entry: String,
    /// Where it leads.
    pub leads_to: String,
    /// Whether it changes pods.
    pub injects: bool,
    /// Whether nothing passes when nobody answers.
    pub is_closed: bool,
    /// Whom it trusts, as PEM.
    pub bundle: String,
}
