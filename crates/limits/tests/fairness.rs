//! A model of clients that share addresses, nodes and translated addresses, honest and not: whatever they do, ztunnels
//! have what they need, and what is held stays below the bound that the documentation gives.

#![allow(clippy::unwrap_used)]

use pilothouse_limits::{
    Charge, Exhausted, FairBudget, FairSlot, FairSlots, Full, HolderKind, Limiter, Limits, Network, Peer,
    PeerLimiter, Rate, SlotLimits,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Nodes, each with a ztunnel, and some pods.
const NODES: u8 = 4;
const PODS: u8 = 6;

/// Slots for peers that have shown no credential.
const PEERS: SlotLimits = SlotLimits { total: 24, reserved: 0, of_group: 12, of_holder: 4 };
/// Places of clients.
const PLACES: SlotLimits = SlotLimits { total: 32, reserved: 16, of_group: 3, of_holder: 3 };
/// Bytes of ztunnels and of all others: for all, and for one.
const OF_ZTUNNELS: (u64, u64) = (NODES as u64 * 50, 50);
const OF_OTHERS: (u64, u64) = (100, 30);
/// Handshakes of one address.
const HANDSHAKES: Rate = Rate { burst: 4, per_second: 4 };
/// Certificates of one client of a kind, and of all.
const CERTIFICATES: Rate = Rate { burst: 2, per_second: 1 };
const CERTIFICATES_OF_KIND: Rate = Rate { burst: 8, per_second: 4 };

/// Who does something: a pod of a node, or its ztunnel, which is pod 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Client {
    node: u8,
    pod: u8,
}

impl Client {
    fn is_ztunnel(self) -> bool {
        self.pod == 0
    }

    /// One of its addresses. Nodes 0 and 1 have a /64 each, and 2 and 3 are behind one translated address.
    fn address(self, of: u8) -> Peer {
        let (node, pod) = (u16::from(self.node), u16::from(self.pod));
        Peer::of(match self.node {
            0 | 1 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, node, 0, 0, pod, u16::from(of))),
            _ => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        })
    }

    fn name(self) -> Arc<str> {
        format!("{}/{}", self.node, self.pod).into()
    }

    fn kind(self) -> HolderKind {
        if self.is_ztunnel() { HolderKind::Trusted } else { HolderKind::Other }
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// Connects from one of its addresses, and says nothing.
    Silent { who: Client, of: u8 },
    /// Connects, and shows its token.
    Connect { who: Client, of: u8 },
    /// Ends its oldest connection.
    End { who: Client },
    /// Follows more or less on one of its streams.
    Follow { who: Client, stream: usize, bytes: u64 },
    /// Asks for a certificate.
    Certificate { who: Client },
}

fn client() -> impl Strategy<Value = Client> {
    (0..NODES, 0..=PODS).prop_map(|(node, pod)| Client { node, pod })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (client(), 0..8u8).prop_map(|(who, of)| Act::Silent { who, of }),
        4 => (client(), 0..8u8).prop_map(|(who, of)| Act::Connect { who, of }),
        1 => client().prop_map(|who| Act::End { who }),
        4 => (client(), 0..3usize, 0..40u64).prop_map(|(who, stream, bytes)| Act::Follow { who, stream, bytes }),
        2 => client().prop_map(|who| Act::Certificate { who }),
    ]
}

/// A flag that eviction sets.
fn flag() -> (Arc<AtomicBool>, impl FnOnce() + Send + 'static) {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    (flag, move || set.store(true, Ordering::Relaxed))
}

fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

/// A connection of which nothing is known.
struct Silent {
    peer: Peer,
    evicted: Arc<AtomicBool>,
    _slot: FairSlot<Network, Peer>,
}

/// A connection with a stream.
struct Open {
    evicted: Arc<AtomicBool>,
    stream: Charge,
    bytes: u64,
    _place: FairSlot<Arc<str>, Arc<str>>,
}

struct Model {
    peers: FairSlots<Network, Peer>,
    places: FairSlots<Arc<str>, Arc<str>>,
    of_ztunnels: FairBudget,
    of_others: FairBudget,
    certificates: [Limiter<Client>; 2],
    silent: Vec<Silent>,
    /// Oldest first.
    open: BTreeMap<Client, Vec<Open>>,
}

impl Model {
    fn new() -> Self {
        let limits = Limits { per_client: CERTIFICATES, total: CERTIFICATES_OF_KIND, max_clients: 64 };
        Self {
            peers: FairSlots::new(PEERS),
            places: FairSlots::new(PLACES),
            of_ztunnels: FairBudget::new(OF_ZTUNNELS.0, OF_ZTUNNELS.1),
            of_others: FairBudget::new(OF_OTHERS.0, OF_OTHERS.1),
            certificates: [0, 1].map(|_| Limiter::new(limits, Duration::ZERO)),
            silent: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    fn slots_of(&self, of: impl Fn(Peer) -> bool) -> usize {
        self.silent.iter().filter(|held| of(held.peer)).count()
    }

    fn slots_of_network(&self, network: Network) -> usize {
        self.slots_of(|of| of.network() == network)
    }

    /// Takes a slot for a peer. That always succeeds, and takes it from nobody who has fewer.
    fn take_slot(&mut self, peer: Peer) {
        let network = peer.network();
        let (evicted, on_evict) = flag();
        let (slot, told) = self.peers.acquire(HolderKind::Other, &network, &peer, on_evict).unwrap();
        if let Some(told) = told {
            let of_holder = self.slots_of(|of| of == told.holder);
            match told.at {
                Full::Holder => assert!(told.holder == peer && of_holder == PEERS.of_holder),
                Full::Group => {
                    assert!(told.group == network && self.slots_of_network(network) == PEERS.of_group);
                    let smaller = |held: &Silent| self.slots_of(|of| of == held.peer) <= of_holder;
                    assert!(self.silent.iter().filter(|held| held.peer.network() == network).all(smaller));
                }
                Full::Total => {
                    assert_eq!(self.silent.len(), PEERS.total);
                    assert!(self.slots_of_network(told.group) >= self.slots_of_network(network));
                }
            }
        }
        self.silent.retain(|held| !is_set(&held.evicted));
        assert!(!is_set(&evicted), "whoever comes is in");
        self.silent.push(Silent { peer, evicted, _slot: slot });
    }

    fn connect(&mut self, who: Client, of: u8) {
        self.take_slot(who.address(of));
        let (name, (evicted, on_evict)) = (who.name(), flag());
        let place = self.places.acquire(who.kind(), &name, &name, on_evict);
        // A slot is for those of whom nothing is known.
        drop(self.silent.pop());
        let Ok((place, told)) = place else {
            assert!(!who.is_ztunnel(), "a ztunnel always has a place");
            assert_eq!(self.places.held().0, PLACES.total);
            return;
        };
        if let Some(told) = told {
            let of_ztunnel = told.holder.ends_with("/0");
            assert!(!of_ztunnel || told.holder == name, "a ztunnel gives way to itself alone");
        }
        let budget = if who.is_ztunnel() { &self.of_ztunnels } else { &self.of_others };
        let stream = budget.open(name, || {});
        self.open.entry(who).or_default().push(Open { evicted, stream, bytes: 0, _place: place });
        for all in self.open.values_mut() {
            all.retain(|open| !is_set(&open.evicted));
        }
        assert!((1..=PLACES.of_holder).contains(&self.open[&who].len()), "its newest is open");
    }

    fn follow(&mut self, who: Client, stream: usize, bytes: u64) {
        let Some(all) = self.open.get_mut(&who).filter(|all| stream < all.len()) else { return };
        let others: u64 = all.iter().map(|open| open.bytes).sum::<u64>() - all[stream].bytes;
        match all[stream].stream.set(bytes) {
            Ok(()) => all[stream].bytes = bytes,
            Err(error) => {
                let own = error == Exhausted::Evicted || others + bytes > OF_ZTUNNELS.1;
                assert!(!who.is_ztunnel() || own, "only its own streams take from a ztunnel: {error}");
                drop(all.remove(stream));
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Silent { who, of } => self.take_slot(who.address(of)),
            Act::Connect { who, of } => self.connect(who, of),
            Act::End { who } => {
                if let Some(all) = self.open.get_mut(&who).filter(|all| !all.is_empty()) {
                    drop(all.remove(0));
                }
            }
            Act::Follow { who, stream, bytes } => self.follow(who, stream, bytes),
            Act::Certificate { who } => {
                let limiter = &mut self.certificates[usize::from(who.is_ztunnel())];
                if limiter.take_own(who, Duration::ZERO).is_ok() {
                    let signed = limiter.take_total(Duration::ZERO);
                    assert!(signed.is_ok() || !who.is_ztunnel(), "others take nothing from ztunnels");
                }
            }
        }
    }

    /// Checks that no more is held than `PEERS.total + PLACES.total` connections and the bytes of both budgets.
    fn check_bounds(&self) {
        let (ztunnels, others) = self.places.held();
        assert_eq!(ztunnels + others, self.open.values().map(Vec::len).sum(), "who was evicted has no place");
        assert!(ztunnels + others <= PLACES.total && others <= PLACES.total - PLACES.reserved);
        assert_eq!(self.peers.held(), (0, self.silent.len()));
        assert!(self.silent.len() <= PEERS.total);
        assert!(self.of_ztunnels.held() <= OF_ZTUNNELS.0 && self.of_others.held() <= OF_OTHERS.0);
        let bytes = |is_ztunnel: bool| -> u64 {
            let of_kind = self.open.iter().filter(|(who, _)| who.is_ztunnel() == is_ztunnel);
            of_kind.flat_map(|(_, all)| all).map(|open| open.bytes).sum()
        };
        // A stream whose charge was evicted ends when it is told.
        assert!(self.of_ztunnels.held() <= bytes(true) && self.of_others.held() <= bytes(false));
    }
}

proptest! {
    #[test]
    fn ztunnels_are_never_starved_and_what_is_held_is_bounded(acts in proptest::collection::vec(act(), 1..300)) {
        let mut model = Model::new();
        for act in &acts {
            let before: Vec<(Client, usize)> =
                model.open.iter().map(|(who, all)| (*who, all.len())).filter(|(who, _)| who.is_ztunnel()).collect();
            model.act(act);
            model.check_bounds();
            // What others do ends no connection of a ztunnel.
            let (Act::Silent { who, .. } | Act::Connect { who, .. } | Act::End { who } | Act::Follow { who, .. }
            | Act::Certificate { who }) = act;
            for (ztunnel, connections) in before {
                prop_assert!(ztunnel == *who || model.open[&ztunnel].len() == connections);
            }
        }
        // Whatever has happened, each gets in from an address that attackers share with it, and follows what it needs.
        for node in 0..NODES {
            let who = Client { node, pod: 0 };
            while model.open.get(&who).is_some_and(|all| !all.is_empty()) {
                model.act(&Act::End { who });
            }
            model.connect(who, 0);
            model.follow(who, 0, OF_ZTUNNELS.1);
            prop_assert_eq!(model.open[&who].first().map(|open| open.bytes), Some(OF_ZTUNNELS.1));
        }
    }

    /// However many handshakes some addresses of a node begin, others of it begin theirs.
    #[test]
    fn handshakes_of_few_pods_leave_their_node_some(floods in proptest::collection::vec((1..4u8, 0..40usize), 1..40)) {
        let (mut limiter, mut now) = (PeerLimiter::new(HANDSHAKES, 64, Duration::ZERO), Duration::ZERO);
        for (pod, handshakes) in floods {
            for _ in 0..handshakes {
                let _ = limiter.take(Client { node: 0, pod }.address(0), now);
            }
            let ztunnel = Client { node: 0, pod: 0 };
            prop_assert!(limiter.take(ztunnel.address(0), now).is_ok());
            now += Duration::from_secs(1);
        }
    }
}
