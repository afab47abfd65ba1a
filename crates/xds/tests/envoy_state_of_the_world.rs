//! State-of-the-world discovery of an Envoy, rule by rule.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/envoy.rs"]
mod envoy;

use std::sync::Arc;

use envoy::*;
use pilothouse_xds::{ResourceType, Scope, Snapshot, Variant, Writer};
use proto::discovery::DiscoveryRequest;

fn waypoint() -> Scope {
    Scope::proxy("shop/waypoint")
}

fn put(writer: &mut Writer, of: ResourceType, name: &str, body: &[u8]) {
    assert!(writer.put(&waypoint(), of, name, body).unwrap());
}

fn shop() -> Writer {
    let mut writer = Writer::new();
    for name in ["a", "b"] {
        put(&mut writer, Cluster, name, &cluster(name, 1));
        put(&mut writer, Endpoint, name, &resource(name, 1, &[]));
    }
    put(&mut writer, Listener, "main", &resource("main", 1, &["r"]));
    put(&mut writer, Route, "r", &resource("r", 1, &["a", "b"]));
    writer
}

fn stream() -> Stream {
    Stream::new(Variant::StateOfTheWorld, "shop/waypoint")
}

/// What the stream follows of each type.
const FOLLOWED: [(ResourceType, &[&str]); 4] =
    [(Cluster, &[]), (Endpoint, &["a", "b"]), (Listener, &[]), (Route, &["r"])];

/// Takes all there is, acknowledging each response with what is followed anyway.
fn drain(stream: &mut Stream, latest: &Arc<Snapshot>) -> Vec<Answer> {
    std::iter::from_fn(|| {
        let answer = stream.poll(latest)?;
        let (of, names) = FOLLOWED.into_iter().find(|(of, _)| *of == answer.of).unwrap();
        stream.follow(of, names, &answer.nonce);
        Some(answer)
    })
    .collect()
}

fn served(latest: &Arc<Snapshot>) -> Stream {
    let mut stream = stream();
    FOLLOWED.iter().for_each(|(of, names)| stream.follow(*of, names, ""));
    drain(&mut stream, latest);
    stream
}

fn shape(answers: &[Answer]) -> Vec<String> {
    answers.iter().map(|answer| format!("{:?} {}", answer.of, answer.names().join(" "))).collect()
}

#[test]
fn clusters_and_listeners_are_sent_whole_and_others_as_they_are_asked_for() {
    let mut writer = shop();
    let latest = writer.publish();
    let mut stream = stream();
    FOLLOWED.iter().for_each(|(of, names)| stream.follow(*of, names, ""));
    assert_eq!(
        shape(&drain(&mut stream, &latest)),
        ["Cluster a b", "Endpoint a b", "Listener main", "Route r"]
    );
    put(&mut writer, Endpoint, "a", &resource("a", 2, &[]));
    assert_eq!(shape(&drain(&mut stream, &writer.publish())), ["Endpoint a"]);
    // All clusters again for one, and the endpoints of the one that changed.
    put(&mut writer, Cluster, "a", &cluster("a", 2));
    assert_eq!(shape(&drain(&mut stream, &writer.publish())), ["Cluster a b", "Endpoint a"]);
    assert!(drain(&mut stream, &writer.publish()).is_empty());
}

#[test]
fn an_acknowledgement_with_the_same_names_is_not_answered_and_further_names_are_alone() {
    let latest = shop().publish();
    let mut stream = stream();
    stream.follow(Endpoint, &["a"], "");
    let first = stream.poll(&latest).unwrap();
    assert_eq!(first.names(), ["a"]);
    stream.follow(Endpoint, &["a"], &first.nonce);
    assert!(stream.poll(&latest).is_none());
    stream.follow(Endpoint, &["a", "b"], &first.nonce);
    assert_eq!(stream.poll(&latest).unwrap().names(), ["b"]);
}

#[test]
fn whoever_names_nothing_any_more_follows_nothing() {
    let mut writer = shop();
    let latest = writer.publish();
    for of in [Endpoint, Cluster] {
        let mut stream = stream();
        stream.follow(of, &["a"], "");
        let first = stream.poll(&latest).unwrap();
        stream.follow(of, &[], &first.nonce);
        put(&mut writer, of, "a", &resource("a", 7, &[]));
        assert!(stream.poll(&writer.publish()).is_none(), "{of:?}");
        assert!(!stream.session.stats().types[0].wildcard);
    }
}

#[test]
fn names_take_the_place_of_all_and_a_star_brings_all_back() {
    let mut writer = shop();
    let latest = writer.publish();
    let mut stream = stream();
    stream.follow(Cluster, &[], "");
    let all = stream.poll(&latest).unwrap();
    assert_eq!(all.names(), ["a", "b"]);
    stream.follow(Cluster, &["b"], &all.nonce);
    let named = stream.poll(&latest).unwrap();
    assert_eq!(named.names(), ["b"]);
    put(&mut writer, Cluster, "a", &cluster("a", 2));
    assert!(stream.poll(&writer.publish()).is_none());
    stream.follow(Cluster, &["b", "*"], &named.nonce);
    assert_eq!(stream.poll(&writer.publish()).unwrap().names(), ["a", "b"]);
}

#[test]
fn a_request_for_an_earlier_response_is_ignored() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    let mut nonces = Vec::new();
    for revision in 2..4 {
        put(&mut writer, Endpoint, "a", &resource("a", revision, &[]));
        nonces.push(stream.poll(&writer.publish()).unwrap().nonce);
    }
    let latest = writer.publish();
    stream.follow(Endpoint, &["none"], &nonces[0]);
    assert!(stream.poll(&latest).is_none());
    let of = |stream: &Stream| {
        stream.session.stats().types.into_iter().find(|of| of.type_url == Endpoint.type_url())
    };
    assert_eq!(of(&stream).map(|of| (of.stale, of.names, of.acked_step)), Some((1, 2, 1)));
    stream.follow(Endpoint, &["a"], &nonces[1]);
    assert_eq!(of(&stream).map(|of| (of.stale, of.names, of.acked_step)), Some((1, 1, 3)));
}

#[test]
fn a_refusal_is_kept_and_not_answered() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Listener, "main", &resource("main", 2, &["r"]));
    let latest = writer.publish();
    let bad = stream.poll(&latest).unwrap();
    stream
        .sotw(DiscoveryRequest {
            version_info: "1".to_owned(),
            type_url: Listener.type_url().to_owned(),
            response_nonce: bad.nonce.clone(),
            error_detail: Some(proto::rpc::Status { code: 3, message: "no such filter".to_owned() }),
            ..DiscoveryRequest::default()
        })
        .unwrap();
    assert!(stream.poll(&latest).is_none());
    let state = stream.session.ack_state(Listener).unwrap();
    assert_eq!((state.refusals.len(), state.refusals[0].message.as_str()), (1, "no such filter"));
    put(&mut writer, Listener, "main", &resource("main", 3, &["r"]));
    assert_eq!(shape(&drain(&mut stream, &writer.publish())), ["Listener main"]);
}

#[test]
fn clusters_that_are_to_go_stay_until_what_named_them_was_replaced() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Cluster, "c", &cluster("c", 1));
    put(&mut writer, Route, "r", &resource("r", 2, &["c"]));
    for name in ["a", "b"] {
        writer.remove(&waypoint(), Cluster, name);
        writer.remove(&waypoint(), Endpoint, name);
    }
    let sent = drain(&mut stream, &writer.publish());
    assert_eq!(shape(&sent), ["Cluster a b c", "Route r", "Cluster c"]);
}

#[test]
fn a_listener_goes_by_its_absence() {
    let mut writer = shop();
    put(&mut writer, Listener, "other", &resource("other", 1, &["r"]));
    let mut stream = served(&writer.publish());
    writer.remove(&waypoint(), Listener, "main");
    assert_eq!(shape(&drain(&mut stream, &writer.publish())), ["Listener other"]);
    writer.remove(&waypoint(), Listener, "other");
    assert_eq!(shape(&drain(&mut stream, &writer.publish())), ["Listener "]);
}

#[test]
fn unknown_endpoints_and_routes_are_empty_and_other_names_stay_unanswered() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    let latest = writer.publish();
    stream.follow(Secret, &["default"], "");
    stream.follow(Endpoint, &["a", "b", "none"], "");
    stream.follow(Route, &["r", "none"], "");
    let sent = stream.take(&latest);
    assert_eq!(shape(&sent), ["Endpoint none", "Route none"]);
    assert_eq!(sent[0].resources["none"].1, b"\x0a\x04none");
    put(&mut writer, Secret, "default", b"\x0a\x07default");
    assert_eq!(shape(&stream.take(&writer.publish())), ["Secret default"]);
}

#[test]
fn whoever_takes_a_whole_response_refuses_nothing_any_more() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Cluster, "b", &cluster("b", 2));
    let bad = stream.poll(&writer.publish()).unwrap();
    stream
        .sotw(DiscoveryRequest {
            type_url: Cluster.type_url().to_owned(),
            response_nonce: bad.nonce.clone(),
            error_detail: Some(proto::rpc::Status { code: 3, message: "b: no".to_owned() }),
            ..DiscoveryRequest::default()
        })
        .unwrap();
    let refused = stream.session.refused();
    assert_eq!((refused.len(), refused[0].name.as_deref(), refused[0].step), (1, Some("b"), 2));
    // It may be another version under the same bytes as before: all of the type comes with it.
    put(&mut writer, Cluster, "a", &cluster("a", 2));
    drain(&mut stream, &writer.publish());
    assert_eq!(stream.session.refused(), []);
}
