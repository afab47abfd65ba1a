//! A slot of a port, until its holder ends or another has it.

use limits::{Evicted, FairSlot, FairSlots, HolderKind, Network, NoSlot, Peer, SlotLimits};
use tokio_util::sync::CancellationToken;

/// How many times as much as one address the addresses of a network may have together.
pub(super) const OF_NETWORK: usize = 4;

/// Slots for peers of which nothing is known but the address.
pub(crate) type PeerSlots = FairSlots<Network, Peer>;

/// Returns this many slots, of which one address may have `of_peer`, and its network four times as many.
pub(crate) fn peer_slots(total: usize, of_peer: usize) -> PeerSlots {
    let of_group = of_peer.saturating_mul(OF_NETWORK);
    FairSlots::new(SlotLimits { total, reserved: 0, of_group, of_holder: of_peer })
}

/// One slot; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Slot {
    _slot: FairSlot<Network, Peer>,
    evicted: CancellationToken,
}

impl Slot {
    /// Acquires a slot, and tells whose was evicted for it.
    ///
    /// # Errors
    /// If there are no slots at all.
    pub fn acquire(slots: &PeerSlots, peer: Peer) -> Result<(Self, Option<Evicted<Network, Peer>>), NoSlot> {
        let evicted = CancellationToken::new();
        let on_evict = evicted.clone();
        let (slot, told) =
            slots.acquire(HolderKind::Other, &peer.network(), &peer, move || on_evict.cancel())?;
        Ok((Self { _slot: slot, evicted }, told))
    }

    /// Returns what is cancelled once another has this slot.
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}
