//! Names that a serving certificate may have.

use crate::identity::Identity;
use model::is_dns_name;
use std::net::IpAddr;

/// Tells whether `name` can stand among the names of a server's certificate: an address, a SPIFFE id,
/// or what looks like a DNS name.
pub(crate) fn is_server_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || Identity::parse(name).is_ok() || is_dns_name(name)
}
