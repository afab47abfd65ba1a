//! Gives addresses to pods, services and nodes.
//!
//! An address follows from a hash of its owner's name; if it is taken, the next free one is used.
//! The ranges are wide, so that this seldom happens: an address then depends on nothing but its
//! owner, whatever else the folder holds, and is the same after every restart.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use serde_json::Value;

use super::objects::{items_at, text_at};
use crate::Objects;

/// The range of pods: half of 10.0.0.0/8, over eight million addresses.
const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);
/// The range of services, as kubeadm sets it: over a million addresses.
const SERVICES: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 12);
/// The range of load balancers, which is for tests of networks and leads nowhere.
const BALANCERS: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// The range of nodes that state no address.
const NODES: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 18, 0, 0), 16);

/// The addresses in use.
pub(super) struct Addresses {
    taken: BTreeSet<IpAddr>,
}

impl Addresses {
    /// Starts with the addresses that declared objects state, none of which is given to another.
    pub(super) fn reserve(declared: &Objects) -> Self {
        let mut taken = BTreeSet::new();
        for (key, object) in declared {
            let value = &object.value;
            let mut take = |text: &str| taken.extend(text.parse::<IpAddr>());
            match (key.group.as_str(), key.kind.as_str()) {
                ("", "Pod") => {
                    text_at(value, "/status/podIP").map(&mut take);
                    strings(items_at(value, "/status/podIPs"), "/ip").for_each(take);
                }
                ("", "Node") => strings(items_at(value, "/status/addresses"), "/address").for_each(take),
                ("", "Service") => {
                    text_at(value, "/spec/clusterIP").map(&mut take);
                    strings(items_at(value, "/spec/clusterIPs"), "").for_each(take);
                }
                ("discovery.k8s.io", "EndpointSlice") => items_at(value, "/endpoints")
                    .iter()
                    .flat_map(|endpoint| strings(items_at(endpoint, "/addresses"), ""))
                    .for_each(take),
                ("networking.istio.io", "WorkloadEntry") => {
                    text_at(value, "/spec/address").map(&mut take);
                }
                ("networking.istio.io", "ServiceEntry") => {
                    strings(items_at(value, "/spec/addresses"), "").for_each(&mut take);
                    strings(items_at(value, "/spec/endpoints"), "/address").for_each(take);
                }
                _ => {}
            }
        }
        Self { taken }
    }

    /// An address for a pod; `None` if all are in use.
    pub(super) fn pod(&mut self, hash: u64) -> Option<Ipv4Addr> {
        self.next(PODS, hash)
    }

    /// A cluster address for a service; `None` if all are in use.
    pub(super) fn service(&mut self, hash: u64) -> Option<Ipv4Addr> {
        self.next(SERVICES, hash)
    }

    /// A cluster address of the IPv6 family for a service that asks for one.
    pub(super) fn service_v6(&mut self, hash: u64) -> Ipv6Addr {
        let mut host = hash >> 16;
        loop {
            // fd00:10:96::/80 leaves 48 bits to the hash; they cannot all be in use.
            let [_, _, b2, b3, b4, b5, b6, b7] = host.to_be_bytes();
            let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
            let address = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, pair(b2, b3), pair(b4, b5), pair(b6, b7));
            if self.taken.insert(address.into()) {
                return address;
            }
            host = (host + 1) & 0xffff_ffff_ffff;
        }
    }

    /// An address for the load balancer of a service; `None` if all are in use.
    pub(super) fn balancer(&mut self, hash: u64) -> Option<Ipv4Addr> {
        self.next(BALANCERS, hash)
    }

    /// An address for a node; `None` if all are in use.
    pub(super) fn node(&mut self, hash: u64) -> Option<Ipv4Addr> {
        self.next(NODES, hash)
    }

    fn next(&mut self, (network, length): (Ipv4Addr, u8), hash: u64) -> Option<Ipv4Addr> {
        let range = Ipv4Net::new(network, length).ok()?;
        let first = u32::from(range.network());
        let size = u32::from(range.broadcast()) - first;
        let start = u32::try_from(hash % u64::from(size)).ok()?;
        (0..size).map(|step| Ipv4Addr::from(first + (start + step) % size)).find(|address| {
            // Addresses that look like those of a network or a broadcast only confuse readers.
            !matches!(address.octets()[3], 0 | 255) && self.taken.insert(IpAddr::V4(*address))
        })
    }
}

fn strings<'v>(items: &'v [Value], pointer: &'v str) -> impl Iterator<Item = &'v str> {
    items.iter().filter_map(move |item| text_at(item, pointer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn taken_address_yields_the_next_one() {
        let mut addresses = Addresses { taken: BTreeSet::new() };
        let first = addresses.pod(77).unwrap();
        let second = addresses.pod(77).unwrap();
        assert_eq!(u32::from(second), u32::from(first) + 1);
    }

    #[test]
    fn full_range_gives_none() {
        let mut addresses = Addresses { taken: BTreeSet::new() };
        let tiny = (Ipv4Addr::new(192, 0, 2, 4), 30);
        let given: Vec<_> = (0..5).map_while(|hash| addresses.next(tiny, hash)).collect();
        assert_eq!(given.len(), 3);
        assert_eq!(addresses.next(tiny, 9), None);
    }

    #[test]
    fn ipv6_addresses_differ() {
        let mut addresses = Addresses { taken: BTreeSet::new() };
        assert_ne!(addresses.service_v6(u64::MAX), addresses.service_v6(u64::MAX));
    }
}
