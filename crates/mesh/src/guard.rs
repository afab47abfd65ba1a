//! Guards: ports of workloads to which only waypoints may connect.
//!
//! ```text
//! demands of services and workload ─▶ Guard, of one workload ─┬▶ name, which the workload lists
//!                                                             └▶ while any lists it: DENY policy
//! ```
//!
//! A port is guarded if a binding that covers it requires its waypoint: that of a service covers the
//! ports to which the service leads, that of a workload covers all. To a guarded port every waypoint
//! may connect through which a binding leads to it, and nobody else. So of two services with one
//! port, where one requires its waypoint, the other is reached through a waypoint or not at all.
//!
//! A guard names waypoints, not accounts: pods of a waypoint that come and go change one policy and
//! no workload.

mod report;

use engine::{Builder, Cx, Memo, Table};
use model::{Name, Ns, ObjectRef, Str};
use output::Outputs;
use proto::workload::PortList;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::policy::{self, Door};
use crate::policy_row::SentPolicy;
use crate::rank;
use crate::service::ServiceView;
use crate::settings::Settings;
use crate::waypoint::{Binder, Demand, Route};

pub(crate) use report::{Finding, Reported, declare_diagnostics, of_service, of_workload};

/// Ways through waypoints: any of them will do.
type Routes = BTreeSet<Route>;

/// Which ports of a workload may only be reached through which waypoints.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Guard {
    /// The namespace of the workload.
    ns: Ns,
    /// Ports by the ways that lead to them; without any, nobody may connect.
    ports: BTreeMap<Routes, BTreeSet<u16>>,
    /// The ways to every other port; `None` when those are open.
    rest: Option<Routes>,
}

impl Guard {
    /// Returns the guard of a workload with these services and the ports of it to which they lead;
    /// `None` when nothing is required.
    fn new(ns: &Ns, own: &Demand, services: &[(Arc<ServiceView>, PortList)]) -> Option<Self> {
        let mut by_port: BTreeMap<u16, (bool, Routes)> = BTreeMap::new();
        for (service, ports) in services {
            for port in targets(ports) {
                let (required, routes) = by_port.entry(port).or_default();
                *required |= service.demand.required;
                routes.extend(service.demand.route.clone());
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

    /// Tells whether a port is guarded.
    fn covers(&self, port: u16) -> bool {
        self.rest.is_some() || self.ports.values().any(|ports| ports.contains(&port))
    }

    /// Returns the name of its policy, the same for the same guard on every replica.
    fn name(&self) -> Name {
        let mut text = String::new();
        let all = self.ports.iter().map(|(routes, ports)| (routes, Some(ports)));
        // Quoted, so that no two guards have one text; writing to a string cannot fail.
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

fn targets(ports: &PortList) -> impl Iterator<Item = u16> {
    ports.ports.iter().filter_map(|p| u16::try_from(p.target_port).ok())
}

/// What is to be guarded, and whether it can be.
pub(crate) struct Guarded<'a> {
    /// The object that the workload stands for.
    pub object: ObjectRef,
    /// `None` for an instance of a gateway, which is never guarded.
    pub demand: Option<Demand>,
    pub services: &'a [(Arc<ServiceView>, PortList)],
    /// Whether a ztunnel stands before the workload, which is who enforces policies.
    pub is_captured: bool,
}

/// What workloads write down as they are computed.
#[derive(Clone, Copy)]
pub(crate) struct Guards {
    names: Memo<Arc<Guard>, Str>,
    findings: Memo<Finding, ()>,
}

impl Guards {
    /// Declares it.
    pub fn declare(b: &mut Builder) -> Self {
        Self {
            names: b.memo("guard_names", |_, guard: &Arc<Guard>| Some(Str::from(guard.name().to_string()))),
            findings: b.memo("guard_finding", |_, _| Some(())),
        }
    }

    /// Returns the name of the policy that guards a workload, which is sent while anybody asks for
    /// it. A workload without a ztunnel lists it as well: it may be captured before we hear of it.
    pub fn listed(&self, cx: &Cx<'_>, of: &Guarded<'_>) -> Option<Arc<Str>> {
        let is_required = of.demand.as_ref().is_some_and(|demand| demand.required);
        if !is_required && !of.services.iter().any(|(s, _)| s.demand.required) {
            return None;
        }
        if of.demand.is_none() || !of.is_captured {
            self.unguarded(cx, of);
        }
        let guard = Guard::new(&of.object.name.ns, of.demand.as_ref()?, of.services)?;
        self.tell(cx, report::shared_ports(&guard, of));
        cx.memo(self.names, &Arc::new(guard))
    }

    /// Makes known that a workload lists no guard, whatever is required of it.
    pub fn unguarded(&self, cx: &Cx<'_>, of: &Guarded<'_>) {
        self.tell(cx, report::unguarded(of));
    }

    fn tell(&self, cx: &Cx<'_>, found: Vec<Finding>) {
        for finding in found {
            cx.memo(self.findings, &finding);
        }
    }

    /// Declares what follows from it, after everything that asks.
    pub fn declare_policies(
        self,
        b: &mut Builder,
        out: &mut Outputs,
        binder: Binder,
        settings: Settings,
    ) -> GuardPolicies {
        let guards = b.in_use("guards", self.names);
        let policies = b.derive("guard_policies", guards, move |cx, guard, _| {
            let domain = cx.single(settings.trust_domain)?;
            let accounts = |routes: &Routes| {
                let open = routes.iter().flat_map(|route| binder.open(cx, route, &guard.ns));
                let accounts = open.flat_map(|waypoint| {
                    let accounts = cx.get(binder.accounts, &waypoint);
                    let accounts = accounts.into_iter().flat_map(|all| (*all).clone());
                    accounts.map(move |account| (waypoint.ns.clone(), account)).collect::<Vec<_>>()
                });
                accounts.collect::<BTreeSet<_>>()
            };
            let doors = guard.ports.iter().map(|(routes, ports)| Door::new(ports, accounts(routes)));
            let rest = guard.rest.as_ref().map(accounts);
            let sent = policy::guard(guard.name(), &doors.collect::<Vec<_>>(), rest.as_ref(), &domain);
            Some(SentPolicy::from(&sent))
        });
        let findings = b.in_use("guard_findings", self.findings);
        let by_service = b.index(findings, "guard_finding_by_service", |finding: &Finding, ()| {
            finding.of_service().cloned()
        });
        SentPolicy::declare_output(b, out, policies, rank::WAYPOINT_POLICY);
        GuardPolicies { findings, by_service }
    }
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct GuardPolicies {
    findings: Table<Finding, ()>,
    by_service: engine::Index<Str, Finding, ()>,
}
