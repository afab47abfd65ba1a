//! Which waypoints traffic is to come through, and whether it must.
//!
//! Both are read from labels and annotations alone: what becomes of a waypoint changes no requirement.

use engine::Cx;
use model::facts::Meta;
use model::{Labels, Name, Ns};

use super::bind::{Binder, Inherited, Route, canary_ref, is_managed};
use super::gateway::Binding;
use super::instance::GATEWAY_NAME_LABEL;
use crate::labels::{Require, UseWaypoint};
use crate::namespace::NamespaceView;

/// What a service, or a workload for itself, says of the waypoints before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct WaypointRequirement {
    pub route: Option<Route>,
    /// Whether traffic that came through none of them is to be refused.
    pub required: bool,
}

impl WaypointRequirement {
    /// Reads that of a service; `by_default` is what holds where no annotation says otherwise.
    pub fn of_service(meta: &Meta, view: &NamespaceView, by_default: bool) -> Self {
        if is_managed(&meta.labels) {
            return Self::default();
        }
        let own = UseWaypoint::read(&meta.labels, &meta.name.ns);
        let route = |primary: Name| Route {
            canary: canary_ref(meta, view)
                .filter(|canary| canary.is_usable() && canary.waypoint != primary)
                .map(|canary| canary.waypoint),
            binding: Binding::Service,
            primary,
        };
        Self::new(&meta.annotations, view, by_default, own.or_else(|| view.use_waypoint.clone()), route)
    }

    /// Reads that of a workload; `None` for an instance of a gateway, ready or not: before those
    /// nothing stands.
    pub fn of_workload(
        cx: &Cx<'_>,
        binder: &Binder,
        of: &WorkloadMeta<'_>,
        by_default: bool,
    ) -> Option<Self> {
        if of.is_instance(cx, binder) {
            return None;
        }
        let wanted = UseWaypoint::read(of.labels, of.ns).or_else(|| of.inherited.wanted.clone());
        let route = |primary| Route { binding: Binding::Workload, primary, canary: None };
        Some(Self::new(of.annotations, of.view, by_default, wanted, route))
    }

    fn new(
        annotations: &Labels,
        view: &NamespaceView,
        by_default: bool,
        wanted: Option<UseWaypoint>,
        route: impl FnOnce(Name) -> Route,
    ) -> Self {
        let own = Require::read(annotations);
        match wanted {
            // Whoever says that there is none is not asked for one.
            Some(UseWaypoint::None) => Self::default(),
            Some(UseWaypoint::Named(primary)) => Self {
                route: Some(route(primary)),
                required: own.or(view.require_waypoint).map_or(by_default, Require::holds),
            },
            // An object of which nobody says which waypoint is meant is closed only if it asks itself.
            None => Self { route: None, required: own.is_some_and(Require::holds) },
        }
    }

    /// Returns the requirement of somebody who may not be served from another namespace than `ns`.
    pub fn within(mut self, ns: &Ns) -> Self {
        if let Some(route) = &mut self.route {
            if route.primary.ns != *ns {
                self.route = None;
            } else if route.canary.as_ref().is_some_and(|canary| canary.ns != *ns) {
                route.canary = None;
            }
        }
        self
    }
}

/// What the requirement of a workload is read from.
#[derive(Clone, Copy)]
pub(crate) struct WorkloadMeta<'a> {
    pub ns: &'a Ns,
    pub labels: &'a Labels,
    pub annotations: &'a Labels,
    pub view: &'a NamespaceView,
    pub inherited: &'a Inherited,
}

impl WorkloadMeta<'_> {
    fn is_instance(&self, cx: &Cx<'_>, binder: &Binder) -> bool {
        self.labels.get(GATEWAY_NAME_LABEL).is_some_and(|gateway| {
            let gateway = Name { ns: self.ns.clone(), name: gateway.clone() };
            cx.get(binder.traffic, &gateway).is_some()
        })
    }
}
