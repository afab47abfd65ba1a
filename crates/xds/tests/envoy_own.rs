//! Secrets that one stream of an Envoy is given, and no other.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/envoy.rs"]
mod envoy;

use envoy::*;
use pilothouse_xds::{Scope, Variant, Writer};
use proto::discovery::DeltaDiscoveryRequest;

const NAMES: &[&str] = &["own", "roots"];

fn stream(variant: Variant) -> Stream {
    let mut stream = Stream::new(variant, "shop/waypoint");
    stream.session = stream.session.with_own(NAMES);
    stream
}

fn key(revision: u32) -> Vec<u8> {
    resource("own", revision, &["a private key"])
}

/// A scope with a secret of its own, and one that has the name of a stream's.
fn shop() -> Writer {
    let mut writer = Writer::new();
    for name in ["own", "shared"] {
        writer.put(&Scope::proxy("shop/waypoint"), Secret, name, &resource(name, 7, &[])).unwrap();
    }
    writer
}

fn versions(answer: &Answer) -> Vec<(&str, &str)> {
    answer.resources.iter().map(|(name, (version, _))| (name.as_str(), version.as_str())).collect()
}

#[test]
fn a_secret_of_a_stream_is_awaited_sent_once_and_then_forgotten() {
    let mut writer = shop();
    let latest = writer.publish();
    let mut stream = stream(Variant::Delta);
    stream.subscribe(Secret, &["own", "roots", "shared"], &[]);
    assert!(stream.session.lacks_own());
    assert_eq!(stream.take(&latest), [], "nobody is told that there is none");
    stream.session.put_own("roots", &resource("roots", 1, &[]));
    assert!(stream.session.lacks_own());
    stream.session.put_own_once("own", "v1", Some(&key(1)));
    assert!(!stream.session.lacks_own());
    assert!(!format!("{:?}", stream.session).contains("private"));
    let answer = &stream.drain(&latest)[..];
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].names(), ["own", "roots", "shared"]);
    assert_eq!(answer[0].resources["own"], ("v1".to_owned(), key(1)), "it is not that of the scope");

    // It is sent when there is another, and nothing else is.
    stream.session.put_own_once("own", "v1", Some(&key(9)));
    stream.session.put_own("roots", &resource("roots", 1, &[]));
    stream.session.put_own_once("own", "v2", Some(&key(2)));
    let answer = stream.drain(&latest);
    assert_eq!(answer.iter().map(versions).collect::<Vec<_>>(), [[("own", "v2")]]);

    // Who asks for it again has another made: it was not kept.
    stream.subscribe(Secret, &["own"], &["own"]);
    stream.subscribe(Secret, &["own"], &[]);
    assert!(stream.session.lacks_own());
    assert_eq!(stream.take(&latest), []);
    stream.session.put_own_once("own", "v3", Some(&key(3)));
    assert_eq!(stream.drain(&latest).iter().map(versions).collect::<Vec<_>>(), [[("own", "v3")]]);

    // What changes in the scope is sent as ever.
    writer.put(&Scope::proxy("shop/waypoint"), Secret, "shared", &resource("shared", 8, &[])).unwrap();
    writer.remove(&Scope::proxy("shop/waypoint"), Secret, "own");
    let answer = stream.drain(&writer.publish());
    assert_eq!((answer.len(), answer[0].names(), answer[0].removed.len()), (1, vec!["shared"], 0));
}

#[test]
fn who_holds_a_secret_of_an_earlier_stream_is_not_sent_it_again() {
    let latest = shop().publish();
    let mut first = stream(Variant::Delta);
    first.subscribe(Secret, NAMES, &[]);
    first.session.put_own("roots", &resource("roots", 1, &[]));
    first.session.put_own_once("own", "v1", Some(&key(1)));
    let held = first.drain(&latest)[0].resources.clone();

    let mut second = stream(Variant::Delta);
    let request = |initial: &[&str]| DeltaDiscoveryRequest {
        node: Some(node()),
        type_url: Secret.type_url().to_owned(),
        resource_names_subscribe: NAMES.iter().map(|&name| name.to_owned()).collect(),
        initial_resource_versions: initial
            .iter()
            .map(|name| ((*name).to_owned(), held[*name].0.clone()))
            .collect(),
        ..DeltaDiscoveryRequest::default()
    };
    second.delta(request(NAMES)).unwrap();
    assert_eq!(second.session.held_own("own"), Some("v1"));
    second.session.put_own("roots", &resource("roots", 1, &[]));
    second.session.put_own_once("own", "v1", None);
    assert!(!second.session.lacks_own());
    let answers = second.drain(&latest);
    assert_eq!((answers.len(), answers[0].resources.len(), answers[0].removed.len()), (1, 0, 0));
    // The next one comes all the same, and one that is asked for has to be made.
    second.subscribe(Secret, &["own"], &[]);
    assert!(second.session.lacks_own());
    second.session.put_own_once("own", "v2", Some(&key(2)));
    assert_eq!(second.drain(&latest)[0].names(), ["own"]);

    let mut other = stream(Variant::Delta);
    other.delta(request(&["roots"])).unwrap();
    assert_eq!(other.session.held_own("own"), None);
    other.session.put_own("roots", &resource("roots", 2, &[]));
    other.session.put_own_once("own", "v4", Some(&key(4)));
    assert_eq!(other.drain(&latest)[0].names(), ["own", "roots"], "other roots have another version");
}

#[test]
fn state_of_the_world_gets_the_secrets_of_its_stream_too() {
    let latest = shop().publish();
    let mut stream = stream(Variant::StateOfTheWorld);
    stream.follow(Secret, &["own"], "");
    assert_eq!(stream.take(&latest), []);
    stream.session.put_own_once("own", "v1", Some(&key(1)));
    let answer = stream.take(&latest);
    assert_eq!((answer.len(), &answer[0].resources["own"].1), (1, &key(1)));
    stream.follow(Secret, &["own"], &answer[0].nonce);
    assert_eq!(stream.take(&latest), []);
    stream.session.put_own_once("own", "v2", Some(&key(2)));
    assert_eq!(stream.take(&latest)[0].resources["own"].1, key(2));
}

#[test]
fn names_that_are_not_of_a_stream_are_of_the_scope_alone() {
    let latest = shop().publish();
    let mut stream = Stream::new(Variant::Delta, "shop/waypoint");
    stream.session.put_own("own", &resource("own", 1, &[]));
    stream.subscribe(Secret, &["own"], &[]);
    assert!(!stream.session.lacks_own());
    assert_eq!(stream.drain(&latest)[0].resources["own"].1, resource("own", 7, &[]));
}
