//! `PeerAuthentication` to wire authorizations: a static one that denies plaintext, and one per policy
//! with exceptions for ports.
//!
//! Which policies a workload lists and which are sent both come from [`decide`], so that a workload
//! never lists what is not sent: a ztunnel skips a listed policy that is missing, which would let
//! plaintext in.

use model::facts::{MtlsMode, PeerAuthentication};
use model::{Labels, Name, Ns};
use proto::security::{
    Action, Authorization, Group, Match, Rules, Scope, StringMatch, string_match::MatchType,
};

#[cfg(test)]
mod tests;

/// No Kubernetes object can have this name: underscores are illegal there.
const STATIC_STRICT: &str = "istio_converted_static_strict";
const PORT_POLICY_PREFIX: &str = "converted_peer_authentication_";

/// What a `PeerAuthentication` applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// Every workload: in the root namespace, without labels to select.
    Mesh,
    /// Every workload of its namespace: without labels to select.
    Namespace,
    /// The workloads of its namespace that have the labels.
    Workload,
}

/// Returns what `policy` applies to; `None` for a selector in the root namespace, which is ignored.
pub(crate) fn level(policy: &PeerAuthentication, root_namespace: &Ns) -> Option<Level> {
    let selects = selector(policy).is_some_and(|labels| !labels.is_empty());
    match (policy.meta.name.ns == *root_namespace, selects) {
        (true, true) => None,
        (true, false) => Some(Level::Mesh),
        (false, false) => Some(Level::Namespace),
        (false, true) => Some(Level::Workload),
    }
}

/// Returns the key by which policies of one level are ordered: the least is active (but see [`active`]),
/// the others are ignored. Oldest first, then by namespace and name.
pub(crate) fn age(policy: &PeerAuthentication) -> (i64, &Name) {
    (policy.meta.created, &policy.meta.name)
}

/// Returns which of `peers`, all for everything in one namespace, is active: the least by [`age`].
///
/// In the root namespace a selector without labels has two readings: none at all, or, as istiod has it for
/// workloads elsewhere, one for no other namespace. The stricter of the two holds, so such a policy makes
/// the mesh strict, and never makes a strict one open.
pub(crate) fn active<'a>(
    peers: impl Iterator<Item = &'a PeerAuthentication> + Clone,
    root_namespace: &Ns,
) -> Option<&'a PeerAuthentication> {
    let oldest = peers.clone().min_by(|a, b| age(a).cmp(&age(b)))?;
    if oldest.meta.name.ns != *root_namespace || mode(oldest) == MtlsMode::Strict {
        return Some(oldest);
    }
    let plain = peers.filter(|peer| selector(peer).is_none()).min_by(|a, b| age(a).cmp(&age(b)));
    Some(plain.filter(|peer| mode(peer) == MtlsMode::Strict).unwrap_or(oldest))
}

/// Returns the selector of `policy` as it is written, if it is.
pub(crate) fn selector(policy: &PeerAuthentication) -> Option<&Labels> {
    match &policy.spec {
        Ok(spec) => spec.selector.as_ref(),
        Err(refused) => refused.selector.as_ref(),
    }
}

/// The active policies for one workload: of each [`Level`] the [`active`] one, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EffectivePeerAuthentication<'a> {
    /// Of level [`Level::Mesh`].
    pub(crate) mesh: Option<&'a PeerAuthentication>,
    /// Of level [`Level::Namespace`], in the workload's namespace.
    pub(crate) namespace: Option<&'a PeerAuthentication>,
    /// Of level [`Level::Workload`], in the workload's namespace and selecting it.
    pub(crate) workload: Option<&'a PeerAuthentication>,
}

/// Returns the names of the converted policies that the workload lists, ascending: none or one.
///
/// `namespace` and `mesh` must be those that [`port_policy`] is given for the `workload` policy.
pub(crate) fn workload_policies(
    effective: EffectivePeerAuthentication<'_>,
    root_namespace: &Ns,
) -> Vec<Name> {
    let inherited = inherits_strict(effective.namespace, effective.mesh);
    let Some(workload) = effective.workload else {
        return if inherited { vec![static_strict_name(root_namespace)] } else { Vec::new() };
    };
    let decision = decide(workload, inherited);
    if decision.ports.is_some_and(|ports| ports.is_listed) {
        vec![port_policy_name(workload)]
    } else if decision.is_strict {
        vec![static_strict_name(root_namespace)]
    } else {
        Vec::new()
    }
}

/// Returns the name of [`static_strict`].
pub(crate) fn static_strict_name(root_namespace: &Ns) -> Name {
    Name { ns: root_namespace.clone(), name: STATIC_STRICT.into() }
}

/// Returns the policy that denies plaintext on every port. It must be sent if there is any
/// `PeerAuthentication` at all.
pub(crate) fn static_strict(root_namespace: &Ns) -> Authorization {
    deny(static_strict_name(root_namespace), vec![Group { rules: vec![one(plaintext())] }])
}

/// Returns the policy that denies plaintext on those ports where `policy` does; `None` when that is no
/// matter of ports, or `policy` is not one for workloads.
///
/// `namespace_default` and `mesh_default` are the active policies of levels [`Level::Namespace`], in
/// the namespace of `policy`, and [`Level::Mesh`].
pub(crate) fn port_policy(
    policy: &PeerAuthentication,
    namespace_default: Option<&PeerAuthentication>,
    mesh_default: Option<&PeerAuthentication>,
    root_namespace: &Ns,
) -> Option<Authorization> {
    // An empty selector gets its policy, as in istiod; no workload lists it.
    let has_selector = policy.spec.as_ref().is_ok_and(|spec| spec.selector.is_some());
    if policy.meta.name.ns == *root_namespace || !has_selector {
        return None;
    }
    let ports = decide(policy, inherits_strict(namespace_default, mesh_default)).ports?;
    Some(deny(port_policy_name(policy), ports.groups))
}

fn port_policy_name(policy: &PeerAuthentication) -> Name {
    let name = &policy.meta.name;
    Name::new(&name.ns, &format!("{PORT_POLICY_PREFIX}{}", name.name))
}

/// Returns the mode of `policy`. One that was refused is strict, on every port.
fn mode(policy: &PeerAuthentication) -> MtlsMode {
    policy.spec.as_ref().map_or(MtlsMode::Strict, |spec| spec.mode)
}

/// Tells whether a workload without a policy of its own is strict.
fn inherits_strict(namespace: Option<&PeerAuthentication>, mesh: Option<&PeerAuthentication>) -> bool {
    let set = [namespace, mesh].into_iter().flatten().map(mode).find(|m| *m != MtlsMode::Unset);
    set == Some(MtlsMode::Strict)
}

/// What a policy of level [`Level::Workload`] means for the workloads it selects.
struct Decision {
    /// Plaintext is denied on ports that have no exception.
    is_strict: bool,
    /// The policy that says so port by port, if there is need of one.
    ports: Option<PortPolicy>,
}

struct PortPolicy {
    /// What it denies; never empty.
    groups: Vec<Group>,
    /// Workloads list it, in place of the static policy.
    is_listed: bool,
}

fn decide(policy: &PeerAuthentication, inherits_strict: bool) -> Decision {
    let own = mode(policy);
    let is_strict = match own {
        MtlsMode::Unset => inherits_strict,
        MtlsMode::Strict => true,
        MtlsMode::Permissive | MtlsMode::Disable => false,
    };
    let ports = policy.spec.as_ref().map_or(&[][..], |spec| &spec.ports);
    let ports = if is_strict { strict_but(own, ports, inherits_strict) } else { open_but(ports) };
    Decision { is_strict, ports }
}

/// Returns the policy of a strict workload: one group, plaintext on none of the excepted ports.
fn strict_but(own: MtlsMode, ports: &[(u16, MtlsMode)], inherits_strict: bool) -> Option<PortPolicy> {
    let is_open = |mode: MtlsMode| matches!(mode, MtlsMode::Permissive | MtlsMode::Disable);
    let mut rules = Vec::new();
    if own == MtlsMode::Strict {
        rules.push(one(plaintext()));
    }
    let open = ports.iter().filter(|(_, mode)| is_open(*mode));
    rules.extend(
        open.map(|(port, _)| {
            one(Match { not_destination_ports: vec![u32::from(*port)], ..Match::default() })
        }),
    );
    // Said twice when both are strict: redundant, but the bytes are those of istiod.
    if inherits_strict {
        rules.push(one(plaintext()));
    }
    // As in istiod, strictness that is inherited is lifted for DISABLE only together with some
    // PERMISSIVE port; until then the static policy stays and closes these ports.
    let is_listed = match own {
        MtlsMode::Unset => ports.iter().any(|(_, mode)| *mode == MtlsMode::Permissive),
        _ => true,
    };
    ports
        .iter()
        .any(|(_, mode)| is_open(*mode))
        .then(|| PortPolicy { groups: vec![Group { rules }], is_listed })
}

/// Returns the policy of a workload that is not strict: a group for each port that is.
fn open_but(ports: &[(u16, MtlsMode)]) -> Option<PortPolicy> {
    let strict = ports.iter().filter(|(_, mode)| *mode == MtlsMode::Strict);
    let groups: Vec<Group> = strict
        .map(|(port, _)| Match { destination_ports: vec![u32::from(*port)], ..plaintext() })
        .map(|denied| Group { rules: vec![one(denied)] })
        .collect();
    (!groups.is_empty()).then_some(PortPolicy { groups, is_listed: true })
}

fn deny(name: Name, groups: Vec<Group>) -> Authorization {
    Authorization {
        name: name.name.to_string(),
        namespace: name.ns.to_string(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Deny.into(),
        groups,
        ..Authorization::default()
    }
}

/// Returns the match of traffic whose peer shows no identity.
fn plaintext() -> Match {
    let present = StringMatch { match_type: Some(MatchType::Presence(())) };
    Match { not_principals: vec![present], ..Match::default() }
}

fn one(only: Match) -> Rules {
    Rules { matches: vec![only] }
}
