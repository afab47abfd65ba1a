//! The guards that workloads list, as policies, and what was found meanwhile.

use engine::{Builder, Cx, Memo, Table};
use model::Str;
use output::Outputs;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::finding::{self, Finding};
use super::guard::{Guard, Guarded, Routes};
use crate::policy::{self, Door, SentPolicy};
use crate::rank;
use crate::settings::Settings;
use crate::waypoint::Binder;

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
        self.tell(cx, finding::shared_ports(&guard, of));
        cx.memo(self.names, &Arc::new(guard))
    }

    /// Makes known that a workload lists no guard, whatever is required of it.
    pub fn unguarded(&self, cx: &Cx<'_>, of: &Guarded<'_>) {
        self.tell(cx, finding::unguarded(of));
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
    pub findings: Table<Finding, ()>,
    pub by_service: engine::Index<Str, Finding, ()>,
}
