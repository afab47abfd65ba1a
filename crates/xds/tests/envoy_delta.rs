//! Delta discovery of an Envoy, rule by rule.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/envoy.rs"]
mod envoy;

use proto::Code;
use std::sync::Arc;

use envoy::*;
use pilothouse_xds::{MAX_UNRESOLVED_NAMES, ResourceType, Scope, SessionError, Snapshot, Variant, Writer};
use proto::discovery::DeltaDiscoveryRequest;

fn waypoint() -> Scope {
    Scope::proxy("shop/waypoint")
}

fn stream() -> Stream {
    Stream::new(Variant::Delta, "shop/waypoint")
}

/// Two clusters with endpoints, a listener and its route.
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

fn put(writer: &mut Writer, of: ResourceType, name: &str, body: &[u8]) {
    assert!(writer.put(&waypoint(), of, name, body).unwrap());
}

fn remove(writer: &mut Writer, of: ResourceType, name: &str) {
    assert!(writer.remove(&waypoint(), of, name));
}

/// A stream that follows everything and has it.
fn served(latest: &Arc<Snapshot>) -> Stream {
    let mut stream = stream();
    stream.subscribe(Cluster, &[], &[]);
    stream.subscribe(Endpoint, &["a", "b"], &[]);
    stream.subscribe(Listener, &[], &[]);
    stream.subscribe(Route, &["r"], &[]);
    stream.drain(latest);
    assert!(!stream.session.is_holding());
    stream
}

/// Types and names of answers: what is sent, then what is removed.
fn shape(answers: &[Answer]) -> Vec<String> {
    let names = |answer: &Answer| {
        let removed: String = answer.removed.iter().map(|name| format!(" -{name}")).collect();
        format!("{:?} {}{removed}", answer.of, answer.names().join(" "))
    };
    answers.iter().map(names).collect()
}

#[test]
fn whoever_asks_for_nothing_in_particular_follows_all_clusters_and_listeners() {
    for ask in [&[][..], &["*"]] {
        let latest = shop().publish();
        let mut stream = stream();
        stream.subscribe(Cluster, ask, &[]);
        assert_eq!(shape(&stream.drain(&latest)), ["Cluster a b"], "{ask:?}");
        assert!(stream.session.stats().types[0].wildcard);
    }
}

#[test]
fn types_that_are_followed_by_name_have_no_wildcard() {
    for ask in [&[][..], &["*"]] {
        let mut stream = stream();
        stream.subscribe(Endpoint, ask, &[]);
        let answers = stream.drain(&shop().publish());
        // The first request is answered all the same.
        assert_eq!((answers.len(), answers[0].resources.len()), (1, 0));
    }
}

#[test]
fn named_clusters_are_sent_alone_until_all_are_asked_for() {
    let mut writer = shop();
    let mut stream = stream();
    stream.subscribe(Cluster, &["a"], &[]);
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster a"]);
    put(&mut writer, Cluster, "b", &cluster("b", 2));
    assert!(stream.drain(&writer.publish()).is_empty());
    stream.subscribe(Cluster, &["*"], &[]);
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster a b"]);
    // And only the named one when that is taken back.
    stream.subscribe(Cluster, &[], &["*"]);
    put(&mut writer, Cluster, "b", &cluster("b", 3));
    assert!(stream.drain(&writer.publish()).is_empty());
    put(&mut writer, Cluster, "a", &cluster("a", 3));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster a"]);
}

#[test]
fn a_name_that_is_given_up_beside_all_is_told_anew() {
    let mut writer = shop();
    let mut stream = stream();
    stream.subscribe(Cluster, &["*", "a", "none"], &[]);
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster a b -none"]);
    stream.subscribe(Cluster, &[], &["a", "none"]);
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster a -none"]);
}

#[test]
fn only_what_changed_is_sent() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Endpoint, "b", &resource("b", 2, &[]));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Endpoint b"]);
    put(&mut writer, Route, "r", &resource("r", 2, &["a"]));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Route r"]);
    assert!(!writer.put(&waypoint(), Route, "r", &resource("r", 2, &["a"])).unwrap());
    assert!(stream.drain(&writer.publish()).is_empty());
    assert!(writer.resend(&waypoint(), Route, "r"));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Route r"]);
}

#[test]
fn unknown_names_are_answered_as_removed_and_sent_when_they_come() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    stream.subscribe(Secret, &["default"], &[]);
    stream.subscribe(Endpoint, &["late"], &[]);
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Secret  -default", "Endpoint  -late"]);
    let unresolved =
        |stream: &Stream| stream.session.stats().types.iter().map(|of| of.unresolved).sum::<usize>();
    assert_eq!(unresolved(&stream), 2);
    put(&mut writer, Endpoint, "late", &resource("late", 1, &[]));
    put(&mut writer, Secret, "default", b"\x0a\x07default");
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Secret default", "Endpoint late"]);
    assert_eq!(unresolved(&stream), 0);
}

#[test]
fn an_unknown_route_is_an_empty_one_for_a_removal_is_ignored() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    stream.subscribe(Route, &["none"], &[]);
    let answers = stream.drain(&writer.publish());
    assert_eq!(shape(&answers), ["Route none"]);
    assert_eq!(answers[0].resources["none"].1, b"\x0a\x04none");
}

#[test]
fn names_that_do_not_exist_are_bounded() {
    let latest = shop().publish();
    let mut stream = served(&latest);
    let names: Vec<String> = (0..=MAX_UNRESOLVED_NAMES).map(|n| format!("none-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = stream.session.held_bytes();
    stream.subscribe(Endpoint, &names[1..], &[]);
    stream.drain(&latest);
    let held = stream.session.held_bytes() - before;
    assert!(held > 100 * MAX_UNRESOLVED_NAMES, "{held} bytes are charged");
    stream.subscribe(Endpoint, &names[..1], &[]);
    let error = stream.session.poll(&latest).unwrap_err();
    assert_eq!(error, SessionError::Unresolved { count: MAX_UNRESOLVED_NAMES + 1 });
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[test]
fn names_that_are_given_up_cost_nothing_any_more() {
    let latest = shop().publish();
    let mut stream = served(&latest);
    let before = stream.session.held_bytes();
    stream.subscribe(Endpoint, &["one", "two"], &[]);
    stream.drain(&latest);
    stream.subscribe(Endpoint, &[], &["one", "two"]);
    stream.drain(&latest);
    assert_eq!(stream.session.held_bytes(), before);
}

#[test]
fn a_returning_client_is_sent_what_differs_and_told_what_is_gone_last() {
    let mut writer = shop();
    let latest = writer.publish();
    let mut stream = stream();
    stream.subscribe(Cluster, &[], &[]);
    let held = stream.drain(&latest).remove(0).resources;
    let initial =
        |held: &Held| held.iter().map(|(name, (version, _))| (name.clone(), version.clone())).collect();
    put(&mut writer, Cluster, "b", &cluster("b", 2));
    put(&mut writer, Cluster, "c", &cluster("c", 1));
    remove(&mut writer, Cluster, "a");
    let latest = writer.publish();
    let mut back = Stream::new(Variant::Delta, "shop/waypoint");
    back.delta(DeltaDiscoveryRequest {
        node: Some(node()),
        type_url: Cluster.type_url().to_owned(),
        initial_resource_versions: initial(&held),
        ..DeltaDiscoveryRequest::default()
    })
    .unwrap();
    assert_eq!(shape(&back.drain(&latest)), ["Cluster b c"]);
    // The listeners it still has may name the cluster that is gone.
    assert!(back.session.is_holding());
    back.subscribe(Listener, &[], &[]);
    assert_eq!(shape(&back.drain(&latest)), ["Listener main", "Cluster  -a"]);
}

#[test]
fn names_held_from_an_earlier_stream_count_as_followed() {
    let mut writer = shop();
    let version = |name: &str| (name.to_owned(), "other".to_owned());
    let mut stream = stream();
    stream
        .delta(DeltaDiscoveryRequest {
            node: Some(node()),
            type_url: Endpoint.type_url().to_owned(),
            initial_resource_versions: [version("a"), version("b")].into(),
            resource_names_unsubscribe: vec!["b".to_owned()],
            ..DeltaDiscoveryRequest::default()
        })
        .unwrap();
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Endpoint a"]);
}

#[test]
fn new_things_come_before_what_names_them_and_old_ones_go_after() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Cluster, "c", &cluster("c", 1));
    put(&mut writer, Endpoint, "c", &resource("c", 1, &[]));
    put(&mut writer, Route, "r", &resource("r", 2, &["c"]));
    put(&mut writer, Listener, "other", &resource("other", 1, &["r"]));
    remove(&mut writer, Listener, "main");
    for name in ["a", "b"] {
        remove(&mut writer, Cluster, name);
        remove(&mut writer, Endpoint, name);
    }
    let latest = writer.publish();
    assert_eq!(
        shape(&stream.drain(&latest)),
        ["Cluster c", "Listener other", "Route r", "Listener  -main", "Endpoint  -a -b", "Cluster  -a -b",]
    );
}

#[test]
fn listeners_wait_for_the_answer_to_clusters_and_endpoints_do_not() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Cluster, "a", &cluster("a", 2));
    put(&mut writer, Listener, "main", &resource("main", 2, &["r"]));
    let latest = writer.publish();
    let sent = stream.take(&latest);
    // A changed cluster is followed by its endpoints, which did not change.
    assert_eq!(shape(&sent), ["Cluster a", "Endpoint a"]);
    assert!(stream.session.is_holding());
    let wait = stream.session.wait();
    // A newer snapshot changes endpoints, and they go out all the same.
    put(&mut writer, Endpoint, "b", &resource("b", 2, &[]));
    let latest = writer.publish();
    assert_eq!(shape(&stream.take(&latest)), ["Endpoint b"]);
    assert_eq!((wait.is_some(), stream.session.wait()), (true, wait), "it is the same wait");
    stream.answer(&sent[0], None);
    assert_eq!(shape(&stream.take(&latest)), ["Listener main"]);
    assert!(!stream.session.is_holding());
}

#[test]
fn a_refused_cluster_holds_nothing_up_and_neither_does_silence_for_long() {
    for refuses in [true, false] {
        let mut writer = shop();
        let mut stream = served(&writer.publish());
        put(&mut writer, Cluster, "a", &cluster("a", 2));
        put(&mut writer, Listener, "main", &resource("main", 2, &["r"]));
        let latest = writer.publish();
        let sent = stream.take(&latest);
        match refuses {
            true => stream.answer(&sent[0], Some("bad cluster")),
            false => stream.session.release(),
        }
        assert_eq!(shape(&stream.take(&latest)), ["Listener main"]);
    }
}

#[test]
fn listeners_wait_until_clusters_are_followed() {
    let latest = shop().publish();
    let mut stream = stream();
    stream.subscribe(Listener, &[], &[]);
    assert!(stream.take(&latest).is_empty() && stream.session.is_holding());
    stream.subscribe(Cluster, &[], &[]);
    assert_eq!(shape(&stream.drain(&latest)), ["Cluster a b", "Listener main"]);
    // One that follows no clusters at all is not kept waiting.
    let mut stream = self::stream();
    stream.subscribe(Listener, &[], &[]);
    assert!(stream.take(&latest).is_empty());
    stream.session.release();
    assert_eq!(shape(&stream.take(&latest)), ["Listener main"]);
}

#[test]
fn endpoints_that_were_asked_for_before_their_clusters_are_sent_after_them_again() {
    let latest = shop().publish();
    let mut stream = stream();
    stream.subscribe(Endpoint, &["a"], &[]);
    assert_eq!(shape(&stream.drain(&latest)), ["Endpoint a"]);
    stream.subscribe(Cluster, &[], &[]);
    assert_eq!(shape(&stream.drain(&latest)), ["Cluster a b", "Endpoint a"]);
}

#[test]
fn endpoints_a_returning_client_holds_are_sent_when_their_cluster_was() {
    let latest = shop().publish();
    let mut stream = stream();
    stream.subscribe(Cluster, &[], &[]);
    stream.drain(&latest);
    let version = |name: &str| {
        let of = latest.resources(&waypoint(), Endpoint).find(|r| r.name == name).unwrap();
        (name.to_owned(), of.version.to_owned())
    };
    let request = DeltaDiscoveryRequest {
        type_url: Endpoint.type_url().to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        initial_resource_versions: [version("a")].into(),
        ..DeltaDiscoveryRequest::default()
    };
    stream.delta(request).unwrap();
    assert_eq!(shape(&stream.drain(&latest)), ["Endpoint a"]);
}

#[test]
fn removals_wait_while_the_client_keeps_what_it_refused_to_replace() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Route, "r", &resource("r", 2, &["a"]));
    remove(&mut writer, Cluster, "b");
    let latest = writer.publish();
    let sent = stream.take(&latest);
    assert_eq!(shape(&sent), ["Route r"]);
    assert!(stream.session.is_holding());
    stream.answer(&sent[0], Some("bad route"));
    assert!(stream.take(&latest).is_empty() && !stream.session.is_holding());
    put(&mut writer, Route, "r", &resource("r", 3, &["a"]));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Route r", "Cluster  -b"]);
}

#[test]
fn what_comes_back_before_its_removal_went_out_is_not_removed() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Route, "r", &resource("r", 2, &["a"]));
    remove(&mut writer, Cluster, "b");
    let sent = stream.take(&writer.publish());
    assert_eq!(shape(&sent), ["Route r"]);
    stream.answer(&sent[0], Some("not this"));
    put(&mut writer, Cluster, "b", &cluster("b", 1));
    put(&mut writer, Route, "r", &resource("r", 3, &["a", "b"]));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster b", "Endpoint b", "Route r"]);
}

#[test]
fn answers_are_kept_with_the_last_that_was_good_and_the_last_error() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Listener, "main", &resource("main", 2, &["r"]));
    let latest = writer.publish();
    let bad = stream.take(&latest).remove(0);
    stream.answer(&bad, Some("no such filter"));
    assert!(stream.take(&latest).is_empty(), "what was refused is not sent again");
    let stats = stream.session.stats();
    let of = stats.types.iter().find(|of| of.type_url == Listener.type_url()).unwrap();
    assert_eq!((of.acks, of.nacks, of.acked_step, of.sent_step), (1, 1, 1, 2));
    let nack = of.last_nack.as_ref().unwrap();
    assert_eq!((nack.nonce.as_str(), nack.message.as_str()), (bad.nonce.as_str(), "no such filter"));
    let state = stream.session.ack_state(Listener).unwrap();
    assert_eq!((state.answered, state.refusals.len()), (2, 1));
    assert_eq!((state.refusals[0].after, state.refusals[0].step), (1, 2));
}

#[test]
fn an_answer_to_an_earlier_response_acknowledges_nothing_and_its_names_count() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    let mut answers = Vec::new();
    for revision in 2..4 {
        put(&mut writer, Endpoint, "a", &resource("a", revision, &[]));
        answers.extend(stream.take(&writer.publish()));
    }
    stream
        .delta(DeltaDiscoveryRequest {
            type_url: Endpoint.type_url().to_owned(),
            response_nonce: answers[0].nonce.clone(),
            resource_names_unsubscribe: vec!["a".to_owned()],
            ..DeltaDiscoveryRequest::default()
        })
        .unwrap();
    let stats = stream.session.stats();
    let of = stats.types.iter().find(|of| of.type_url == Endpoint.type_url()).unwrap();
    assert_eq!((of.stale, of.acked_step, of.names), (1, 1, 1));
}

#[test]
fn types_of_ztunnels_and_unknown_ones_are_refused() {
    for type_url in [proto::type_url::ADDRESS, proto::type_url::WORKLOAD, "type.googleapis.com/no.Such"] {
        let request = DeltaDiscoveryRequest {
            node: Some(node()),
            type_url: type_url.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        assert_eq!(stream().delta(request).unwrap_err().code(), Code::Unimplemented, "{type_url}");
    }
    let nobody = DeltaDiscoveryRequest { type_url: Cluster.type_url().to_owned(), ..Default::default() };
    assert_eq!(stream().delta(nobody).unwrap_err(), SessionError::NoNode);
}

#[test]
fn a_scope_that_loses_everything_takes_it_from_its_streams_and_may_come_back() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    for name in ["a", "b"] {
        remove(&mut writer, Cluster, name);
        remove(&mut writer, Endpoint, name);
    }
    remove(&mut writer, Listener, "main");
    remove(&mut writer, Route, "r");
    let latest = writer.publish();
    assert_eq!(latest.proxies().count(), 0);
    let sent = stream.drain(&latest);
    assert_eq!(shape(&sent), ["Listener  -main", "Route  -r", "Endpoint  -a -b", "Cluster  -a -b"]);
    put(&mut writer, Cluster, "b", &cluster("b", 1));
    put(&mut writer, Endpoint, "b", &resource("b", 1, &[]));
    assert_eq!(shape(&stream.drain(&writer.publish())), ["Cluster b", "Endpoint b"]);
}

#[test]
fn a_stream_that_missed_that_its_scope_was_away_loses_what_did_not_come_back() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    for of in [Cluster, Endpoint] {
        remove(&mut writer, of, "a");
        remove(&mut writer, of, "b");
    }
    remove(&mut writer, Listener, "main");
    remove(&mut writer, Route, "r");
    writer.publish();
    put(&mut writer, Cluster, "b", &cluster("b", 1));
    let sent = stream.drain(&writer.publish());
    assert_eq!(
        shape(&sent),
        ["Cluster b", "Endpoint  -b", "Listener  -main", "Route  -r", "Endpoint  -a", "Cluster  -a"]
    );
}

/// What a stream refuses: type, name, step and message.
fn refused(stream: &Stream) -> Vec<(ResourceType, String, u64, String)> {
    let all = stream.session.refused().into_iter();
    all.map(|of| (of.of, of.name.unwrap_or_default().to_string(), of.step, of.message.to_string())).collect()
}

#[test]
fn a_resource_that_is_refused_stays_so_until_another_version_of_it_is_taken() {
    let mut writer = shop();
    let mut stream = stream();
    stream.subscribe(Cluster, &[], &[]);
    let answer = stream.poll(&writer.publish()).unwrap();
    let message = "Error adding/updating cluster(s) b: it is bad, and about aa";
    stream.answer(&answer, Some(message));
    let bad = vec![(Cluster, "b".to_owned(), 1, message.to_owned())];
    assert_eq!((refused(&stream), stream.session.refusal_changes()), (bad.clone(), 1));
    // Another resource is taken.
    put(&mut writer, Cluster, "a", &cluster("a", 2));
    let answer = stream.poll(&writer.publish()).unwrap();
    stream.answer(&answer, None);
    assert_eq!((refused(&stream), stream.session.refusal_changes()), (bad, 1));
    // The same one is refused again, and an answer to what came before it says nothing of it.
    put(&mut writer, Cluster, "b", &cluster("b", 3));
    let worse = stream.poll(&writer.publish()).unwrap();
    stream.answer(&answer, None);
    stream.answer(&worse, Some("b: worse"));
    assert_eq!(refused(&stream), [(Cluster, "b".to_owned(), 3, "b: worse".to_owned())]);
    // A refusal of another that names it alone takes this one in its new version.
    put(&mut writer, Cluster, "a", &cluster("a", 4));
    put(&mut writer, Cluster, "b", &cluster("b", 4));
    let answer = stream.poll(&writer.publish()).unwrap();
    stream.answer(&answer, Some("a: not this"));
    assert_eq!(refused(&stream), [(Cluster, "a".to_owned(), 4, "a: not this".to_owned())]);
    // What goes is refused no more.
    remove(&mut writer, Cluster, "a");
    stream.subscribe(Listener, &[], &[]);
    stream.drain(&writer.publish());
    assert_eq!(refused(&stream), []);
    assert_eq!(stream.session.refusal_changes(), 4);
}

#[test]
fn a_refusal_that_names_nothing_is_about_the_little_that_was_sent_or_else_about_no_resource() {
    let (mut writer, mut stream) = (shop(), stream());
    stream.subscribe(Cluster, &[], &[]);
    stream.drain(&writer.publish());
    put(&mut writer, Cluster, "b", &cluster("b", 2));
    let answer = stream.poll(&writer.publish()).unwrap();
    stream.answer(&answer, Some("out of luck"));
    assert_eq!(refused(&stream), [(Cluster, "b".to_owned(), 2, "out of luck".to_owned())]);
    (0..9).for_each(|n| put(&mut writer, Cluster, &format!("many{n}"), &cluster("many", n)));
    put(&mut writer, Cluster, "b", &cluster("b", 3));
    let answer = stream.poll(&writer.publish()).unwrap();
    stream.answer(&answer, Some("out of luck"));
    let of = |name: &str, step| (Cluster, name.to_owned(), step, "out of luck".to_owned());
    assert_eq!(refused(&stream), [of("b", 2), of("", 3)]);
    // The next answer is for all.
    put(&mut writer, Cluster, "a", &cluster("a", 4));
    stream.drain(&writer.publish());
    assert_eq!(refused(&stream), []);
}

#[test]
fn a_refusal_of_a_response_that_was_not_the_last_is_about_what_that_one_had() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Endpoint, "b", &resource("b", 2, &[]));
    let bad = stream.poll(&writer.publish()).unwrap();
    put(&mut writer, Endpoint, "b", &resource("b", 3, &[]));
    let good = stream.poll(&writer.publish()).unwrap();
    stream.answer(&bad, Some("b: no"));
    assert_eq!(refused(&stream), [(Endpoint, "b".to_owned(), 2, "b: no".to_owned())]);
    stream.answer(&good, None);
    assert_eq!(refused(&stream), []);
}

#[test]
fn what_was_refused_can_be_taken_away() {
    let mut writer = shop();
    let mut stream = served(&writer.publish());
    put(&mut writer, Listener, "main", &resource("main", 2, &["r"]));
    let bad = stream.poll(&writer.publish()).unwrap();
    stream.answer(&bad, Some("main: no"));
    assert_eq!(refused(&stream).len(), 1);
    // The listener of before may name the route, and that the clusters.
    remove(&mut writer, Listener, "main");
    remove(&mut writer, Route, "r");
    remove(&mut writer, Cluster, "b");
    let latest = writer.publish();
    let sent = stream.poll(&latest).unwrap();
    assert_eq!(shape(std::slice::from_ref(&sent)), ["Listener  -main"]);
    assert_eq!(refused(&stream).len(), 1);
    stream.answer(&sent, None);
    assert_eq!(refused(&stream), []);
    assert_eq!(shape(&stream.drain(&latest)), ["Route  -r", "Cluster  -b"]);
}
