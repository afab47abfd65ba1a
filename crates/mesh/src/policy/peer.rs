//! PeerAuthentication: which one is active where.

use engine::{Builder, Cx, Index, Memo, Table};
use model::facts::PeerAuthentication;
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Severity};
use output::Outputs;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::peer_authentication::{
    Level, active, age, level, port_policy, selector, static_strict, static_strict_name,
};
use super::row::SentPolicy;
use crate::key::{Anchor, Selected};
use crate::rank;
use crate::settings::Settings;

/// The tables of this module.
#[derive(Clone, Copy)]
pub(crate) struct Peers {
    by_anchor: Index<Anchor, Name, PeerAuthentication>,
    /// The active one without labels to select: of a namespace, or (`None`) of the mesh.
    pub general: Memo<Option<Ns>, PeerAuthentication>,
}

fn labels(peer: &PeerAuthentication) -> Labels {
    selector(peer).cloned().unwrap_or_default()
}

/// Declares them over the policies that are ours and in scope.
pub(crate) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    peers: Table<Name, PeerAuthentication>,
    settings: Settings,
) -> Peers {
    let root = settings.root_namespace;
    let by_anchor = b.index(peers, "peer_by_anchor", |name: &Name, peer| {
        Anchor::of_selector(Some(&name.ns), &labels(peer))
    });
    let plain = b.index(peers, "peer_by_namespace", |name: &Name, peer| {
        labels(peer).is_empty().then(|| name.ns.clone())
    });
    let any = b.index(peers, "peer_any", |_, _| [()]);

    let general = b.memo("peer_general", move |cx, of: &Option<Ns>| {
        let root = cx.single(root)?;
        let ns = of.as_ref().unwrap_or(&root);
        let wanted = if of.is_none() { Level::Mesh } else { Level::Namespace };
        let found = cx.lookup(plain, ns);
        let found = found.iter().map(|(_, peer)| &**peer).filter(|peer| level(peer, &root) == Some(wanted));
        active(found, &root).cloned()
    });
    // For a policy with port-level modes, under that policy's name.
    let ports = b.derive("peer_ports", peers, move |cx, name, peer| {
        let root = cx.single(root)?;
        let namespace = cx.memo(general, &Some(name.ns.clone()));
        let mesh = cx.memo(general, &None);
        let sent = port_policy(peer, namespace.as_deref(), mesh.as_deref(), &root)?;
        Some(SentPolicy::from(&sent))
    });
    // If there is any policy at all.
    let existing = b.group("peer_exists", any, |_, (), _| Some(()));
    let strict = b.expand("peer_strict", existing, move |cx, (), ()| {
        let Some(root) = cx.single(root) else { return Vec::new() };
        vec![(static_strict_name(&root), SentPolicy::from(&static_strict(&root)))]
    });
    SentPolicy::declare_output(b, out, strict, rank::STRICT_POLICY);
    SentPolicy::declare_output(b, out, ports, rank::PORT_POLICY);
    out.findings(move |graph| {
        let peers: Vec<_> = graph.rows(peers).into_iter().map(|(_, peer)| peer).collect();
        graph.get(root, &()).map(|root| diagnostics(&peers, &root)).unwrap_or_default()
    });
    Peers { by_anchor, general }
}

impl Peers {
    /// Returns the oldest policy whose selector matches; selectors in the root namespace are ignored.
    pub fn oldest_selecting(&self, cx: &Cx<'_>, root: &Ns, of: &Selected) -> Option<Arc<PeerAuthentication>> {
        Anchor::of_labels(Some(&of.ns), &of.labels)
            .flat_map(|anchor| cx.lookup(self.by_anchor, &anchor))
            .map(|(_, peer)| peer)
            .filter(|peer| {
                level(peer, root) == Some(Level::Workload) && labels(peer).is_subset_of(&of.labels)
            })
            .min_by(|a, b| age(a).cmp(&age(b)))
    }
}

/// Codes of the diagnostics that arise here.
mod code {
    /// A selector in the root namespace.
    pub(super) const ROOT_SELECTOR: &str = "PA004";
    /// An older policy is for all that this one is for.
    pub(super) const SHADOWED: &str = "PA005";
    /// Modes of ports in a policy that selects no workloads.
    pub(super) const PORTS_IGNORED: &str = "PA006";
    /// An empty selector in the root namespace, which a stricter policy overrides.
    pub(super) const EMPTY_SELECTOR: &str = "PA007";
}

/// Returns what the authors of policies that are ours and in scope should know: what was not understood,
/// and what is written in vain.
fn diagnostics(peers: &[Arc<PeerAuthentication>], root: &Ns) -> Vec<Diagnostic> {
    let mut by_age: Vec<&PeerAuthentication> = peers.iter().map(|peer| &**peer).collect();
    by_age.sort_by(|a, b| age(a).cmp(&age(b)));
    let mut older: BTreeMap<Option<Anchor>, Vec<&PeerAuthentication>> = BTreeMap::new();
    let mut general: BTreeMap<&Ns, Option<&PeerAuthentication>> = BTreeMap::new();
    let mut found = Vec::new();
    for peer in by_age {
        let ns = &peer.meta.name.ns;
        found.extend(peer.spec.as_ref().err().map(|refused| refused.diagnostic.clone()));
        let level = level(peer, root);
        let selected = labels(peer);
        match level {
            None => found.push(warning(
                code::ROOT_SELECTOR,
                peer,
                "spec.selector",
                format!("{root:?} is the root namespace, where policies are for the whole mesh: one that selects workloads is ignored"),
                "move it to the namespace of the workloads, or remove the selector",
            )),
            Some(Level::Mesh | Level::Namespace) => {
                let of_ns = general.entry(ns).or_insert_with(|| {
                    let of_ns = peers.iter().map(|peer| &**peer).filter(|peer| peer.meta.name.ns == *ns);
                    active(of_ns.filter(|peer| labels(peer).is_empty()), root)
                });
                found.extend(of_ns.filter(|first| first.meta.name != peer.meta.name).map(|first| {
                    if age(first) < age(peer) { shadowed(peer, first) } else { less_strict(peer, first) }
                }));
            }
            // An older one whose selector has nothing besides selects all that this one does.
            Some(Level::Workload) => {
                let mut anchors = Anchor::of_labels(Some(ns), &selected).map(Some);
                let first = anchors.find_map(|anchor| {
                    let of_anchor = older.get(&anchor)?.iter();
                    of_anchor.copied().find(|other| labels(other).is_subset_of(&selected))
                });
                found.extend(first.map(|first| shadowed(peer, first)));
                older.entry(Anchor::of_selector(Some(ns), &selected)).or_default().push(peer);
            }
        }
        let has_ports = peer.spec.as_ref().is_ok_and(|spec| !spec.ports.is_empty());
        if has_ports && matches!(level, Some(Level::Mesh | Level::Namespace)) {
            found.push(warning(
                code::PORTS_IGNORED,
                peer,
                "spec.portLevelMtls",
                "modes of ports are ignored in a policy that selects no workloads".to_owned(),
                "give the labels of the workloads in spec.selector.matchLabels",
            ));
        }
    }
    found
}

fn shadowed(peer: &PeerAuthentication, first: &PeerAuthentication) -> Diagnostic {
    let message = format!("PeerAuthentication {} is older and for all that this one is for", first.meta.name);
    warning(
        code::SHADOWED,
        peer,
        "",
        message,
        "the older one is in force and this one is not: delete one of them",
    )
}

/// `peer` is the older one, with an empty selector in the root namespace.
fn less_strict(peer: &PeerAuthentication, first: &PeerAuthentication) -> Diagnostic {
    let message = format!(
        "an empty selector in the root namespace may be for the whole mesh or for no other namespace, so PeerAuthentication {} is active, which is stricter",
        first.meta.name
    );
    warning(
        code::EMPTY_SELECTOR,
        peer,
        "spec.selector",
        message,
        "remove the selector, or delete one of the two",
    )
}

fn warning(
    code: &'static str,
    of: &PeerAuthentication,
    field: &str,
    message: String,
    help: &str,
) -> Diagnostic {
    Diagnostic {
        code,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::PeerAuthentication, name: of.meta.name.clone() }),
        field: field.to_owned(),
        message,
        help: help.to_owned(),
        place: None,
    }
}
