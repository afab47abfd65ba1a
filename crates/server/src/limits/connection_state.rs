//! The state of a connection, from its arrival until it ends: whether any caller on it is authenticated,
//! and which calls are open.
//!
//! Until a caller is authenticated the connection holds one of the few slots for unauthenticated peers,
//! which another peer may evict it from, and does not hold it for long. Then it releases the slot.

use super::slot::Slot;
use http::HeaderMap;
use identity::{Authenticated, Authorizer, Connection, Refused};
use parking_lot::Mutex;
use proto::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Calls in a row whose caller could not be authenticated: more end the connection.
const MAX_REFUSED: u32 = 8;

/// One connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// What its client has proven before its first call.
    pub connection: Connection,
    slot: Mutex<Option<Slot>>,
    evicted: CancellationToken,
    authenticated: CancellationToken,
    refused: AtomicU32,
    too_many_refused: CancellationToken,
    calls: Mutex<Calls>,
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
    pub fn new(connection: Connection, slot: Option<Slot>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            evicted: slot.as_ref().map(Slot::evicted).unwrap_or_default(),
            slot: Mutex::new(slot),
            authenticated: CancellationToken::new(),
            refused: AtomicU32::new(0),
            too_many_refused: CancellationToken::new(),
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
    ) -> Result<Authenticated, Refused> {
        let outcome = authorizer.authenticate(headers, &self.connection).await;
        match &outcome {
            Ok(_) => self.set_authenticated(),
            // Without the keys nobody can be authenticated: that is not the client's doing.
            Err(refused) if refused.code == Code::Unavailable => {}
            Err(_) => {
                if self.refused.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REFUSED {
                    self.too_many_refused.cancel();
                }
            }
        }
        outcome
    }

    /// Counts it among the authenticated ones from now on, and releases its slot.
    pub fn set_authenticated(&self) {
        self.refused.store(0, Ordering::Relaxed);
        self.authenticated.cancel();
        drop(self.slot.lock().take());
    }

    /// Returns when no caller is authenticated after this time.
    pub async fn unauthenticated_for(&self, limit: Duration) {
        if timeout(limit, self.authenticated.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when another peer has its slot.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Returns when too many of its calls were refused.
    pub async fn too_many_refused(&self) {
        self.too_many_refused.cancelled().await;
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
