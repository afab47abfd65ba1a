//! What keeps names from leading back to an Envoy itself.
//!
//! A name leads wherever its DNS says, also to the loopback address of the waypoint that looks it up, where the waypoint
//! shows its own configuration. Nothing in Envoy refuses an address that a name leads to. So what is found by names is
//! dialled with one hop less than usual, and the listener of the views takes no packet with less than usual: within a
//! machine no hop is counted. It is the check of RFC 5082, the other way round.

use proto::envoy::config::core::v3::{BindConfig, SocketOption, socket_option};

/// The hops that packets have unless somebody sets others (Linux: `net.ipv4.ip_default_ttl`).
pub(crate) const MOST_HOPS: i64 = 64;
/// Options of IP.
pub(crate) const SOL_IP: i64 = 0;
/// How many hops packets have that are sent.
const IP_TTL: i64 = 2;
/// How many hops packets have at least that are taken.
pub(crate) const IP_MINTTL: i64 = 21;

/// Returns how what is found by names is dialled.
pub(crate) fn dialled_by_name() -> BindConfig {
    let one_less = SocketOption {
        level: SOL_IP,
        name: IP_TTL,
        value: Some(socket_option::Value::IntValue(MOST_HOPS - 1)),
    };
    BindConfig { socket_options: vec![one_less] }
}
