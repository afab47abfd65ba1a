//! Clients that ask for addresses by name.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use pilothouse_xds::{
    MAX_BYTES_OF_NAMES, MAX_UNRESOLVED_NAMES, ResourceType::*, Scope, SessionError, Writer,
};
use proptest::prelude::*;
use prost::Message;
use proto::Code;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use support::*;

const WEB: &str = "shop/web.shop.svc.cluster.local";

/// Two pods of a service, one on another node without a service, one on the client's node.
fn shop() -> Writer {
    let mut writer = Writer::new();
    let web = service("web", &[([10, 96, 0, 1], None), ([10, 97, 0, 0], Some(16))]);
    writer.put(&Scope::Mesh, Address, WEB, &web).unwrap();
    writer.put(&Scope::Mesh, Address, "pod/web-1", &pod("web-1", [10, 0, 0, 1], "n2", &[WEB])).unwrap();
    writer.put(&Scope::Mesh, Address, "pod/web-2", &pod("web-2", [10, 0, 0, 2], "n3", &[WEB])).unwrap();
    writer.put(&Scope::Mesh, Address, "pod/lone", &pod("lone", [10, 0, 0, 3], "n2", &[])).unwrap();
    writer.put(&Scope::Mesh, Address, "pod/local", &pod("local", [10, 0, 0, 4], "n1", &[])).unwrap();
    writer
}

fn ask(subscribe: &[&str], unsubscribe: &[&str]) -> DeltaDiscoveryRequest {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    DeltaDiscoveryRequest {
        resource_names_subscribe: owned(subscribe),
        resource_names_unsubscribe: owned(unsubscribe),
        ..request(ADDRESS)
    }
}

/// A client that asked for nothing yet and got what comes unasked.
fn on_demand(writer: &mut Writer) -> Client {
    let mut client = Client::default();
    client.send(ask(&["*"], &["*"])).unwrap();
    let sent = client.drain(&writer.publish());
    assert_eq!(sent.len(), 1);
    client
}

fn only(sent: Vec<DeltaDiscoveryResponse>) -> DeltaDiscoveryResponse {
    let [response] = <[_; 1]>::try_from(sent).expect("one response");
    response
}

#[test]
fn the_first_answer_holds_only_workloads_of_the_own_node() {
    let mut writer = shop();
    let client = on_demand(&mut writer);
    assert_eq!(client.names(ADDRESS), ["pod/local"].into());
}

#[test]
fn a_service_brings_its_workloads_whether_asked_by_name_or_address() {
    for key in [WEB, "/10.96.0.1", "/10.97.0.0"] {
        let mut writer = shop();
        let mut client = on_demand(&mut writer);
        client.send(ask(&[key], &[])).unwrap();
        let response = only(client.drain(&writer.publish()));
        assert_eq!(names(&response), ["pod/web-1", "pod/web-2", WEB], "{key}");
        assert!(response.removed_resources.is_empty());
    }
}

#[test]
fn a_service_comes_before_its_workloads() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&[WEB], &[])).unwrap();
    let order = [WEB, "pod/web-1", "pod/web-2"];
    assert_eq!(in_order(&only(client.drain(&writer.publish()))), order);
    writer.put(&Scope::Mesh, Address, WEB, &service("web", &[([10, 96, 0, 2], None)])).unwrap();
    assert_eq!(in_order(&only(client.drain(&writer.publish()))), order);
}

#[test]
fn what_many_ask_for_by_name_is_shared_and_not_copied_for_each() {
    let mut writer = Writer::new();
    let ips: Vec<_> = (0..4_000u16).map(|n| n.to_be_bytes()).map(|[a, b]| ([10, 96, a, b], None)).collect();
    writer.put(&Scope::Mesh, Address, WEB, &service("web", &ips)).unwrap();
    let latest = writer.publish();
    let answer = || {
        let mut client = Client::default();
        client.send(ask(&[WEB], &[])).unwrap();
        client.session.poll(&latest).unwrap().unwrap().max_by_key(Bytes::len).unwrap()
    };
    let (one, two) = (answer(), answer());
    assert!(one.len() > 50_000);
    assert_eq!((one.as_ptr(), one.len()), (two.as_ptr(), two.len()));
}

#[test]
fn names_that_a_stream_follows_are_bounded_by_their_bytes() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    // Each request is far below what a message may have.
    let names = |n: usize| (0..2_000).map(|at| format!("{n}-{at:0>4000}")).collect::<Vec<_>>();
    let request = |subscribe: Vec<String>, unsubscribe: Vec<String>| DeltaDiscoveryRequest {
        resource_names_subscribe: subscribe,
        resource_names_unsubscribe: unsubscribe,
        ..request(ADDRESS)
    };
    for n in 0..2 {
        client.send(request(names(n), Vec::new())).unwrap();
        // Those that are followed already count once; those that are given up leave room.
        client.send(request(names(n), Vec::new())).unwrap();
        client.send(request(names(n + 10), Vec::new())).unwrap();
        client.send(request(Vec::new(), names(n + 10))).unwrap();
    }
    client.send(request(names(2), Vec::new())).unwrap();
    let error = client.send(request(names(3), Vec::new())).unwrap_err();
    assert!(matches!(error, SessionError::TooLongNames { bytes } if bytes > MAX_BYTES_OF_NAMES), "{error}");
    assert_eq!(error.code(), Code::ResourceExhausted);
    // Nor may it begin with more.
    let mut client = Client::default();
    let all = (0..5).flat_map(names).collect();
    let error = client.send(request(all, vec!["*".to_owned()])).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
}

#[test]
fn a_workload_comes_alone_and_answers_carry_aliases() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&["/10.0.0.3"], &[])).unwrap();
    let response = only(client.drain(&writer.publish()));
    let lone = Resource::decode(response.resources[0].clone()).unwrap();
    assert_eq!((lone.name.as_str(), &lone.aliases[..]), ("pod/lone", &["/10.0.0.3".to_owned()][..]));
    client.send(ask(&[WEB], &[])).unwrap();
    let response = only(client.drain(&writer.publish()));
    let found = response.resources.iter().map(|r| Resource::decode(r.clone()).unwrap());
    let web = found.into_iter().find(|r| r.name == WEB).unwrap();
    assert_eq!(web.aliases, ["/10.96.0.1", "/10.97.0.0/16"]);
}

#[test]
fn an_unknown_name_is_answered_as_removed() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&["pod/none", "/10.9.9.9"], &[])).unwrap();
    let response = only(client.drain(&writer.publish()));
    assert!(response.resources.is_empty());
    assert_eq!(response.removed_resources, ["/10.9.9.9", "pod/none"]);
}

#[test]
fn of_very_many_names_that_lead_nowhere_the_oldest_are_forgotten() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    let (mut told, before) = (0, client.session.held_bytes());
    for turn in 0..4 {
        let names: Vec<_> = (0..8_000).map(|n| format!("/11.{turn}.{}.{}", n / 256, n % 256)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        client.send(ask(&names, &[])).unwrap();
        told += only(client.drain(&writer.publish())).removed_resources.len();
        let of = &client.session.stats().types[0];
        assert_eq!(of.unresolved, MAX_UNRESOLVED_NAMES.min(8_000 * (turn + 1)));
        assert_eq!(of.names, of.unresolved + 1, "and the workload of the own node");
    }
    assert_eq!(told, 4 * 8_000, "each is answered");
    let held = client.session.held_bytes() - before;
    assert!(held < MAX_UNRESOLVED_NAMES * 256, "{held} bytes");
    // One that was forgotten is asked for again when it is needed.
    writer.put(&Scope::Mesh, Address, "pod/new", &pod("new", [11, 0, 0, 0], "n2", &[])).unwrap();
    client.drain(&writer.publish());
    client.send(ask(&["/11.0.0.0"], &[])).unwrap();
    assert_eq!(names(&only(client.drain(&writer.publish()))), ["pod/new"]);
    assert_eq!(client.session.stats().types[0].unresolved, MAX_UNRESOLVED_NAMES);
}

#[test]
fn only_followed_names_are_pushed() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&[WEB], &[])).unwrap();
    client.drain(&writer.publish());

    // A pod added to a followed service is not pushed; one that was sent is followed.
    writer.put(&Scope::Mesh, Address, "pod/web-3", &pod("web-3", [10, 0, 0, 5], "n2", &[WEB])).unwrap();
    writer.put(&Scope::Mesh, Address, "pod/lone", &pod("lone", [10, 0, 0, 33], "n2", &[])).unwrap();
    assert!(client.drain(&writer.publish()).is_empty());
    writer.put(&Scope::Mesh, Address, "pod/web-1", &pod("web-1", [10, 0, 0, 11], "n2", &[WEB])).unwrap();
    assert_eq!(names(&only(client.drain(&writer.publish()))), ["pod/web-1"]);
    writer.remove(&Scope::Mesh, Address, "pod/web-2");
    assert_eq!(only(client.drain(&writer.publish())).removed_resources, ["pod/web-2"]);

    // A changed service brings all its workloads, the new one too.
    writer.put(&Scope::Mesh, Address, WEB, &service("web", &[([10, 96, 0, 2], None)])).unwrap();
    let response = only(client.drain(&writer.publish()));
    assert_eq!(names(&response), ["pod/web-1", "pod/web-3", WEB]);
}

#[test]
fn a_new_workload_of_the_own_node_is_pushed_unasked() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    writer.put(&Scope::Mesh, Address, "pod/local-2", &pod("local-2", [10, 0, 0, 6], "n1", &[])).unwrap();
    assert_eq!(names(&only(client.drain(&writer.publish()))), ["pod/local-2"]);
}

#[test]
fn a_request_that_only_unsubscribes_is_not_answered_and_removes_nothing() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&["pod/lone", WEB], &[])).unwrap();
    client.drain(&writer.publish());
    client.send(ask(&[], &["pod/lone"])).unwrap();
    assert!(client.drain(&writer.publish()).is_empty());
    writer.put(&Scope::Mesh, Address, "pod/lone", &pod("lone", [10, 0, 0, 33], "n2", &[])).unwrap();
    assert!(client.drain(&writer.publish()).is_empty());
}

#[test]
fn a_returning_client_gets_the_held_names_that_differ() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&["pod/lone", "pod/web-1", "pod/web-2"], &[])).unwrap();
    client.drain(&writer.publish());
    client.reconnect();
    writer.remove(&Scope::Mesh, Address, "pod/web-2");
    writer.put(&Scope::Mesh, Address, "pod/web-1", &pod("web-1", [10, 0, 0, 11], "n2", &[WEB])).unwrap();
    let mut initial: std::collections::BTreeMap<_, _> =
        client.held[ADDRESS].iter().map(|(name, (version, _))| (name.clone(), version.clone())).collect();
    initial.insert("pod/waited-for".to_owned(), String::new());
    client.send(DeltaDiscoveryRequest { initial_resource_versions: initial, ..ask(&["*"], &["*"]) }).unwrap();
    client.subscribe(AUTHORIZATION);
    let sent = client.drain(&writer.publish());
    let response = sent.iter().find(|r| r.type_url == ADDRESS).unwrap();
    assert_eq!(names(response), ["pod/web-1"]);
    assert_eq!(response.removed_resources, ["pod/waited-for", "pod/web-2"]);
    assert_eq!(client.names(ADDRESS), ["pod/local", "pod/lone", "pod/web-1"].into());
}

#[test]
fn a_client_behind_the_forgotten_removals_gets_all_its_names_again() {
    let mut writer = shop();
    let mut client = on_demand(&mut writer);
    client.send(ask(&["pod/web-1", "pod/lone"], &[])).unwrap();
    client.drain(&writer.publish());
    writer.remove(&Scope::Mesh, Address, "pod/lone");
    for batch in 0..40 {
        let name = |i: usize| format!("a-long-name-of-a-pod/that-came-and-went/{batch}-{i}");
        (0..1_000).for_each(|i| assert!(writer.put(&Scope::Mesh, Address, &name(i), b"x").unwrap()));
        writer.publish();
        (0..1_000).for_each(|i| assert!(writer.remove(&Scope::Mesh, Address, &name(i))));
        writer.publish();
    }
    let response = only(client.drain(&writer.publish()));
    assert_eq!(names(&response), ["pod/local", "pod/web-1"]);
    assert_eq!(response.removed_resources, ["pod/lone"]);
}

#[test]
fn sessions_that_share_a_lookup_stay_consistent_at_different_steps() {
    let mut writer = shop();
    let (mut fast, mut slow) = (on_demand(&mut writer), on_demand(&mut writer));
    for client in [&mut fast, &mut slow] {
        client.send(ask(&["pod/lone"], &[])).unwrap();
        client.subscribe(AUTHORIZATION);
        client.drain(&writer.publish());
    }
    // The slow one is in the middle of a round when the fast one leads the lookup on.
    writer.put(&Scope::Mesh, Authorization, "ns/a", b"\x0a\x01a").unwrap();
    writer.put(&Scope::Mesh, Address, "pod/lone", &workload("lone", 1, &["ns/a"])).unwrap();
    let early = writer.publish();
    let first = slow.receive(&early).unwrap();
    assert_eq!(names(&first), ["ns/a"]);
    slow.apply(&first);
    writer.put(&Scope::Mesh, Authorization, "ns/b", b"\x0a\x01b").unwrap();
    writer.put(&Scope::Mesh, Address, "pod/lone", &workload("lone", 2, &["ns/b"])).unwrap();
    let late = writer.publish();
    fast.drain(&late);
    // Its next address is of the later step, so the policy of that step goes first.
    let shape: Vec<_> = slow.drain(&early).iter().map(names).collect();
    assert_eq!(shape, [["ns/b"], ["pod/lone"]]);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Remove(u8),
    Publish,
    /// Client, workload.
    Ask(u8, u8),
    Forget(u8, u8),
    /// Client, number of responses it takes.
    Receive(u8, u8),
    Reconnect(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u8, any::<u8>()).prop_map(|(w, r)| Step::Put(w, r)),
        2 => (0..6u8).prop_map(Step::Remove),
        4 => Just(Step::Publish),
        3 => (0..2u8, 0..6u8).prop_map(|(c, w)| Step::Ask(c, w)),
        1 => (0..2u8, 0..6u8).prop_map(|(c, w)| Step::Forget(c, w)),
        4 => (0..2u8, 1..3u8).prop_map(|(c, n)| Step::Receive(c, n)),
        1 => (0..2u8).prop_map(Step::Reconnect),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clients_end_with_what_they_follow(steps in steps()) {
        let mut writer = Writer::new();
        let mut latest = writer.publish();
        // A client and the names it follows.
        let mut clients: Vec<(Client, std::collections::BTreeSet<String>)> = Vec::new();
        for _ in 0..2 {
            let mut client = Client::default();
            client.send(ask(&["*"], &["*"])).unwrap();
            clients.push((client, Default::default()));
        }
        for step in steps {
            match step {
                Step::Put(w, revision) => {
                    let body = pod(&format!("w{w}"), [10, 0, w, revision], "n2", &[]);
                    writer.put(&Scope::Mesh, Address, &format!("w{w}"), &body).unwrap();
                }
                Step::Remove(w) => {
                    writer.remove(&Scope::Mesh, Address, &format!("w{w}"));
                }
                Step::Publish => latest = writer.publish(),
                Step::Ask(c, w) => {
                    let (client, followed) = &mut clients[c as usize];
                    client.send(ask(&[&format!("w{w}")], &[])).unwrap();
                    followed.insert(format!("w{w}"));
                }
                Step::Forget(c, w) => {
                    let (client, followed) = &mut clients[c as usize];
                    client.send(ask(&[], &[&format!("w{w}")])).unwrap();
                    followed.remove(&format!("w{w}"));
                }
                Step::Receive(c, count) => {
                    let (client, _) = &mut clients[c as usize];
                    for _ in 0..count {
                        if let Some(response) = client.receive(&latest) {
                            client.apply(&response);
                            client.answer(ADDRESS, None);
                        }
                    }
                }
                Step::Reconnect(c) => {
                    let (client, followed) = &mut clients[c as usize];
                    client.reconnect();
                    let held = client.held.entry(ADDRESS.to_owned()).or_default();
                    held.retain(|name, _| followed.contains(name));
                    let version = |name: &String| held.get(name).map_or(String::new(), |(v, _)| v.clone());
                    let initial = followed.iter().map(|name| (name.clone(), version(name))).collect();
                    let back = DeltaDiscoveryRequest { initial_resource_versions: initial, ..ask(&["*"], &["*"]) };
                    client.send(back).unwrap();
                    client.session.release();
                }
            }
        }
        latest = writer.publish();
        for (client, followed) in &mut clients {
            client.drain(&latest);
            let published: Held = latest
                .resources(&Scope::Mesh, Address)
                .filter(|r| followed.contains(r.name))
                .map(|r| (r.name.to_owned(), (r.version.to_owned(), r.body.to_vec())))
                .collect();
            let mut held = client.held.get(ADDRESS).cloned().unwrap_or_default();
            held.retain(|name, _| followed.contains(name));
            prop_assert_eq!(held, published);
        }
    }
}
