//! Whatever happens, an Envoy ends with what is in its scope, and nothing it uses names what it lacks.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/envoy.rs"]
mod envoy;

use std::collections::{BTreeMap, BTreeSet};

use envoy::*;
use pilothouse_xds::{ResourceType, Scope, Snapshot, Variant, Writer};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Listener, revision, its routes as bits.
    Listener(u8, u8, u8),
    RemoveListener(u8),
    /// Route, revision, its clusters as bits.
    Route(u8, u8, u8),
    Cluster(u8, u8),
    Endpoints(u8, u8),
    Publish,
    /// The server takes so many requests.
    Deliver(u8),
    /// It sends so many responses.
    Send(u8),
    /// The client takes so many, accepting or refusing.
    Receive(u8, bool),
    /// The time limit of whoever waits is over.
    Release,
    Reconnect,
    /// Reads one response half and loses the stream.
    Cut,
    /// All resources of the scope go and come back.
    Vanish,
}

/// One or two of so many things, as bits.
fn few(of: u8) -> impl Strategy<Value = u8> {
    (0..of, 0..of, any::<bool>()).prop_map(|(one, two, both)| 1 << one | u8::from(both) << two)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, any::<u8>(), few(4)).prop_map(|(l, r, routes)| Step::Listener(l, r, routes)),
        2 => (0..3u8).prop_map(Step::RemoveListener),
        4 => (0..4u8, any::<u8>(), few(5)).prop_map(|(r, n, clusters)| Step::Route(r, n, clusters)),
        2 => (0..5u8, any::<u8>()).prop_map(|(c, n)| Step::Cluster(c, n)),
        2 => (0..5u8, any::<u8>()).prop_map(|(c, n)| Step::Endpoints(c, n)),
        8 => Just(Step::Publish),
        12 => (1..4u8).prop_map(Step::Deliver),
        12 => (1..4u8).prop_map(Step::Send),
        12 => (1..4u8, prop::bool::weighted(0.9)).prop_map(|(n, accepts)| Step::Receive(n, accepts)),
        1 => Just(Step::Release),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Cut),
        1 => Just(Step::Vanish),
    ];
    proptest::collection::vec(step, 1..250)
}

/// The inputs of a scope, from which a closed state is written.
struct Plan {
    scope: Scope,
    listeners: BTreeMap<u8, (u8, u8)>,
    routes: [(u8, u8); 4],
    clusters: [u8; 5],
    endpoints: [u8; 5],
    /// Added to each revision.
    base: u32,
    /// Whatever was ever published.
    history: BTreeSet<(ResourceType, String, Vec<u8>)>,
}

fn bits(of: u8, count: u8) -> impl Iterator<Item = u8> {
    (0..count).filter(move |bit| of >> bit & 1 == 1)
}

impl Plan {
    fn new(scope: &str, base: u32) -> Self {
        let scope = Scope::proxy(scope);
        let (listeners, history) = (BTreeMap::new(), BTreeSet::new());
        Self { scope, listeners, routes: [(0, 1); 4], clusters: [0; 5], endpoints: [0; 5], base, history }
    }

    fn resources(&self) -> BTreeMap<(ResourceType, String), Vec<u8>> {
        let mut all = BTreeMap::new();
        for (l, (revision, routes)) in &self.listeners {
            let routes: Vec<String> = bits(*routes, 4).map(|r| format!("r{r}")).collect();
            let named: Vec<&str> = routes.iter().map(String::as_str).collect();
            let body = resource(&format!("l{l}"), self.base + u32::from(*revision), &named);
            all.insert((Listener, format!("l{l}")), body);
        }
        for r in self.listeners.values().flat_map(|(_, routes)| bits(*routes, 4)) {
            let (revision, clusters) = self.routes[usize::from(r)];
            let clusters: Vec<String> = bits(clusters, 5).map(|c| format!("c{c}")).collect();
            let named: Vec<&str> = clusters.iter().map(String::as_str).collect();
            let body = resource(&format!("r{r}"), self.base + u32::from(revision), &named);
            all.insert((Route, format!("r{r}")), body);
            for (c, name) in bits(self.routes[usize::from(r)].1, 5).zip(&clusters) {
                let at = usize::from(c);
                all.insert((Cluster, name.clone()), cluster(name, self.base + u32::from(self.clusters[at])));
                let body = resource(name, self.base + u32::from(self.endpoints[at]), &[]);
                all.insert((Endpoint, name.clone()), body);
            }
        }
        all
    }

    fn write(&mut self, writer: &mut Writer, latest: &Snapshot) {
        let wanted = self.resources();
        for of in [Cluster, Endpoint, Listener, Route] {
            for there in latest.resources(&self.scope, of) {
                if !wanted.contains_key(&(of, there.name.to_owned())) {
                    writer.remove(&self.scope, of, there.name);
                }
            }
        }
        for ((of, name), body) in wanted {
            writer.put(&self.scope, of, &name, &body).unwrap();
            self.history.insert((of, name, body));
        }
    }

    /// Changes everything, so that whatever a client refused is sent again.
    fn change_all(&mut self) {
        self.base += 10_000;
    }
}

fn assert_equal(envoy: &Envoy, plan: &Plan, latest: &Snapshot) {
    let published = |of| -> BTreeMap<&str, &[u8]> {
        latest.resources(&plan.scope, of).map(|r| (r.name, r.body)).collect()
    };
    assert_eq!(envoy.bodies(Cluster), published(Cluster));
    assert_eq!(envoy.bodies(Endpoint), published(Endpoint));
    assert_eq!(envoy.bodies(Listener), published(Listener));
    let active: BTreeMap<&str, &[u8]> =
        envoy.active.iter().map(|(name, (_, body))| (name.as_str(), body.as_slice())).collect();
    assert_eq!(active, published(Listener), "no listener warms for ever");
    assert_eq!(envoy.bodies(Route), published(Route));
}

/// `is_calm`: the client refuses nothing, and nobody is out of patience with it. Then nothing it uses may ever
/// lack what it names.
fn run(variant: Variant, is_calm: bool, steps: Vec<Step>) {
    let mut writer = Writer::new();
    // A neighbour whose changes are none of the other's.
    let mut plans = [Plan::new("shop/waypoint", 0), Plan::new("bank/waypoint", 1_000)];
    let mut latest = writer.publish();
    let mut envoy = Envoy::new(variant, "shop/waypoint");
    for step in steps {
        match step {
            Step::Listener(l, revision, routes) => {
                for plan in &mut plans {
                    plan.listeners.insert(l, (revision, routes));
                }
            }
            Step::RemoveListener(l) => {
                for plan in &mut plans {
                    plan.listeners.remove(&l);
                }
            }
            Step::Route(r, revision, clusters) => plans[0].routes[usize::from(r)] = (revision, clusters),
            Step::Cluster(c, revision) => plans[0].clusters[usize::from(c)] = revision,
            Step::Endpoints(c, revision) => plans[0].endpoints[usize::from(c)] = revision,
            Step::Publish => {
                plans.iter_mut().for_each(|plan| plan.write(&mut writer, &latest));
                latest = writer.publish();
            }
            Step::Receive(count, accepts) => {
                for _ in 0..count {
                    envoy.receive(accepts || is_calm);
                    envoy.assert_closed();
                }
            }
            Step::Deliver(count) => {
                let _ = (0..count).take_while(|_| envoy.deliver()).count();
            }
            Step::Send(count) => {
                let _ = (0..count).take_while(|_| envoy.send(&latest)).count();
            }
            Step::Release => {
                if !is_calm && envoy.stream.session.is_holding() {
                    envoy.stream.session.release();
                    envoy.is_torn = true;
                }
            }
            Step::Reconnect => envoy.reconnect(),
            Step::Cut => {
                if let Some(mut response) = envoy.stream.session.poll(&latest).unwrap() {
                    response.next();
                }
                envoy.reconnect();
            }
            Step::Vanish => {
                let listeners = std::mem::take(&mut plans[0].listeners);
                plans[0].write(&mut writer, &latest);
                latest = writer.publish();
                plans[0].listeners = listeners;
            }
        }
    }
    plans[0].change_all();
    plans[0].listeners.insert(0, (0, 1));
    plans.iter_mut().for_each(|plan| plan.write(&mut writer, &latest));
    latest = writer.publish();
    envoy.converge(&latest);
    assert_equal(&envoy, &plans[0], &latest);
    let foreign: Vec<_> = envoy.ever.difference(&plans[0].history).collect();
    // What was not there is an empty resource of its name.
    assert!(foreign.iter().all(|(_, name, body)| *body == resource(name, 0, &[])), "{foreign:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_envoy_converges_by_delta(steps in steps(), is_calm in any::<bool>()) {
        run(Variant::Delta, is_calm, steps);
    }

    #[test]
    fn an_envoy_converges_by_state_of_the_world(steps in steps(), is_calm in any::<bool>()) {
        run(Variant::StateOfTheWorld, is_calm, steps);
    }
}

#[test]
fn an_envoy_that_returns_is_sent_only_what_differs() {
    let mut writer = Writer::new();
    let mut plan = Plan::new("shop/waypoint", 0);
    plan.listeners.extend([(0, (0, 15)), (1, (0, 15))]);
    plan.routes = [(0, 31); 4];
    let mut latest = writer.publish();
    plan.write(&mut writer, &latest);
    latest = writer.publish();
    let mut envoy = Envoy::new(Variant::Delta, "shop/waypoint");
    envoy.converge(&latest);
    let before = envoy.stream.session.stats().bytes;
    plan.routes[0].0 = 1;
    plan.write(&mut writer, &latest);
    latest = writer.publish();
    envoy.reconnect();
    envoy.converge(&latest);
    assert_equal(&envoy, &plan, &latest);
    let stats = envoy.stream.session.stats();
    assert_eq!(stats.responses, 4, "one answer of each type");
    assert!(stats.bytes * 3 < before, "{} of {before} bytes", stats.bytes);
}
