//! One stream at a time: who gets what, when, in which order.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use pilothouse_xds::{ResourceType::*, Scope, SessionError, Writer, ZtunnelSession};
use proto::Code;
use proto::discovery::{DeltaDiscoveryRequest, Node};
use support::*;

fn writer_with_policy_and_workload() -> Writer {
    let mut writer = Writer::new();
    writer.put(&Scope::Mesh, Authorization, "ns/p", b"\x0a\x01p").unwrap();
    writer.put(&Scope::Mesh, Address, "w", &workload("w", 1, &["ns/p"])).unwrap();
    writer
}

#[test]
fn first_answer_of_each_type_comes_even_when_it_is_empty() {
    let snapshot = Writer::new().publish();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    let answers = client.drain(&snapshot);
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|a| a.resources.is_empty() && a.removed_resources.is_empty()));
    assert!(client.drain(&snapshot).is_empty());
}

#[test]
fn policies_go_before_the_addresses_when_both_are_asked_for() {
    let snapshot = writer_with_policy_and_workload().publish();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    let types: Vec<_> = client.drain(&snapshot).into_iter().map(|r| r.type_url).collect();
    assert_eq!(types, [AUTHORIZATION, ADDRESS]);
}

#[test]
fn a_new_client_gets_its_addresses_at_once() {
    let snapshot = writer_with_policy_and_workload().publish();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    assert!(!client.session.is_holding());
    assert_eq!(client.drain(&snapshot).len(), 1);
}

#[test]
fn a_removed_policy_goes_after_the_workloads_that_named_it() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    client.drain(&writer.publish());

    writer.remove(&Scope::Mesh, Authorization, "ns/p");
    writer.put(&Scope::Mesh, Authorization, "ns/q", b"\x0a\x01q").unwrap();
    writer.put(&Scope::Mesh, Address, "w", &workload("w", 1, &["ns/q"])).unwrap();
    let sent = client.drain(&writer.publish());
    let shape: Vec<_> =
        sent.iter().map(|r| (r.type_url.as_str(), names(r), r.removed_resources.clone())).collect();
    assert_eq!(
        shape,
        [
            (AUTHORIZATION, vec!["ns/q".to_owned()], vec![]),
            (ADDRESS, vec!["w".to_owned()], vec![]),
            (AUTHORIZATION, vec![], vec!["ns/p".to_owned()]),
        ]
    );
}

#[test]
fn a_slow_client_gets_the_sum_of_what_it_missed() {
    let mut writer = Writer::new();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.drain(&writer.publish());
    for revision in 0..500 {
        writer.put(&Scope::Mesh, Address, "a", &workload("a", revision, &[])).unwrap();
        writer.put(&Scope::Mesh, Address, &format!("w{revision}"), &workload("w", 1, &[])).unwrap();
        if revision > 0 {
            writer.remove(&Scope::Mesh, Address, &format!("w{}", revision - 1));
        }
        writer.publish();
    }
    let sent = client.drain(&writer.publish());
    assert_eq!(sent.len(), 1);
    assert_eq!(names(&sent[0]), ["a", "w499"]);
    assert_eq!(sent[0].removed_resources.len(), 499);
}

#[test]
fn a_returning_client_gets_only_what_differs() {
    let mut writer = Writer::new();
    for i in 0..100 {
        writer.put(&Scope::Mesh, Address, &format!("w{i}"), &workload("w", i, &[])).unwrap();
    }
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    client.drain(&writer.publish());

    client.reconnect();
    writer.put(&Scope::Mesh, Address, "w7", &workload("w", 1_000, &[])).unwrap();
    writer.remove(&Scope::Mesh, Address, "w8");
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    let sent = client.drain(&writer.publish());
    let addresses = sent.iter().find(|r| r.type_url == ADDRESS).unwrap();
    assert_eq!(names(addresses), ["w7"]);
    assert_eq!(addresses.removed_resources, ["w8"]);
}

#[test]
fn a_returning_ztunnel_gets_its_addresses_after_its_policies() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    client.drain(&writer.publish());

    client.reconnect();
    writer.put(&Scope::Mesh, Authorization, "ns/new", b"\x0a\x01n").unwrap();
    writer.put(&Scope::Mesh, Address, "w", &workload("w", 1, &["ns/new"])).unwrap();
    writer.remove(&Scope::Mesh, Authorization, "ns/p");
    let snapshot = writer.publish();
    client.subscribe(ADDRESS);
    assert!(client.receive(&snapshot).is_none() && client.session.is_holding());
    client.subscribe(AUTHORIZATION);
    assert!(!client.session.is_holding());
    let sent = client.drain(&snapshot);
    let shape: Vec<_> =
        sent.iter().map(|r| (r.type_url.as_str(), names(r), r.removed_resources.clone())).collect();
    assert_eq!(
        shape,
        [
            (AUTHORIZATION, vec!["ns/new".to_owned()], vec![]),
            (ADDRESS, vec!["w".to_owned()], vec![]),
            (AUTHORIZATION, vec![], vec!["ns/p".to_owned()]),
        ]
    );
}

#[test]
fn a_returning_ztunnel_keeps_a_removed_policy_until_its_addresses_came() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    client.drain(&writer.publish());

    client.reconnect();
    writer.remove(&Scope::Mesh, Authorization, "ns/p");
    client.subscribe(AUTHORIZATION);
    assert!(client.drain(&writer.publish()).iter().all(|r| r.removed_resources.is_empty()));
    assert!(client.session.is_holding());
    // It comes back before the removal went out: nothing is to be removed then.
    writer.put(&Scope::Mesh, Authorization, "ns/p", b"\x0a\x01p").unwrap();
    client.subscribe(ADDRESS);
    assert!(client.drain(&writer.publish()).iter().all(|r| r.removed_resources.is_empty()));
    assert_eq!(client.names(AUTHORIZATION), ["ns/p"].into());
}

#[test]
fn a_released_session_waits_no_longer() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.drain(&writer.publish());
    client.reconnect();
    writer.remove(&Scope::Mesh, Address, "w");
    client.subscribe(ADDRESS);
    assert!(client.drain(&writer.publish()).is_empty());
    client.session.release();
    assert_eq!(client.drain(&writer.publish())[0].removed_resources, ["w"]);
}

#[test]
fn a_refused_response_is_recorded_and_not_sent_again() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    let snapshot = writer.publish();
    let response = client.receive(&snapshot).unwrap();
    client.apply(&response);
    client.answer(ADDRESS, Some("bad workload"));
    assert!(client.receive(&snapshot).is_none());
    let stats = client.session.stats();
    assert_eq!((stats.types[0].nacks, stats.types[0].acks), (1, 0));
    let nack = stats.types[0].last_nack.clone().unwrap();
    assert_eq!((nack.nonce, nack.message.as_str()), (response.nonce, "bad workload"));

    writer.put(&Scope::Mesh, Address, "w", &workload("w", 2, &[])).unwrap();
    assert_eq!(client.drain(&writer.publish()).len(), 1);
    assert_eq!(client.session.stats().types[0].acks, 1);
}

#[test]
fn a_stale_nonce_acknowledges_nothing() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    let first = client.receive(&writer.publish()).unwrap();
    client.apply(&first);
    writer.put(&Scope::Mesh, Address, "v", &workload("v", 1, &[])).unwrap();
    let second = client.receive(&writer.publish()).unwrap();
    client.answer(ADDRESS, None);
    let stats = client.session.stats().types[0].clone();
    assert_eq!((stats.acks, stats.stale, stats.sent_nonce), (0, 1, second.nonce.clone()));
    client.apply(&second);
    client.answer(ADDRESS, None);
    let stats = client.session.stats().types[0].clone();
    assert_eq!((stats.acks, stats.acked_nonce, stats.acked_step), (1, second.nonce, 2));
}

#[test]
fn a_wildcard_client_that_names_resources_gets_everything_again() {
    let snapshot = writer_with_policy_and_workload().publish();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.drain(&snapshot);
    let again = DeltaDiscoveryRequest { resource_names_subscribe: vec!["x".into()], ..request(ADDRESS) };
    client.send(again).unwrap();
    assert_eq!(client.drain(&snapshot).iter().map(names).collect::<Vec<_>>(), [["w"]]);
}

#[test]
fn a_resource_can_be_sent_again_with_equal_bytes() {
    let mut writer = writer_with_policy_and_workload();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.drain(&writer.publish());
    assert!(writer.resend(&Scope::Mesh, Address, "w"));
    assert_eq!(client.drain(&writer.publish()).iter().map(names).collect::<Vec<_>>(), [["w"]]);
}

/// A ztunnel judges a workload by the service that it has: one that comes before its service is judged by
/// what the service was.
#[test]
fn a_client_that_lags_or_returns_gets_services_before_workloads_whatever_changed_last() {
    let mut writer = writer_with_policy_and_workload();
    writer.put(&Scope::Mesh, Address, "ns/svc", &service("svc", &[])).unwrap();
    let start = writer.publish();
    let client = || {
        let mut client = Client::default();
        client.subscribe(ADDRESS);
        client.drain(&start);
        client
    };
    let (mut steady, mut lagging, mut returning) = (client(), client(), client());
    writer.put(&Scope::Mesh, Address, "ns/svc", &service("svc", &[([10, 0, 0, 9], None)])).unwrap();
    writer.put(&Scope::Mesh, Address, "w", &workload("w", 2, &[])).unwrap();
    assert_eq!(steady.drain(&writer.publish()).iter().map(in_order).collect::<Vec<_>>(), [["ns/svc", "w"]]);
    // The log has the service behind the workload now.
    writer.put(&Scope::Mesh, Address, "ns/svc", &service("svc", &[([10, 0, 0, 8], None)])).unwrap();
    let latest = writer.publish();
    assert_eq!(lagging.drain(&latest).iter().map(in_order).collect::<Vec<_>>(), [["ns/svc", "w"]]);
    returning.reconnect();
    returning.subscribe(ADDRESS);
    returning.session.release();
    assert_eq!(returning.drain(&latest).iter().map(in_order).collect::<Vec<_>>(), [["ns/svc", "w"]]);
    assert_eq!(steady.drain(&latest).iter().map(in_order).collect::<Vec<_>>(), [["ns/svc"]]);
    assert!(lagging.held == steady.held && returning.held == steady.held);
}

#[test]
fn an_old_client_gets_bare_workloads_and_no_services() {
    let mut writer = writer_with_policy_and_workload();
    writer.put(&Scope::Mesh, Address, "ns/svc", &service("svc", &[])).unwrap();
    let mut client = Client::default();
    client.subscribe(WORKLOAD);
    let sent = client.drain(&writer.publish());
    assert_eq!(names(&sent[0]), ["w"]);
    let (_, body) = &client.held[WORKLOAD]["w"];
    let bare: proto::workload::Workload = prost::Message::decode(body.as_slice()).unwrap();
    assert_eq!((bare.uid.as_str(), bare.authorization_policies.len()), ("w", 1));

    // A service alone is nothing to it; a workload is; on return only what differs.
    writer.put(&Scope::Mesh, Address, "ns/svc", &service("svc", &[([10, 0, 0, 9], None)])).unwrap();
    assert!(client.drain(&writer.publish()).is_empty());
    writer.put(&Scope::Mesh, Address, "v", &workload("v", 1, &[])).unwrap();
    assert_eq!(client.drain(&writer.publish()).iter().map(names).collect::<Vec<_>>(), [["v"]]);
    client.reconnect();
    writer.remove(&Scope::Mesh, Address, "v");
    client.subscribe(WORKLOAD);
    client.session.release();
    let sent = client.drain(&writer.publish());
    assert_eq!((sent[0].resources.len(), &sent[0].removed_resources[..]), (0, &["v".to_owned()][..]));
}

#[test]
fn a_client_behind_the_forgotten_removals_must_return() {
    let mut writer = Writer::new();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.drain(&writer.publish());
    for batch in 0..40 {
        let name = |i: usize| format!("a-long-name-of-a-pod/that-came-and-went/{batch}-{i}");
        (0..1_000).for_each(|i| assert!(writer.put(&Scope::Mesh, Address, &name(i), b"x").unwrap()));
        writer.publish();
        (0..1_000).for_each(|i| assert!(writer.remove(&Scope::Mesh, Address, &name(i))));
        writer.publish();
    }
    let error = client.session.poll(&writer.publish()).unwrap_err();
    assert_eq!((&error, error.code()), (&SessionError::FellBehind, Code::Aborted));
}

#[test]
fn protocol_errors_name_the_status_that_ends_the_stream() {
    let code = |request: DeltaDiscoveryRequest| Client::default().send(request).unwrap_err().code();
    assert_eq!(code(DeltaDiscoveryRequest { node: None, ..request(ADDRESS) }), Code::InvalidArgument);
    let nameless = Some(Node::default());
    assert_eq!(code(DeltaDiscoveryRequest { node: nameless, ..request(ADDRESS) }), Code::InvalidArgument);
    assert_eq!(code(request("")), Code::InvalidArgument);
    let long = vec!["x".repeat(5_000)];
    let long = DeltaDiscoveryRequest { resource_names_subscribe: long, ..request(ADDRESS) };
    assert_eq!(code(long), Code::InvalidArgument);

    let mut client = Client::default();
    let garbage = client.session.request(b"\xff\xff\xff".as_slice().into()).unwrap_err();
    assert_eq!(garbage.code(), Code::InvalidArgument);
    // An empty answer would make an Envoy drop what it has.
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    assert_eq!(client.send(request(cluster)).unwrap_err().code(), Code::Unimplemented);
}

#[test]
fn versions_are_those_of_the_bytes_and_policies_have_none() {
    let snapshot = writer_with_policy_and_workload().publish();
    let mut client = Client::default();
    client.subscribe(ADDRESS);
    client.subscribe(AUTHORIZATION);
    client.drain(&snapshot);
    let (version, body) = &client.held[ADDRESS]["w"];
    assert_eq!(*version, pilothouse_xds::Version::of(body).to_string());
    assert_eq!(client.held[AUTHORIZATION]["ns/p"].0, "");
}

#[test]
fn an_older_client_is_not_sent_what_it_does_not_understand() {
    let older = || {
        let session = ZtunnelSession::new(std::time::SystemTime::UNIX_EPOCH).with_capabilities(|_| 1);
        Client { session, ..Client::default() }
    };
    let names = |client: &Client, of: &str| client.held[of].keys().cloned().collect::<Vec<_>>();
    let mut writer = writer_with_policy_and_workload();
    writer.put_for(&Scope::Mesh, Authorization, "ns/known", b"\x0a\x01k", 1).unwrap();
    writer.put_for(&Scope::Mesh, Authorization, "ns/new", b"\x0a\x01n", 2).unwrap();
    writer.put_for(&Scope::Mesh, Address, "ns/private", &service("private", &[]), 2).unwrap();
    let (mut old, mut new) = (older(), Client::default());
    for client in [&mut old, &mut new] {
        client.subscribe(AUTHORIZATION);
        client.subscribe(ADDRESS);
        client.drain(&writer.publish());
    }
    assert_eq!(
        (names(&old, AUTHORIZATION), names(&old, ADDRESS)),
        (vec!["ns/known".into(), "ns/p".into()], vec!["w".into()])
    );
    assert_eq!((names(&new, AUTHORIZATION).len(), names(&new, ADDRESS).len()), (3, 2));

    // What comes to need more goes from it, though its bytes are the same, and comes back.
    writer.put_for(&Scope::Mesh, Address, "w", &workload("w", 1, &["ns/p"]), 2).unwrap();
    writer.put_for(&Scope::Mesh, Authorization, "ns/new", b"\x0a\x01n", 0).unwrap();
    for client in [&mut old, &mut new] {
        client.drain(&writer.publish());
    }
    assert_eq!(names(&old, AUTHORIZATION), ["ns/known", "ns/new", "ns/p"]);
    assert!(names(&old, ADDRESS).is_empty());
    assert_eq!(names(&new, ADDRESS), ["ns/private", "w"]);

    // On return it is told that what it holds is not for it.
    old.held.get_mut(ADDRESS).unwrap().insert("ns/private".into(), ("1".into(), Vec::new()));
    old.session = older().session;
    old.nonces.clear();
    old.subscribe(AUTHORIZATION);
    old.subscribe(ADDRESS);
    old.drain(&writer.publish());
    assert!(names(&old, ADDRESS).is_empty());

    // Nor by name.
    let mut asks = older();
    asks.send(DeltaDiscoveryRequest {
        resource_names_subscribe: vec!["ns/private".to_owned()],
        ..request(ADDRESS)
    })
    .unwrap();
    let answer = asks.drain(&writer.publish());
    assert_eq!(
        (answer[0].resources.len(), &answer[0].removed_resources[..]),
        (0, &["ns/private".to_owned()][..])
    );
}

#[test]
fn an_ack_state_tells_what_was_answered_for_and_what_was_refused_of_it() {
    let mut writer = Writer::new();
    writer.put(&Scope::Mesh, Authorization, "ns/one", b"1").unwrap();
    let first = writer.publish();
    let mut client = Client::default();
    let ack_state = |client: &Client| client.session.ack_state(Authorization);
    assert_eq!(ack_state(&client), None);
    client.subscribe(AUTHORIZATION);
    let response = collect(client.session.poll(&first).unwrap().unwrap());
    assert_eq!(ack_state(&client).unwrap().answered, 0, "sent, and not answered yet");
    client.nonces.insert(AUTHORIZATION.to_owned(), response.nonce);
    client.answer(AUTHORIZATION, Some("ns/one: unknown field"));
    client.answer(AUTHORIZATION, Some("ns/one: said twice"));
    let refused = ack_state(&client).unwrap();
    assert_eq!((refused.answered, refused.refusals.len()), (1, 1));
    let refusal = &refused.refusals[0];
    assert_eq!((refusal.after, refusal.step, refusal.is_whole), (0, 1, true));
    assert_eq!(refusal.message, "ns/one: unknown field");

    // Two responses under way: the refusal of the first is about what came since the last answer.
    writer.put(&Scope::Mesh, Authorization, "ns/two", b"2").unwrap();
    let second = collect(client.session.poll(&writer.publish()).unwrap().unwrap());
    writer.put(&Scope::Mesh, Authorization, "ns/three", b"3").unwrap();
    let third = collect(client.session.poll(&writer.publish()).unwrap().unwrap());
    client.nonces.insert(AUTHORIZATION.to_owned(), second.nonce);
    client.answer(AUTHORIZATION, Some(&"x".repeat(2_000)));
    assert_eq!(ack_state(&client).unwrap().answered, 1);
    client.nonces.insert(AUTHORIZATION.to_owned(), third.nonce);
    client.answer(AUTHORIZATION, None);
    let after = ack_state(&client).unwrap();
    assert_eq!((after.answered, after.refusals.len()), (3, 2));
    assert_eq!((after.refusals[1].after, after.refusals[1].step), (1, 3));
    assert!(!after.refusals[1].is_whole && after.refusals[1].message.len() == 1_024);
}

/// A client of policies that refuses some and takes the others.
#[derive(Default)]
struct Judge {
    writer: Writer,
    client: Client,
}

impl Judge {
    /// Has it answer for a new version of a policy; returns the step.
    fn answer(&mut self, policy: &str, version: u64, error: Option<&str>) -> u64 {
        self.writer.put(&Scope::Mesh, Authorization, policy, version.to_string().as_bytes()).unwrap();
        let snapshot = self.writer.publish();
        if self.client.nonces.is_empty() {
            self.client.subscribe(AUTHORIZATION);
        }
        let response = collect(self.client.session.poll(&snapshot).unwrap().unwrap());
        self.client.nonces.insert(AUTHORIZATION.to_owned(), response.nonce);
        self.client.answer(AUTHORIZATION, error);
        snapshot.step()
    }

    /// Tells of a step whether a refusal may be about it.
    fn is_refused(&self, step: u64) -> bool {
        let ack_state = self.client.session.ack_state(Authorization).unwrap();
        assert!(ack_state.refusals.len() <= 8, "what is kept is bounded");
        ack_state.refusals.iter().any(|refusal| (refusal.after + 1..=refusal.step).contains(&step))
    }
}

#[test]
fn a_policy_that_is_refused_time_and_again_says_nothing_of_those_that_are_taken() {
    let mut judge = Judge::default();
    let mut taken = Vec::new();
    for n in 0..30 {
        let refused = judge.answer("ns/bad", n, Some("ns/bad: unknown field"));
        assert!(judge.is_refused(refused));
        taken.push(judge.answer(&format!("ns/good-{n}"), n, None));
        assert!(taken.iter().all(|step| !judge.is_refused(*step)), "after {n}");
    }
    let ack_state = judge.client.session.ack_state(Authorization).unwrap();
    assert!(ack_state.refusals.iter().all(|refusal| refusal.is_whole));
}

#[test]
fn however_many_policies_are_refused_none_is_forgotten_and_the_last_ones_are_told_apart() {
    let mut judge = Judge::default();
    let (mut refused, mut taken) = (Vec::new(), Vec::new());
    for n in 0..30 {
        refused.push(judge.answer(&format!("ns/bad-{n}"), n, Some("unknown field")));
        assert!(refused.iter().all(|step| judge.is_refused(*step)), "after {n}");
        taken.push(judge.answer(&format!("ns/good-{n}"), n, None));
        assert!(taken.iter().rev().take(6).all(|step| !judge.is_refused(*step)), "after {n}");
    }
    // Without anything taken in between, nothing that is taken later is drawn in.
    for n in 30..60 {
        refused.push(judge.answer(&format!("ns/bad-{n}"), n, Some("unknown field")));
    }
    let last = judge.answer("ns/last", 0, None);
    assert!(refused.iter().all(|step| judge.is_refused(*step)) && !judge.is_refused(last));
}

#[test]
fn what_changed_after_a_step_is_told_with_the_step() {
    let mut writer = Writer::new();
    for name in ["ns/a", "ns/b", "ns/c"] {
        writer.put(&Scope::Mesh, Authorization, name, b"1").unwrap();
        writer.publish();
    }
    writer.put(&Scope::Mesh, Authorization, "ns/a", b"2").unwrap();
    let snapshot = writer.publish();
    let after = |step| -> Vec<(u64, &str)> {
        snapshot.mesh().changed_after(Authorization, step).map(|(step, _, r)| (step, r.name)).collect()
    };
    assert_eq!(after(0), [(2, "ns/b"), (3, "ns/c"), (4, "ns/a")]);
    assert_eq!(after(2), [(3, "ns/c"), (4, "ns/a")]);
    assert_eq!(after(4), []);
    writer.remove(&Scope::Mesh, Authorization, "ns/b");
    let snapshot = writer.publish();
    let removed = |step| snapshot.mesh().removed_after(Authorization, step).unwrap().collect::<Vec<_>>();
    assert_eq!((removed(4), removed(5)), (vec!["ns/b"], vec![]));
}
