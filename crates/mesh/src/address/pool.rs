//! The addresses that may be given.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The shortest and the longest prefix of a pool of IPv4 addresses.
const V4_LENGTHS: std::ops::RangeInclusive<u8> = 8..=30;
/// Those of a pool of IPv6 addresses, which always has more than anybody could hold.
const V6_LENGTHS: std::ops::RangeInclusive<u8> = 16..=96;

/// A range of IPv4 addresses to give: from the second one on, as many as the largest prime of them, so
/// that steps of any width come by all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Pool {
    base: u32,
    size: u32,
}

/// A range of IPv6 addresses to give: from the second one on, at most 2⁶⁴.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6Pool {
    base: u128,
    size: u128,
}

impl Default for Ipv4Pool {
    /// `240.240.0.0/16`.
    fn default() -> Self {
        Self::new(u32::from_be_bytes([240, 240, 0, 0]), 16)
    }
}

impl Default for Ipv6Pool {
    /// `2001:2::/48`.
    fn default() -> Self {
        Self::new(0x2001_0002 << 96, 48)
    }
}

impl FromStr for Ipv4Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match range(text, "240.240.0.0/16")? {
            IpNet::V4(net) => {
                checked(IpNet::V4(net), &V4_LENGTHS)?;
                Ok(Self::of(net))
            }
            IpNet::V6(_) => {
                Err(format!("{text} is a range of IPv6; write one of IPv4, such as 240.240.0.0/16"))
            }
        }
    }
}

impl FromStr for Ipv6Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match range(text, "2001:2::/48")? {
            IpNet::V6(net) => {
                checked(IpNet::V6(net), &V6_LENGTHS)?;
                Ok(Self::of(net))
            }
            IpNet::V4(_) => Err(format!("{text} is a range of IPv4; write one of IPv6, such as 2001:2::/48")),
        }
    }
}

fn range(text: &str, example: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("{text:?} is no range of addresses; write one such as {example}"))
}

fn checked(net: IpNet, lengths: &std::ops::RangeInclusive<u8>) -> Result<(), String> {
    if net.addr() != net.network() {
        return Err(format!("{net} has bits beyond its length; write {}", net.trunc()));
    }
    if !lengths.contains(&net.prefix_len()) {
        let (from, to) = (lengths.start(), lengths.end());
        return Err(format!("{net} has a length that is not one from {from} to {to}"));
    }
    let special = |ip: IpAddr| ip.is_loopback() || ip.is_multicast() || ip.is_unspecified();
    if special(net.network()) || special(net.broadcast()) {
        return Err(format!(
            "nobody can connect to addresses of {net}; choose a range that nothing else uses"
        ));
    }
    Ok(())
}

impl Ipv4Pool {
    fn of(net: Ipv4Net) -> Self {
        Self::new(net.network().to_bits(), net.prefix_len())
    }

    /// `length` is one of [`V4_LENGTHS`].
    fn new(base: u32, length: u8) -> Self {
        // Without the first address, which names the range, and the last.
        let usable = (1_u32 << (32 - u32::from(length))) - 2;
        let is_prime =
            |n: &u32| *n == 2 || (2_u32..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
        Self { base, size: (2..=usable).rev().find(is_prime).unwrap_or(2) }
    }

    /// Returns the first and the last address.
    pub(super) fn bounds(&self) -> [IpAddr; 2] {
        [self.base + 1, self.base + self.size].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
    }

    /// Returns how many addresses there are to give.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn contains(&self, ip: Ipv4Addr) -> bool {
        (self.base + 1..=self.base + self.size).contains(&ip.to_bits())
    }

    /// Returns every address once, in the order that two hashes give.
    pub(super) fn all(self, [start, step]: [u64; 2]) -> impl Iterator<Item = IpAddr> {
        let size = u64::from(self.size);
        let (start, step) = (start % size, 1 + step % (size - 1));
        // The remainder is below the size, so it fits.
        let offsets = (0..size).map(move |n| ((start + n * step) % size) as u32);
        offsets.map(move |offset| IpAddr::V4(Ipv4Addr::from_bits(self.base + 1 + offset)))
    }
}

impl Ipv6Pool {
    fn of(net: Ipv6Net) -> Self {
        Self::new(net.network().to_bits(), net.prefix_len())
    }

    /// `length` is one of [`V6_LENGTHS`].
    fn new(base: u128, length: u8) -> Self {
        Self { base, size: 1 << (128 - u32::from(length)).min(64) }
    }

    /// Returns the first and the last address.
    pub(super) fn bounds(&self) -> [IpAddr; 2] {
        [self.base + 1, self.base + self.size - 1].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
    }

    pub(super) fn contains(&self, ip: Ipv6Addr) -> bool {
        // Of a pool of 2⁶⁴ or less, the last one of a step would lie beyond it.
        (self.base + 1..self.base + self.size).contains(&ip.to_bits())
    }

    /// Returns every address once, in the order that two hashes give.
    pub(super) fn all(self, [start, step]: [u64; 2]) -> impl Iterator<Item = IpAddr> {
        // The size is a power of two, so steps of an odd width come by all.
        let last = (self.size - 1) as u64;
        let offsets = (0..=last).map(move |n| start.wrapping_add(n.wrapping_mul(step | 1)) & last);
        let all = offsets.map(move |offset| Ipv6Addr::from_bits(self.base + 1 + u128::from(offset)));
        all.filter(move |ip| self.contains(*ip)).map(IpAddr::V6)
    }
}

/// The addresses that are given to hosts without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pools {
    /// Those of IPv4.
    pub v4: Ipv4Pool,
    /// Those of IPv6.
    pub v6: Ipv6Pool,
}

impl Pools {
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip),
            IpAddr::V6(ip) => self.v6.contains(ip),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_default_pools_are_those_that_are_written() {
        assert_eq!("240.240.0.0/16".parse(), Ok(Ipv4Pool::default()));
        assert_eq!("2001:2::/48".parse(), Ok(Ipv6Pool::default()));
        assert_eq!(Ipv4Pool::default().size(), 65_521);
    }

    #[test]
    fn a_pool_gives_each_of_its_addresses_once_and_no_other() {
        for (text, size) in [("10.9.8.0/30", 2), ("10.9.8.0/24", 251), ("10.9.0.0/20", 4093)] {
            let (pool, net): (Ipv4Pool, IpNet) = (text.parse().unwrap(), text.parse().unwrap());
            for hashes in [[0, 0], [u64::MAX, u64::MAX], [12_345, 678]] {
                let all: BTreeSet<IpAddr> = pool.all(hashes).collect();
                assert_eq!((pool.all(hashes).count(), all.len()), (size, size), "{text}");
                let is_usable =
                    |ip: &IpAddr| net.contains(ip) && *ip != net.network() && *ip != net.broadcast();
                assert!(all.iter().all(is_usable), "{text}: {all:?}");
                assert!(all.iter().all(|ip| Pools { v4: pool, ..Pools::default() }.contains(*ip)));
            }
        }
        for text in ["fd00:1::/48", "fd00:1::/64", "fd00:1::/96"] {
            let (pool, net): (Ipv6Pool, IpNet) = (text.parse().unwrap(), text.parse().unwrap());
            for hashes in [[0, 0], [u64::MAX, u64::MAX], [u64::MAX, 0]] {
                let all: BTreeSet<IpAddr> = pool.all(hashes).take(1000).collect();
                assert!(all.len() == 1000 && all.iter().all(|ip| net.contains(ip) && *ip != net.network()));
            }
        }
    }

    #[test]
    fn what_is_no_pool_is_refused_with_what_to_write() {
        let v4 = |text: &str| text.parse::<Ipv4Pool>().unwrap_err();
        assert!(v4("ten").contains("write one such as 240.240.0.0/16"));
        assert!(v4("10.0.0.1").contains("no range"));
        assert!(v4("2001:2::/48").contains("write one of IPv4"));
        assert!(v4("10.0.0.7/24").contains("write 10.0.0.0/24"));
        assert!(v4("10.0.0.0/31").contains("from 8 to 30") && v4("0.0.0.0/0").contains("from 8 to 30"));
        assert!(v4("127.0.0.0/8").contains("nobody can connect") && v4("224.0.0.0/8").contains("nobody"));
        let v6 = |text: &str| text.parse::<Ipv6Pool>().unwrap_err();
        assert!(v6("240.240.0.0/16").contains("write one of IPv6"));
        assert!(v6("fd00::/120").contains("from 16 to 96") && v6("ff00::/16").contains("nobody"));
    }
}
