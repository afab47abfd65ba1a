//! Which waypoint an object is bound to.

use engine::{Cx, Table};
use model::facts::{AllowedNamespaces, Meta, Namespace};
use model::{Labels, Name, Ns};
use proto::workload;
use std::sync::Arc;

use super::gateway::{Accounts, Binding, TrafficType, Waypoint};
use crate::labels::{CanaryLabels, CanaryRef, UseWaypoint};
use crate::namespace::NamespaceView;

const MANAGED_LABEL: &str = "gateway.istio.io/managed";

/// Returns which gateway is named as canary of a service. Waypoint and weight are its own, else its namespace's,
/// where the service takes its waypoint from there as well.
pub(super) fn canary_ref(meta: &Meta, view: &NamespaceView) -> Option<CanaryRef> {
    let ns = &meta.name.ns;
    let inherits = UseWaypoint::read(&meta.labels, ns).is_none();
    CanaryLabels::read(&meta.labels, &meta.annotations, ns).canary(inherits.then_some(&view.canary))
}

/// Tells whether a service is one of a waypoint or of an east-west gateway, which has none itself.
pub(super) fn is_managed(labels: &Labels) -> bool {
    labels
        .get(MANAGED_LABEL)
        .is_some_and(|by| by == "istio.io-mesh-controller" || by == "istio.io-eastwest-controller")
}

/// The waypoints of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bound {
    pub primary: Arc<Waypoint>,
    /// The canary and its share in percent, or why it has none.
    pub canary: Option<Result<(Arc<Waypoint>, u32), BindError>>,
}

impl Bound {
    /// Returns the shares as sent: none without a canary, or where one of both has no usable address.
    pub fn weighted(&self) -> Vec<workload::WeightedWaypoint> {
        let Some(Ok((canary, weight))) = &self.canary else { return Vec::new() };
        let share = |waypoint: &Waypoint, weight| {
            let destination = waypoint.gateway_address()?;
            Some(workload::WeightedWaypoint { destination: Some(destination), weight })
        };
        let shares = [share(&self.primary, 100 - *weight), share(canary, *weight)];
        shares.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
    }
}

/// Why an object is not bound to the waypoint that it names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum BindError {
    NotReady(Name),
    Denied(Name),
    TrafficType(Name, Binding),
    CrossNamespace(Name),
    /// A canary whose weight is no integer from 0 to 100.
    CanaryWeight(Name),
    /// A canary that is the primary.
    CanarySame(Name),
}

impl BindError {
    /// Returns the condition's reason and message.
    pub fn condition(&self) -> (&'static str, String) {
        match self {
            Self::NotReady(w) => ("WaypointIsNotReady", format!("waypoint \"{w}\" is not ready")),
            Self::Denied(w) => (
                "AttachmentDenied",
                format!("we are not permitted to attach to waypoint \"{w}\" (missing allowedRoutes?)"),
            ),
            Self::CanaryWeight(w) => (
                "CanaryInvalidWeight",
                format!("canary waypoint \"{w}\" has an invalid weight; must be an integer in [0,100]"),
            ),
            Self::CanarySame(w) => (
                "CanarySameAsPrimary",
                format!("canary waypoint \"{w}\" must differ from the primary waypoint"),
            ),
            Self::CrossNamespace(w) => (
                "CrossNamespaceWaypointForbidden",
                format!(
                    "cannot bind to waypoint \"{w}\" in another namespace: cross-namespace waypoint binding is not \
                     permitted for a ServiceEntry with NAMESPACE visibility"
                ),
            ),
            Self::TrafficType(w, binding) => {
                let kind = match binding {
                    Binding::Service => "service",
                    Binding::Workload => "workload",
                };
                let message = format!(
                    "attempting to bind to traffic type \"{kind}\" which the waypoint \"{w}\" does not support"
                );
                ("UnsupportedTrafficType", message)
            }
        }
    }
}

/// The waypoints that one binding names, whether they can be attached or not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Route {
    pub binding: Binding,
    pub primary: Name,
    pub canary: Option<Name>,
}

/// What the workloads of a namespace have from it, where they say nothing else themselves.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Inherited {
    /// The waypoint that they are bound to.
    pub waypoint: Result<Option<Arc<Waypoint>>, BindError>,
    /// The one that they are to be reached through, ready or not.
    pub wanted: Option<UseWaypoint>,
}

/// What binding needs to read.
#[derive(Clone, Copy)]
pub(crate) struct Binder {
    pub waypoints: Table<Name, Waypoint>,
    /// The traffic that gateways take, ready or not.
    pub traffic: Table<Name, TrafficType>,
    pub accounts: Table<Name, Accounts>,
    pub namespaces: Table<Ns, Namespace>,
}

impl Binder {
    /// Finds what the workloads of a namespace have from it.
    pub fn inherited(&self, cx: &Cx<'_>, ns: &Ns, view: &NamespaceView) -> Inherited {
        let Some(named @ UseWaypoint::Named(gateway)) = &view.use_waypoint else {
            return Inherited { waypoint: Ok(None), wanted: view.use_waypoint.clone() };
        };
        let waypoint = match self.attach(cx, gateway, ns, Binding::Workload) {
            // A namespace's waypoint is usually for services only; its pods need not hear of it.
            Err(BindError::TrafficType(..)) => Ok(None),
            attached => attached.map(Some),
        };
        // While its gateway is not there, nobody can tell whom it is for, and it counts.
        let is_for_workloads =
            cx.get(self.traffic, gateway).is_none_or(|traffic| traffic.accepts(Binding::Workload));
        Inherited { waypoint, wanted: is_for_workloads.then(|| named.clone()) }
    }

    /// Finds the waypoint of a workload from its labels, else the one that it inherits.
    ///
    /// An object that names a waypoint never falls back to its namespace's, so that a typing error
    /// shows instead of sending traffic through another waypoint.
    pub fn bind_workload(
        &self,
        cx: &Cx<'_>,
        labels: &Labels,
        ns: &Ns,
        inherited: &Inherited,
    ) -> Result<Option<Arc<Waypoint>>, BindError> {
        match UseWaypoint::read(labels, ns) {
            None => inherited.waypoint.clone(),
            Some(UseWaypoint::None) => Ok(None),
            Some(UseWaypoint::Named(name)) => self.attach(cx, &name, ns, Binding::Workload).map(Some),
        }
    }

    /// Finds the waypoint of a service, and its canary: the one that the service itself names, else
    /// its namespace's, where the service takes its waypoint from there as well.
    ///
    /// A canary that cannot be attached leaves the waypoint alone.
    pub fn bind_service(
        &self,
        cx: &Cx<'_>,
        meta: &Meta,
        view: &NamespaceView,
    ) -> Result<Option<Bound>, BindError> {
        let ns = &meta.name.ns;
        let own = UseWaypoint::read(&meta.labels, ns);
        let wanted = match own.or_else(|| view.use_waypoint.clone()) {
            Some(UseWaypoint::Named(name)) if !is_managed(&meta.labels) => name,
            _ => return Ok(None),
        };
        let primary = self.attach(cx, &wanted, ns, Binding::Service)?;
        let canary = canary_ref(meta, view).map(|canary| {
            if canary.waypoint == primary.name {
                return Err(BindError::CanarySame(canary.waypoint));
            }
            let Some(weight) = canary.weight else { return Err(BindError::CanaryWeight(canary.waypoint)) };
            Ok((self.attach(cx, &canary.waypoint, ns, Binding::Service)?, weight))
        });
        Ok(Some(Bound { primary, canary }))
    }

    /// Returns the waypoints through which traffic comes to somebody in namespace `ns`, of those that
    /// a binding names.
    pub fn open(&self, cx: &Cx<'_>, route: &Route, ns: &Ns) -> Vec<Name> {
        let attach = |waypoint| self.attach(cx, waypoint, ns, route.binding).ok();
        let Some(primary) = attach(&route.primary) else { return Vec::new() };
        let canary = route.canary.as_ref().and_then(attach);
        std::iter::once(primary).chain(canary).map(|waypoint| waypoint.name.clone()).collect()
    }

    fn attach(
        &self,
        cx: &Cx<'_>,
        wanted: &Name,
        ns: &Ns,
        binding: Binding,
    ) -> Result<Arc<Waypoint>, BindError> {
        let Some(waypoint) = cx.get(self.waypoints, wanted) else {
            return Err(BindError::NotReady(wanted.clone()));
        };
        if !self.is_allowed(cx, &waypoint, ns) {
            return Err(BindError::Denied(wanted.clone()));
        }
        if !waypoint.traffic.accepts(binding) {
            return Err(BindError::TrafficType(wanted.clone(), binding));
        }
        Ok(waypoint)
    }

    fn is_allowed(&self, cx: &Cx<'_>, waypoint: &Waypoint, ns: &Ns) -> bool {
        match &waypoint.allowed {
            AllowedNamespaces::All => true,
            AllowedNamespaces::Same => waypoint.name.ns == *ns,
            AllowedNamespaces::Selector(selector) => {
                let labels = cx.get(self.namespaces, ns).map(|n| n.labels.clone()).unwrap_or_default();
                selector.matches(&labels)
            }
        }
    }
}
