//! Tests of the client itself: what it holds, what it refuses, what it says on the wire.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod decisions;
mod holding;
mod refusals;
mod upstreams;
mod wire;

use bytes::Bytes;
use prost::Message as _;
use proto::discovery::{DeltaDiscoveryResponse, Resource};
use proto::security::Authorization;
use proto::type_url;
use proto::workload::address::Type;
use proto::workload::{Address, Service, Workload};

/// A response that sends these resources and removes these names.
fn response(url: &str, nonce: &str, resources: Vec<Bytes>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: url.to_owned(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn addresses(nonce: &str, resources: Vec<Bytes>) -> DeltaDiscoveryResponse {
    response(type_url::ADDRESS, nonce, resources, &[])
}

fn policies(nonce: &str, resources: Vec<Bytes>) -> DeltaDiscoveryResponse {
    response(type_url::AUTHORIZATION, nonce, resources, &[])
}

fn resource(url: &str, name: &str, version: &str, body: Vec<u8>) -> Bytes {
    let any = prost_types::Any { type_url: url.to_owned(), value: body };
    let resource = Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(any),
        ..Default::default()
    };
    resource.encode_to_vec().into()
}

fn workload_resource(version: &str, workload: &Workload) -> Bytes {
    let address = Address { r#type: Some(Type::Workload(workload.clone())) };
    resource(type_url::ADDRESS, &workload.uid, version, address.encode_to_vec())
}

fn service_resource(version: &str, service: &Service) -> Bytes {
    let address = Address { r#type: Some(Type::Service(service.clone())) };
    let name = format!("{}/{}", service.namespace, service.hostname);
    resource(type_url::ADDRESS, &name, version, address.encode_to_vec())
}

fn policy_resource(policy: &Authorization) -> Bytes {
    let name = format!("{}/{}", policy.namespace, policy.name);
    resource(type_url::AUTHORIZATION, &name, "", policy.encode_to_vec())
}

/// A pod `name` in namespace `shop` with this address, naming these policies.
fn pod(name: &str, ip: [u8; 4], policies: &[&str]) -> Workload {
    Workload {
        uid: format!("Kubernetes//Pod/shop/{name}"),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![ip.to_vec().into()],
        authorization_policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn web() -> Service {
    Service {
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        hostname: "web.shop.svc.cluster.local".to_owned(),
        ..Default::default()
    }
}
