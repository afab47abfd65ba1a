//! What an address means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tells whether an address leads to the same host whoever dials it. Others lead to whoever dials them, or to what its
/// link has: loopback, link-local, unspecified, multicast and broadcast addresses (RFC 6890), also as IPv4 addresses
/// within IPv6 ones (RFC 4291, section 2.5.5).
///
/// ```
/// use pilothouse_model::is_same_for_all;
///
/// assert!(is_same_for_all([10, 0, 0, 1].into()));
/// assert!(!is_same_for_all([127, 0, 0, 1].into()));
/// ```
pub fn is_same_for_all(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => is_same_v4(ip),
        IpAddr::V6(ip) => {
            let is_special =
                ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local();
            !is_special && embedded(ip).is_none_or(is_same_v4)
        }
    }
}

fn is_same_v4(ip: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8 is "this network".
    let is_special = ip.is_loopback() || ip.octets()[0] == 0;
    !is_special && !ip.is_link_local() && !ip.is_multicast() && !ip.is_broadcast()
}

/// Mapped and compatible addresses: a socket of IPv6 dials both by IPv4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    ip.to_ipv4()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_whoever_dials_it_or_to_its_link_is_told_from_the_rest() {
        let same = [
            "10.0.0.1",
            "192.168.1.1",
            "8.8.8.8",
            "240.240.0.1",
            "2001:db8::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ];
        for address in same {
            assert!(is_same_for_all(address.parse().unwrap()), "{address}");
        }
        let other = [
            "127.0.0.1",
            "127.8.9.10",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
        ];
        for address in other {
            assert!(!is_same_for_all(address.parse().unwrap()), "{address}");
        }
    }
}
