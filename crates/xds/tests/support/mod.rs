//! A client that keeps what it is told, and bodies to tell it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use pilothouse_xds::{Response, SessionError, Snapshot, ZtunnelSession};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource};
use proto::workload::{Address, NetworkAddress, Service, Workload, address};

pub const ADDRESS: &str = proto::type_url::ADDRESS;
pub const AUTHORIZATION: &str = proto::type_url::AUTHORIZATION;
pub const WORKLOAD: &str = proto::type_url::WORKLOAD;

/// An encoded address.
pub fn encode(kind: address::Type) -> Vec<u8> {
    Address { r#type: Some(kind) }.encode_to_vec()
}

/// A workload that lists policies.
pub fn workload(uid: &str, revision: u32, policies: &[&str]) -> Vec<u8> {
    encode(address::Type::Workload(Workload {
        uid: uid.to_owned(),
        canonical_revision: revision.to_string(),
        authorization_policies: policies.iter().map(|&name| name.to_owned()).collect(),
        ..Workload::default()
    }))
}

/// A workload with an address, a node and services.
pub fn pod(uid: &str, ip: [u8; 4], node: &str, services: &[&str]) -> Vec<u8> {
    encode(address::Type::Workload(Workload {
        uid: uid.to_owned(),
        addresses: vec![ip.to_vec().into()],
        node: node.to_owned(),
        services: services.iter().map(|&name| (name.to_owned(), Default::default())).collect(),
        ..Workload::default()
    }))
}

/// A service with virtual addresses.
pub fn service(hostname: &str, ips: &[([u8; 4], Option<u32>)]) -> Vec<u8> {
    let address = |&(ip, length): &([u8; 4], Option<u32>)| NetworkAddress {
        network: String::new(),
        address: ip.to_vec().into(),
        length,
    };
    encode(address::Type::Service(Service {
        hostname: hostname.to_owned(),
        addresses: ips.iter().map(address).collect(),
        ..Service::default()
    }))
}

/// A request of a ztunnel on node `n1`.
pub fn request(type_url: &str) -> DeltaDiscoveryRequest {
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    DeltaDiscoveryRequest {
        node: Some(Node {
            id: "ztunnel~10.0.0.1~ztunnel-x.istio-system~istio-system.svc.cluster.local".to_owned(),
            cluster: "ztunnel".to_owned(),
            metadata: Some(prost_types::Struct { fields: [("NODE_NAME".to_owned(), text("n1"))].into() }),
        }),
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The encoded message of a response, whose length must be as announced.
pub fn collect(mut response: Response) -> DeltaDiscoveryResponse {
    let announced = response.message_len();
    let mut message = Vec::new();
    for chunk in &mut response {
        assert!(!chunk.is_empty());
        message.extend_from_slice(&chunk);
    }
    assert_eq!(message.len() as u64, announced);
    assert_eq!(response.remaining(), 0);
    let decoded = DeltaDiscoveryResponse::decode(message.as_slice()).expect("a response decodes");
    assert_eq!(decoded.nonce, response.nonce());
    assert_eq!(decoded.type_url, response.type_url());
    decoded
}

/// What a client holds of one type: name to version and body.
pub type Held = BTreeMap<String, (String, Vec<u8>)>;

/// A client with one stream at a time, that keeps its state between streams.
pub struct Client {
    pub session: ZtunnelSession,
    pub held: BTreeMap<String, Held>,
    pub nonces: BTreeMap<String, String>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            session: ZtunnelSession::new(SystemTime::UNIX_EPOCH),
            held: BTreeMap::new(),
            nonces: BTreeMap::new(),
        }
    }
}

impl Client {
    /// Sends a request.
    pub fn send(&mut self, request: DeltaDiscoveryRequest) -> Result<(), SessionError> {
        self.session.request(request.encode_to_vec().into()).map(drop)
    }

    /// Follows all resources of a type, offering what is held.
    pub fn subscribe(&mut self, type_url: &str) {
        let held = self.held.entry(type_url.to_owned()).or_default();
        let initial = held.iter().map(|(name, (version, _))| (name.clone(), version.clone()));
        let request =
            DeltaDiscoveryRequest { initial_resource_versions: initial.collect(), ..request(type_url) };
        self.send(request).unwrap();
    }

    /// Drops the stream and opens another.
    pub fn reconnect(&mut self) {
        self.session = ZtunnelSession::new(SystemTime::UNIX_EPOCH);
        self.nonces.clear();
    }

    /// Takes the next response, if there is one.
    pub fn receive(&mut self, latest: &Arc<Snapshot>) -> Option<DeltaDiscoveryResponse> {
        self.session.poll(latest).unwrap().map(collect)
    }

    /// Applies a response: updates, then removals, as a ztunnel does.
    pub fn apply(&mut self, response: &DeltaDiscoveryResponse) {
        let held = self.held.entry(response.type_url.clone()).or_default();
        for (name, resource) in resources(response) {
            held.insert(name, resource);
        }
        for name in &response.removed_resources {
            held.remove(name);
        }
        self.nonces.insert(response.type_url.clone(), response.nonce.clone());
    }

    /// Acknowledges the last response of a type, or refuses it.
    pub fn answer(&mut self, type_url: &str, error: Option<&str>) {
        let Some(nonce) = self.nonces.get(type_url).cloned() else { return };
        let error = error.map(|message| proto::rpc::Status { code: 0, message: message.to_owned() });
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            response_nonce: nonce,
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        })
        .unwrap();
    }

    /// Takes and applies all responses there are, acknowledging each; their type URLs.
    pub fn drain(&mut self, latest: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        let mut all = Vec::new();
        while let Some(response) = self.receive(latest) {
            self.apply(&response);
            self.answer(&response.type_url, None);
            all.push(response);
        }
        all
    }

    /// Names held of a type.
    pub fn names(&self, type_url: &str) -> BTreeSet<&str> {
        self.held.get(type_url).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }
}

/// Resources of a response: name to version and body.
pub fn resources(response: &DeltaDiscoveryResponse) -> Held {
    let resources = response.resources.iter().map(|bytes| {
        let resource = Resource::decode(bytes.clone()).expect("a resource decodes");
        let any = resource.resource.expect("a resource has a body");
        assert_eq!(any.type_url, response.type_url);
        (resource.name, (resource.version, any.value))
    });
    let count = response.resources.len();
    let held: Held = resources.collect();
    assert_eq!(held.len(), count, "a name occurs twice in one response");
    held
}

/// Names of the resources in a response, in its order.
pub fn in_order(response: &DeltaDiscoveryResponse) -> Vec<String> {
    response.resources.iter().map(|bytes| Resource::decode(bytes.clone()).unwrap().name).collect()
}

/// Names of the resources in a response, sorted.
pub fn names(response: &DeltaDiscoveryResponse) -> Vec<String> {
    resources(response).into_keys().collect()
}
