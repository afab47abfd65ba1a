//! From messages to bytes.

use bytes::Bytes;
use model::shared;
use output::Encoded;
use proto::workload::{self, address};
use std::net::IpAddr;

/// Encodes a workload as an `Address`.
pub(crate) fn workload(workload: workload::Workload, salt: u64) -> Encoded {
    let node = shared(&workload.node);
    Encoded { salt, node, ..address(address::Type::Workload(workload)) }
}

/// Encodes a service as an `Address`.
pub(crate) fn service(service: workload::Service) -> Encoded {
    address(address::Type::Service(service))
}

fn address(of: address::Type) -> Encoded {
    Encoded::message(&workload::Address { r#type: Some(of) })
}

/// Returns the 4 or 16 bytes of an address.
pub(crate) fn ip_bytes(ip: &IpAddr) -> Bytes {
    match ip {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}
