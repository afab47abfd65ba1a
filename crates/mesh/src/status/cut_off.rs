//! Policies that refuse the waypoint through which the workloads that they select are reached.
//!
//! What a client sends through a waypoint arrives with the identity of the waypoint. Workloads whose ALLOW
//! policies at ztunnels name the clients alone are then reached by nobody.

use engine::{Builder, Memo, Table};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity};
use output::Outputs;
use prost::Message;
use proto::security::Authorization;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::{PolicyRow, can_match_peer};
use crate::settings::Settings;
use crate::waypoint::{BehindWaypoint, BehindWaypoints, Binder};

/// Code of the diagnostic that arises here.
const CUT_OFF: &str = "AP112";
/// Most services that one diagnostic names.
const NAMED: usize = 3;

/// A waypoint that does not reach workloads.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct CutOff {
    /// The first of the policies that select them.
    policy: Name,
    waypoint: Name,
    /// The account of an instance of it.
    account: Name,
    reached: Reached,
}

/// What is reached through a waypoint.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Reached {
    /// A Service or ServiceEntry.
    Bound(ObjectRef),
    /// Workloads of a namespace that are bound to the waypoint themselves.
    Workloads(Ns),
}

impl Reached {
    fn text(&self) -> String {
        match self {
            Self::Bound(object) => object.to_string(),
            Self::Workloads(ns) => format!("workloads of namespace {ns}"),
        }
    }
}

/// Declares the diagnostics. `rows` are what policies became.
pub(super) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    rows: Table<Name, PolicyRow>,
    behind: BehindWaypoints,
    settings: Settings,
    binder: Binder,
) {
    // Apart from the rules, so that an edit of them concerns those only that the policy selects.
    let allows = |_: &Name, row: &PolicyRow| row.allows.is_some();
    let allowing = b.derive_where("allow_policies", rows, allows, |_, _, row| row.allows.clone());
    let allowing = b.index(allowing, "allow_policy_by_namespace", |name: &Name, _| [name.ns.clone()]);
    let admits: Memo<(Name, Name), bool> = b.memo("policy_admits", move |cx, (policy, account)| {
        let row = cx.get(rows, policy)?;
        let sent = Authorization::decode(&*row.encoded.as_ref()?.body).ok()?;
        Some(can_match_peer(&sent, cx.single(settings.trust_domain)?.as_str(), account))
    });
    let behind = behind.declare_rows(b);
    let cut_off = b.expand("waypoints_cut_off", behind, move |cx, of: &Arc<BehindWaypoint>, _| {
        let ns = &of.selected.ns;
        let root = cx.single(settings.root_namespace);
        let elsewhere = root.as_deref().filter(|root| *root != ns);
        let mut selecting = BTreeSet::new();
        for ns in [Some(ns), elsewhere].into_iter().flatten() {
            let all = cx.lookup(allowing, ns).into_iter();
            let those = all.filter(|(_, scope)| scope.selects(&of.selected.labels));
            selecting.extend(those.map(|(policy, _)| policy));
        }
        // Before anything is read of waypoints: most workloads have no such policy.
        let Some(policy) = selecting.first() else { return Vec::new() };
        let mut found = Vec::new();
        for (bound, route) in of.reached.iter() {
            for waypoint in binder.open(cx, route, ns) {
                let accounts = cx.get(binder.accounts, &waypoint);
                for account in accounts.iter().flat_map(|accounts| accounts.iter()) {
                    let account = Name { ns: waypoint.ns.clone(), name: account.clone() };
                    let lets_in = |policy: &Name| {
                        cx.memo(admits, &(policy.clone(), account.clone())).is_some_and(|admits| *admits)
                    };
                    if selecting.iter().any(lets_in) {
                        continue;
                    }
                    let reached =
                        bound.clone().map_or_else(|| Reached::Workloads(ns.clone()), Reached::Bound);
                    let (policy, waypoint) = (policy.clone(), waypoint.clone());
                    found.push((CutOff { policy, waypoint, account, reached }, ()));
                }
            }
        }
        found
    });
    let by_policy = b.index(cut_off, "waypoint_cut_off_by_policy", |key: &CutOff, (): &()| {
        [(key.policy.clone(), key.waypoint.clone())]
    });
    let by_policy = b.group("policies_that_cut_off", by_policy, |_, _, rows| {
        Some(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<CutOff>>())
    });
    out.diagnostics(b, "cut_off_findings", by_policy, |(policy, waypoint), rows| {
        [diagnostic(policy, waypoint, rows)]
    });
}

fn diagnostic(policy: &Name, waypoint: &Name, rows: &[CutOff]) -> Diagnostic {
    let accounts: BTreeSet<String> = rows.iter().map(|of| of.account.to_string()).collect();
    let accounts = accounts.into_iter().collect::<Vec<_>>().join(", ");
    let reached: BTreeSet<&Reached> = rows.iter().map(|of| &of.reached).collect();
    let named: Vec<String> = reached.iter().take(NAMED).map(|of| of.text()).collect();
    let more = match reached.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Diagnostic {
        code: CUT_OFF,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::AuthorizationPolicy, name: policy.clone() }),
        field: "spec.rules".to_owned(),
        message: format!(
            "no policy allows service account {accounts} of waypoint {waypoint}, through which {}{more} can be reached: what comes through it is refused",
            named.join(", ")
        ),
        help: format!(
            "allow the waypoint: from: [{{source: {{serviceAccounts: [{accounts}]}}}}]; and let it decide about its clients"
        ),
        place: None,
    }
}
