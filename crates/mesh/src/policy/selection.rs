//! Which policies select a workload.
//!
//! They depend only on the namespace and the labels, which the replicas of a deployment share. So the
//! answer is a memo under that pair: a thousand replicas read one row, and a policy's selector is compared
//! once, not a thousand times.

use engine::{Builder, Index, Memo, Table};
use model::{Name, Str};

use super::authorization::PolicyScope;
use super::peer::Peers;
use super::peer_authentication::{EffectivePeerAuthentication, workload_policies};
use crate::key::{Anchor, Selected};
use crate::settings::Settings;

/// The tables from which policies are selected.
#[derive(Clone, Copy)]
pub(crate) struct Policies {
    pub scopes: Index<Anchor, Name, PolicyScope>,
    pub peers: Peers,
}

/// Declares which policies a workload lists, in the order in which it lists them.
pub(crate) fn declare_policies(
    b: &mut Builder,
    policies: Policies,
    settings: Settings,
) -> Memo<Selected, Vec<Str>> {
    b.memo("selected_policies", move |cx, of: &Selected| {
        let root = cx.single(settings.root_namespace).map(|r| (*r).clone()).unwrap_or_default();
        let mut listed: Vec<Str> = [None, Some(&of.ns)]
            .into_iter()
            .flat_map(|ns| Anchor::of_labels(ns, &of.labels))
            .flat_map(|anchor| cx.lookup(policies.scopes, &anchor))
            .filter(|(_, scope)| scope.covers(&of.ns, &of.labels))
            .map(|(name, _)| Str::from(name.to_string()))
            .collect();
        listed.sort();
        let peers = &policies.peers;
        let workload = peers.oldest_selecting(cx, &root, of);
        let namespace = cx.memo(peers.general, &Some(of.ns.clone()));
        let mesh = cx.memo(peers.general, &None);
        let effective = EffectivePeerAuthentication {
            mesh: mesh.as_deref(),
            namespace: namespace.as_deref(),
            workload: workload.as_deref(),
        };
        listed.extend(workload_policies(effective, &root).iter().map(|n| Str::from(n.to_string())));
        Some(listed)
    })
}

/// Declares an index of policy scopes by what they select.
pub(crate) fn index_scopes(
    b: &mut Builder,
    scopes: Table<Name, PolicyScope>,
) -> Index<Anchor, Name, PolicyScope> {
    b.index(scopes, "policy_by_anchor", |_, scope: &PolicyScope| {
        Anchor::of_selector(scope.namespace.as_ref(), &scope.selector)
    })
}
