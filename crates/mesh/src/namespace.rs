//! What the objects in a namespace depend on of it.

use engine::{Builder, Memo, Table};
use model::facts::Namespace;
use model::{Labels, Ns, Str};

use crate::labels::{CanaryLabels, INGRESS_LABEL, Require, UseWaypoint, annotated};
use crate::options::{Options, TrafficDistribution};
use crate::settings::{Settings, is_discovered};

/// The few things that a namespace says about the objects in it. Other labels and annotations of a
/// namespace may change without touching any of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct NamespaceView {
    /// Whether the discovery selectors let its objects in.
    pub in_scope: bool,
    /// Its labels `istio.io/use-waypoint…`.
    pub use_waypoint: Option<UseWaypoint>,
    /// Its labels and annotation `istio.io/use-waypoint-canary…`.
    pub canary: CanaryLabels,
    /// Its annotation `ambient.pilothouse.io/require-waypoint`.
    pub require_waypoint: Option<Require>,
    /// Its label `istio.io/ingress-use-waypoint`.
    pub ingress_use_waypoint: Option<Str>,
    /// Its annotation `networking.istio.io/traffic-distribution`, else the mesh's default; none for an
    /// unknown value.
    pub traffic_distribution: Option<TrafficDistribution>,
}

/// Declares the view of each namespace that something lives in, whether the object exists or not.
pub(crate) fn declare(
    b: &mut Builder,
    namespaces: Table<Ns, Namespace>,
    settings: Settings,
    options: &Options,
) -> Memo<Ns, NamespaceView> {
    let by_default = options.traffic_distribution;
    b.memo("namespace_view", move |cx, name: &Ns| {
        let selectors = cx.single(settings.discovery).unwrap_or_default();
        let namespace = cx.get(namespaces, name);
        let labels = namespace.as_ref().map(|n| n.labels.clone()).unwrap_or_default();
        let annotations: Labels = namespace.map(|n| n.annotations.clone()).unwrap_or_default();
        Some(NamespaceView {
            in_scope: is_discovered(&selectors, &labels),
            use_waypoint: UseWaypoint::read(&labels, name),
            canary: CanaryLabels::read(&labels, &annotations, name),
            require_waypoint: Require::read(&annotations),
            ingress_use_waypoint: labels.get(INGRESS_LABEL).cloned(),
            traffic_distribution: annotated(&annotations).unwrap_or(by_default),
        })
    })
}
