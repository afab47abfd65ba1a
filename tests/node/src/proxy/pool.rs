//! Connections of a pod to peers, each with many tunnels, as a ztunnel keeps them: whoever dials the same peer as the same
//! account goes over one that is there.

use super::outbound::Peer;
use anyhow::Context;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// How many tunnels one connection has at most (`POOL_MAX_STREAMS_PER_CONNECTION` of ztunnel).
const TUNNELS: usize = 100;

/// The connections of a pod, which end with it.
#[derive(Default)]
pub(super) struct Pool(Mutex<Connections>);

#[derive(Default)]
struct Connections {
    by_peer: HashMap<Peer, Vec<Connection>>,
    driven: JoinSet<()>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    tunnels: Arc<Semaphore>,
}

/// A connection, and the place of a tunnel in it.
type Place = (Connection, OwnedSemaphorePermit);

impl Pool {
    /// Asks a peer for a tunnel, over a new connection if there is none. The tunnel is closed before what is returned with
    /// the answer is dropped.
    ///
    /// A peer that is about to go says so (GOAWAY), and is asked nothing more over that connection.
    ///
    /// # Errors
    /// When no connection can be made, or it breaks.
    pub async fn ask<C, S>(
        &self,
        peer: &Peer,
        request: impl Fn() -> anyhow::Result<Request<Empty<Bytes>>>,
        connect: impl Fn() -> C,
    ) -> anyhow::Result<(Response<Incoming>, OwnedSemaphorePermit)>
    where
        C: Future<Output = anyhow::Result<S>>,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        loop {
            let found = self.find(peer);
            let is_new = found.is_none();
            let (mut connection, place) = match found {
                Some(found) => found,
                None => self.add(peer, connect().await?).await?,
            };
            match connection.sender.try_send_request(request()?).await {
                Ok(response) => return Ok((response, place)),
                Err(mut failed) => {
                    let is_unsent = failed.take_message().is_some();
                    if is_new || !is_unsent {
                        return Err(failed.into_error()).context("a tunnel");
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, peer: &Peer) -> Option<Place> {
        let mut connections = self.lock();
        let all = connections.by_peer.get_mut(peer)?;
        all.retain(|connection| !connection.sender.is_closed());
        all.iter().find_map(|connection| {
            let place = Arc::clone(&connection.tunnels).try_acquire_owned().ok()?;
            Some((connection.clone(), place))
        })
    }

    async fn add<S>(&self, peer: &Peer, stream: S) -> anyhow::Result<Place>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = Connection { sender, tunnels: Arc::new(Semaphore::new(TUNNELS)) };
        let place = Arc::clone(&connection.tunnels).try_acquire_owned()?;
        let mut connections = self.lock();
        while connections.driven.try_join_next().is_some() {}
        connections.driven.spawn(async move {
            // Whose tunnels it takes with it knows.
            let _ = driver.await;
        });
        connections.by_peer.entry(peer.clone()).or_default().push(connection.clone());
        Ok((connection, place))
    }
}
