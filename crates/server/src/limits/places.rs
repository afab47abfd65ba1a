//! The places of a port: for connections whose caller is known, by client.

use super::bounds::{Bound, Bounds, Refusals};
use super::slot::OF_NETWORK;
use limits::{FairSlot, FairSlots, Full, HolderKind, NoSlot, Peer, SlotLimits};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Which part of its places a port has for ztunnels alone.
const RESERVED: usize = 4;

/// The places of a port.
#[derive(Debug)]
pub(crate) struct Places {
    slots: FairSlots<Arc<str>, Arc<str>>,
    of_client: Bound,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    kind: HolderKind,
    _slot: FairSlot<Arc<str>, Arc<str>>,
}

impl Place {
    /// Tells whether it serves for a client of this kind, too.
    pub fn is_for(&self, kind: HolderKind) -> bool {
        self.kind == kind || kind == HolderKind::Other
    }
}

impl Places {
    /// The places of a port whose clients show a credential: a client has few, and some are for ztunnels alone.
    pub fn of_clients(bounds: &Bounds) -> Self {
        let (total, of_client) = (bounds.connections, bounds.connections_of_client);
        let reserved = total / RESERVED;
        let limits = SlotLimits { total, reserved, of_group: of_client, of_holder: of_client };
        Self { slots: FairSlots::new(limits), of_client: Bound::ConnectionsOfClient }
    }

    /// The places of a port where nobody is known but by address.
    pub fn of_addresses(bounds: &Bounds) -> Self {
        let (total, of_holder) = (bounds.connections, bounds.connections_of_address);
        let of_group = of_holder.saturating_mul(OF_NETWORK);
        let limits = SlotLimits { total, reserved: 0, of_group, of_holder };
        Self { slots: FairSlots::new(limits), of_client: Bound::ConnectionsOfAddress }
    }

    /// Acquires a place for a connection of a client; `evicted` is cancelled when another has it.
    ///
    /// # Errors
    /// [`NoSlot`] if ztunnels have all of them.
    pub fn acquire(
        &self,
        kind: HolderKind,
        client: &Arc<str>,
        evicted: CancellationToken,
        refusals: &Refusals,
    ) -> Result<Place, NoSlot> {
        self.acquire_of(kind, client, client, evicted, refusals)
    }

    /// Acquires a place for a connection of an address.
    ///
    /// # Errors
    /// [`NoSlot`] if there are none at all.
    pub fn acquire_for(
        &self,
        peer: Option<Peer>,
        evicted: CancellationToken,
        refusals: &Refusals,
    ) -> Result<Place, NoSlot> {
        let network: Arc<str> = peer.map_or_else(String::new, |peer| peer.network().to_string()).into();
        let address: Arc<str> = peer.map_or_else(String::new, |peer| peer.to_string()).into();
        self.acquire_of(HolderKind::Other, &network, &address, evicted, refusals)
    }

    fn acquire_of(
        &self,
        kind: HolderKind,
        group: &Arc<str>,
        holder: &Arc<str>,
        evicted: CancellationToken,
        refusals: &Refusals,
    ) -> Result<Place, NoSlot> {
        let acquired = self.slots.acquire(kind, group, holder, move || evicted.cancel());
        let (slot, told) = acquired.inspect_err(|_| refusals.add(Bound::Connections, holder))?;
        if let Some(told) = told {
            let (bound, client) = match told.at {
                Full::Holder => (self.of_client, &told.holder),
                Full::Group => (Bound::ConnectionsOfAddress, &told.group),
                Full::Total => (Bound::Connections, &told.holder),
            };
            refusals.add(bound, client);
        }
        Ok(Place { kind, _slot: slot })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn refused(refusals: &Refusals, bound: Bound) -> u64 {
        refusals.list().iter().find(|(name, _)| *name == bound.name()).map_or(0, |(_, count)| *count)
    }

    #[test]
    fn one_pod_from_many_addresses_has_its_own_places_and_a_ztunnel_always_one() {
        let (places, refusals) = (Places::of_clients(&Bounds::default()), Refusals::default());
        let bounds = Bounds::default();
        let open = |kind, client: String| {
            let evicted = CancellationToken::new();
            (places.acquire(kind, &client.into(), evicted.clone(), &refusals).unwrap(), evicted)
        };
        let of_pod: Vec<_> = (0..20_000).map(|_| open(HolderKind::Other, "pod".to_owned())).collect();
        let kept = of_pod.iter().filter(|(_, evicted)| !evicted.is_cancelled()).count();
        assert_eq!(kept, bounds.connections_of_client);
        assert_eq!(refused(&refusals, Bound::ConnectionsOfClient), 20_000 - kept as u64);
        // A tenant with very many pods has all places but those for ztunnels.
        let others: Vec<_> = (0..20_000).map(|n| open(HolderKind::Other, format!("pod-{n}"))).collect();
        let kept = others.iter().chain(&of_pod).filter(|(_, evicted)| !evicted.is_cancelled()).count();
        assert_eq!(kept, bounds.connections - bounds.connections / RESERVED);
        let ztunnels: Vec<_> =
            (0..bounds.connections).map(|n| open(HolderKind::Trusted, format!("z-{n}"))).collect();
        assert!(ztunnels.iter().all(|(_, evicted)| !evicted.is_cancelled()));
        let nobody = places.acquire(HolderKind::Other, &"pod".into(), CancellationToken::new(), &refusals);
        assert_eq!(nobody.err(), Some(NoSlot));
    }

    #[test]
    fn where_nobody_is_known_an_address_has_its_places_and_its_network_some_times_as_many() {
        let (bounds, refusals) =
            (Bounds { connections_of_address: 4, ..Bounds::default() }, Refusals::default());
        let places = Places::of_addresses(&bounds);
        let open = |host: u16| {
            let evicted = CancellationToken::new();
            let peer = Peer::of(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host).into());
            (places.acquire_for(Some(peer), evicted.clone(), &refusals).unwrap(), evicted)
        };
        let all: Vec<_> = (0..40).map(|n| open(n / 8)).collect();
        let kept = all.iter().filter(|(_, evicted)| !evicted.is_cancelled()).count();
        assert_eq!(kept, 4 * OF_NETWORK);
        assert_eq!(refused(&refusals, Bound::ConnectionsOfAddress), 24);
    }
}
