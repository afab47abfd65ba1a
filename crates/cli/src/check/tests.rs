#![allow(clippy::unwrap_used)]

use super::facts::{ControlPlane, Facts, Lock, Webhook};
use super::judge::{Finding, Level, judge};
use model::known_kinds;

const NOW: u64 = 1_800_000_000;

/// A cluster where nothing is in the way.
fn empty() -> Facts {
    Facts {
        url: "https://10.0.0.1".to_owned(),
        version: "v1.33.2".to_owned(),
        namespace: "istio-system".to_owned(),
        served: known_kinds().map(|kind| format!("{}.{}", kind.plural, kind.group)).collect(),
        rights: vec![("create deployments".to_owned(), true)],
        ..Facts::default()
    }
}

fn own(ready: i32) -> ControlPlane {
    ControlPlane {
        namespace: "istio-system".to_owned(),
        name: "istiod".to_owned(),
        is_ours: true,
        image: "r.example/pilothouse:1".to_owned(),
        wanted: 2,
        ready,
        why: vec!["Pod istiod-0: ImagePullBackOff".to_owned()],
    }
}

fn about<'a>(all: &'a [Finding], subject: &str) -> Vec<(Level, &'a str)> {
    all.iter().filter(|of| of.subject == subject).map(|of| (of.level, of.message.as_str())).collect()
}

fn level(facts: &Facts, subject: &str) -> Vec<Level> {
    about(&judge(facts, NOW), subject).into_iter().map(|(level, _)| level).collect()
}

#[test]
fn nothing_is_in_the_way_in_an_empty_cluster() {
    let all = judge(&empty(), NOW);
    assert!(all.iter().all(|of| matches!(of.level, Level::Ok | Level::Info)), "{all:?}");
    assert!(about(&all, "root of certificates")[0].1.contains("one will be made"));
    let line = all[0].to_string();
    assert_eq!(line, "ok       API server: v1.33.2 at https://10.0.0.1");
}

#[test]
fn versions_are_told_apart() {
    for (text, expected) in [
        ("v1.28.9", Level::Error),
        ("v1.29.0-eks-1", Level::Warning),
        ("1.30.1", Level::Ok),
        ("v1.37+", Level::Ok),
        ("v0.0.0-master+$Format:%H$", Level::Info),
        ("unknown", Level::Info),
    ] {
        assert_eq!(level(&Facts { version: text.to_owned(), ..empty() }, "API server"), [expected], "{text}");
    }
}

#[test]
fn what_is_missing_is_named_with_where_it_comes_from() {
    let mut facts = empty();
    facts.served.remove("serviceentries.networking.istio.io");
    facts.served.remove("gateways.gateway.networking.k8s.io");
    facts.rights.push(("create clusterroles".to_owned(), false));
    let all = judge(&facts, NOW);
    let definitions: Vec<_> = all.iter().filter(|of| of.subject == "definitions of kinds").collect();
    assert_eq!(definitions.len(), 2);
    assert!(definitions[0].message.starts_with("gateways.gateway.networking.k8s.io are not there"));
    assert!(definitions[1].help.contains("chart base"), "{definitions:?}");
    let rights = about(&all, "rights to install");
    assert_eq!(rights, [(Level::Error, "this user may not create clusterroles")]);
}

#[test]
fn istiod_under_our_name_is_in_the_way_and_elsewhere_it_is_not() {
    let istiod = ControlPlane { is_ours: false, ..own(1) };
    let beside = ControlPlane { name: "istiod-1-29".to_owned(), ..istiod.clone() };
    let facts = |of: ControlPlane| Facts { control_planes: vec![of], ..empty() };
    assert_eq!(level(&facts(istiod), "other control planes"), [Level::Error]);
    assert_eq!(level(&facts(beside), "other control planes"), [Level::Warning]);
    let taken =
        vec![("Service istiod".to_owned(), Some("istiod".to_owned())), ("ConfigMap istio".to_owned(), None)];
    let all = judge(&Facts { taken, ..empty() }, NOW);
    let names = about(&all, "names");
    assert_eq!(names.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [Level::Error, Level::Error]);
    assert!(names[0].1.contains("of release istiod"), "{names:?}");
}

#[test]
fn only_locks_that_still_hold_are_told() {
    let lock = |name: &str, renewed: Option<u64>| Lock {
        name: name.to_owned(),
        holder: "istiod-7".to_owned(),
        renewed,
        seconds: 30,
    };
    let locks = vec![lock("held", Some(NOW - 5)), lock("over", Some(NOW - 90)), lock("never", None)];
    let all = judge(&Facts { locks, ..empty() }, NOW);
    assert_eq!(about(&all, "locks"), [(Level::Info, "held is held by istiod-7, renewed 5 s ago")]);
}

#[test]
fn webhooks_are_judged_by_whom_they_trust_and_what_they_do() {
    let of = |injects: bool, is_closed: bool, bundle: &str| Webhook {
        config: "config".to_owned(),
        revision: "default".to_owned(),
        entry: "entry".to_owned(),
        leads_to: "Service istio-system/istiod".to_owned(),
        injects,
        is_closed,
        bundle: bundle.to_owned(),
    };
    let facts = |of: Webhook| Facts {
        webhooks: vec![of],
        roots: Some("PEM".to_owned()),
        control_planes: vec![own(2)],
        ..empty()
    };
    for (webhook, expected) in [
        (of(true, true, "PEM"), Level::Error),
        (of(true, false, "PEM"), Level::Warning),
        (of(false, true, "other"), Level::Error),
        (of(false, false, "PEM"), Level::Warning),
        (of(false, true, "PEM"), Level::Ok),
        (Webhook { revision: "blue".to_owned(), ..of(false, true, "") }, Level::Info),
    ] {
        let levels = level(&facts(webhook.clone()), "webhooks");
        assert_eq!(levels.first(), Some(&expected), "{webhook:?}");
    }
    let none = Facts { control_planes: vec![own(2)], ..empty() };
    assert_eq!(level(&none, "webhooks"), [Level::Info]);
}

#[test]
fn an_installation_is_judged_by_its_replicas_roots_and_clients() {
    for (ready, expected) in [(2, Level::Ok), (1, Level::Warning), (0, Level::Error)] {
        let facts = Facts { control_planes: vec![own(ready)], ..empty() };
        let all = judge(&facts, NOW);
        let replicas = about(&all, "replicas");
        assert_eq!(replicas[0].0, expected);
        assert_eq!(replicas[0].1.contains("ImagePullBackOff"), ready < 2, "{replicas:?}");
        assert_eq!(about(&all, "root of certificates")[0].0, Level::Error, "none is published");
        assert_eq!(about(&all, "clients")[0].0, Level::Info, "nobody was asked");
    }
    let asked = |answer: Result<&str, &str>| {
        let metrics = answer.map(str::to_owned).map_err(str::to_owned);
        let facts = Facts { control_planes: vec![own(2)], metrics: Some(metrics), ..empty() };
        judge(&facts, NOW)
    };
    let text = "# HELP pilot_xds Connected clients.\npilot_xds{version=\"unknown\"} 3\npilot_xds_pushes{type=\"wds\"} 9\n\
                pilothouse_certificate_days_left{of=\"serving\",number=\"1\"} 2.5\npilothouse_source_problems 0\n";
    let all = asked(Ok(text));
    assert_eq!(about(&all, "clients"), [(Level::Ok, "3 are connected to this replica")]);
    assert_eq!(about(&all, "certificates of the replica")[0].0, Level::Warning);
    assert_eq!(about(&all, "problems"), []);
    let all = asked(Ok("pilot_xds 0\npilothouse_source_problems 2\n"));
    assert_eq!(about(&all, "clients")[0].0, Level::Warning);
    assert_eq!(about(&all, "problems")[0].0, Level::Error);
    for answer in [Ok("hello"), Err("connection refused")] {
        assert_eq!(about(&asked(answer), "clients")[0].0, Level::Error, "{answer:?}");
    }
}

#[test]
fn namespaces_that_ask_for_sidecars_and_what_cannot_be_read_are_warnings() {
    let facts = Facts {
        sidecars: vec!["shop".to_owned(), "bank".to_owned()],
        unread: vec![("leases".to_owned(), "forbidden".to_owned())],
        ..empty()
    };
    assert_eq!(level(&facts, "sidecars"), [Level::Warning]);
    assert_eq!(level(&facts, "rights of this user"), [Level::Warning]);
    let document = judge(&facts, NOW)[0].document();
    assert_eq!(document["level"].as_str().unwrap(), "ok");
}
