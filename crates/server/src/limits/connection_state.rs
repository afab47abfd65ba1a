//! A connection, from its arrival until it ends: whether anybody on it has shown who it is.
//!
//! Until then it has one of the few places for newcomers, in which the peer that has most makes room,
//! and does not keep it for long. Who has shown a credential gives that place back.

use super::slot::Slot;
use http::HeaderMap;
use identity::{Authenticated, Connection, Gate, Refused};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Calls in a row whose caller could not be authenticated: more end the connection.
const MAX_REFUSED: u32 = 8;

/// One connection.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// What it has proven before its first call.
    pub connection: Connection,
    place: Mutex<Option<Slot>>,
    displaced: CancellationToken,
    known: CancellationToken,
    refused: AtomicU32,
    refused_enough: CancellationToken,
    calls: Mutex<Calls>,
}

#[derive(Debug)]
struct Calls {
    open: usize,
    /// When the last of them ended.
    since: Instant,
}

/// A call that is open.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<Arrival>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.0.calls.lock();
        calls.open -= 1;
        calls.since = Instant::now();
    }
}

impl Arrival {
    /// Begins with a connection that has a newcomer's place, if it came to a port.
    pub fn new(connection: Connection, place: Option<Slot>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            displaced: place.as_ref().map(Slot::evicted).unwrap_or_default(),
            place: Mutex::new(place),
            known: CancellationToken::new(),
            refused: AtomicU32::new(0),
            refused_enough: CancellationToken::new(),
            calls: Mutex::new(Calls { open: 0, since: Instant::now() }),
        })
    }

    /// Begins a call.
    pub fn begin(self: &Arc<Self>) -> OpenCall {
        self.calls.lock().open += 1;
        OpenCall(Arc::clone(self))
    }

    /// Finds out who calls.
    ///
    /// # Errors
    /// [`Refused`]. Nothing of the call's body has been read then.
    pub async fn authenticate(&self, gate: &Gate, headers: &HeaderMap) -> Result<Authenticated, Refused> {
        let outcome = gate.authenticate(headers, &self.connection).await;
        match &outcome {
            Ok(_) => self.admit(),
            // Without the keys nobody can be known: that is not the client's doing.
            Err(refused) if refused.code == ::ca::Code::Unavailable => {}
            Err(_) => {
                if self.refused.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REFUSED {
                    self.refused_enough.cancel();
                }
            }
        }
        outcome
    }

    /// Counts it among those that are known from now on.
    pub fn admit(&self) {
        self.refused.store(0, Ordering::Relaxed);
        self.known.cancel();
        drop(self.place.lock().take());
    }

    /// Returns when nobody on it is known after so long.
    pub async fn unknown_for(&self, limit: Duration) {
        if timeout(limit, self.known.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when another newcomer has its place.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }

    /// Returns when too many of its calls were refused.
    pub async fn refused_enough(&self) {
        self.refused_enough.cancelled().await;
    }

    /// Returns when it has had no call for so long.
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
