//! The places of a port: for connections whose caller is known, by client.

use super::bounds::{Bound, Bounds, Refusals};
use super::slot::OF_NETWORK;
use limits::{FairSlot, FairSlots, Full, NoSlot, Peer, SlotLimits, Standing};
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
    standing: Standing,
    _slot: FairSlot<Arc<str>, Arc<str>>,
}

impl Place {
    /// Tells whether it serves for a client of this standing, too.
    pub fn is_for(&self, standing: Standing) -> bool {
        self.standing == standing || standing == Standing::Other
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
        standing: Standing,
        client: &Arc<str>,
        evicted: CancellationToken,
        refusals: &Refusals,
    ) -> Result<Place, NoSlot> {
        self.acquire_of(standing, client, client, evicted, refusals)
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
        self.acquire_of(Standing::Other, &network, &address, evicted, refusals)
    }

    fn acquire_of(
        &self,
        standing: Standing,
        group: &Arc<str>,
        holder: &Arc<str>,
        evicted: CancellationToken,
        refusals: &Refusals,
    ) -> Result<Place, NoSlot> {
        let acquired = self.slots.acquire(standing, group, holder, move || evicted.cancel());
        let (slot, told) = acquired.inspect_err(|_| refusals.add(Bound::Connections, holder))?;
        if let Some(told) = told {
            let (bound, client) = match told.at {
                Full::Holder => (self.of_client, &told.holder),
                Full::Group => (Bound::ConnectionsOfAddress, &told.group),
                Full::Total => (Bound::Connections, &told.holder),
            };
            refusals.add(bound, client);
        }
        Ok(Place { standing, _slot: slot })
    }
}
