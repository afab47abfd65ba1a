//! The state of a connection, from its arrival until it ends: whether any caller on it is authenticated,
//! and which calls are open.
//!
//! Until a caller is authenticated the connection holds one of the few slots for unauthenticated peers,
//! which another peer may evict it from, and does not hold it for long. Then it has a place of its client's instead.

use super::bounds::Refusals;
use super::places::{Place, Places};
use super::slot::Slot;
use http::HeaderMap;
use identity::{Authenticated, Authorizer, Connection, Refused, Tokens};
use limits::{HolderKind, NoSlot, Peer};
use parking_lot::Mutex;
use proto::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Calls in a row that were refused, since their caller could not be authenticated or they are not served: more end
/// the connection.
const MAX_REFUSED: u32 = 8;

/// Those of a connection that is about to end: more end it at once. As many may be on their way.
const MAX_REFUSED_AT_END: u32 = 128;

/// One connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// What its client has proven before its first call.
    pub connection: Connection,
    holding: Mutex<Holding>,
    places: Option<Arc<Places>>,
    evicted: CancellationToken,
    authenticated: CancellationToken,
    refused: AtomicU32,
    too_many_refused: CancellationToken,
    goes_on: CancellationToken,
    calls: Mutex<Calls>,
}

/// What a connection holds of its port.
#[derive(Debug)]
enum Holding {
    Nothing,
    /// A slot for unauthenticated peers.
    Slot {
        _slot: Slot,
    },
    /// A place of its client, the first that was authenticated on it.
    Place(Place),
}

#[derive(Debug)]
struct Calls {
    open: usize,
    /// When the last of them ended.
    since: Instant,
}

/// A call that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<ConnectionState>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.0.calls.lock();
        calls.open -= 1;
        calls.since = Instant::now();
    }
}

impl ConnectionState {
    /// Begins with a connection that holds a slot for unauthenticated peers, if it came by a port.
    pub fn new(connection: Connection, port: Option<(Slot, Arc<Places>)>) -> Arc<Self> {
        let (slot, places) = port.unzip();
        Arc::new(Self {
            connection,
            evicted: slot.as_ref().map(Slot::evicted).unwrap_or_default(),
            holding: Mutex::new(slot.map_or(Holding::Nothing, |slot| Holding::Slot { _slot: slot })),
            places,
            authenticated: CancellationToken::new(),
            refused: AtomicU32::new(0),
            too_many_refused: CancellationToken::new(),
            goes_on: CancellationToken::new(),
            calls: Mutex::new(Calls { open: 0, since: Instant::now() }),
        })
    }

    /// Begins a call.
    pub fn begin_call(self: &Arc<Self>) -> OpenCall {
        self.calls.lock().open += 1;
        OpenCall(Arc::clone(self))
    }

    /// Authenticates the caller of a call.
    ///
    /// # Errors
    /// [`Refused`]. Nothing of the call's body has been read then.
    pub async fn authenticate(
        &self,
        authorizer: &Authorizer,
        headers: &HeaderMap,
        tokens: Tokens,
        refusals: &Refusals,
    ) -> Result<Authenticated, Refused> {
        if self.too_many_refused.is_cancelled() {
            // What has ended the connection costs no more signatures.
            self.add_refused(1);
            authorizer.stats().unauthenticated.add();
            return Err(Refused::ending_connection());
        }
        let outcome = authorizer.authenticate(headers, &self.connection, tokens).await;
        match &outcome {
            Ok(caller) => {
                let kind = match authorizer.is_ztunnel(caller) {
                    true => HolderKind::Trusted,
                    false => HolderKind::Other,
                };
                let place = |places: &Places| {
                    places.acquire(kind, &caller.client().into(), self.evicted.clone(), refusals)
                };
                self.set_authenticated(kind, place).map_err(Refused::no_place)?;
            }
            // Without the keys nobody can be authenticated: that is not the client's doing.
            Err(refused) if refused.code == Code::Unavailable => {}
            // Its address has shown too many invalid tokens: the next is for another connection.
            Err(refused) if refused.code == Code::ResourceExhausted => self.add_refused(MAX_REFUSED),
            Err(_) => self.add_refused(1),
        }
        outcome
    }

    /// Takes a call of whoever it is, on a port where nobody is asked.
    ///
    /// # Errors
    /// [`NoSlot`] if the port has no places at all.
    pub fn admit_anybody(&self, refusals: &Refusals) -> Result<(), NoSlot> {
        let peer = self.connection.address.map(|address| Peer::of(address.ip()));
        let place = |places: &Places| places.acquire_for(peer, self.evicted.clone(), refusals);
        self.set_authenticated(HolderKind::Other, place)
    }

    /// Counts a call that is not served.
    pub fn refuse_call(&self) {
        self.add_refused(1);
    }

    fn add_refused(&self, calls: u32) {
        let refused = self.refused.fetch_add(calls, Ordering::Relaxed).saturating_add(calls);
        if refused >= MAX_REFUSED {
            self.too_many_refused.cancel();
        }
        if refused >= MAX_REFUSED_AT_END {
            self.goes_on.cancel();
        }
    }

    /// Counts it among the authenticated ones from now on: it has a place instead of its slot.
    fn set_authenticated(
        &self,
        kind: HolderKind,
        place: impl FnOnce(&Places) -> Result<Place, NoSlot>,
    ) -> Result<(), NoSlot> {
        let mut holding = self.holding.lock();
        let has_place = matches!(&*holding, Holding::Place(place) if place.is_for(kind));
        if !has_place {
            *holding = match &self.places {
                Some(places) => Holding::Place(place(places)?),
                None => Holding::Nothing,
            };
        }
        drop(holding);
        self.refused.store(0, Ordering::Relaxed);
        self.authenticated.cancel();
        Ok(())
    }

    /// Returns when no caller is authenticated after this time.
    pub async fn unauthenticated_for(&self, limit: Duration) {
        if timeout(limit, self.authenticated.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when another connection has its slot or place.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Returns when too many of its calls were refused.
    pub async fn too_many_refused(&self) {
        self.too_many_refused.cancelled().await;
    }

    /// Returns when its client goes on with such calls although it was told to end the connection.
    pub async fn refused_at_end(&self) {
        self.goes_on.cancelled().await;
    }

    /// Returns when it has had no call for this time.
    pub async fn idle_for(&self, limit: Duration) {
        loop {
            let (open, since) = {
                let calls = self.calls.lock();
                (calls.open, calls.since)
            };
            match open {
                0 if since.elapsed() >= limit => return,
                0 => sleep_until(since + limit).await,
                _ => sleep(limit).await,
            }
        }
    }
}
