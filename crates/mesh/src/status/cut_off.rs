//! Policies that refuse the waypoint through which the services that they protect are reached.
//!
//! What a client sends through a waypoint arrives with the identity of the waypoint. A service whose ALLOW
//! policies at ztunnels name its clients alone is then reached by nobody.

use engine::{Builder, Cx, Memo, Table};
use model::facts::AuthorizationPolicy;
use model::{Diagnostic, Kind, Labels, Name, ObjectRef, Severity};
use output::Outputs;
use prost::Message;
use proto::security::Authorization;

use crate::policy::{PolicyRow, can_match_peer};
use crate::service::ServiceView;
use crate::settings::Settings;
use crate::waypoint::Binder;

/// Code of the diagnostic that arises here.
const CUT_OFF: &str = "AP112";
/// Most services that one diagnostic names.
const NAMED: usize = 3;

/// A waypoint that does not reach the workloads of a service.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct CutOff {
    /// The first of the policies that cover all of them.
    policy: Name,
    waypoint: Name,
    /// The account of an instance of it.
    account: Name,
    service: Name,
}

/// Of which workloads of a service a policy is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    None,
    /// Of those with labels besides.
    Some,
    All,
}

fn cover(policy: Option<&Labels>, service: &Labels) -> Cover {
    match policy {
        None => Cover::All,
        Some(labels) if labels.is_empty() => Cover::None,
        Some(labels) if labels.is_subset_of(service) => Cover::All,
        Some(labels)
            if labels.iter().any(|(key, value)| service.get(key).is_some_and(|own| own != value)) =>
        {
            Cover::None
        }
        Some(_) => Cover::Some,
    }
}

/// Declares the diagnostics. `rows` are what `policies` became.
pub(super) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    policies: Table<Name, AuthorizationPolicy>,
    rows: Table<Name, PolicyRow>,
    services: Table<Name, ServiceView>,
    settings: Settings,
    binder: Binder,
) {
    let allowing = b.index(rows, "allow_policy_by_namespace", |name: &Name, row: &PolicyRow| {
        row.allows.then(|| name.ns.clone())
    });
    let admits: Memo<(Name, Name), bool> = b.memo("policy_admits", move |cx, (policy, account)| {
        let row = cx.get(rows, policy)?;
        let sent = Authorization::decode(row.encoded.as_ref()?.bytes()).ok()?;
        Some(can_match_peer(&sent, cx.single(settings.trust_domain)?.as_str(), account))
    });
    let cut_off = b.expand("waypoints_cut_off", services, move |cx, name, view: &ServiceView| {
        let Some(route) = view.requirement.route.as_ref().filter(|_| !view.selector.is_empty()) else {
            return Vec::new();
        };
        let root = cx.single(settings.root_namespace);
        let elsewhere = root.as_deref().filter(|root| **root != name.ns);
        let covering = |cx: &Cx<'_>| {
            let all = [Some(&name.ns), elsewhere].into_iter().flatten();
            let all = all.flat_map(|ns| cx.lookup(allowing, ns)).filter_map(|(policy, _)| {
                let spec = cx.get(policies, &policy)?;
                let selector = spec.spec.as_ref().ok()?.selector.as_ref();
                Some((cover(selector, &view.selector), policy)).filter(|(cover, _)| *cover != Cover::None)
            });
            all.collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        let waypoints = binder.open(cx, route, &name.ns);
        // Most services have no waypoint that is ready, or no policy.
        let covering = if waypoints.is_empty() { Vec::new() } else { covering(cx) };
        let whole = covering.iter().filter(|(cover, _)| *cover == Cover::All).map(|(_, policy)| policy).min();
        let Some(policy) = whole else { return Vec::new() };
        for waypoint in waypoints {
            let accounts = cx.get(binder.accounts, &waypoint);
            for account in accounts.iter().flat_map(|accounts| accounts.iter()) {
                let account = Name { ns: waypoint.ns.clone(), name: account.clone() };
                let lets_in = |policy: &Name| {
                    cx.memo(admits, &(policy.clone(), account.clone())).is_some_and(|admits| *admits)
                };
                if covering.iter().any(|(_, policy)| lets_in(policy)) {
                    continue;
                }
                let (policy, waypoint, service) = (policy.clone(), waypoint.clone(), name.clone());
                found.push((CutOff { policy, waypoint, account, service }, ()));
            }
        }
        found
    });
    let by_policy =
        b.index(cut_off, "waypoint_cut_off_by_policy", |key: &CutOff, (): &()| [key.policy.clone()]);
    let by_policy = b.group("policies_that_cut_off", by_policy, |_, _, rows| {
        Some(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<CutOff>>())
    });
    out.diagnostics(b, "cut_off_findings", by_policy, |_, policy, rows| [diagnostic(policy, rows)]);
}

fn diagnostic(policy: &Name, rows: &[CutOff]) -> Diagnostic {
    let first = rows.first();
    let account = first.map(|of| of.account.to_string()).unwrap_or_default();
    let waypoint = first.map(|of| of.waypoint.to_string()).unwrap_or_default();
    let mut services: Vec<String> = rows.iter().map(|of| of.service.to_string()).collect();
    services.dedup();
    let more = match services.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    services.truncate(NAMED);
    Diagnostic {
        code: CUT_OFF,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::AuthorizationPolicy, name: policy.clone() }),
        field: "spec.rules".to_owned(),
        message: format!(
            "no policy allows service account {account} of waypoint {waypoint}, through which {}{more} is reached: what comes through it is refused",
            services.join(", ")
        ),
        help: format!(
            "allow the waypoint: from: [{{source: {{serviceAccounts: [{account}]}}}}]; and let it decide about its clients"
        ),
        place: None,
    }
}
