//! What a ztunnel holds, and what one response does to it: no sockets, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use prost::Message as _;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use proto::security::Authorization;
use proto::type_url;
use proto::workload::address::Type;
use proto::workload::load_balancing::HealthPolicy;
use proto::workload::{Service, Workload, WorkloadStatus};

use super::check;
use super::node::Node;
use super::record::{Received, ReceivedResource, Reject, Violation};

/// One resource as held: the bytes as sent, their version, and the decoded message.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<T> {
    /// The encoded resource.
    pub bytes: Bytes,
    /// The version sent with it; empty if none was.
    pub version: String,
    /// The decoded resource.
    pub message: T,
}

/// The state of a ztunnel. It survives the stream that brought it.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) addresses: BTreeMap<String, Held<Type>>,
    pub(super) authorizations: BTreeMap<String, Held<Authorization>>,
    /// Names of workloads by network and IP.
    pub(super) by_ip: BTreeMap<(String, IpAddr), BTreeSet<String>>,
    /// Names of workloads by the service that would send them traffic: a ztunnel forgets an unhealthy one
    /// unless the service wants all, until it comes again.
    pub(super) endpoints: BTreeMap<String, BTreeSet<String>>,
    /// Names of workloads by the policy they name.
    named_by: BTreeMap<String, BTreeSet<String>>,
    /// Names whose last update was refused: not offered on reconnect, so that they come again.
    refused: BTreeSet<(String, String)>,
    /// Names asked for on demand that have not come yet.
    awaited: BTreeSet<String>,
    /// Types of which one response was taken without a refusal.
    acked: BTreeSet<String>,
    on_demand: bool,
    pub(super) streams: u32,
    pub(super) connected: bool,
    pub(super) last_error: Option<String>,
    received: Vec<Received>,
    violations: Vec<Violation>,
}

impl State {
    /// An empty state; `on_demand` is ztunnel's `XDS_ON_DEMAND`.
    pub fn new(on_demand: bool) -> Self {
        Self { on_demand, ..Self::default() }
    }

    // === what is held ===

    /// The workloads and services held, by resource name.
    pub fn addresses(&self) -> &BTreeMap<String, Held<Type>> {
        &self.addresses
    }

    /// The policies held, by resource name.
    pub fn authorizations(&self) -> &BTreeMap<String, Held<Authorization>> {
        &self.authorizations
    }

    /// The workloads held, with their resource names.
    pub fn workloads(&self) -> impl Iterator<Item = (&str, &Workload)> {
        self.addresses.iter().filter_map(|(name, held)| match &held.message {
            Type::Workload(workload) => Some((name.as_str(), workload)),
            Type::Service(_) => None,
        })
    }

    /// The services held, with their resource names.
    pub fn services(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.addresses.iter().filter_map(|(name, held)| match &held.message {
            Type::Service(service) => Some((name.as_str(), service)),
            Type::Workload(_) => None,
        })
    }

    /// Whether a ztunnel would call itself ready: one clean response of every wildcard type.
    pub fn is_ready(&self) -> bool {
        let wildcard = |url: &str| url == type_url::AUTHORIZATION || !self.on_demand;
        [type_url::ADDRESS, type_url::AUTHORIZATION]
            .into_iter()
            .all(|url| !wildcard(url) || self.acked.contains(url))
    }

    /// Whether a stream is open at this moment.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many streams were opened so far.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// Why the last stream ended or could not be opened.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Every response so far, oldest first.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// What a correct server would never have done, oldest first.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// A hash over names and bytes of all that is held: equal states have equal digests.
    pub fn digest(&self) -> String {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let addresses = self.addresses.iter().map(|(name, held)| ("A", name, &held.bytes));
        let policies = self.authorizations.iter().map(|(name, held)| ("P", name, &held.bytes));
        for (kind, name, bytes) in addresses.chain(policies) {
            // lengths keep a name from running into the bytes that follow
            hash.update(kind.as_bytes());
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        format!("{:032x}", hash.digest128())
    }

    // === protocol ===

    /// The first two requests of a stream: Address, then Authorization, offering what is held.
    pub fn initial_requests(&self, node: &Node) -> Vec<DeltaDiscoveryRequest> {
        [type_url::ADDRESS, type_url::AUTHORIZATION]
            .into_iter()
            .map(|url| {
                let nothing_yet = if self.on_demand && url == type_url::ADDRESS {
                    vec!["*".to_owned()]
                } else {
                    Vec::new()
                };
                DeltaDiscoveryRequest {
                    node: Some(node.to_message()),
                    type_url: url.to_owned(),
                    resource_names_subscribe: nothing_yet.clone(),
                    resource_names_unsubscribe: nothing_yet,
                    initial_resource_versions: self.offered(url),
                    ..Default::default()
                }
            })
            .collect()
    }

    /// The versions offered for a type: of every name held, and "" for those awaited.
    fn offered(&self, url: &str) -> BTreeMap<String, String> {
        let clean = |name: &String| {
            self.refused.is_empty() || !self.refused.contains(&(url.to_owned(), name.clone()))
        };
        let pair = |name: &String, version: &String| (name.clone(), version.clone());
        if url == type_url::AUTHORIZATION {
            let held = self.authorizations.iter().filter(|(name, _)| clean(name));
            return held.map(|(name, held)| pair(name, &held.version)).collect();
        }
        let held = self.addresses.iter().filter(|(name, _)| clean(name));
        let awaited = self.awaited.iter().map(|name| (name.clone(), String::new()));
        held.map(|(name, held)| pair(name, &held.version)).chain(awaited).collect()
    }

    /// The request that asks for addresses by name; the names count as awaited from now on.
    pub fn demand(&mut self, names: &[&str]) -> DeltaDiscoveryRequest {
        let missing = names.iter().filter(|name| !self.addresses.contains_key(**name));
        self.awaited.extend(missing.map(|name| (*name).to_owned()));
        DeltaDiscoveryRequest {
            type_url: type_url::ADDRESS.to_owned(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        }
    }

    /// Takes one response: updates, then removals; returns the ACK or NACK that answers it.
    pub fn apply(&mut self, response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let url = response.type_url.as_str();
        let was_ready = self.is_ready();
        let mut received = Received {
            stream: self.streams,
            type_url: url.to_owned(),
            nonce: response.nonce.clone(),
            system_version: response.system_version_info.clone(),
            bytes: response.encoded_len(),
            resources: Vec::with_capacity(response.resources.len()),
            removed: response.removed_resources.clone(),
            rejects: Vec::new(),
        };
        let mut affected = BTreeSet::new();
        for bytes in &response.resources {
            self.update(url, bytes, &mut received, &mut affected);
        }
        for name in &response.removed_resources {
            self.remove(url, name, &mut affected);
        }
        self.record_irregular(&received);
        if received.rejects.is_empty() {
            self.acked.insert(url.to_owned());
        }
        if self.is_ready() {
            // before it is ready a ztunnel forwards nothing, so nothing can be open
            if was_ready { self.record_holes(&affected, &received) } else { self.record_all_holes(&received) }
        }
        let reply = reply(&received);
        self.received.push(received);
        reply
    }

    fn update(&mut self, url: &str, bytes: &Bytes, received: &mut Received, affected: &mut BTreeSet<String>) {
        let resource = match Resource::decode(bytes.clone()) {
            Ok(resource) => resource,
            Err(error) => {
                let reason = format!("undecodable resource: {error}");
                received.rejects.push(Reject { name: String::new(), reason });
                return;
            }
        };
        let Resource { name, version, aliases, resource: any } = resource;
        let body = any.as_ref().map_or(0, |any| any.value.len());
        received.resources.push(ReceivedResource {
            name: name.clone(),
            version: version.clone(),
            bytes: body,
            aliases,
        });
        let outcome = match any {
            None => Err("no payload".to_owned()),
            Some(any) => {
                if any.type_url != url {
                    let found = any.type_url.clone();
                    self.violations.push(Violation::WrongType { name: name.clone(), found });
                }
                self.take(url, &name, version, Bytes::from(any.value), affected)
            }
        };
        let key = (url.to_owned(), name);
        match outcome {
            Ok(()) => {
                self.awaited.remove(&key.1);
                self.refused.remove(&key);
            }
            Err(reason) => {
                received.rejects.push(Reject { name: key.1.clone(), reason });
                self.refused.insert(key);
            }
        }
    }

    fn take(
        &mut self,
        url: &str,
        name: &str,
        version: String,
        bytes: Bytes,
        affected: &mut BTreeSet<String>,
    ) -> Result<(), check::Reason> {
        let expected;
        if url == type_url::AUTHORIZATION {
            let message = check::authorization(&bytes)?;
            expected = format!("{}/{}", message.namespace, message.name);
            self.authorizations.insert(name.to_owned(), Held { bytes, version, message });
        } else if url == type_url::ADDRESS {
            let message = check::address(&bytes)?;
            expected = match &message {
                Type::Workload(workload) => workload.uid.clone(),
                Type::Service(service) => format!("{}/{}", service.namespace, service.hostname),
            };
            self.forget_address(name);
            match &message {
                Type::Workload(workload) => {
                    self.index(name, workload);
                    affected.insert(name.to_owned());
                }
                Type::Service(service) => self.keep_accepted(name, service),
            }
            self.addresses.insert(name.to_owned(), Held { bytes, version, message });
        } else {
            return Err(format!("type {url} was not asked for"));
        }
        if expected != name {
            self.violations.push(Violation::NameMismatch { name: name.to_owned(), expected });
        }
        Ok(())
    }

    fn remove(&mut self, url: &str, name: &str, affected: &mut BTreeSet<String>) {
        self.refused.remove(&(url.to_owned(), name.to_owned()));
        if url == type_url::AUTHORIZATION {
            self.authorizations.remove(name);
            affected.extend(self.named_by.get(name).into_iter().flatten().cloned());
        } else {
            self.awaited.remove(name);
            self.forget_address(name);
            // If it was a service.
            self.endpoints.remove(name);
        }
    }

    /// A service that comes keeps those of its endpoints that it accepts.
    fn keep_accepted(&mut self, name: &str, service: &Service) {
        let Some(mut endpoints) = self.endpoints.remove(name) else { return };
        endpoints.retain(|uid| self.workload(uid).is_some_and(|workload| accepts(service, workload)));
        self.endpoints.insert(name.to_owned(), endpoints);
    }

    fn index(&mut self, name: &str, workload: &Workload) {
        for ip in workload.addresses.iter().filter_map(|bytes| super::ip(bytes)) {
            self.by_ip.entry((workload.network.clone(), ip)).or_default().insert(name.to_owned());
        }
        for service in workload.services.keys() {
            // For a service that has not come yet it is put aside.
            if self.service(service).is_none_or(|service| accepts(service, workload)) {
                self.endpoints.entry(service.clone()).or_default().insert(name.to_owned());
            }
        }
        for policy in &workload.authorization_policies {
            self.named_by.entry(policy.clone()).or_default().insert(name.to_owned());
        }
    }

    fn forget_address(&mut self, name: &str) {
        let Some(Held { message: Type::Workload(workload), .. }) = self.addresses.remove(name) else {
            return;
        };
        for ip in workload.addresses.iter().filter_map(|bytes| super::ip(bytes)) {
            forget(&mut self.by_ip, &(workload.network.clone(), ip), name);
        }
        for service in workload.services.keys() {
            forget(&mut self.endpoints, service, name);
        }
        for policy in &workload.authorization_policies {
            forget(&mut self.named_by, policy, name);
        }
    }

    // === what should not be ===

    fn record_irregular(&mut self, received: &Received) {
        let mut seen = BTreeSet::new();
        for resource in &received.resources {
            if !seen.insert(resource.name.as_str()) {
                self.violations.push(Violation::SentTwice {
                    name: resource.name.clone(),
                    nonce: received.nonce.clone(),
                });
            }
        }
        for name in received.removed.iter().filter(|name| seen.contains(name.as_str())) {
            let nonce = received.nonce.clone();
            self.violations.push(Violation::SentAndRemoved { name: name.clone(), nonce });
        }
    }

    fn record_holes(&mut self, affected: &BTreeSet<String>, received: &Received) {
        let mut holes = Vec::new();
        for name in affected {
            let Some(Held { message: Type::Workload(workload), .. }) = self.addresses.get(name) else {
                continue;
            };
            for policy in &workload.authorization_policies {
                if !self.authorizations.contains_key(policy) {
                    holes.push(Violation::AbsentPolicy {
                        workload: name.clone(),
                        policy: policy.clone(),
                        nonce: received.nonce.clone(),
                    });
                }
            }
        }
        self.violations.extend(holes);
    }

    fn record_all_holes(&mut self, received: &Received) {
        let all = self.named_by.values().flatten().cloned().collect();
        self.record_holes(&all, received);
    }
}

/// Tells whether a service sends traffic to a workload of this health.
pub(super) fn accepts(service: &Service, workload: &Workload) -> bool {
    let policy = service.load_balancing.as_ref().map(|balancing| balancing.health_policy());
    workload.status() == WorkloadStatus::Healthy || policy == Some(HealthPolicy::AllowAll)
}

fn reply(received: &Received) -> DeltaDiscoveryRequest {
    let error = received.rejects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    DeltaDiscoveryRequest {
        type_url: received.type_url.clone(),
        response_nonce: received.nonce.clone(),
        // a ztunnel gives a message and leaves the code at 0
        error_detail: (!error.is_empty())
            .then(|| proto::rpc::Status { message: error, ..Default::default() }),
        ..Default::default()
    }
}

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
