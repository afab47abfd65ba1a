//! A client that behaves as an Envoy: it warms clusters and listeners, and follows what they name.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use pilothouse_xds::{EnvoySession, ResourceType, Response, Scope, SessionError, Snapshot, Variant};
use prost::Message;
use proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node, Resource,
};

pub use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};

/// A resource of a test: its name, as field 1, and the names it has in other fields.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Named {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of a listener its routes, of a route its clusters.
    #[prost(string, repeated, tag = "5")]
    pub refers: Vec<String>,
    /// Of a cluster: it has endpoints under its own name.
    #[prost(message, optional, tag = "3")]
    pub eds: Option<Eds>,
    #[prost(uint32, tag = "6")]
    pub revision: u32,
}

/// The source of endpoints.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Eds {
    #[prost(string, tag = "2")]
    pub service_name: String,
}

/// An encoded resource that names others.
pub fn resource(name: &str, revision: u32, refers: &[&str]) -> Vec<u8> {
    let refers = refers.iter().map(|&name| name.to_owned()).collect();
    Named { name: name.to_owned(), refers, eds: None, revision }.encode_to_vec()
}

/// An encoded cluster with endpoints.
pub fn cluster(name: &str, revision: u32) -> Vec<u8> {
    let eds = Some(Eds { service_name: String::new() });
    Named { name: name.to_owned(), refers: Vec::new(), eds, revision }.encode_to_vec()
}

pub fn node() -> Node {
    Node { id: "waypoint~10.0.0.1~w.shop~shop.svc.cluster.local".to_owned(), ..Node::default() }
}

/// A response of either variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub of: ResourceType,
    pub version: String,
    pub nonce: String,
    /// Name to version and body; versions are empty in state of the world.
    pub resources: BTreeMap<String, (String, Vec<u8>)>,
    pub removed: Vec<String>,
}

impl Answer {
    /// Decodes a response, whose length must be as announced.
    pub fn read(variant: Variant, response: Response) -> Self {
        let announced = response.message_len();
        let bytes: Vec<u8> = response.flatten().collect();
        assert_eq!(bytes.len() as u64, announced);
        let of = |url: &str| ResourceType::from_type_url(url).expect("a type that is known");
        match variant {
            Variant::Delta => {
                let response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
                let resources = response.resources.iter().map(|bytes| {
                    let resource = Resource::decode(bytes.clone()).unwrap();
                    let any = resource.resource.unwrap();
                    assert_eq!(any.type_url, response.type_url);
                    (resource.name, (resource.version, any.value))
                });
                let count = response.resources.len();
                let resources: BTreeMap<_, _> = resources.collect();
                assert_eq!(resources.len(), count, "a name occurs twice in one response");
                let (version, nonce) = (response.system_version_info, response.nonce);
                Self {
                    of: of(&response.type_url),
                    version,
                    nonce,
                    resources,
                    removed: response.removed_resources,
                }
            }
            Variant::StateOfTheWorld => {
                let response = DiscoveryResponse::decode(bytes.as_slice()).unwrap();
                let resources = response.resources.iter().map(|any| {
                    assert_eq!(any.type_url, response.type_url);
                    (Named::decode(any.value.as_slice()).unwrap().name, (String::new(), any.value.clone()))
                });
                let resources: BTreeMap<_, _> = resources.collect();
                assert_eq!(resources.len(), response.resources.len(), "a name occurs twice in one response");
                let (version, nonce) = (response.version_info, response.nonce);
                Self { of: of(&response.type_url), version, nonce, resources, removed: Vec::new() }
            }
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.resources.keys().map(String::as_str).collect()
    }
}

/// The acknowledgement of a delta response, or its refusal.
fn answered(answer: &Answer, error: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: answer.of.type_url().to_owned(),
        response_nonce: answer.nonce.clone(),
        error_detail: error.map(|message| proto::rpc::Status { code: 3, message: message.to_owned() }),
        ..DeltaDiscoveryRequest::default()
    }
}

/// One stream without behaviour of its own: what a test says is said.
pub struct Stream {
    pub variant: Variant,
    pub session: EnvoySession,
}

impl Stream {
    pub fn new(variant: Variant, scope: &str) -> Self {
        let session = EnvoySession::new(SystemTime::UNIX_EPOCH, variant, Scope::proxy(scope));
        Self { variant, session }
    }

    pub fn delta(&mut self, request: DeltaDiscoveryRequest) -> Result<(), SessionError> {
        self.session.request(request.encode_to_vec().into()).map(drop)
    }

    pub fn sotw(&mut self, request: DiscoveryRequest) -> Result<(), SessionError> {
        self.session.request(request.encode_to_vec().into()).map(drop)
    }

    /// Subscribes to names, and takes others back; delta.
    pub fn subscribe(&mut self, of: ResourceType, names: &[&str], unsubscribe: &[&str]) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.delta(DeltaDiscoveryRequest {
            node: Some(node()),
            type_url: of.type_url().to_owned(),
            resource_names_subscribe: owned(names),
            resource_names_unsubscribe: owned(unsubscribe),
            ..DeltaDiscoveryRequest::default()
        })
        .unwrap();
    }

    /// Says which names are followed, in answer to a response; state of the world.
    pub fn follow(&mut self, of: ResourceType, names: &[&str], nonce: &str) {
        self.sotw(DiscoveryRequest {
            node: Some(node()),
            type_url: of.type_url().to_owned(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        })
        .unwrap();
    }

    /// Acknowledges a delta response, or refuses it.
    pub fn answer(&mut self, answer: &Answer, error: Option<&str>) {
        assert_eq!(self.variant, Variant::Delta);
        self.delta(answered(answer, error)).unwrap();
    }

    pub fn poll(&mut self, latest: &Arc<Snapshot>) -> Option<Answer> {
        self.session.poll(latest).unwrap().map(|response| Answer::read(self.variant, response))
    }

    /// Takes all there is without answering.
    pub fn take(&mut self, latest: &Arc<Snapshot>) -> Vec<Answer> {
        std::iter::from_fn(|| self.poll(latest)).collect()
    }

    /// Takes all there is, acknowledging each response; delta.
    pub fn drain(&mut self, latest: &Arc<Snapshot>) -> Vec<Answer> {
        std::iter::from_fn(|| {
            let answer = self.poll(latest)?;
            self.answer(&answer, None);
            Some(answer)
        })
        .collect()
    }
}

/// A resource as a client holds it.
pub type Held = BTreeMap<String, (String, Vec<u8>)>;

/// An Envoy with one stream at a time, at the other end of a wire on which messages take their time.
///
/// A cluster with endpoints is warm when these have come after it; the answer for clusters waits until all
/// are. A listener is active when all its routes have come.
pub struct Envoy {
    pub stream: Stream,
    scope: String,
    /// Requests under way.
    outbox: VecDeque<Bytes>,
    /// Responses under way.
    inbox: VecDeque<Answer>,
    pub held: BTreeMap<ResourceType, Held>,
    /// Listeners in use; those in `held` may be warming.
    pub active: Held,
    warming: BTreeSet<String>,
    /// Clusters that have been warm since they came: one that warms again is used as it was.
    warm: BTreeSet<String>,
    /// Answer for clusters that waits for them to be warm.
    unanswered: Option<Answer>,
    nonces: BTreeMap<ResourceType, String>,
    versions: BTreeMap<ResourceType, String>,
    followed: BTreeMap<ResourceType, BTreeSet<String>>,
    subscribed: BTreeSet<ResourceType>,
    /// Whatever was ever sent, refused or not.
    pub ever: BTreeSet<(ResourceType, String, Vec<u8>)>,
    /// Whether it may lack what is named: it refused something, or another stream of the state of the
    /// world began, which cannot know what to keep for a while.
    pub is_torn: bool,
}

fn refers(body: &[u8]) -> Vec<String> {
    Named::decode(body).unwrap().refers
}

impl Envoy {
    pub fn new(variant: Variant, scope: &str) -> Self {
        let mut envoy = Self {
            stream: Stream::new(variant, scope),
            scope: scope.to_owned(),
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            held: BTreeMap::new(),
            active: Held::new(),
            warming: BTreeSet::new(),
            warm: BTreeSet::new(),
            unanswered: None,
            nonces: BTreeMap::new(),
            versions: BTreeMap::new(),
            followed: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            ever: BTreeSet::new(),
            is_torn: false,
        };
        envoy.begin();
        envoy
    }

    /// Follows all clusters and listeners, and what it followed before.
    fn begin(&mut self) {
        self.subscribe(Cluster);
        self.subscribe(Endpoint);
        self.subscribe(Listener);
        self.subscribe(Route);
    }

    /// Loses its stream and opens another.
    pub fn reconnect(&mut self) {
        self.stream = Stream::new(self.stream.variant, &self.scope);
        self.outbox.clear();
        self.inbox.clear();
        self.nonces.clear();
        self.subscribed.clear();
        // A refused or unanswered set is not in what it offers as held, and it warms on.
        self.unanswered = None;
        self.is_torn |= self.stream.variant == Variant::StateOfTheWorld;
        self.begin();
    }

    /// First request of a type on a stream; for types followed by name once there are names.
    fn subscribe(&mut self, of: ResourceType) {
        let names: Vec<String> = self.followed.get(&of).into_iter().flatten().cloned().collect();
        if matches!(of, Endpoint | Route) && names.is_empty() || !self.subscribed.insert(of) {
            return;
        }
        match self.stream.variant {
            Variant::Delta => {
                let held = self.held.entry(of).or_default();
                let initial = held.iter().map(|(name, (version, _))| (name.clone(), version.clone()));
                let request = DeltaDiscoveryRequest {
                    node: Some(node()),
                    type_url: of.type_url().to_owned(),
                    resource_names_subscribe: names,
                    initial_resource_versions: initial.collect(),
                    ..DeltaDiscoveryRequest::default()
                };
                self.outbox.push_back(request.encode_to_vec().into());
            }
            Variant::StateOfTheWorld => self.say(of, None),
        }
    }

    /// State of the world: a request with all that is known.
    fn say(&mut self, of: ResourceType, error: Option<&str>) {
        let request = DiscoveryRequest {
            version_info: self.versions.get(&of).cloned().unwrap_or_default(),
            node: Some(node()),
            resource_names: self.followed.get(&of).into_iter().flatten().cloned().collect(),
            type_url: of.type_url().to_owned(),
            response_nonce: self.nonces.get(&of).cloned().unwrap_or_default(),
            error_detail: error.map(|message| proto::rpc::Status { code: 3, message: message.to_owned() }),
        };
        self.outbox.push_back(request.encode_to_vec().into());
    }

    /// Changes the names of a type that are followed.
    fn refollow(&mut self, of: ResourceType, wanted: BTreeSet<String>) {
        let before = self.followed.insert(of, wanted.clone()).unwrap_or_default();
        if before == wanted {
            return;
        }
        for name in before.difference(&wanted) {
            self.held.entry(of).or_default().remove(name);
        }
        if !self.subscribed.contains(&of) {
            return self.subscribe(of);
        }
        match self.stream.variant {
            Variant::Delta => {
                let request = DeltaDiscoveryRequest {
                    type_url: of.type_url().to_owned(),
                    resource_names_subscribe: wanted.difference(&before).cloned().collect(),
                    resource_names_unsubscribe: before.difference(&wanted).cloned().collect(),
                    ..DeltaDiscoveryRequest::default()
                };
                self.outbox.push_back(request.encode_to_vec().into());
            }
            Variant::StateOfTheWorld => self.say(of, None),
        }
    }

    fn refollow_all(&mut self) {
        let clusters = self.held.get(&Cluster).into_iter().flatten();
        let with_endpoints =
            clusters.filter(|(_, (_, body))| Named::decode(body.as_slice()).unwrap().eds.is_some());
        let wanted = with_endpoints.map(|(name, _)| name.clone()).collect();
        self.refollow(Endpoint, wanted);
        let listeners = self.held.get(&Listener).into_iter().flatten().chain(&self.active);
        let wanted = listeners.flat_map(|(_, (_, body))| refers(body)).collect();
        self.refollow(Route, wanted);
    }

    /// Has the server take one request; false when there is none.
    pub fn deliver(&mut self) -> bool {
        let Some(request) = self.outbox.pop_front() else { return false };
        self.stream.session.request(request).unwrap();
        true
    }

    /// Has the server send one response; false when it has nothing to say.
    pub fn send(&mut self, latest: &Arc<Snapshot>) -> bool {
        let answer = self.stream.poll(latest);
        let is_some = answer.is_some();
        self.inbox.extend(answer);
        is_some
    }

    /// Takes one response and acts on it; false when there is none.
    pub fn receive(&mut self, accepts: bool) -> bool {
        let Some(answer) = self.inbox.pop_front() else { return false };
        self.nonces.insert(answer.of, answer.nonce.clone());
        let sent = answer.resources.iter().map(|(name, (_, body))| (answer.of, name.clone(), body.clone()));
        self.ever.extend(sent);
        if !accepts {
            self.is_torn = true;
            self.unanswered.take_if(|unanswered| unanswered.of == answer.of);
            if self.stream.variant == Variant::Delta {
                // What goes cannot be refused.
                self.apply(&Answer { resources: BTreeMap::new(), ..answer.clone() });
                self.refollow_all();
            }
            self.reply(&answer, Some("refused"));
            return true;
        }
        self.apply(&answer);
        self.refollow_all();
        self.activate();
        if answer.of == Cluster {
            self.unanswered = Some(answer);
        } else {
            self.reply(&answer, None);
        }
        if self.warming.is_empty()
            && let Some(answer) = self.unanswered.take()
        {
            self.reply(&answer, None);
        }
        true
    }

    fn reply(&mut self, answer: &Answer, error: Option<&str>) {
        if error.is_none() {
            self.versions.insert(answer.of, answer.version.clone());
        }
        match self.stream.variant {
            Variant::Delta => self.outbox.push_back(answered(answer, error).encode_to_vec().into()),
            Variant::StateOfTheWorld => self.say(answer.of, error),
        }
    }

    fn apply(&mut self, answer: &Answer) {
        let is_whole =
            self.stream.variant == Variant::StateOfTheWorld && matches!(answer.of, Cluster | Listener);
        let held = self.held.entry(answer.of).or_default();
        let mut changed = BTreeSet::new();
        let followed = self.followed.get(&answer.of).filter(|_| !matches!(answer.of, Cluster | Listener));
        for (name, (version, body)) in &answer.resources {
            if followed.is_some_and(|followed| !followed.contains(name)) {
                // It was given up while this was under way.
                continue;
            }
            let before = held.insert(name.clone(), (version.clone(), body.clone()));
            if before.is_none_or(|(_, before)| before != *body) {
                changed.insert(name.clone());
            }
        }
        let gone: Vec<String> = match is_whole {
            true => held.keys().filter(|name| !answer.resources.contains_key(*name)).cloned().collect(),
            // An Envoy keeps a route that is removed while it follows it.
            false if answer.of == Route => Vec::new(),
            false => answer.removed.clone(),
        };
        for name in &gone {
            held.remove(name);
            match answer.of {
                Listener => drop(self.active.remove(name)),
                // What is known to have no endpoints is warm.
                Cluster => {
                    self.warming.remove(name);
                    self.warm.remove(name);
                }
                Endpoint => self.warm.extend(self.warming.take(name)),
                _ => {}
            }
        }
        match answer.of {
            Cluster => {
                for name in changed {
                    let (_, body) = &self.held[&Cluster][&name];
                    if Named::decode(body.as_slice()).unwrap().eds.is_some() {
                        self.warming.insert(name);
                    }
                }
            }
            Endpoint => answer.resources.keys().for_each(|name| self.warm.extend(self.warming.take(name))),
            _ => {}
        }
    }

    /// Takes listeners into use whose routes are there.
    fn activate(&mut self) {
        let routes = self.held.entry(Route).or_default().clone();
        for (name, listener) in self.held.get(&Listener).into_iter().flatten() {
            if refers(&listener.1).iter().all(|route| routes.contains_key(route)) {
                self.active.insert(name.clone(), listener.clone());
            }
        }
        self.refollow_all();
    }

    /// Checks that all that is in use has what it names, or at least was sent it before.
    pub fn assert_closed(&self) {
        let was_sent = |of, name: &str| self.ever.iter().any(|(sent, named, _)| *sent == of && named == name);
        let has = |of, name: &str| match self.is_torn {
            true => was_sent(of, name),
            false => self.held.get(&of).is_some_and(|held| held.contains_key(name)),
        };
        for (listener, (_, body)) in &self.active {
            for route in refers(body) {
                assert!(has(Route, &route), "{listener} lacks route {route}");
                let Some((_, body)) = self.held[&Route].get(&route) else { continue };
                let clusters = refers(body);
                assert!(self.is_torn || !clusters.is_empty(), "{listener}: {route} is a stand-in");
                for cluster in clusters {
                    assert!(has(Cluster, &cluster), "{listener}: {route} lacks cluster {cluster}");
                    assert!(
                        self.is_torn || self.warm.contains(&cluster),
                        "{listener}: {cluster} is not warm"
                    );
                    assert!(
                        self.is_torn || has(Endpoint, &cluster),
                        "{listener}: {cluster} has no endpoints"
                    );
                }
            }
        }
    }

    /// Takes all there is, and stops waiting where it waits for an answer that does not come.
    pub fn converge(&mut self, latest: &Arc<Snapshot>) {
        loop {
            while self.deliver() || self.send(latest) || self.receive(true) {}
            if !self.stream.session.is_holding() {
                return;
            }
            self.stream.session.release();
        }
    }

    /// What it holds of a type, without versions.
    pub fn bodies(&self, of: ResourceType) -> BTreeMap<&str, &[u8]> {
        let held = self.held.get(&of).into_iter().flatten();
        held.map(|(name, (_, body))| (name.as_str(), body.as_slice())).collect()
    }
}
