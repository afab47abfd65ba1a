//! A slot of a port, until its holder ends or another peer gets it.

use limits::{FairSlot, FairSlots, NoSlot, Peer};
use tokio_util::sync::CancellationToken;

/// One slot; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Slot {
    _slot: FairSlot,
    evicted: CancellationToken,
}

impl Slot {
    /// Acquires a slot, evicting one of the largest holder if need be.
    ///
    /// # Errors
    /// Why there is no slot.
    pub fn acquire(slots: &FairSlots, peer: Peer) -> Result<Self, NoSlot> {
        let evicted = CancellationToken::new();
        let on_evict = evicted.clone();
        let slot = slots.try_acquire(peer, move || on_evict.cancel())?;
        Ok(Self { _slot: slot, evicted })
    }

    /// Returns what is cancelled once another peer has this slot.
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}
