//! PeerAuthentication: which one is in force where.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::PeerAuthentication;
use model::{Labels, Name, Ns};
use std::sync::Arc;

use crate::key::{Anchor, Selected};
use crate::policy::{self, Level};
use crate::policy_row::SentPolicy;
use crate::settings::Settings;

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Peers {
    by_anchor: Index<Anchor, Name, PeerAuthentication>,
    /// The oldest without a selector: of a namespace, or (`None`) of the mesh.
    pub oldest: Memo<Option<Ns>, PeerAuthentication>,
    /// What is sent for a policy with port-level modes, under that policy's name.
    pub ports: Table<Name, SentPolicy>,
    /// What is sent if there is any policy at all.
    pub strict: Table<Name, SentPolicy>,
}

fn selector(peer: &PeerAuthentication) -> Labels {
    let written = match &peer.spec {
        Ok(spec) => spec.selector.clone(),
        Err(refused) => refused.selector.clone(),
    };
    written.unwrap_or_default()
}

/// Declares them over the policies that are ours and in scope.
pub(crate) fn declare(b: &mut Builder, peers: Table<Name, PeerAuthentication>, settings: Settings) -> Peers {
    let root = settings.root_namespace;
    let by_anchor = b.index(peers, "peer_by_anchor", |name: &Name, peer| {
        Anchor::of_selector(Some(&name.ns), &selector(peer))
    });
    let plain = b.index(peers, "peer_by_namespace", |name: &Name, peer| {
        selector(peer).is_empty().then(|| name.ns.clone())
    });
    let any = b.index(peers, "peer_any", |_, _| [()]);

    let oldest = b.memo("peer_oldest", move |cx, of: &Option<Ns>| {
        let root = cx.single(root)?;
        let ns = of.as_ref().unwrap_or(&root);
        let wanted = if of.is_none() { Level::Mesh } else { Level::Namespace };
        cx.lookup(plain, ns)
            .into_iter()
            .map(|(_, peer)| peer)
            .filter(|peer| policy::level(peer, &root) == Some(wanted))
            .min_by(|a, b| policy::age(a).cmp(&policy::age(b)))
            .map(|peer| (*peer).clone())
    });
    let ports = b.derive("peer_ports", peers, move |cx, name, peer| {
        let root = cx.single(root)?;
        let namespace = cx.memo(oldest, &Some(name.ns.clone()));
        let mesh = cx.memo(oldest, &None);
        let sent = policy::port_policy(peer, namespace.as_deref(), mesh.as_deref(), &root)?;
        Some(SentPolicy::from(&sent))
    });
    let existing = b.group("peer_exists", any, |_, (), _| Some(()));
    let strict = b.expand("peer_strict", existing, move |cx, (), ()| {
        let Some(root) = cx.single(root) else { return Vec::new() };
        vec![(policy::static_strict_name(&root), SentPolicy::from(&policy::static_strict(&root)))]
    });
    Peers { by_anchor, oldest, ports, strict }
}

impl Peers {
    /// Returns the oldest policy whose selector matches; selectors in the root namespace are ignored.
    pub fn oldest_selecting(&self, cx: &Cx<'_>, root: &Ns, of: &Selected) -> Option<Arc<PeerAuthentication>> {
        Anchor::of_labels(Some(&of.ns), &of.labels)
            .flat_map(|anchor| cx.lookup(self.by_anchor, &anchor))
            .map(|(_, peer)| peer)
            .filter(|peer| {
                policy::level(peer, root) == Some(Level::Workload) && selector(peer).is_subset_of(&of.labels)
            })
            .min_by(|a, b| policy::age(a).cmp(&policy::age(b)))
    }
}
