//! Which connections count as one client's before it has shown who it is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A client by the address that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(IpAddr);

/// The clients that one machine may be: an IPv4 address, or the /64 of an IPv6 address, of which a machine may take as
/// many addresses as it likes (RFC 4291, section 2.5.4). In a cluster a /64 is all pods of a node: so it is bounded
/// more loosely than each of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Peer {
    /// Returns whose address this is.
    pub fn of(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// Returns the network that it is in.
    pub fn network(self) -> Network {
        match self.0 {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Network(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            v4 => Network(v4),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_clients_and_those_of_one_machine_a_network() {
        let of = |text: &str| Peer::of(text.parse().unwrap());
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_eq!(of("2001:db8:1:2::1").network(), of("2001:db8:1:2:ffff::9").network());
        assert_ne!(of("2001:db8:1:2::1").network(), of("2001:db8:1:3::1").network());
        assert_ne!(of("10.0.0.1").network(), of("10.0.0.2").network());
        // A socket for both families sees IPv4 clients in this form.
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("2001:db8:1:2::1").network().to_string(), "2001:db8:1:2::/64");
    }
}
