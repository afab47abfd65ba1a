//! What pods send.

use super::certificates::identity_shown;
use super::pool::Pool;
use super::{NETWORK, OUTBOUND_PORT, PodNetwork, Proxy};
use anyhow::{Context, ensure};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pilothouse_tests::client::Upstream;
use pilothouse_tests::client::upstream::{baggage_of, identity_of};
use proto::workload::Workload;
use rustix::net::sockopt::ip_original_dst;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Whom a pod tunnels to, and as whom.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    to: SocketAddr,
    source: String,
    /// Of which it must show one; empty: any.
    identities: Vec<String>,
}

/// Chooses one of so many.
fn pick(count: usize) -> usize {
    rand::random_range(0..count)
}

impl Proxy {
    /// Takes a connection of a pod to where it goes.
    pub(super) async fn outbound(&self, pod: &PodNetwork, pool: &Pool, mut stream: TcpStream, in_mesh: bool) {
        let to = match ip_original_dst(&stream) {
            Ok(to) => SocketAddr::V4(to),
            Err(error) => return self.log(&format!("outbound {}: {error}", pod.address)),
        };
        let ended = self.carry(pod, pool, &mut stream, to, in_mesh).await;
        let ended = ended.unwrap_or_else(|error| format!("{error:#}"));
        self.log(&format!("outbound {} to {to}: {ended}", pod.address));
    }

    /// Returns the way that the connection went.
    async fn carry(
        &self,
        pod: &PodNetwork,
        pool: &Pool,
        stream: &mut TcpStream,
        to: SocketAddr,
        in_mesh: bool,
    ) -> anyhow::Result<String> {
        ensure!(!(pod.is_own(to.ip()) && to.port() == OUTBOUND_PORT), "a connection to the proxy itself");
        let upstream = self.client.with(|state| match in_mesh {
            true => state.upstream(NETWORK, to, pick),
            false => state.plain_upstream(NETWORK, to, pick),
        });
        match upstream.map_err(|why| anyhow::anyhow!("refused: {why}"))? {
            Upstream::Direct(to) => {
                copy_bidirectional(stream, &mut pod.dial(to, None).await?).await?;
                Ok(format!("in plain text to {to}"))
            }
            Upstream::Tunnel { to, authority, identities } => {
                let source = self.source(pod).await?;
                let peer = Peer { to, source: identity_of(&source), identities };
                let request = || {
                    let request = Request::builder().method(Method::CONNECT).uri(&authority);
                    Ok(request.header("baggage", baggage_of(&source)).body(Empty::<Bytes>::new())?)
                };
                let (response, _place) = pool.ask(&peer, request, || self.connect_to(pod, &peer)).await?;
                ensure!(response.status() == StatusCode::OK, "{to} answers {}", response.status());
                let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await?);
                copy_bidirectional(stream, &mut tunnel).await?;
                Ok(format!("as {} by HBONE to {to}", peer.source))
            }
        }
    }

    /// The workload that a pod is.
    async fn source(&self, pod: &PodNetwork) -> anyhow::Result<Workload> {
        let what = format!("the workload of {}", pod.address);
        let ask =
            self.client.until_some(&what, |state| state.workload_by_ip(NETWORK, pod.address.into()).cloned());
        ask.await
    }

    /// Connects to a peer.
    async fn connect_to(&self, pod: &PodNetwork, peer: &Peer) -> anyhow::Result<TlsStream<TcpStream>> {
        let Peer { to, source, identities } = peer;
        let account = self.certificates.of(source).await?;
        let stream = pod.dial(*to, None).await?;
        // Peers have identities, and no names.
        let name = ServerName::IpAddress(to.ip().into());
        let stream =
            account.connector.connect(name, stream).await.with_context(|| format!("TLS with {to}"))?;
        let shown = identity_shown(stream.get_ref().1.peer_certificates())?;
        ensure!(identities.is_empty() || identities.contains(&shown), "{to} is {shown}, not {identities:?}");
        Ok(stream)
    }
}
