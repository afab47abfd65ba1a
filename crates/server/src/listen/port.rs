//! Ports: accepting connections within the bounds, and their TLS handshakes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::{Connection, client_certificate};
use limits::{FairSlots, KeyedSemaphore, Limiter, Limits, NoSlot, Peer, Rate};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::limits::{Bound, CloseReason, ConnectionState, Slot};
use crate::service::Service;

/// Pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many peers the rate of handshakes tells apart.
const PEERS: usize = 64 * 1024;

impl Service {
    /// Serves plaintext HTTP/2 on a listener until `drain` is cancelled and the calls have ended.
    ///
    /// # Errors
    /// When the listener itself is lost; a failed accept only pauses.
    pub async fn serve(&self, listener: TcpListener, drain: CancellationToken) -> io::Result<()> {
        self.accept(listener, drain.clone(), |stream, from, slot| {
            let (service, drain) = (self.clone(), drain.clone());
            async move { service.serve_connection(stream, ConnectionState::new(from, Some(slot)), drain).await }
        })
        .await
    }

    /// Serves HTTP/2 over TLS on a listener until `drain` is cancelled and the calls have ended.
    ///
    /// # Errors
    /// When the listener itself is lost; a failed accept only pauses.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        tls: TlsAcceptor,
        drain: CancellationToken,
    ) -> io::Result<()> {
        let handshakes = Arc::new(HandshakeRate::new(self.bounds.handshakes_of_address));
        self.accept(listener, drain.clone(), |stream, from, slot| {
            let (service, drain, tls) = (self.clone(), drain.clone(), tls.clone());
            let handshakes = Arc::clone(&handshakes);
            async move {
                if let Some(peer) = from.address.map(|address| Peer::of(address.ip()))
                    && !handshakes.may_begin(peer)
                {
                    service.count_handshake("too_many");
                    return service.refusals().add(Bound::HandshakesOfAddress, &peer);
                }
                let Some((stream, from)) = service.handshake(stream, from, &slot, tls).await else { return };
                service.serve_connection(stream, ConnectionState::new(from, Some(slot)), drain).await;
            }
        })
        .await
    }

    /// Makes the TLS handshake of a new connection.
    async fn handshake(
        &self,
        stream: TcpStream,
        from: Connection,
        slot: &Slot,
        tls: TlsAcceptor,
    ) -> Option<(TlsStream<TcpStream>, Connection)> {
        let peer = from.address;
        let evicted = slot.evicted();
        let made = tokio::select! {
            made = timeout(self.timeouts.handshake, tls.accept(stream)) => made,
            () = evicted.cancelled() => {
                self.count_handshake("evicted");
                self.closed().add(CloseReason::Evicted);
                return None;
            }
        };
        match made {
            Ok(Ok(stream)) => {
                self.count_handshake("ok");
                let certificate = client_certificate(stream.get_ref().1);
                Some((stream, Connection { certificate, ..from }))
            }
            Ok(Err(error)) => {
                self.count_handshake(if is_revoked(&error) { "revoked" } else { "failed" });
                debug!(?peer, %error, "handshake failed");
                None
            }
            Err(_) => {
                self.count_handshake("timed_out");
                debug!(?peer, "handshake did not end in time");
                None
            }
        }
    }

    fn count_handshake(&self, outcome: &'static str) {
        if let Some(authorizer) = &self.authorizer {
            authorizer.stats().handshakes.add(outcome);
        }
    }

    /// Takes connections until `drain` is cancelled, and waits for them to end.
    async fn accept<F, C>(&self, listener: TcpListener, drain: CancellationToken, serve: F) -> io::Result<()>
    where
        F: Fn(TcpStream, Connection, Slot) -> C,
        C: Future<Output = ()> + Send + 'static,
    {
        let connection_permits = Arc::new(Semaphore::new(self.bounds.connections));
        let address_permits = KeyedSemaphore::new(self.bounds.connections_of_address);
        // Unauthenticated peers leave room for authenticated ones, and for peers from elsewhere.
        let unauthenticated = FairSlots::new(self.bounds.unauthenticated, self.bounds.handshakes_of_address);
        let connections = TaskTracker::new();
        loop {
            if connection_permits.available_permits() == 0 {
                self.refusals().add(Bound::Connections, &"the next of this port");
            }
            let Ok(permit) = Arc::clone(&connection_permits).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let from = Peer::of(peer.ip());
            let Some(address_permit) = address_permits.try_acquire(from) else {
                self.refusals().add(Bound::ConnectionsOfAddress, &from);
                continue;
            };
            let slot = match Slot::acquire(&unauthenticated, from) {
                Ok(slot) => slot,
                Err(no_slot) => {
                    self.count_handshake("too_many");
                    let bound = match no_slot {
                        NoSlot::PeerLimit => Bound::HandshakesOfAddress,
                        NoSlot::AllTaken => Bound::Unauthenticated,
                    };
                    self.refusals().add(bound, &from);
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let connection = serve(stream, Connection { address: Some(peer), certificate: None }, slot);
            connections.spawn(async move {
                connection.await;
                drop((permit, address_permit));
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }
}

/// Tells whether a handshake failed since the client's certificate is revoked.
fn is_revoked(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked)))
}

/// How often each peer may begin a handshake: as many a second as it may have open at once.
struct HandshakeRate {
    limiter: Mutex<Limiter<Peer>>,
    started: Instant,
}

impl HandshakeRate {
    fn new(at_once: usize) -> Self {
        let per_second = u32::try_from(at_once).unwrap_or(u32::MAX);
        let of_peer = Rate { burst: per_second.saturating_mul(4), per_second };
        let total = Rate { burst: u32::MAX, per_second: u32::MAX };
        let limits = Limits { per_client: of_peer, total, max_clients: PEERS };
        Self { limiter: Mutex::new(Limiter::new(limits, Duration::ZERO)), started: Instant::now() }
    }

    fn may_begin(&self, peer: Peer) -> bool {
        self.limiter.lock().take(peer, self.started.elapsed()).is_ok()
    }
}
