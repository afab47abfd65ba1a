//! The connected clients, for debug views and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::watch;
use xds::{AckState, Node, RefusedResource, ResourceType, Scope, Session, SessionStats};

use crate::latencies::Latencies;
use crate::limits::{CloseCounts, MemoryBudgets, Refusals};

/// All streams that are open, sums over those that were, refusals and closed connections.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    registry: Arc<Mutex<Registry>>,
    refusals: Arc<Refusals>,
    closed: Arc<CloseCounts>,
    latencies: Arc<Latencies>,
    memory: Arc<MemoryBudgets>,
    /// Rises whenever an Envoy refuses something else than before, or goes that refused something.
    refusal_changes: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    open: BTreeMap<u64, Arc<Client>>,
    /// Those that refuse something, of those that are open.
    refusing: BTreeSet<u64>,
    closed: Totals,
}

/// One open stream.
#[derive(Debug)]
pub(super) struct Client {
    peer: Option<SocketAddr>,
    pub(super) session: Mutex<Session>,
    /// When each type was sent last, by its URL.
    sent: Mutex<Vec<(String, SystemTime)>>,
}

/// Keeps a stream in the registry until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    clients: Clients,
    id: u64,
    pub(super) client: Arc<Client>,
}

/// What is known of one open stream.
#[derive(Debug, Clone)]
pub struct ClientView {
    /// Rises with each stream.
    pub id: u64,
    /// Address of the client, if it came by TCP.
    pub peer: Option<SocketAddr>,
    /// The node that it claims to be; none before its first request.
    pub node: Option<Node>,
    /// The gateway or waypoint whose configuration it gets, `NAMESPACE/NAME`; none where it gets the mesh.
    pub gateway: Option<String>,
    /// What it has refused and not taken in another version since.
    pub refused: Vec<RefusedResource>,
    /// The names of the scopes that it is served, [`gateway`](Self::gateway) first; none where it gets the mesh.
    pub scopes: Vec<Arc<str>>,
    /// State of its session.
    pub stats: SessionStats,
    /// When each type was sent last, by its URL.
    pub sent: Vec<(String, SystemTime)>,
}

/// What an Envoy refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRefusals {
    /// The node that it claims to be.
    pub node: String,
    /// The gateway or waypoint that it is a replica of, `NAMESPACE/NAME`.
    pub gateway: String,
    /// What it has refused and not taken in another version since.
    pub refused: Vec<RefusedResource>,
}

/// Sums over all streams since the start, open ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Streams that were opened.
    pub streams: u64,
    /// Responses handed out.
    pub responses: u64,
    /// Bytes of these responses.
    pub bytes: u64,
    /// Acknowledgements.
    pub acks: u64,
    /// Refusals.
    pub nacks: u64,
    /// Responses and refusals of each type, in the order of [`TYPES`].
    by_type: [TypeTotals; TYPES.len()],
}

/// Types that are counted apart, with their names in metrics: those of istiod, where it has the type.
const TYPES: [(&str, ResourceType); 9] = [
    ("wds", ResourceType::Address),
    ("wads", ResourceType::Authorization),
    ("sds", ResourceType::Secret),
    ("cds", ResourceType::Cluster),
    ("eds", ResourceType::Endpoint),
    ("ecds", ResourceType::ExtensionConfig),
    ("lds", ResourceType::Listener),
    ("rds", ResourceType::Route),
    ("srds", ResourceType::ScopedRoute),
];

/// Sums of one type over all streams since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeTotals {
    /// Responses handed out.
    pub responses: u64,
    /// Refusals.
    pub nacks: u64,
}

impl Totals {
    /// Returns the sums of each type, with its name in metrics; legacy workloads count as addresses.
    pub fn by_type(&self) -> impl Iterator<Item = (&'static str, TypeTotals)> {
        TYPES.map(|(name, _)| name).into_iter().zip(self.by_type)
    }

    fn add(&mut self, stats: &SessionStats) {
        self.streams += 1;
        self.responses += stats.responses;
        self.bytes += stats.bytes;
        self.acks += stats.types.iter().map(|t| t.acks).sum::<u64>();
        self.nacks += stats.types.iter().map(|t| t.nacks).sum::<u64>();
        for of in &stats.types {
            let found = match of.type_url.as_str() {
                proto::type_url::WORKLOAD => Some(ResourceType::Address),
                url => ResourceType::from_type_url(url),
            };
            // Whatever else a client asks for is answered empty, and makes no series.
            let Some(at) = TYPES.iter().position(|(_, listed)| Some(*listed) == found) else { continue };
            let sums = &mut self.by_type[at];
            sums.responses += of.responses;
            sums.nacks += of.nacks;
        }
    }
}

impl Clients {
    /// Number of open streams.
    pub fn len(&self) -> usize {
        self.registry.lock().open.len()
    }

    /// True when no stream is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections that the server closed.
    pub fn closed(&self) -> &CloseCounts {
        &self.closed
    }

    /// What was refused at a bound.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How long clients wait.
    pub fn latencies(&self) -> &Arc<Latencies> {
        &self.latencies
    }

    /// Bytes that are held for what clients follow, by kind of clients.
    pub fn followed_bytes(&self) -> Vec<(&'static str, u64)> {
        self.memory.followed()
    }

    pub(super) fn memory(&self) -> &MemoryBudgets {
        &self.memory
    }

    /// All open streams, oldest first.
    pub fn list(&self) -> Vec<ClientView> {
        // The lock of the registry is released first: a session may be busy for a while.
        let open: Vec<(u64, Arc<Client>)> =
            self.registry.lock().open.iter().map(|(&id, client)| (id, Arc::clone(client))).collect();
        let view = |(id, client): (u64, Arc<Client>)| {
            let sent = client.sent.lock().clone();
            let mut session = client.session.lock();
            let gateway = Some(session.scope()).filter(|of| **of != Scope::Mesh).map(ToString::to_string);
            let (node, refused, stats) = (session.node().cloned(), session.refused(), session.stats());
            let scopes = match session.envoy().map(|envoy| (envoy.scope().clone(), envoy.further().to_vec()))
            {
                Some((Scope::Proxy(own), further)) => std::iter::once(own).chain(further).collect(),
                _ => Vec::new(),
            };
            ClientView { id, peer: client.peer, node, gateway, refused, scopes, stats, sent }
        };
        open.into_iter().map(view).collect()
    }

    /// How far the ztunnel of each node has come with the policies, ascending by node. Of several
    /// streams of a node the newest counts: the others are about to end.
    pub fn policy_ack_states(&self) -> Vec<(String, AckState)> {
        let open: Vec<Arc<Client>> = self.registry.lock().open.values().cloned().collect();
        let of = |client: Arc<Client>| {
            let session = client.session.lock();
            let node = session.node().filter(|node| node.role() == "ztunnel")?;
            let name = Some(node.property("NODE_NAME")).filter(|name| !name.is_empty()).unwrap_or(&node.id);
            Some((name.to_owned(), session.ack_state(ResourceType::Authorization)?))
        };
        // Later ones replace earlier ones.
        open.into_iter().filter_map(of).collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// What Envoys refuse at the moment, oldest stream first; it costs what is refused, however many clients there are.
    pub fn refusing(&self) -> Vec<ClientRefusals> {
        let refusing: Vec<Arc<Client>> = {
            let registry = self.registry.lock();
            registry.refusing.iter().filter_map(|id| registry.open.get(id)).cloned().collect()
        };
        let of = |client: Arc<Client>| {
            let session = client.session.lock();
            ClientRefusals {
                node: session.node().map(|node| node.id.clone()).unwrap_or_default(),
                gateway: session.scope().to_string(),
                refused: session.refused(),
            }
        };
        refusing.into_iter().map(of).filter(|of| !of.refused.is_empty()).collect()
    }

    /// Tells whenever [`refusing`](Self::refusing) may have another answer than before.
    pub fn refusal_changes(&self) -> watch::Receiver<u64> {
        self.refusal_changes.subscribe()
    }

    /// Sums over all streams since the start.
    pub fn totals(&self) -> Totals {
        let (mut totals, open) = {
            let registry = self.registry.lock();
            (registry.closed, registry.open.values().cloned().collect::<Vec<_>>())
        };
        for client in open {
            totals.add(&client.session.lock().stats());
        }
        totals
    }

    pub(super) fn register(&self, peer: Option<SocketAddr>, session: Session) -> Registration {
        let client = Arc::new(Client { peer, session: Mutex::new(session), sent: Mutex::default() });
        let mut registry = self.registry.lock();
        let id = registry.next;
        registry.next += 1;
        registry.open.insert(id, Arc::clone(&client));
        Registration { clients: self.clone(), id, client }
    }
}

impl Client {
    /// Notes that a type is sent now.
    pub(super) fn note_sent(&self, type_url: &str) {
        let (mut sent, now) = (self.sent.lock(), SystemTime::now());
        // As many as its session follows.
        match sent.iter_mut().find(|(of, _)| of == type_url) {
            Some((_, at)) => *at = now,
            None => sent.push((type_url.to_owned(), now)),
        }
    }
}

impl Registration {
    /// The registry that it is in.
    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Notes that the client refuses something else than before, or nothing any more.
    pub(super) fn refusals_changed(&self, refuses: bool) {
        {
            let mut registry = self.clients.registry.lock();
            match refuses {
                true => registry.refusing.insert(self.id),
                false => registry.refusing.remove(&self.id),
            };
        }
        self.clients.refusal_changes.send_modify(|changes| *changes += 1);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let stats = self.client.session.lock().stats();
        let has_refused = {
            let mut registry = self.clients.registry.lock();
            registry.open.remove(&self.id);
            registry.closed.add(&stats);
            registry.refusing.remove(&self.id)
        };
        if has_refused {
            self.clients.refusal_changes.send_modify(|changes| *changes += 1);
        }
    }
}
