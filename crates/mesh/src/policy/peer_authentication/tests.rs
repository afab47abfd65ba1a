#![allow(clippy::unwrap_used)]
use super::*;
use crate::policy::evaluator::{Traffic, is_allowed};
use MtlsMode::{Disable, Permissive, Strict, Unset};
use model::facts::{Meta, PeerAuthenticationSpec, Refused};
use model::{Diagnostic, Labels, Severity};
use std::sync::LazyLock;

static ROOT: LazyLock<Ns> = LazyLock::new(|| Ns::own("istio-system"));

fn authentication(ns: &str, name: &str, mode: MtlsMode) -> PeerAuthentication {
    PeerAuthentication {
        meta: Meta { name: Name::new(ns, name), ..Meta::default() },
        spec: Ok(PeerAuthenticationSpec { selector: None, mode, ports: Vec::new() }),
    }
}

fn mesh(mode: MtlsMode) -> PeerAuthentication {
    authentication(&ROOT, "default", mode)
}

fn namespace(mode: MtlsMode) -> PeerAuthentication {
    authentication("shop", "default", mode)
}

fn workload(mode: MtlsMode, ports: &[(u16, MtlsMode)]) -> PeerAuthentication {
    let mut policy = authentication("shop", "web", mode);
    policy.spec = Ok(PeerAuthenticationSpec {
        selector: Some(Labels::new([("app", "web")])),
        mode,
        ports: ports.to_vec(),
    });
    policy
}

fn refused(mut policy: PeerAuthentication) -> PeerAuthentication {
    let selector = policy.spec.as_ref().ok().and_then(|s| s.selector.clone());
    let diagnostic = Diagnostic {
        code: "PA001",
        severity: Severity::Error,
        object: None,
        field: "spec.mtls.mode".to_owned(),
        message: "\"STRCT\" is not a mode".to_owned(),
        help: String::new(),
        place: None,
    };
    policy.spec = Err(Refused { selector, target_refs: Vec::new(), diagnostic });
    policy
}

/// What the workload lists.
fn listed(
    m: Option<&PeerAuthentication>,
    n: Option<&PeerAuthentication>,
    w: Option<&PeerAuthentication>,
) -> Vec<String> {
    let effective = EffectivePeerAuthentication { mesh: m, namespace: n, workload: w };
    workload_policies(effective, &ROOT).iter().map(Name::to_string).collect()
}

const STATIC: &str = "istio-system/istio_converted_static_strict";
const PORTS: &str = "shop/converted_peer_authentication_web";

/// The groups of the port policy, one line each: rules separated by `&`.
fn groups(
    w: &PeerAuthentication,
    n: Option<&PeerAuthentication>,
    m: Option<&PeerAuthentication>,
) -> Option<Vec<String>> {
    let rule = |rules: &Rules| {
        let [only] = &rules.matches[..] else { panic!("each rule has one match") };
        let mut text = Vec::new();
        text.extend(only.destination_ports.iter().map(|p| format!("port {p}")));
        text.extend(only.not_destination_ports.iter().map(|p| format!("not port {p}")));
        if !only.not_principals.is_empty() {
            assert_eq!(only.not_principals, plaintext().not_principals);
            text.push("plaintext".to_owned());
        }
        text.join(" ")
    };
    let policy = port_policy(w, n, m, &ROOT)?;
    assert_eq!((policy.scope(), policy.action()), (Scope::WorkloadSelector, Action::Deny));
    assert_eq!(format!("{}/{}", policy.namespace, policy.name), PORTS);
    Some(policy.groups.iter().map(|g| g.rules.iter().map(rule).collect::<Vec<_>>().join(" & ")).collect())
}

fn lines(expected: &[&str]) -> Option<Vec<String>> {
    Some(expected.iter().map(|line| (*line).to_owned()).collect())
}

#[test]
fn the_static_policy_denies_plaintext_on_every_port() {
    let policy = static_strict(&ROOT);
    assert_eq!(format!("{}/{}", policy.namespace, policy.name), STATIC);
    assert_eq!(static_strict_name(&ROOT).to_string(), STATIC);
    assert_eq!((policy.scope(), policy.action()), (Scope::WorkloadSelector, Action::Deny));
    assert_eq!(policy.groups, [Group { rules: vec![one(plaintext())] }]);
    assert!(!is_allowed([&policy], &Traffic::default()));
    assert!(is_allowed([&policy], &Traffic::default().from("td", "a", "x")));
}

#[test]
fn the_level_follows_from_namespace_and_selector() {
    assert_eq!(level(&mesh(Strict), &ROOT), Some(Level::Mesh));
    assert_eq!(level(&namespace(Strict), &ROOT), Some(Level::Namespace));
    assert_eq!(level(&workload(Strict, &[]), &ROOT), Some(Level::Workload));
    assert_eq!(
        level(&workload(Strict, &[]), &"shop".into()),
        None,
        "selectors of the root namespace are ignored"
    );
    assert_eq!(level(&refused(workload(Strict, &[])), &ROOT), Some(Level::Workload));
    let mut empty = namespace(Strict);
    empty.spec.as_mut().unwrap().selector = Some(Labels::default());
    assert_eq!(
        level(&empty, &ROOT),
        Some(Level::Namespace),
        "an empty selector selects nothing in particular"
    );
}

#[test]
fn the_oldest_applies_and_names_break_ties() {
    let aged = |created, ns: &str, name: &str| {
        let mut policy = authentication(ns, name, Unset);
        policy.meta.created = created;
        policy
    };
    let policies = [aged(2, "a", "a"), aged(1, "b", "b"), aged(1, "b", "a"), aged(1, "c", "0")];
    let oldest = policies.iter().min_by_key(|p| age(p)).unwrap();
    assert_eq!(oldest.meta.name, Name::new("b", "a"));
}

#[test]
fn of_the_readings_of_an_empty_selector_in_the_root_namespace_the_stricter_is_active() {
    let aged = |created, empty: bool, mode| {
        let mut policy = authentication(&ROOT, &format!("p{created}"), mode);
        policy.meta.created = created;
        policy.spec.as_mut().unwrap().selector = empty.then(Labels::default);
        policy
    };
    let active = |policies: &[PeerAuthentication], root: &Ns| {
        let found = active(policies.iter(), root).unwrap();
        (found.meta.created, mode(found))
    };
    for open in [Permissive, Disable, Unset] {
        // The older one with `selector: {}` does not hide a strict mesh.
        assert_eq!(active(&[aged(1, true, open), aged(2, false, Strict)], &ROOT), (2, Strict));
        assert_eq!(active(&[aged(1, true, Strict), aged(2, false, open)], &ROOT), (1, Strict));
        // Both readings say the same here.
        assert_eq!(active(&[aged(1, false, open), aged(2, true, Strict)], &ROOT), (1, open));
        assert_eq!(active(&[aged(1, false, open), aged(2, false, Strict)], &ROOT), (1, open));
        assert_eq!(active(&[aged(1, true, open), aged(2, true, Strict)], &ROOT), (1, open));
        let three = [aged(1, true, open), aged(2, false, open), aged(3, false, Strict)];
        assert_eq!(active(&three, &ROOT), (1, open));
        // A namespace is not the mesh: there the oldest holds.
        assert_eq!(active(&[aged(1, true, open), aged(2, false, Strict)], &"shop".into()), (1, open));
    }
    assert_eq!(active(&[aged(1, true, Strict)], &ROOT), (1, Strict));
    let broken = refused(aged(2, false, Permissive));
    assert_eq!(active(&[aged(1, true, Permissive), broken], &ROOT), (2, Strict));
    assert!(super::active([].iter(), &ROOT).is_none());
}

#[test]
fn the_namespace_overrides_the_mesh_unless_unset() {
    let of = |m, n| listed(Some(&mesh(m)), Some(&namespace(n)), None);
    assert_eq!(of(Strict, Unset), [STATIC]);
    assert_eq!(of(Permissive, Strict), [STATIC]);
    assert!(of(Strict, Permissive).is_empty());
    assert!(of(Strict, Disable).is_empty());
    assert!(of(Unset, Unset).is_empty());
    assert_eq!(listed(Some(&mesh(Strict)), None, None), [STATIC]);
    assert!(listed(None, None, None).is_empty());
}

#[test]
fn the_workload_overrides_both_unless_unset() {
    let of = |m, w| listed(Some(&mesh(m)), None, Some(&workload(w, &[])));
    assert_eq!(of(Strict, Unset), [STATIC]);
    assert_eq!(of(Permissive, Strict), [STATIC]);
    assert!(of(Strict, Permissive).is_empty());
    assert!(of(Strict, Disable).is_empty());
    assert!(of(Permissive, Unset).is_empty());
}

#[test]
fn strict_with_an_open_port_lists_the_port_policy_instead_of_the_static_one() {
    let w = workload(Strict, &[(80, Permissive), (81, Disable), (82, Strict), (83, Unset)]);
    assert_eq!(listed(None, None, Some(&w)), [PORTS]);
    assert_eq!(groups(&w, None, None), lines(&["plaintext & not port 80 & not port 81"]));
}

#[test]
fn strict_with_strict_ports_only_needs_no_port_policy() {
    let w = workload(Strict, &[(80, Strict), (81, Unset)]);
    assert_eq!(listed(None, None, Some(&w)), [STATIC]);
    assert_eq!(groups(&w, None, None), None);
}

#[test]
fn strict_under_strict_says_it_twice_as_istiod() {
    let w = workload(Strict, &[(80, Permissive)]);
    let expected = lines(&["plaintext & not port 80 & plaintext"]);
    assert_eq!(groups(&w, Some(&namespace(Strict)), None), expected);
    assert_eq!(groups(&w, None, Some(&mesh(Strict))), expected);
    assert_eq!(groups(&w, Some(&namespace(Unset)), Some(&mesh(Strict))), expected);
    let once = lines(&["plaintext & not port 80"]);
    assert_eq!(groups(&w, Some(&namespace(Permissive)), Some(&mesh(Strict))), once);
}

#[test]
fn open_with_strict_ports_has_a_group_for_each() {
    for own in [Permissive, Disable] {
        let w = workload(own, &[(80, Strict), (81, Permissive), (90, Strict)]);
        assert_eq!(listed(None, None, Some(&w)), [PORTS]);
        assert_eq!(groups(&w, None, None), lines(&["port 80 plaintext", "port 90 plaintext"]));
        assert_eq!(groups(&w, Some(&namespace(Strict)), None), groups(&w, None, None));
    }
}

#[test]
fn open_without_strict_ports_needs_nothing() {
    let w = workload(Permissive, &[(80, Permissive), (81, Disable), (82, Unset)]);
    assert!(listed(Some(&mesh(Strict)), None, Some(&w)).is_empty());
    assert_eq!(groups(&w, None, Some(&mesh(Strict))), None);
}

#[test]
fn unset_under_strict_with_a_permissive_port_lists_the_port_policy_instead_of_the_static_one() {
    let w = workload(Unset, &[(80, Permissive), (81, Disable), (82, Strict)]);
    for (n, m) in [(Some(namespace(Strict)), None), (None, Some(mesh(Strict)))] {
        assert_eq!(listed(m.as_ref(), n.as_ref(), Some(&w)), [PORTS]);
        let expected = lines(&["not port 80 & not port 81 & plaintext"]);
        assert_eq!(groups(&w, n.as_ref(), m.as_ref()), expected);
    }
}

#[test]
fn unset_under_strict_with_disabled_ports_only_keeps_the_static_policy() {
    let w = workload(Unset, &[(81, Disable)]);
    assert_eq!(listed(Some(&mesh(Strict)), None, Some(&w)), [STATIC]);
    assert_eq!(
        groups(&w, None, Some(&mesh(Strict))),
        lines(&["not port 81 & plaintext"]),
        "sent, not listed"
    );
}

#[test]
fn unset_under_open_lists_the_port_policy_for_strict_ports() {
    let w = workload(Unset, &[(80, Strict), (81, Permissive)]);
    for (n, m) in [(None, None), (Some(namespace(Permissive)), Some(mesh(Strict))), (None, Some(mesh(Unset)))]
    {
        assert_eq!(listed(m.as_ref(), n.as_ref(), Some(&w)), [PORTS]);
        assert_eq!(groups(&w, n.as_ref(), m.as_ref()), lines(&["port 80 plaintext"]));
    }
}

#[test]
fn an_unset_namespace_between_strict_mesh_and_unset_workload_does_not_lose_the_port_policy() {
    let (m, n, w) = (mesh(Strict), namespace(Unset), workload(Unset, &[(80, Permissive)]));
    assert_eq!(listed(Some(&m), Some(&n), Some(&w)), [PORTS]);
    assert_eq!(groups(&w, Some(&n), Some(&m)), lines(&["not port 80 & plaintext"]));
}

#[test]
fn a_strict_mesh_does_not_lose_the_strict_ports_of_a_permissive_workload() {
    let (m, w) = (mesh(Strict), workload(Permissive, &[(80, Strict)]));
    for n in [None, Some(namespace(Unset))] {
        assert_eq!(listed(Some(&m), n.as_ref(), Some(&w)), [PORTS]);
        assert_eq!(groups(&w, n.as_ref(), Some(&m)), lines(&["port 80 plaintext"]));
    }
}

#[test]
fn only_selectors_outside_the_root_namespace_make_port_policies() {
    let mut w = workload(Strict, &[(80, Permissive)]);
    assert_eq!(port_policy(&w, None, None, &"shop".into()), None);
    w.spec.as_mut().unwrap().selector = None;
    assert_eq!(port_policy(&w, None, None, &ROOT), None);
}

#[test]
fn a_refused_policy_is_strict_for_what_it_selects() {
    let w = refused(workload(Permissive, &[(80, Permissive)]));
    assert_eq!(listed(Some(&mesh(Permissive)), None, Some(&w)), [STATIC]);
    assert_eq!(port_policy(&w, None, None, &ROOT), None);
    assert_eq!(listed(Some(&mesh(Permissive)), Some(&refused(namespace(Permissive))), None), [STATIC]);
    assert_eq!(listed(Some(&refused(mesh(Permissive))), None, None), [STATIC]);
    let ports = workload(Unset, &[(80, Permissive)]);
    let n = refused(namespace(Permissive));
    assert_eq!(groups(&ports, Some(&n), None), lines(&["not port 80 & plaintext"]));
}

/// Every combination of modes on three levels and two ports, against every kind of traffic.
#[test]
fn plaintext_passes_exactly_where_the_modes_say_so_and_what_is_listed_is_sent() {
    let modes = [Unset, Disable, Permissive, Strict];
    let levels = [None, Some(Unset), Some(Disable), Some(Permissive), Some(Strict)];
    let mut combinations = 0;
    for m in levels.map(|mode| mode.map(mesh)) {
        for n in levels.map(|mode| mode.map(namespace)) {
            for own in modes {
                for (a, b) in modes.iter().flat_map(|a| modes.iter().map(move |b| (*a, *b))) {
                    check(m.as_ref(), n.as_ref(), own, [(80, a), (90, b)]);
                    combinations += 1;
                }
            }
        }
    }
    assert_eq!(combinations, 5 * 5 * 4 * 16);
}

fn check(
    m: Option<&PeerAuthentication>,
    n: Option<&PeerAuthentication>,
    own: MtlsMode,
    ports: [(u16, MtlsMode); 2],
) {
    let w = workload(own, &ports);
    let mut sent = vec![static_strict(&ROOT)];
    sent.extend(port_policy(&w, n, m, &ROOT));
    let names = listed(m, n, Some(&w));
    let applied: Vec<_> = names
        .iter()
        .map(|name| sent.iter().find(|p| format!("{}/{}", p.namespace, p.name) == *name).unwrap())
        .collect();

    let of = |p: Option<&PeerAuthentication>| p.map_or(Unset, |p| p.spec.as_ref().unwrap().mode);
    let base = [own, of(n), of(m)].into_iter().find(|mode| *mode != Unset).unwrap_or(Permissive);
    // The one departure from the modes, taken from istiod: see `strict_but`.
    let stays_closed = own == Unset && base == Strict && ports.iter().all(|(_, mode)| *mode != Permissive);
    for port in [80, 90, 443] {
        let set = ports.iter().find(|(p, mode)| *p == port && *mode != Unset).map(|(_, mode)| *mode);
        let is_strict = set.unwrap_or(base) == Strict || stays_closed;
        let plain = Traffic::default().port(port);
        let context =
            format!("mesh {:?}, namespace {:?}, own {own:?}, ports {ports:?}, {port}", of(m), of(n));
        assert_eq!(is_allowed(applied.iter().copied(), &plain), !is_strict, "{context}");
        assert!(is_allowed(applied.iter().copied(), &plain.from("td", "a", "x")), "{context}");
    }
}
