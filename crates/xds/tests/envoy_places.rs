//! What is for replicas at one place, beside what is for all replicas of a proxy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/envoy.rs"]
mod envoy;

use envoy::*;
use pilothouse_xds::{Scope, Variant, Writer};

const ALL: &str = "shop/waypoint";
const HERE: &str = "shop/waypoint@zone=r/a";

fn stream() -> Stream {
    let mut stream = Stream::new(Variant::Delta, ALL);
    stream.session = stream.session.with_further(vec!["shop/waypoint@node=n".into(), HERE.into()]);
    stream
}

/// Names and revisions of all endpoints in answers, and what is said to be removed.
fn told(answers: &[Answer]) -> Vec<String> {
    let mut all = Vec::new();
    for answer in answers {
        all.extend(answer.names().into_iter().map(str::to_owned));
        all.extend(answer.removed.iter().map(|name| format!("-{name}")));
    }
    all
}

#[test]
fn a_name_that_passes_between_all_and_one_place_is_sent_each_time() {
    let (all, here) = (Scope::proxy(ALL), Scope::proxy(HERE));
    let mut writer = Writer::new();
    writer.put(&all, Endpoint, "other", &resource("other", 1, &[])).unwrap();
    writer.put(&here, Endpoint, "web", &resource("web", 1, &[])).unwrap();
    // What is at another place is nobody's here.
    writer.put(&Scope::proxy("shop/waypoint@zone=r/b"), Endpoint, "web", &resource("web", 9, &[])).unwrap();
    let mut stream = stream();
    stream.subscribe(Endpoint, &["other", "web"], &[]);
    let answers = stream.drain(&writer.publish());
    assert_eq!(told(&answers), ["other", "web"]);
    assert_eq!(answers[0].resources["web"].1, resource("web", 1, &[]));
    // To all, as it is: that the place has nothing any more takes nothing away.
    writer.remove(&here, Endpoint, "web");
    writer.put(&all, Endpoint, "web", &resource("web", 1, &[])).unwrap();
    assert_eq!(told(&stream.drain(&writer.publish())), ["web"]);
    // And back.
    writer.remove(&all, Endpoint, "web");
    writer.put(&here, Endpoint, "web", &resource("web", 2, &[])).unwrap();
    let answers = stream.drain(&writer.publish());
    assert_eq!(told(&answers), ["web"]);
    assert_eq!(answers[0].resources["web"].1, resource("web", 2, &[]));
    // A change at the place alone is seen, and one elsewhere is not.
    writer.put(&here, Endpoint, "web", &resource("web", 3, &[])).unwrap();
    assert_eq!(told(&stream.drain(&writer.publish())), ["web"]);
    writer.put(&Scope::proxy("shop/waypoint@zone=r/b"), Endpoint, "web", &resource("web", 10, &[])).unwrap();
    let latest = writer.publish();
    assert_eq!(told(&stream.drain(&latest)), Vec::<String>::new());
    assert_eq!(stream.session.changed(&latest), 4);
    let places: Vec<&str> = latest.places_of(ALL).map(|scope| &**scope).collect();
    assert_eq!(places, [HERE, "shop/waypoint@zone=r/b"]);
    assert_eq!(latest.places_of("shop/way").count(), 0);
}

#[test]
fn what_a_place_had_is_lost_although_something_else_comes() {
    let (all, here) = (Scope::proxy(ALL), Scope::proxy(HERE));
    let mut writer = Writer::new();
    writer.put(&all, Cluster, "kept", &resource("kept", 1, &[])).unwrap();
    writer.put(&here, Cluster, "gone", &resource("gone", 1, &[])).unwrap();
    let mut stream = stream();
    stream.subscribe(Cluster, &[], &[]);
    stream.session.release();
    assert_eq!(told(&stream.drain(&writer.publish())), ["gone", "kept"]);
    writer.remove(&here, Cluster, "gone");
    writer.put(&all, Cluster, "new", &resource("new", 1, &[])).unwrap();
    let latest = writer.publish();
    let mut answers = told(&stream.drain(&latest));
    stream.session.release();
    answers.extend(told(&stream.drain(&latest)));
    assert_eq!(answers, ["new", "-gone"]);
}
