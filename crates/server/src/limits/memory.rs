//! What clients make the process hold, in bytes, charged to the client whose stream it is.
//!
//! What a stream *follows* it holds as long as it is open: names, and what was said about them. What a returning client
//! *lists* is held until it was compared, a moment later; but there may be much of it. Clients of a kind share a
//! budget of each: ztunnels, other proxies, and all who have shown no credential, who are one client together.

use limits::{Charge, Exhausted, FairBudget};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

const MIB: u64 = 1024 * 1024;

/// Bytes are charged in units of this many, so that little changes cost nothing.
const UNIT: usize = 4096;

/// What a stream is charged that follows everything, in units: itself.
const STREAM: u64 = 1;

/// The budget of what is followed, and that of what is listed.
#[derive(Debug)]
struct Budgets {
    followed: FairBudget,
    listed: FairBudget,
}

impl Budgets {
    /// Each of what all hold together, and of what one client does, in MiB.
    fn new(followed: (u64, u64), listed: (u64, u64)) -> Self {
        let budget = |(total, of_client): (u64, u64)| FairBudget::new(total * MIB, of_client * MIB);
        Self { followed: budget(followed), listed: budget(listed) }
    }
}

/// The budgets of the process.
#[derive(Debug)]
pub(crate) struct MemoryBudgets {
    ztunnels: Budgets,
    others: Budgets,
    unauthenticated: Budgets,
}

impl Default for MemoryBudgets {
    fn default() -> Self {
        Self {
            ztunnels: Budgets::new((1024, 128), (2048, 256)),
            others: Budgets::new((512, 32), (512, 64)),
            unauthenticated: Budgets::new((64, 64), (512, 512)),
        }
    }
}

/// Whose streams those of callers without a credential are.
const UNAUTHENTICATED: &str = "callers without a credential";

impl MemoryBudgets {
    /// Begins to charge a client (its name, and whether it is a ztunnel) for one more stream. `forget` is called when
    /// the stream is to end for another: it lets go of what the stream holds, for a client that does not read keeps it
    /// from ending at once.
    pub fn open(
        &self,
        client: Option<(String, bool)>,
        forget: impl Fn() + Clone + Send + 'static,
    ) -> StreamMemory {
        let (client, budgets) = match client {
            None => (UNAUTHENTICATED.into(), &self.unauthenticated),
            Some((client, true)) => (Arc::from(client), &self.ztunnels),
            Some((client, false)) => (Arc::from(client), &self.others),
        };
        let evicted = CancellationToken::new();
        let on_evict = || {
            let (evicted, forget) = (evicted.clone(), forget.clone());
            move || {
                evicted.cancel();
                forget();
            }
        };
        StreamMemory {
            followed: budgets.followed.open(Arc::clone(&client), on_evict()),
            listed: budgets.listed.open(Arc::clone(&client), on_evict()),
            charged: (0, 0),
            evicted: Box::pin(evicted.cancelled_owned()),
            client,
        }
    }

    /// Returns how many bytes are held of what is followed, by kind of clients.
    pub fn followed(&self) -> Vec<(&'static str, u64)> {
        let Self { ztunnels, others, unauthenticated } = self;
        let kinds = [("others", others), ("unauthenticated", unauthenticated), ("ztunnels", ztunnels)];
        kinds.map(|(name, budgets)| (name, budgets.followed.held())).into()
    }
}

/// What one stream is charged.
#[derive(Debug)]
pub(crate) struct StreamMemory {
    followed: Charge,
    listed: Charge,
    /// How much that is, in units.
    charged: (u64, u64),
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    client: Arc<str>,
}

impl StreamMemory {
    /// Charges what the stream holds now: bytes in all, and of them those of what its client listed.
    ///
    /// # Errors
    /// [`Exhausted`]; the stream is to end.
    pub fn charge(&mut self, held: usize, listed: usize) -> Result<(), Exhausted> {
        let units = |bytes: usize| (bytes / UNIT) as u64;
        let charged = (STREAM + units(held.saturating_sub(listed)), units(listed));
        if charged == self.charged {
            return Ok(());
        }
        self.charged = charged;
        self.followed.set(charged.0 * UNIT as u64)?;
        self.listed.set(charged.1 * UNIT as u64)
    }

    /// Tells whether the stream is to end, for its client holds more than any other and there is no room.
    pub fn is_evicted(&mut self, cx: &mut Context<'_>) -> bool {
        self.evicted.as_mut().poll(cx).is_ready()
    }

    /// Whose it is.
    pub fn client(&self) -> &str {
        &self.client
    }
}
