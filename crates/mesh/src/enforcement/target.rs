//! Which ports of a workload may only be reached through which waypoints.

use model::{Name, Ns, ObjectRef};
use proto::workload::PortList;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::service::ServiceView;
use crate::waypoint::{Route, WaypointRequirement};

/// Ways through waypoints: any of them will do.
pub(super) type Routes = BTreeSet<Route>;

/// Which ports of a workload may only be reached through which waypoints.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct WaypointEnforcement {
    /// The namespace of the workload.
    pub(super) ns: Ns,
    /// Ports by the ways that lead to them; without any, nobody may connect.
    pub(super) ports: BTreeMap<Routes, BTreeSet<u16>>,
    /// The ways to every other port; `None` when those are open.
    pub(super) rest: Option<Routes>,
}

impl WaypointEnforcement {
    /// Returns the enforcement of a workload with these services and the ports of it to which they lead;
    /// `None` when nothing is required.
    pub(super) fn new(
        ns: &Ns,
        own: &WaypointRequirement,
        services: &[(Arc<ServiceView>, PortList)],
    ) -> Option<Self> {
        let mut by_port: BTreeMap<u16, (bool, Routes)> = BTreeMap::new();
        for (service, ports) in services {
            for port in targets(ports) {
                let (required, routes) = by_port.entry(port).or_default();
                *required |= service.requirement.required;
                routes.extend(service.requirement.route.clone());
            }
        }
        let rest = own.required.then(|| own.route.clone().into_iter().collect::<Routes>());
        let mut ports: BTreeMap<Routes, BTreeSet<u16>> = BTreeMap::new();
        for (port, (required, mut routes)) in by_port {
            routes.extend(own.route.clone());
            if own.required || required {
                ports.entry(routes).or_default().insert(port);
            }
        }
        if let Some(rest) = &rest {
            ports.remove(rest);
        }
        (rest.is_some() || !ports.is_empty()).then(|| Self { ns: ns.clone(), ports, rest })
    }

    /// Tells whether a port is restricted.
    pub(super) fn covers(&self, port: u16) -> bool {
        self.rest.is_some() || self.ports.values().any(|ports| ports.contains(&port))
    }

    /// Returns the name of its policy, the same for the same enforcement on every replica.
    pub(super) fn name(&self) -> Name {
        let mut text = String::new();
        let all = self.ports.iter().map(|(routes, ports)| (routes, Some(ports)));
        // Quoted, so that no two enforcements have one text; writing to a string cannot fail.
        for (routes, ports) in all.chain(self.rest.iter().map(|routes| (routes, None))) {
            for Route { binding, primary, canary } in routes {
                let canary = canary.as_ref().map(|name| (&name.ns, &name.name));
                let _ = write!(text, "{binding:?} {:?} {:?} {canary:?};", primary.ns, primary.name);
            }
            let _ = writeln!(text, "{ports:?}");
        }
        let (a, b) = (xxh3_64(text.as_bytes()), xxh3_64_with_seed(text.as_bytes(), 1));
        // No Kubernetes object can have this name: underscores are illegal there.
        Name::new(&self.ns, &format!("pilothouse_require_waypoint_{a:016x}{b:016x}"))
    }
}

pub(super) fn targets(ports: &PortList) -> impl Iterator<Item = u16> {
    ports.ports.iter().filter_map(|p| u16::try_from(p.target_port).ok())
}

/// What is to be restricted, and whether it can be.
pub(crate) struct EnforcementTarget<'a> {
    /// The object that the workload stands for.
    pub object: ObjectRef,
    /// `None` for an instance of a gateway, which is never restricted.
    pub requirement: Option<WaypointRequirement>,
    pub services: &'a [(Arc<ServiceView>, PortList)],
    /// Whether a ztunnel stands before the workload, which is who enforces policies.
    pub is_captured: bool,
}
