//! Ports: accepting connections within the bounds, and their TLS handshakes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::{Connection, client_certificate};
use limits::{Full, Peer, PeerLimiter, Rate};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::limits::{Bound, CloseReason, ConnectionState, PeerSlots, Places, Slot, peer_slots};
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
        let (service, until) = (self.clone(), drain.clone());
        let places = Arc::new(Places::of_addresses(&self.bounds));
        self.accept(listener, drain, move |stream, from, slot| {
            let (service, drain) = (service.clone(), until.clone());
            let port = Some((slot, Arc::clone(&places)));
            async move { service.serve_connection(stream, ConnectionState::new(from, port), drain).await }
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
        let places = Arc::new(Places::of_clients(&self.bounds));
        let (service, until) = (self.clone(), drain.clone());
        self.accept(listener, drain, move |stream, from, slot| {
            let (service, drain, tls) = (service.clone(), until.clone(), tls.clone());
            let (handshakes, places) = (Arc::clone(&handshakes), Arc::clone(&places));
            async move {
                let made = service.handshake(stream, from, &slot, &handshakes, tls).await;
                let Some((stream, from)) = made else { return };
                let state = ConnectionState::new(from, Some((slot, places)));
                service.serve_connection(stream, state, drain).await;
            }
        })
        .await
    }

    /// Acquires a slot for a peer, and counts at which bound another was evicted for it.
    fn slot(&self, slots: &PeerSlots, peer: Peer) -> Option<Slot> {
        match Slot::acquire(slots, peer) {
            Ok((slot, evicted)) => {
                if let Some(evicted) = evicted {
                    match evicted.at {
                        Full::Holder => self.refusals().add(Bound::HandshakesOfAddress, &evicted.holder),
                        Full::Group => self.refusals().add(Bound::HandshakesOfAddress, &evicted.group),
                        Full::Total => self.refusals().add(Bound::Unauthenticated, &evicted.holder),
                    }
                }
                Some(slot)
            }
            Err(error) => {
                debug!(%peer, %error, "refused a connection");
                None
            }
        }
    }

    /// Waits until the client says something; false if it does not in time, or lost its slot.
    async fn begins(&self, stream: &TcpStream, slot: &Slot) -> bool {
        let limit = self.timeouts.handshake.min(self.timeouts.first_call);
        let (evicted, mut first) = (slot.evicted(), [0; 1]);
        let begun = tokio::select! {
            begun = timeout(limit, stream.peek(&mut first)) => begun,
            () = evicted.cancelled() => {
                self.count_handshake("evicted");
                self.closed().add(CloseReason::Evicted);
                return false;
            }
        };
        if begun.is_err() {
            self.count_handshake("timed_out");
            self.closed().add(CloseReason::NoCall);
        }
        matches!(begun, Ok(Ok(1)))
    }

    /// Serves plaintext HTTP/2 on one connection that came by no port, until it ends or `drain` is cancelled.
    pub async fn serve_one<I>(&self, io: I, drain: CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_connection(io, ConnectionState::new(Connection::default(), None), drain).await;
    }

    /// Makes the TLS handshake of a new connection.
    async fn handshake(
        &self,
        stream: TcpStream,
        from: Connection,
        slot: &Slot,
        handshakes: &HandshakeRate,
        tls: TlsAcceptor,
    ) -> Option<(TlsStream<TcpStream>, Connection)> {
        let peer = from.address;
        let evicted = slot.evicted();
        let make = async {
            if peer.is_some_and(|peer| !handshakes.may_begin(Peer::of(peer.ip()))) {
                return Ok(None);
            }
            tls.accept(stream).await.map(Some)
        };
        let made = tokio::select! {
            made = timeout(self.timeouts.handshake, make) => made,
            () = evicted.cancelled() => {
                self.count_handshake("evicted");
                self.closed().add(CloseReason::Evicted);
                return None;
            }
        };
        match made {
            Ok(Ok(None)) => {
                self.count_handshake("too_many");
                if let Some(peer) = peer {
                    self.refusals().add(Bound::HandshakesOfAddress, &Peer::of(peer.ip()));
                }
                None
            }
            Ok(Ok(Some(stream))) => {
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
        F: Fn(TcpStream, Connection, Slot) -> C + Send + Sync + 'static,
        C: Future<Output = ()> + Send + 'static,
    {
        // Unauthenticated peers have room of their own, and leave some for peers from elsewhere. Those that say nothing
        // have another: they keep nobody out who does, nor take a handshake from it.
        let slots = || Arc::new(peer_slots(self.bounds.unauthenticated, self.bounds.handshakes_of_address));
        let (silent, unauthenticated) = (slots(), slots());
        let serve = Arc::new(serve);
        let connections = TaskTracker::new();
        loop {
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
            let Some(waits) = self.slot(&silent, from) else { continue };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let (service, unauthenticated, serve) =
                (self.clone(), Arc::clone(&unauthenticated), Arc::clone(&serve));
            connections.spawn(async move {
                if !service.begins(&stream, &waits).await {
                    return;
                }
                let Some(slot) = service.slot(&unauthenticated, from) else { return };
                drop(waits);
                let connection = Connection { address: Some(peer), certificate: None };
                serve(stream, connection, slot).await;
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
    limiter: Mutex<PeerLimiter>,
    started: Instant,
}

impl HandshakeRate {
    fn new(at_once: usize) -> Self {
        let per_second = u32::try_from(at_once).unwrap_or(u32::MAX);
        let of_peer = Rate { burst: per_second.saturating_mul(4), per_second };
        let limiter = PeerLimiter::new(of_peer, PEERS, Duration::ZERO);
        Self { limiter: Mutex::new(limiter), started: Instant::now() }
    }

    fn may_begin(&self, peer: Peer) -> bool {
        self.limiter.lock().take(peer, self.started.elapsed()).is_ok()
    }
}
