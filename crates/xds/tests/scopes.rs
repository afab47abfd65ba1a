//! Scopes: what they share, what they cost, and whom they concern.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/envoy.rs"]
mod envoy;

use bytes::Bytes;
use envoy::*;
use pilothouse_xds::{ResourceType, Scope, Variant, WriteError, Writer};

const BODY: usize = 64 * 1024;

/// A cluster of many bytes.
fn large(name: &str, filler: u8) -> Vec<u8> {
    [cluster(name, 1), vec![0x3a, 0x80, 0x80, 0x04], vec![filler; BODY]].concat()
}

/// The largest piece of the first response of a stream.
fn piece(variant: Variant, scope: &str, latest: &std::sync::Arc<pilothouse_xds::Snapshot>) -> Bytes {
    let mut stream = Stream::new(variant, scope);
    match variant {
        Variant::Delta => stream.subscribe(Cluster, &[], &[]),
        Variant::StateOfTheWorld => stream.follow(Cluster, &[], ""),
    }
    stream.session.poll(latest).unwrap().unwrap().max_by_key(Bytes::len).unwrap()
}

#[test]
fn what_two_scopes_share_is_there_once_by_address_and_by_bytes() {
    let mut writer = Writer::new();
    let (one, two) = (Scope::proxy("a/one"), Scope::proxy("b/two"));
    writer.put(&one, Cluster, "shared", &large("shared", 1)).unwrap();
    let alone = writer.distinct_proxy_resources();
    writer.put(&two, Cluster, "shared", &large("shared", 1)).unwrap();
    assert_eq!(writer.distinct_proxy_resources(), alone);
    let latest = writer.publish();
    // The same message goes to streams of both scopes and both variants.
    let delta = piece(Variant::Delta, "a/one", &latest);
    assert_eq!(delta.as_ptr(), piece(Variant::Delta, "b/two", &latest).as_ptr());
    let whole = piece(Variant::StateOfTheWorld, "b/two", &latest);
    assert_eq!(delta.as_ptr_range(), whole.as_ptr_range());
    assert!(whole.len() > BODY);

    // What is put together with its bytes goes out as these, not copied.
    let own: std::sync::Arc<[u8]> = large("shared", 2).into();
    writer.put_shared(&two, Cluster, "shared", &own, 0).unwrap();
    assert_eq!(piece(Variant::Delta, "b/two", &writer.publish()).as_ptr(), own.as_ptr());
    assert_eq!(writer.distinct_proxy_resources(), (2, alone.1 * 2));
    writer.put(&one, Cluster, "shared", &large("shared", 2)).unwrap();
    assert_eq!(writer.distinct_proxy_resources(), alone);
    writer.remove(&one, Cluster, "shared");
    writer.remove(&two, Cluster, "shared");
    assert_eq!(writer.distinct_proxy_resources(), (0, 0));
}

#[test]
fn a_scope_without_resources_is_nowhere() {
    let mut writer = Writer::new();
    for n in 0..100 {
        let scope = Scope::proxy(&format!("ns/{n}"));
        writer.put(&scope, Cluster, "a", &cluster("a", 1)).unwrap();
        writer.remove(&scope, Cluster, "a");
    }
    assert_eq!(writer.distinct_proxy_resources(), (0, 0));
    let published = writer.publish();
    assert!(published.is_empty() && published.proxies_changed_after(0).unwrap().next().is_none());
    assert!(!format!("{writer:?}").contains("ns/"), "no name of a scope is left");
    let scope = Scope::proxy("ns/a");
    writer.put(&scope, Cluster, "a", &cluster("a", 1)).unwrap();
    assert_eq!(writer.publish().proxies().count(), 1);
    writer.remove(&scope, Cluster, "a");
    let latest = writer.publish();
    assert!(latest.is_empty() && latest.proxies().next().is_none());
    assert_eq!((latest.changed(&scope), latest.len(&scope, Cluster)), (0, 0));
}

#[test]
fn a_snapshot_tells_which_scopes_changed_after_a_step() {
    let mut writer = Writer::new();
    writer.put(&Scope::Mesh, ResourceType::Address, "w", b"\x12\x00").unwrap();
    for name in ["a", "b", "c"] {
        writer.put(&Scope::proxy(name), Cluster, "x", &cluster("x", 1)).unwrap();
    }
    let first = writer.publish();
    writer.put(&Scope::proxy("b"), Cluster, "x", &cluster("x", 2)).unwrap();
    let second = writer.publish();
    writer.remove(&Scope::proxy("c"), Cluster, "x");
    let third = writer.publish();
    let changed = |of: &pilothouse_xds::Snapshot, step| -> Vec<String> {
        of.proxies_changed_after(step).unwrap().map(|name| name.to_string()).collect()
    };
    assert_eq!(changed(&first, 0), ["a", "b", "c"]);
    assert_eq!(changed(&second, 1), ["b"]);
    assert_eq!(changed(&third, 1), ["b", "c"]);
    assert_eq!(changed(&third, 3), [""; 0]);
    // Changes of proxies are none of the mesh.
    assert_eq!((third.step(), third.changed(&Scope::Mesh)), (3, 1));
    assert!(std::sync::Arc::ptr_eq(first.mesh(), third.mesh()));
    writer.put(&Scope::Mesh, ResourceType::Address, "w", b"\x12\x02\x0a\x00").unwrap();
    let fourth = writer.publish();
    assert_eq!((fourth.changed(&Scope::Mesh), fourth.changed(&Scope::proxy("b"))), (4, 2));
    assert_eq!(changed(&fourth, 3), [""; 0]);
}

#[test]
fn scopes_that_vanished_long_ago_are_forgotten_and_that_is_told() {
    let mut writer = Writer::new();
    writer.publish();
    for n in 0..3_000 {
        let scope = Scope::proxy(&format!("ns/{n}"));
        writer.put(&scope, Cluster, "a", &cluster("a", 1)).unwrap();
        writer.publish();
        writer.remove(&scope, Cluster, "a");
        writer.publish();
    }
    let latest = writer.publish();
    assert!(latest.proxies_changed_after(1).is_none());
    let step = latest.step() - 100;
    assert_eq!(latest.proxies_changed_after(step).unwrap().count(), 50);
}

#[test]
fn a_stream_does_nothing_for_changes_of_other_scopes() {
    let mut writer = Writer::new();
    writer.put(&Scope::proxy("a"), Cluster, "x", &cluster("x", 1)).unwrap();
    let mut stream = Stream::new(Variant::Delta, "a");
    stream.subscribe(Cluster, &[], &[]);
    assert_eq!(stream.drain(&writer.publish()).len(), 1);
    let before = format!("{:?}", stream.session);
    writer.put(&Scope::proxy("b"), Cluster, "x", &cluster("x", 2)).unwrap();
    writer.put(&Scope::Mesh, ResourceType::Authorization, "ns/p", b"p").unwrap();
    assert!(stream.poll(&writer.publish()).is_none());
    assert_eq!(format!("{:?}", stream.session), before);
}

#[test]
fn types_belong_in_their_scopes() {
    let mut writer = Writer::new();
    let proxy = Scope::proxy("a");
    let error = writer.put(&Scope::Mesh, Cluster, "x", b"").unwrap_err();
    assert_eq!(error, WriteError::Scope { of: Cluster, scope: Scope::Mesh });
    assert!(writer.put(&proxy, ResourceType::Address, "x", b"").is_err());
    assert!(writer.put(&proxy, Cluster, "", b"").is_err());
    assert!(!writer.remove(&Scope::Mesh, Cluster, "x") && !writer.resend(&proxy, Cluster, "x"));
    assert!(writer.publish().is_empty());
}

#[test]
fn an_old_snapshot_stays_as_it_was() {
    let mut writer = Writer::new();
    let scope = Scope::proxy("a");
    for n in 0..500 {
        writer.put(&scope, Endpoint, &format!("e{n:03}"), &resource("e", n, &[])).unwrap();
    }
    let old = writer.publish();
    let content = |of: &pilothouse_xds::Snapshot| -> Vec<(String, Vec<u8>)> {
        of.resources(&scope, Endpoint).map(|r| (r.name.to_owned(), r.body.to_vec())).collect()
    };
    let before = content(&old);
    for n in (0..500).step_by(2) {
        writer.remove(&scope, Endpoint, &format!("e{n:03}"));
        writer.put(&scope, Endpoint, &format!("e{:03}", n + 1), &resource("e", n + 1_000, &[])).unwrap();
    }
    let new = writer.publish();
    assert_eq!(content(&old), before);
    assert_eq!((new.len(&scope, Endpoint), old.len(&scope, Endpoint)), (250, 500));
}
