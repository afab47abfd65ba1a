//! Ports: who is let in to begin a connection, and where its handshake is made.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::{Connection, client_identity};
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

use crate::limits::{Arrival, Bound, End, Slot};
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
        self.accept(listener, drain.clone(), |stream, from, place| {
            let (service, drain) = (self.clone(), drain.clone());
            async move { service.serve_connection(stream, Arrival::new(from, Some(place)), drain).await }
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
        let handshakes = Arc::new(Handshakes::new(self.bounds.handshakes_of_address));
        self.accept(listener, drain.clone(), |stream, from, place| {
            let (service, drain, tls) = (self.clone(), drain.clone(), tls.clone());
            let handshakes = Arc::clone(&handshakes);
            async move {
                if let Some(peer) = from.address.map(|address| Peer::of(address.ip()))
                    && !handshakes.let_begin(peer)
                {
                    service.count_handshake("too_many");
                    return service.refusals().add(Bound::HandshakesOfAddress, &peer);
                }
                let Some((stream, from)) = service.handshake(stream, from, &place, tls).await else { return };
                service.serve_connection(stream, Arrival::new(from, Some(place)), drain).await;
            }
        })
        .await
    }

    /// Makes the handshake of a newcomer.
    async fn handshake(
        &self,
        stream: TcpStream,
        from: Connection,
        place: &Slot,
        tls: TlsAcceptor,
    ) -> Option<(TlsStream<TcpStream>, Connection)> {
        let peer = from.address;
        let displaced = place.evicted();
        let made = tokio::select! {
            made = timeout(self.patience.handshake, tls.accept(stream)) => made,
            () = displaced.cancelled() => {
                self.count_handshake("displaced");
                self.ends().add(End::Displaced);
                return None;
            }
        };
        match made {
            Ok(Ok(stream)) => {
                self.count_handshake("ok");
                let certificate = client_identity(stream.get_ref().1);
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
        if let Some(gate) = &self.gate {
            gate.stats().handshakes.add(outcome);
        }
    }

    /// Takes connections until `drain` is cancelled, and waits for them to end.
    async fn accept<F, C>(&self, listener: TcpListener, drain: CancellationToken, serve: F) -> io::Result<()>
    where
        F: Fn(TcpStream, Connection, Slot) -> C,
        C: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.bounds.connections));
        let of_address = KeyedSemaphore::new(self.bounds.connections_of_address);
        // Who is not known yet leaves room for those that are, and for newcomers from elsewhere.
        let newcomers = FairSlots::new(self.bounds.newcomers, self.bounds.handshakes_of_address);
        let connections = TaskTracker::new();
        loop {
            if places.available_permits() == 0 {
                self.refusals().add(Bound::Connections, &"the next of this port");
            }
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
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
            let Some(own) = of_address.try_acquire(from) else {
                self.refusals().add(Bound::ConnectionsOfAddress, &from);
                continue;
            };
            let newcomer = match Slot::acquire(&newcomers, from) {
                Ok(newcomer) => newcomer,
                Err(full) => {
                    self.count_handshake("too_many");
                    let bound = match full {
                        NoSlot::PeerLimit => Bound::HandshakesOfAddress,
                        NoSlot::AllTaken => Bound::Newcomers,
                    };
                    self.refusals().add(bound, &from);
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "cannot switch off delays");
            }
            let connection = serve(stream, Connection { address: Some(peer), certificate: None }, newcomer);
            connections.spawn(async move {
                connection.await;
                drop((place, own));
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

/// How often each peer may begin a handshake: as many a second as it may have at once.
struct Handshakes {
    begun: Mutex<Limiter<Peer>>,
    since: Instant,
}

impl Handshakes {
    fn new(at_once: usize) -> Self {
        let per_second = u32::try_from(at_once).unwrap_or(u32::MAX);
        let of_peer = Rate { burst: per_second.saturating_mul(4), per_second };
        let total = Rate { burst: u32::MAX, per_second: u32::MAX };
        let limits = Limits { per_client: of_peer, total, max_clients: PEERS };
        Self { begun: Mutex::new(Limiter::new(limits, Duration::ZERO)), since: Instant::now() }
    }

    fn let_begin(&self, peer: Peer) -> bool {
        self.begun.lock().take(peer, self.since.elapsed()).is_ok()
    }
}
