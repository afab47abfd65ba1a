//! The enforcements that workloads list, as policies, and what was found meanwhile.

use engine::{Builder, Cx, Memo, Table};
use model::Str;
use output::Outputs;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::finding::{self, Finding};
use super::target::{EnforcementTarget, Routes, WaypointEnforcement};
use crate::policy::{self, PortRule, SentPolicy};
use crate::rank;
use crate::settings::Settings;
use crate::waypoint::Binder;

/// What workloads write down as they are computed.
#[derive(Clone, Copy)]
pub(crate) struct Enforcements {
    names: Memo<Arc<WaypointEnforcement>, Str>,
    findings: Memo<Finding, ()>,
}

impl Enforcements {
    /// Declares it.
    pub fn declare(b: &mut Builder) -> Self {
        Self {
            names: b.memo("enforcement_names", |_, enforcement: &Arc<WaypointEnforcement>| {
                Some(Str::from(enforcement.name().to_string()))
            }),
            findings: b.memo("enforcement_finding", |_, _| Some(())),
        }
    }

    /// Returns the name of the policy that protects a workload, which is sent while anybody asks for
    /// it. A workload without a ztunnel lists it as well: it may be captured before we hear of it.
    pub fn listed(&self, cx: &Cx<'_>, of: &EnforcementTarget<'_>) -> Option<Arc<Str>> {
        let is_required = of.requirement.as_ref().is_some_and(|requirement| requirement.required);
        if !is_required && !of.services.iter().any(|(s, _)| s.requirement.required) {
            return None;
        }
        if of.requirement.is_none() || !of.is_captured {
            self.unprotected(cx, of);
        }
        let enforcement =
            WaypointEnforcement::new(&of.object.name.ns, of.requirement.as_ref()?, of.services)?;
        self.tell(cx, finding::shared_ports(&enforcement, of));
        cx.memo(self.names, &Arc::new(enforcement))
    }

    /// Makes known that a workload lists no enforcement policy, whatever is required of it.
    pub fn unprotected(&self, cx: &Cx<'_>, of: &EnforcementTarget<'_>) {
        self.tell(cx, finding::unprotected(of));
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
    ) -> EnforcementTables {
        let enforcements = b.in_use("enforcements", self.names);
        let policies = b.derive("enforcement_policies", enforcements, move |cx, enforcement, _| {
            let domain = cx.single(settings.trust_domain)?;
            let accounts = |routes: &Routes| {
                let open = routes.iter().flat_map(|route| binder.open(cx, route, &enforcement.ns));
                let accounts = open.flat_map(|waypoint| {
                    let accounts = cx.get(binder.accounts, &waypoint);
                    let accounts = accounts.into_iter().flat_map(|all| (*all).clone());
                    accounts.map(move |account| (waypoint.ns.clone(), account)).collect::<Vec<_>>()
                });
                accounts.collect::<BTreeSet<_>>()
            };
            let port_rules =
                enforcement.ports.iter().map(|(routes, ports)| PortRule::new(ports, accounts(routes)));
            let rest = enforcement.rest.as_ref().map(accounts);
            let sent = policy::waypoint_enforcement(
                enforcement.name(),
                &port_rules.collect::<Vec<_>>(),
                rest.as_ref(),
                domain.as_str(),
            );
            Some(SentPolicy::from(&sent))
        });
        let findings = b.in_use("enforcement_findings", self.findings);
        let by_service = b.index(findings, "enforcement_finding_by_service", |finding: &Finding, ()| {
            finding.of_service().cloned()
        });
        SentPolicy::declare_output(b, out, policies, rank::WAYPOINT_POLICY);
        EnforcementTables { findings, by_service }
    }
}

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct EnforcementTables {
    pub findings: Table<Finding, ()>,
    pub by_service: engine::Index<Str, Finding, ()>,
}
