//! Policies that let waypoints through to the workloads behind them.

use engine::{Builder, Cx, Table};
use model::{Name, Ns};
use output::Outputs;

use super::bind::{Binder, Route};
use super::gateway::Accounts;
use crate::policy::{self, SentPolicy};
use crate::rank;
use crate::settings::Settings;

/// The policies that let waypoints through to the workloads behind them, if they are wanted.
#[derive(Clone, Copy)]
pub(crate) struct ImplicitAllowPolicies;

impl ImplicitAllowPolicies {
    /// Declares them.
    pub fn declare(
        b: &mut Builder,
        out: &mut Outputs,
        accounts: Table<Name, Accounts>,
        settings: Settings,
    ) -> Self {
        let policies = b.derive("implicit_allow_policies", accounts, move |cx, name, accounts| {
            let domain = cx.single(settings.trust_domain)?;
            policy::implicit_waypoint_allow(name, accounts, domain.as_str()).as_ref().map(SentPolicy::from)
        });
        SentPolicy::declare_output(b, out, policies, rank::IMPLICIT_ALLOW_POLICY);
        Self
    }

    /// Returns the names of the policies that let the waypoints of these routes through to somebody
    /// in namespace `ns`, ascending.
    pub fn names<'r>(
        &self,
        cx: &Cx<'_>,
        binder: &Binder,
        ns: &Ns,
        routes: impl Iterator<Item = &'r Route>,
    ) -> Vec<Name> {
        let mut names: Vec<Name> = routes
            .flat_map(|route| binder.open(cx, route, ns))
            .filter_map(|w| policy::implicit_waypoint_name(&w, &*cx.get(binder.accounts, &w)?))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
