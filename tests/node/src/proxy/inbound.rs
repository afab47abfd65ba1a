//! What comes to pods: through tunnels, or in plain text.

use super::certificates::identity_shown;
use super::{HBONE_PORT, NETWORK, PLAINTEXT_PORT, PodNetwork, Proxy};
use anyhow::{Context, ensure};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pilothouse_tests::client::upstream::identity_of;
use pilothouse_tests::client::{Connection, Decision};
use rustix::net::sockopt::ip_original_dst;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

/// Why a connection is not let in, as a status of HTTP.
struct Refused(StatusCode, String);

impl Proxy {
    /// Serves a connection with tunnels.
    pub(super) async fn tunnels(self: Arc<Self>, pod: Arc<PodNetwork>, stream: TcpStream) {
        if let Err(error) = Arc::clone(&self).take_tunnels(&pod, stream).await {
            self.log(&format!("inbound {}: {error:#}", pod.address));
        }
    }

    async fn take_tunnels(self: Arc<Self>, pod: &Arc<PodNetwork>, stream: TcpStream) -> anyhow::Result<()> {
        let from = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        let workload =
            self.client.with(|state| state.workload_by_ip(NETWORK, pod.address.into()).map(identity_of));
        let account = self.certificates.of(&workload.context("no such workload")?).await?;
        let stream = account.acceptor.accept(stream).await.with_context(|| format!("TLS with {from}"))?;
        let source = identity_shown(stream.get_ref().1.peer_certificates())?;
        let service = service_fn(|request| {
            let (proxy, pod, source) = (Arc::clone(&self), Arc::clone(pod), source.clone());
            async move {
                let answer = proxy.connect(&pod, request, source.clone(), from).await;
                let status = answer.map_or_else(
                    |Refused(status, why)| {
                        proxy.log(&format!("inbound {} from {source}: {status}: {why}", pod.address));
                        status
                    },
                    |()| StatusCode::OK,
                );
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?;
        Ok(())
    }

    /// Takes one tunnel to the application.
    async fn connect(
        self: &Arc<Self>,
        pod: &Arc<PodNetwork>,
        mut request: Request<Incoming>,
        source: String,
        from: SocketAddr,
    ) -> Result<(), Refused> {
        let bad = |why: &str| {
            Refused(StatusCode::BAD_REQUEST, format!("{} {}: {why}", request.method(), request.uri()))
        };
        if request.method() != Method::CONNECT {
            return Err(bad("no CONNECT"));
        }
        let to =
            request.uri().authority().and_then(|authority| authority.as_str().parse::<SocketAddr>().ok());
        let to = to.ok_or_else(|| bad("no address and port"))?;
        if to.ip() != pod.address {
            return Err(bad("not an address of this workload"));
        }
        let (via, what) = (format!("as {source}"), request.uri().to_string());
        self.admit(pod, Some(source), from, to.port())
            .map_err(|why| Refused(StatusCode::UNAUTHORIZED, why))?;
        let absent = |error: anyhow::Error| Refused(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}"));
        let mut application = pod.dial(to, Some(from.ip())).await.map_err(absent)?;
        let (proxy, own) = (Arc::clone(self), pod.address);
        tokio::spawn(async move {
            let carried = async {
                let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut request).await?);
                copy_bidirectional(&mut tunnel, &mut application).await?;
                Ok::<_, anyhow::Error>(())
            };
            let ended = carried.await.map_or_else(|error| format!(": {error:#}"), |()| String::new());
            proxy.log(&format!("inbound {own} {via} to {what}{ended}"));
        });
        Ok(())
    }

    /// Takes a connection in plain text to the application.
    pub(super) async fn plaintext(&self, pod: &PodNetwork, mut stream: TcpStream) {
        let taken = async {
            let (from, to) = (stream.peer_addr()?, ip_original_dst(&stream)?);
            ensure!(![PLAINTEXT_PORT, HBONE_PORT].contains(&to.port()), "a connection to the proxy itself");
            self.admit(pod, None, from, to.port()).map_err(anyhow::Error::msg)?;
            let mut application = pod.dial(to.into(), Some(from.ip())).await?;
            copy_bidirectional(&mut stream, &mut application).await?;
            Ok::<_, anyhow::Error>(())
        };
        let ended = taken.await.map_or_else(|error| format!("{error:#}"), |()| "passed".to_owned());
        self.log(&format!("inbound {} in plain text: {ended}", pod.address));
    }

    /// Asks the policies.
    fn admit(
        &self,
        pod: &PodNetwork,
        source: Option<String>,
        from: SocketAddr,
        port: u16,
    ) -> Result<(), String> {
        let destination_ip = pod.address.into();
        let connection = Connection { source, source_ip: from.ip(), destination_ip, port };
        let decision = self.client.with(|state| {
            let workload = state.workload_by_ip(NETWORK, destination_ip)?;
            Some(state.decide(workload, &connection))
        });
        match decision {
            Some(Decision::Allowed { .. }) => Ok(()),
            Some(Decision::Denied { by: Some(policy) }) => Err(format!("denied by {policy}")),
            Some(Decision::Denied { by: None }) => Err("no policy allows it".to_owned()),
            None => Err("no such workload".to_owned()),
        }
    }
}
