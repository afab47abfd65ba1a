//! Opens one delta stream, in clear text or over TLS, as a ztunnel would.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// The largest response that a ztunnel decodes, in bytes (200 MiB).
pub const RESPONSE_LIMIT: usize = 200 * 1024 * 1024;

/// How long a ztunnel waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a ztunnel pings an HTTP/2 connection, and how long it waits for the answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// HTTP/2 flow control windows in bytes: large enough that a full sync is not a ping-pong.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// Where a control plane is reached, and what is shown to it.
#[derive(Clone, Default)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// Absent: HTTP/2 in clear text.
    pub tls: Option<Tls>,
    /// A certificate to show (chain and private key, PEM). A ztunnel shows none, a waypoint does.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Sent as `authorization: Bearer …`.
    pub token: Option<String>,
    /// Further metadata of the call, such as `clusterid`.
    pub metadata: Vec<(String, String)>,
    /// Where to come from over TLS; absent: as the system chooses.
    pub from: Option<IpAddr>,
    /// The time at which certificates are verified; absent: that of the system.
    pub time: Option<Arc<dyn TimeProvider>>,
}

/// How the server's certificate is checked.
#[derive(Clone)]
pub struct Tls {
    /// Trusted roots, PEM.
    pub roots_pem: Vec<u8>,
    /// The name that the certificate must be for; absent: the host of the address.
    pub server_name: Option<String>,
}

/// An open stream: requests in, responses out.
pub struct Wire {
    /// Requests written here are sent in order; dropping it ends the stream from this side.
    pub requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    /// Responses as they arrive.
    pub responses: Streaming<DeltaDiscoveryResponse>,
}

/// Why no stream could be opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is no connection: bad address, refused, TLS failed.
    Connect(anyhow::Error),
    /// The server ended the call before its first answer.
    Refused(Status),
}

impl OpenError {
    /// The gRPC status code: that of the server, or `Unavailable` without a connection.
    pub fn code(&self) -> Code {
        match self {
            Self::Connect(_) => Code::Unavailable,
            Self::Refused(status) => status.code(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error:#}"),
            Self::Refused(status) => write!(f, "stream refused: {:?}: {}", status.code(), status.message()),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens a stream and sends `first` on it; returns once the server accepted the call.
///
/// # Errors
/// [`OpenError::Connect`] without a connection, [`OpenError::Refused`] if the server ended the call.
pub async fn open(target: &Target, first: Vec<DeltaDiscoveryRequest>) -> Result<Wire, OpenError> {
    let channel = channel(target).await.map_err(OpenError::Connect)?;
    let (requests, outbound) = mpsc::unbounded_channel();
    for request in first {
        // the receiver is held just below: this cannot fail
        let _ = requests.send(request);
    }
    let mut call = Request::new(UnboundedReceiverStream::new(outbound));
    let pairs = target.metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let bearer = target.token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
    for (key, value) in pairs.chain(bearer) {
        let key: AsciiMetadataKey = key.parse().context("metadata key").map_err(OpenError::Connect)?;
        let value: AsciiMetadataValue =
            value.parse().context("metadata value").map_err(OpenError::Connect)?;
        call.metadata_mut().insert(key, value);
    }
    let mut grpc = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(RESPONSE_LIMIT)
        .max_encoding_message_size(usize::MAX);
    grpc.ready().await.context("connection lost").map_err(OpenError::Connect)?;
    let path = http::uri::PathAndQuery::from_static(proto::rpc_path::DELTA_AGGREGATED_RESOURCES);
    let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let responses = grpc.streaming(call, path, codec).await.map_err(OpenError::Refused)?.into_inner();
    Ok(Wire { requests, responses })
}

/// Connects as a ztunnel does.
///
/// # Errors
/// Without a connection: bad address, refused, TLS failed.
pub async fn channel(target: &Target) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.address))
        .with_context(|| format!("address {:?} is not host:port", target.address))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let Some(tls) = &target.tls else { return Ok(endpoint.connect().await?) };
    let connector = tls_connector(tls, target)?;
    let name = server_name(target, tls)?;
    let origin = format!("https://{}", target.address).parse().context("origin")?;
    let target = target.clone();
    let dial = tower::service_fn(move |_: http::Uri| {
        let (connector, name, target) = (connector.clone(), name.clone(), target.clone());
        async move { dial_tls(connector, name, &target).await.map(TokioIo::new) }
    });
    Ok(endpoint.origin(origin).connect_with_connector(dial).await?)
}

/// Connects over TLS and leaves it at that.
///
/// # Errors
/// Without a connection, and without TLS.
pub async fn dial(target: &Target) -> anyhow::Result<TlsStream<TcpStream>> {
    let tls = target.tls.as_ref().context("no TLS")?;
    Ok(dial_tls(tls_connector(tls, target)?, server_name(target, tls)?, target).await?)
}

/// The name that the server's certificate must be for.
fn server_name(target: &Target, tls: &Tls) -> anyhow::Result<ServerName<'static>> {
    let address = target.address.as_str();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = tls.server_name.clone().unwrap_or(host);
    ServerName::try_from(name.clone()).with_context(|| format!("server name {name:?}"))
}

async fn dial_tls(
    connector: TlsConnector,
    name: ServerName<'static>,
    target: &Target,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = tcp(target).await?;
    tcp.set_nodelay(true)?;
    connector.connect(name, tcp).await
}

/// Connects from where the target says, without TLS.
///
/// # Errors
/// Without a connection.
pub async fn tcp(target: &Target) -> std::io::Result<TcpStream> {
    let Some(from) = target.from else { return TcpStream::connect(&target.address).await };
    let found = tokio::net::lookup_host(&target.address).await?;
    let none = || std::io::Error::other(format!("{} has no address of the kind of {from}", target.address));
    let to = found.into_iter().find(|to| to.is_ipv4() == from.is_ipv4()).ok_or_else(none)?;
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

fn tls_connector(tls: &Tls, target: &Target) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.roots_pem) {
        roots.add(certificate.context("root certificate")?).context("root certificate")?;
    }
    anyhow::ensure!(!roots.is_empty(), "no root certificate in the PEM given");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let time = target.time.clone().unwrap_or_else(|| Arc::new(DefaultTimeProvider));
    let config = rustls::ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match &target.certificate {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().context("chain")?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).context("key")?)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
