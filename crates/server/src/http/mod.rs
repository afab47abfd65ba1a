//! The HTTP/1 ports: plain ones for health and for monitoring, one over TLS for webhooks.
//!
//! A client takes little of them: connections are few and short, and a peer that holds as many as it may, or the most
//! when all slots are taken, loses its oldest, so that the kubelet is answered beside any flood.

use crate::limits::{Slot, peer_slots};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use limits::Peer;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where a request comes from: an extension of each.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// How many connections clients may have, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_of_address: usize,
    /// For a handshake, and for the head of a request, the first one or the next.
    pub head: Duration,
    /// For a whole connection, however many requests it has.
    pub lifetime: Duration,
    /// For what is open when the process stops, or the connection has reached its lifetime.
    pub drain: Duration,
}

impl Default for HttpBounds {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_of_address: 64,
            head: Duration::from_secs(10),
            lifetime: Duration::from_secs(600),
            drain: Duration::from_secs(1),
        }
    }
}

/// Serves until `stop` is cancelled and what is open has ended. Handlers find who asks as an extension: a [`Peer`].
pub async fn serve(listener: TcpListener, router: Router, bounds: HttpBounds, stop: CancellationToken) {
    serve_by(listener, router, None, bounds, stop).await;
}

/// As [`serve`], over TLS.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    tls: TlsAcceptor,
    bounds: HttpBounds,
    stop: CancellationToken,
) {
    serve_by(listener, router, Some(tls), bounds, stop).await;
}

async fn serve_by(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    bounds: HttpBounds,
    stop: CancellationToken,
) {
    let slots = peer_slots(bounds.connections, bounds.connections_of_address);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let from = Peer::of(peer.ip());
        match Slot::acquire(&slots, from) {
            Ok((slot, _)) => {
                let (router, stop) =
                    (router.clone().layer(Extension(from)).layer(Extension(PeerAddress(peer))), stop.clone());
                match tls.clone() {
                    None => drop(connections.spawn(connection(stream, router, slot, bounds, stop))),
                    Some(tls) => drop(connections.spawn(secure(stream, tls, router, slot, bounds, stop))),
                }
            }
            Err(error) => tracing::debug!(%peer, %error, "refused a connection for HTTP"),
        }
    }
    connections.close();
    connections.wait().await;
}

/// Pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Makes the handshake of a connection, and serves it.
async fn secure(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    slot: Slot,
    bounds: HttpBounds,
    stop: CancellationToken,
) {
    let evicted = slot.evicted();
    let made = tokio::select! {
        made = timeout(bounds.head, tls.accept(stream)) => made,
        () = evicted.cancelled() => return,
        () = stop.cancelled() => return,
    };
    match made {
        Ok(Ok(stream)) => connection(stream, router, slot, bounds, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake for HTTP failed"),
        Err(_) => tracing::debug!("a handshake for HTTP did not end in time"),
    }
}

async fn connection<I>(stream: I, router: Router, slot: Slot, bounds: HttpBounds, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let evicted = slot.evicted();
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection for HTTP broke");
            }
            return;
        }
        () = evicted.cancelled() => return,
        () = tokio::time::sleep(bounds.lifetime) => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that has sent half a request must not keep the process running.
    let _ = timeout(bounds.drain, connection).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio_util::sync::DropGuard;

    /// Limit of what ends by itself.
    const LIMIT: Duration = Duration::from_secs(60);
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    async fn start(bounds: HttpBounds) -> (SocketAddr, DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "here" }));
        tokio::spawn(serve(listener, router, bounds, stop.clone()));
        (address, stop.drop_guard())
    }

    async fn dial(from: [u8; 4], to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(to).await.unwrap()
    }

    /// Reads until the server ends the connection.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut received = Vec::new();
        let read = timeout(LIMIT, stream.read_to_end(&mut received)).await.expect("it stays open");
        drop(read);
        String::from_utf8(received).unwrap()
    }

    #[tokio::test]
    async fn half_a_request_and_an_idle_connection_end() {
        let (address, _stop) = start(HttpBounds { head: LIMIT / 600, ..HttpBounds::default() }).await;
        for sent in ["", "GET / HTTP/1.1\r\nHost:", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut stream = dial([127, 0, 0, 1], address).await;
            stream.write_all(sent.as_bytes()).await.unwrap();
            let answer = rest(&mut stream).await;
            assert_eq!(answer.starts_with("HTTP/1.1 200"), sent.ends_with("\r\n\r\n"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_one_address_leaves_another_its_answer() {
        let bounds = HttpBounds { connections: 4, connections_of_address: 4, ..HttpBounds::default() };
        let (address, _stop) = start(bounds).await;
        let mut flood = Vec::new();
        for _ in 0..5 {
            flood.push(dial([127, 0, 0, 2], address).await);
        }
        assert_eq!(rest(&mut flood[0]).await, "", "it holds as many as it may: its oldest goes");
        let mut probe = dial([127, 0, 0, 1], address).await;
        probe.write_all(ASK).await.unwrap();
        let answer = rest(&mut probe).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        assert_eq!(rest(&mut flood[1]).await, "", "the oldest was evicted");
    }

    #[tokio::test]
    async fn a_connection_that_does_not_read_ends() {
        let (address, _stop) = start(HttpBounds { lifetime: LIMIT / 60, ..HttpBounds::default() }).await;
        let mut stream = dial([127, 0, 0, 1], address).await;
        // Until the answers fill what is between: then nothing is taken any more.
        let many = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(64);
        let asking = async { while stream.write_all(many.as_bytes()).await.is_ok() {} };
        timeout(LIMIT, asking).await.expect("it stays open");
    }
}
