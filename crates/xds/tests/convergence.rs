//! Whatever happens, a client ends with what was published and never has a hole on the way.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_xds::{ResourceType, Scope, Snapshot, Writer, ZtunnelSession};
use proptest::prelude::*;
use prost::Message;
use support::*;

#[derive(Debug, Clone)]
enum Step {
    /// Workload, revision, policy it names.
    Put(u8, u8, u8),
    Resend(u8),
    Remove(u8),
    /// A policy's content changes.
    Edit(u8, u8),
    Publish,
    /// Takes this many responses, acknowledging or refusing.
    Receive(u8, bool),
    /// Reads one response half and loses the stream.
    Cut,
    Reconnect,
    /// Sends the outstanding subscription of a stream that has one.
    Subscribe,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12u8, any::<u8>(), 0..4u8).prop_map(|(w, r, p)| Step::Put(w, r, p)),
        1 => (0..12u8).prop_map(Step::Resend),
        3 => (0..12u8).prop_map(Step::Remove),
        2 => (0..4u8, any::<u8>()).prop_map(|(p, r)| Step::Edit(p, r)),
        6 => Just(Step::Publish),
        6 => (1..4u8, any::<bool>()).prop_map(|(n, ack)| Step::Receive(n, ack)),
        1 => Just(Step::Cut),
        2 => Just(Step::Reconnect),
        3 => Just(Step::Subscribe),
    ];
    proptest::collection::vec(step, 1..120)
}

/// The inputs, from which a closed state is written: every policy that a workload names exists.
#[derive(Default)]
struct Mesh {
    workloads: BTreeMap<u8, (u8, u8)>,
    edits: BTreeMap<u8, u8>,
}

impl Mesh {
    /// Writes the policies that are named, and removes those that are not.
    fn write_policies(&self, writer: &mut Writer) {
        for policy in 0..4u8 {
            let name = format!("ns/p{policy}");
            if self.workloads.values().any(|&(_, named)| named == policy) {
                let edit = self.edits.get(&policy).copied().unwrap_or_default();
                writer.put(&Scope::Mesh, ResourceType::Authorization, &name, &[0x0a, 1, edit % 128]).unwrap();
            } else {
                writer.remove(&Scope::Mesh, ResourceType::Authorization, &name);
            }
        }
    }
}

/// Every policy that a held workload names is held.
fn assert_closed(client: &Client) {
    // A client that never had policies is not ready and serves nothing.
    let Some(policies) = client.held.get(AUTHORIZATION) else { return };
    for (name, (_, body)) in client.held.get(ADDRESS).into_iter().flatten() {
        let address = proto::workload::Address::decode(body.as_slice()).unwrap();
        let Some(proto::workload::address::Type::Workload(workload)) = address.r#type else { continue };
        for policy in &workload.authorization_policies {
            assert!(policies.contains_key(policy), "{name} names {policy}, which the client lacks");
        }
    }
}

fn assert_equal(client: &Client, snapshot: &Snapshot) {
    for (kind, url) in [(ResourceType::Address, ADDRESS), (ResourceType::Authorization, AUTHORIZATION)] {
        let published: Held = snapshot
            .resources(&Scope::Mesh, kind)
            .map(|r| (r.name.to_owned(), (r.version.to_owned(), r.body.to_vec())))
            .collect();
        assert_eq!(snapshot.len(&Scope::Mesh, kind), published.len());
        assert_eq!(client.held.get(url), Some(&published), "{url}");
    }
}

struct Run {
    client: Client,
    pending: Vec<&'static str>,
    ready: bool,
}

impl Run {
    fn subscribe(&mut self) {
        if let Some(url) = self.pending.pop() {
            self.client.subscribe(url);
        }
    }

    fn receive(&mut self, latest: &Arc<Snapshot>, ack: bool) -> bool {
        let Some(response) = self.client.receive(latest) else { return false };
        self.client.apply(&response);
        let both = self.client.nonces.len() == 2;
        self.ready |= both;
        if self.ready {
            assert_closed(&self.client);
        }
        self.client.answer(&response.type_url, (!ack).then_some("refused"));
        true
    }

    fn reconnect(&mut self, address_first: bool) {
        self.client.reconnect();
        // One that offers nothing at first cannot be told from a new one, which serves nothing yet.
        let first = if address_first { ADDRESS } else { AUTHORIZATION };
        self.ready &= self.client.held.get(first).is_some_and(|held| !held.is_empty());
        self.pending = vec![ADDRESS, AUTHORIZATION];
        if address_first {
            self.pending.reverse();
        }
    }
}

fn converges(steps: Vec<Step>, address_first: bool) {
    let mut writer = Writer::new();
    let mut mesh = Mesh::default();
    let mut latest = writer.publish();
    let mut run = Run { client: Client::default(), pending: Vec::new(), ready: false };
    run.reconnect(address_first);
    run.subscribe();
    run.subscribe();
    for step in steps {
        match step {
            Step::Put(w, revision, policy) => {
                mesh.workloads.insert(w, (revision, policy));
                let named = format!("ns/p{policy}");
                let body = workload("w", revision.into(), &[&named]);
                writer.put(&Scope::Mesh, ResourceType::Address, &format!("w{w}"), &body).unwrap();
            }
            Step::Resend(w) => {
                writer.resend(&Scope::Mesh, ResourceType::Address, &format!("w{w}"));
            }
            Step::Remove(w) => {
                mesh.workloads.remove(&w);
                writer.remove(&Scope::Mesh, ResourceType::Address, &format!("w{w}"));
            }
            Step::Edit(policy, revision) => {
                mesh.edits.insert(policy, revision);
            }
            Step::Publish => {
                mesh.write_policies(&mut writer);
                latest = writer.publish();
            }
            Step::Receive(count, ack) => {
                for _ in 0..count {
                    run.receive(&latest, ack);
                }
            }
            Step::Cut => {
                if let Some(mut response) = run.client.session.poll(&latest).unwrap() {
                    response.next();
                }
                run.reconnect(address_first);
                run.subscribe();
            }
            Step::Reconnect => {
                run.reconnect(address_first);
                run.subscribe();
            }
            Step::Subscribe => run.subscribe(),
        }
    }
    mesh.write_policies(&mut writer);
    latest = writer.publish();
    run.subscribe();
    run.subscribe();
    while run.receive(&latest, true) {}
    assert_equal(&run.client, &latest);
    assert_eq!(run.client.session.stats().step, latest.step());
}

/// It held policies and no addresses when it came back, asked for addresses first, and had them when a policy went.
#[test]
fn a_client_that_comes_with_policies_alone_never_lacks_one() {
    let (receive, ack) = (Step::Receive, false);
    let steps = vec![
        Step::Put(0, 0, 0),
        Step::Publish,
        receive(1, ack),
        Step::Put(5, 0, 2),
        Step::Publish,
        Step::Cut,
        receive(2, ack),
        Step::Put(5, 0, 0),
        Step::Subscribe,
        Step::Publish,
        Step::Put(0, 0, 0),
    ];
    converges(steps, true);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_converges_and_never_lacks_a_policy(steps in steps(), address_first in any::<bool>()) {
        converges(steps, address_first);
    }

    #[test]
    fn a_client_holds_just_what_it_understands(
        capabilities in 0..4u8,
        changes in proptest::collection::vec((0..10u8, 0..6u8, any::<u8>(), 0..4u8), 1..150),
    ) {
        let session = || {
            let known: [fn(&pilothouse_xds::Node) -> u8; 4] = [|_| 0, |_| 1, |_| 2, |_| 3];
            ZtunnelSession::new(std::time::SystemTime::UNIX_EPOCH).with_capabilities(known[usize::from(capabilities)])
        };
        let mut writer = Writer::new();
        let mut content: BTreeMap<String, (Vec<u8>, u8)> = BTreeMap::new();
        let mut client = Client { session: session(), ..Client::default() };
        client.subscribe(AUTHORIZATION);
        client.subscribe(ADDRESS);
        for (name, action, revision, required) in changes {
            let name = format!("w{name}");
            match action {
                0 => {
                    writer.remove(&Scope::Mesh, ResourceType::Address, &name);
                    content.remove(&name);
                }
                1 => {
                    client.session = session();
                    client.nonces.clear();
                    client.subscribe(AUTHORIZATION);
                    client.subscribe(ADDRESS);
                }
                2 => {
                    client.drain(&writer.publish());
                }
                _ => {
                    // Few revisions, so that at times only the required are others.
                    let body = workload(&name, (revision % 2).into(), &[]);
                    writer.put_for(&Scope::Mesh, ResourceType::Address, &name, &body, required).unwrap();
                    content.insert(name, (body, required));
                }
            }
        }
        client.drain(&writer.publish());
        let wanted: BTreeMap<&String, &Vec<u8>> = content
            .iter()
            .filter(|(_, (_, required))| required & !capabilities == 0)
            .map(|(name, (body, _))| (name, body))
            .collect();
        let held: BTreeMap<&String, &Vec<u8>> =
            client.held[ADDRESS].iter().map(|(name, (_, body))| (name, body)).collect();
        prop_assert_eq!(held, wanted);
    }

    #[test]
    fn compaction_never_changes_content_or_what_a_step_missed(
        changes in proptest::collection::vec((0..400u16, 0..3u8, 1..3_000u16, any::<bool>()), 1..600),
    ) {
        let mut writer = Writer::new();
        let mut content: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut clients: Vec<Client> = Vec::new();
        for (at, (name, action, size, publish)) in changes.into_iter().enumerate() {
            let name = format!("n{name}");
            if action == 0 {
                prop_assert_eq!(writer.remove(&Scope::Mesh, ResourceType::Address, &name), content.remove(&name).is_some());
            } else {
                let body = workload(&"x".repeat(size.into()), at as u32, &[]);
                prop_assert!(writer.put(&Scope::Mesh, ResourceType::Address, &name, &body).unwrap());
                content.insert(name, body);
            }
            if publish {
                let snapshot = writer.publish();
                if at % 50 == 0 {
                    let mut client = Client::default();
                    client.subscribe(ADDRESS);
                    client.drain(&snapshot);
                    clients.push(client);
                }
            }
        }
        let snapshot = writer.publish();
        let published: BTreeMap<String, Vec<u8>> = snapshot
            .resources(&Scope::Mesh, ResourceType::Address)
            .map(|r| (r.name.to_owned(), r.body.to_vec()))
            .collect();
        prop_assert_eq!(&published, &content);
        // Each client stopped at another step: what it missed since then brings it here.
        for mut client in clients {
            client.drain(&snapshot);
            let held: BTreeMap<String, Vec<u8>> =
                client.held[ADDRESS].iter().map(|(name, (_, body))| (name.clone(), body.clone())).collect();
            prop_assert_eq!(&held, &content);
        }
    }
}
