//! How long an identity lives: what callers get after any history of pods, held against the rules of Kubernetes.
//!
//! ```text
//!  steps ─▶ an API server in the plainest way ──events, or none while the watch is away──▶ Plane ─▶ IdentityIndex
//!    │             │                                                                                  │
//!    │             └─▶ the rules, written down here from those of Kubernetes ──────────── equal? ─────┘
//!    └─▶ the clock
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ca::token::BoundObject;
use ca::{Caller, CertificateRenewal};
use identity::{Binding, Clock, IdentityIndex, Timer};
use model::{Event, Kind, Name, ObjectRef, rfc3339};
use plane::Plane;
use proptest::collection::vec;
use proptest::prelude::*;
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::{config, parsed};

const START: u64 = 1_800_000_000;
const NODES: [&str; 3] = ["n1", "n2", ""];
/// Namespace and account of the pods of each name.
const PODS: [(&str, &str); 4] =
    [("istio-system", "ztunnel"), ("istio-system", "other"), ("shop", "a"), ("shop", "b")];
const ACCOUNTS: [&str; 2] = ["web", "db"];

/// A clock that stands where it is put.
#[derive(Clone, Debug)]
struct SetClock(Arc<AtomicU64>);

impl SetClock {
    fn seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    fn sleep(&self, _: Duration) -> Timer {
        Box::pin(std::future::pending())
    }
}

/// A pod as the API server has it.
#[derive(Clone, Debug, PartialEq)]
struct Pod {
    uid: String,
    account: &'static str,
    node: &'static str,
    is_done: bool,
    /// `deletionTimestamp`, in seconds since 1970.
    deletion: Option<u64>,
}

impl Pod {
    fn manifest(&self, name: &Name) -> Value {
        let mut metadata =
            json!({"namespace": name.ns.to_string(), "name": name.name.as_str(), "uid": self.uid});
        if let Some(deletion) = self.deletion {
            metadata["deletionTimestamp"] = rfc3339(deletion).into();
        }
        json!({
            "metadata": metadata,
            "spec": {"serviceAccountName": self.account, "nodeName": self.node},
            "status": {"phase": if self.is_done { "Failed" } else { "Running" }},
        })
    }
}

type Pods = BTreeMap<Name, Pod>;

/// A token as the API server gives it to a pod.
#[derive(Clone, Debug)]
struct Token {
    pod: Name,
    uid: String,
    account: &'static str,
    node: &'static str,
}

impl Token {
    fn caller(&self) -> Caller {
        Caller {
            namespace: self.pod.ns.to_string(),
            service_account: self.account.to_owned(),
            pod: Some(BoundObject { name: self.pod.name.to_string(), uid: self.uid.clone() }),
            node: (!self.node.is_empty()).then(|| self.node.to_owned()),
        }
    }

    /// Whether Kubernetes accepts it (`Validate` of `pkg/serviceaccount/claims.go`, the part about pods): the pod is
    /// there, was not deleted before a minute ago, and is the one that the token was given to.
    fn is_accepted_by_kubernetes(&self, pods: &Pods, now: u64) -> bool {
        let Some(pod) = pods.get(&self.pod) else { return false };
        let invalid_if_deleted_before = now - 60;
        if pod.deletion.is_some_and(|deletion| deletion < invalid_if_deleted_before) {
            return false;
        }
        pod.uid == self.uid
    }
}

/// Whether a pod counts here: a minute after its deletion it does not, to the second, and never once it is done.
fn counts(pod: &Pod, now: u64) -> bool {
    !pod.is_done && pod.deletion.is_none_or(|deletion| now < deletion + 60)
}

/// One cluster, what was told of it, and who asks.
struct History {
    clock: SetClock,
    mesh: Plane,
    index: Arc<IdentityIndex>,
    /// As the API server has them.
    pods: Pods,
    /// Accounts of WorkloadEntries by their names.
    entries: BTreeMap<usize, &'static str>,
    /// As they were told last.
    told: (Pods, BTreeMap<usize, &'static str>),
    /// Whether the watch is away.
    is_away: bool,
    made: u64,
    tokens: Vec<Token>,
    streams: Vec<(Token, Binding)>,
}

impl History {
    fn new() -> Self {
        let clock = SetClock(Arc::new(AtomicU64::new(START)));
        let index = IdentityIndex::new("istio-system/ztunnel", Arc::new(clock.clone())).unwrap();
        let mesh = Plane::new(&mesh::Options::default());
        let mut history = Self {
            clock,
            mesh,
            index,
            pods: Pods::new(),
            entries: BTreeMap::new(),
            told: Default::default(),
            is_away: false,
            made: 0,
            tokens: Vec::new(),
            streams: Vec::new(),
        };
        history.publish(Kind::ALL.iter().map(|kind| Event::Synced(*kind)).collect());
        history
    }

    fn publish(&mut self, events: Vec<Event>) {
        let delta = self.mesh.apply(events);
        self.index.publish(self.mesh.identity(), &delta.identity);
    }

    fn name(pod: usize) -> Name {
        Name::new(PODS[pod].0, PODS[pod].1)
    }

    fn entry(number: usize, account: &str) -> Value {
        json!({
            "metadata": {"namespace": "shop", "name": format!("vm-{number}")},
            "spec": {"address": "10.9.9.9", "serviceAccount": account},
        })
    }

    /// Tells what changed of a pod, unless the watch is away.
    fn tell(&mut self, name: &Name) {
        if self.is_away {
            return;
        }
        let event = match self.pods.get(name) {
            Some(pod) => {
                self.told.0.insert(name.clone(), pod.clone());
                Event::Put(parsed(Kind::Pod, pod.manifest(name)))
            }
            None => {
                self.told.0.remove(name);
                Event::Remove(ObjectRef { kind: Kind::Pod, name: name.clone() })
            }
        };
        self.publish(vec![event]);
    }

    /// Lists pods and WorkloadEntries again: the watch is back.
    fn list(&mut self) {
        self.is_away = false;
        let mut events = vec![Event::Begin(Kind::Pod), Event::Begin(Kind::WorkloadEntry)];
        events.extend(self.pods.iter().map(|(name, pod)| Event::Put(parsed(Kind::Pod, pod.manifest(name)))));
        let entries = self.entries.iter().map(|(number, account)| Self::entry(*number, account));
        events.extend(entries.map(|entry| Event::Put(parsed(Kind::WorkloadEntry, entry))));
        events.extend([Event::Synced(Kind::Pod), Event::Synced(Kind::WorkloadEntry)]);
        self.told = (self.pods.clone(), self.entries.clone());
        self.publish(events);
    }

    fn step(&mut self, (what, pod, choice, seconds): (u8, usize, usize, u64)) {
        let (name, now) = (Self::name(pod), self.clock.seconds());
        match what {
            // The name is free, or somebody else's by now: a StatefulSet does that.
            0 | 1 => {
                if what == 1 || !self.pods.contains_key(&name) {
                    self.made += 1;
                    let account = if pod == 0 { "ztunnel" } else { ACCOUNTS[choice % 2] };
                    let uid = format!("00000000-0000-0000-0000-{:012}", self.made);
                    let node = NODES[choice];
                    let made = Pod { uid: uid.clone(), account, node, is_done: false, deletion: None };
                    self.pods.insert(name.clone(), made);
                    self.tokens.push(Token { pod: name.clone(), uid, account, node });
                    self.tell(&name);
                }
            }
            // Whoever deletes a pod again may only shorten its time.
            2 | 3 => {
                if let Some(pod) = self.pods.get_mut(&name) {
                    let asked = now + seconds % 90;
                    pod.deletion = Some(pod.deletion.map_or(asked, |deletion| deletion.min(asked)));
                    self.tell(&name);
                }
            }
            4 => {
                self.pods.remove(&name);
                self.tell(&name);
            }
            5 => {
                if let Some(pod) = self.pods.get_mut(&name) {
                    pod.is_done = true;
                    self.tell(&name);
                }
            }
            // A version of it that cannot be read: the last good one counts.
            6 => {
                if self.told.0.contains_key(&name) && !self.is_away {
                    let why = model::parse(Kind::Pod, b"7").unwrap_err();
                    self.publish(vec![Event::Reject(ObjectRef { kind: Kind::Pod, name }, why)]);
                }
            }
            7 => {
                let account = ACCOUNTS[choice % 2];
                let is_there = self.entries.remove(&pod).is_some();
                if !is_there {
                    self.entries.insert(pod, account);
                }
                if !self.is_away {
                    self.told.1 = self.entries.clone();
                    let object = parsed(Kind::WorkloadEntry, Self::entry(pod, account));
                    self.publish(vec![if is_there {
                        Event::Remove(object.reference())
                    } else {
                        Event::Put(object)
                    }]);
                }
            }
            8 => self.is_away = true,
            9 => self.list(),
            10 | 14 => self.open(seconds as usize),
            _ => drop(self.clock.0.fetch_add(seconds, Ordering::Relaxed)),
        }
    }

    /// Opens a stream with some token, if that is accepted.
    fn open(&mut self, which: usize) {
        let Some(token) = (!self.tokens.is_empty()).then(|| self.tokens[which % self.tokens.len()].clone())
        else {
            return;
        };
        if let Ok(binding) = self.index.bind(&token.caller()) {
            self.streams.push((token, binding));
        }
    }

    /// Whether a token counts as far as was told.
    fn is_accepted(&self, token: &Token) -> bool {
        self.told
            .0
            .get(&token.pod)
            .is_some_and(|pod| pod.uid == token.uid && counts(pod, self.clock.seconds()))
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let now = self.clock.seconds();
        self.index.end_overdue();
        let index = &self.index;
        for token in &self.tokens {
            let caller = token.caller();
            let is_accepted = index.decide(|pods| caller.live_pod(&pods).is_ok());
            prop_assert_eq!(is_accepted, self.is_accepted(token), "{:?} at {}", token, now);
            // What was told last is what Kubernetes would go by: it never accepts less.
            let by_kubernetes = token.is_accepted_by_kubernetes(&self.told.0, now);
            prop_assert!(!is_accepted || by_kubernetes, "{:?} at {}", token, now);
            let authorizer = &index.mesh();
            for account in ACCOUNTS {
                for (namespace, node) in [("shop", token.node), ("istio-system", token.node)] {
                    let asked = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
                    let is_issued =
                        index.decide(|pods| authorizer.authorizer.authorize(&caller, &asked, &pods).is_ok());
                    let runs = self.told.0.iter().any(|(name, pod)| {
                        name.ns.is_own(namespace)
                            && pod.account == account
                            && pod.node == node
                            && counts(pod, now)
                    });
                    let expected =
                        token.account == "ztunnel" && !node.is_empty() && self.is_accepted(token) && runs;
                    prop_assert_eq!(is_issued, expected, "{} for {:?} at {}", asked, token, now);
                }
            }
        }
        for account in ACCOUNTS {
            let caller = Caller {
                namespace: "shop".to_owned(),
                service_account: account.to_owned(),
                pod: None,
                node: None,
            };
            let renews = |renewal| index.decide(|pods| caller.live_account(&pods, renewal).is_ok());
            let has_entry = self.told.1.values().any(|of| *of == account);
            let has_pod = self
                .told
                .0
                .iter()
                .any(|(name, pod)| name.ns.is_own("shop") && pod.account == account && counts(pod, now));
            prop_assert_eq!(renews(CertificateRenewal::WorkloadEntries), has_entry);
            prop_assert_eq!(renews(CertificateRenewal::All), has_entry || has_pod);
        }
        // A stream goes on exactly as long as its token would open another one.
        for (token, binding) in &self.streams {
            prop_assert_eq!(!binding.gone.is_cancelled(), self.is_accepted(token), "{:?} at {}", token, now);
        }
        self.streams.retain(|(_, binding)| !binding.gone.is_cancelled());
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<(u8, usize, usize, u64)>> {
    vec((0..15u8, 0..PODS.len(), 0..NODES.len(), 0..70u64), 1..80)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_identity_lives_as_long_as_kubernetes_lets_it(steps in steps()) {
        let mut history = History::new();
        for step in steps {
            history.step(step);
            history.check()?;
        }
        history.list();
        history.check()?;
    }
}

/// The model says something only if what it is about happens.
#[test]
fn drawn_histories_have_pods_that_are_gone_while_they_are_there_and_streams_that_end_by_the_clock() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut gone, mut ended, mut issued) = (0, 0, 0);
    for _ in 0..100 {
        let mut history = History::new();
        for step in steps().new_tree(&mut runner).unwrap().current() {
            history.step(step);
            let now = history.clock.seconds();
            gone += usize::from(history.told.0.values().any(|pod| !pod.is_done && !counts(pod, now)));
            let before = history.streams.iter().filter(|(_, stream)| stream.gone.is_cancelled()).count();
            history.index.end_overdue();
            ended += history.streams.iter().filter(|(_, stream)| stream.gone.is_cancelled()).count() - before;
            history.streams.retain(|(_, stream)| !stream.gone.is_cancelled());
            let asks = |token: &&Token| token.account == "ztunnel";
            issued += history.tokens.iter().filter(asks).filter(|token| history.is_accepted(token)).count();
        }
    }
    assert!(gone > 100 && ended > 20 && issued > 100, "{gone} gone, {ended} ended, {issued} accepted");
}
