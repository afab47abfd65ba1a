//! From messages to bytes.

use bytes::Bytes;
use model::{Str, shared};
use prost::Message;
use proto::workload::{self, address};
use std::net::IpAddr;
use std::sync::Arc;

/// An encoded resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// The message that the resource's `Any` carries: one allocation of its own, since every
    /// workload of the mesh has one.
    pub body: Arc<[u8]>,
    /// Not sent. When it changes, the resource is sent again even with equal bytes, because a
    /// client may have dropped part of it under rules that have changed since.
    pub salt: u64,
    /// The node that a workload is on, whose ztunnel needs it first; empty for all else. Part of the
    /// body, too.
    pub node: Str,
}

impl Encoded {
    /// Encodes a workload as an `Address`.
    pub fn workload(workload: workload::Workload, salt: u64) -> Self {
        let node = shared(&workload.node);
        Self { body: address(address::Type::Workload(workload)), salt, node }
    }

    /// Encodes a service as an `Address`.
    pub fn service(service: workload::Service) -> Self {
        Self { body: address(address::Type::Service(service)), salt: 0, node: Str::new() }
    }

    /// Encodes any other message.
    pub fn message(message: &impl Message) -> Self {
        Self { body: message.encode_to_vec().into(), salt: 0, node: Str::new() }
    }
}

fn address(of: address::Type) -> Arc<[u8]> {
    workload::Address { r#type: Some(of) }.encode_to_vec().into()
}

/// Returns the 4 or 16 bytes of an address.
pub(crate) fn ip_bytes(ip: &IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}
