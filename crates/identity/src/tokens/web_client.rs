//! A client for URLs that others chose, which does not follow them to link-local or cloud metadata services, nor to
//! private ones where they are not configured.
//!
//! ```text
//!  URL ─▶ scheme, no user ─▶ resolve ─▶ filter addresses ─▶ TLS ─▶ GET ─▶ 200: body, up to a size
//!   ▲                                                              │
//!   └──────────────────── redirect, up to a limit ◀────────────────┘
//! ```
//!
//! Addresses are checked after resolution, for each redirect again: a name that resolves to the metadata
//! service of a cloud is refused like its address.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Maximum size of a body, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Maximum number of redirects.
const MAX_REDIRECTS: usize = 3;

/// Maximum number of addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Size of the read buffer, in bytes; the response headers must fit.
const BUFFER: usize = 32 * 1024;

/// Addresses of cloud metadata services outside of the link-local range.
const METADATA: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];

/// Why a document cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The URL is invalid, or its scheme is not https.
    #[error("{0:?} is not an https:// URL")]
    Url(String),
    /// The host resolves to an address that must not be dialled.
    #[error("{0} is at an address that must not be dialled: link-local, or a cloud metadata service")]
    Forbidden(String),
    /// The host resolves to addresses of which none is public or configured.
    #[error("{0} is at no public address, and at none of the networks that are configured for it")]
    Private(String),
    /// There are too many redirects.
    #[error("more than {} redirects are not followed", MAX_REDIRECTS)]
    Redirects,
    /// The server returns another status.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// The document is too large.
    #[error("the document has more than {} bytes", MAX_BYTES)]
    TooLong,
    /// The connection failed.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// The server violates HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Why the client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file of roots cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// There is no root certificate.
    #[error("there is no certificate in {0}")]
    None(String),
    /// TLS cannot be configured.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Where a client goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Whether it goes by plain HTTP as well.
    pub plain: bool,
    /// The networks besides public addresses; `None` for all.
    pub networks: Option<Vec<IpNet>>,
}

impl Reach {
    /// By HTTPS to any network: for what an operator configures.
    pub const CONFIGURED: Self = Self { plain: false, networks: None };

    fn includes(&self, address: IpAddr) -> bool {
        let Some(networks) = &self.networks else { return true };
        is_public(address) || networks.iter().any(|network| network.contains(&address))
    }
}

/// Fetches documents.
#[derive(Clone)]
pub struct WebClient {
    tls: TlsConnector,
    reach: Arc<Reach>,
}

impl WebClient {
    /// Verifies servers with `roots`, which is PEM or the path of a PEM file, or else with the system roots.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn new(roots: Option<&str>, reach: Reach) -> Result<Self, RootsError> {
        // Blocks that are not certificates are skipped.
        let of_pem = |text: &[u8]| CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect();
        let (found, place) = match roots {
            Some(pem) if pem.contains("-----BEGIN ") => (of_pem(pem.as_bytes()), "the text given".to_owned()),
            Some(path) => {
                let text = std::fs::read(path)
                    .map_err(|source| RootsError::File { path: path.to_owned(), source })?;
                (of_pem(&text), path.to_owned())
            }
            None => (rustls_native_certs::load_native_certs().certs, "the system".to_owned()),
        };
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(found);
        if added == 0 {
            return Err(RootsError::None(place));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), reach: Arc::new(reach) })
    }

    /// Fetches the document at a URL. Has no timeout of its own.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn get(&self, url: &str) -> Result<Bytes, WebError> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let uri: Uri = url.parse().map_err(|_| WebError::Url(url.clone()))?;
            let (response, _connection) = self.request(&uri).await?;
            let status = response.status();
            if status == StatusCode::OK {
                return body(response).await;
            }
            let location = response.headers().get(header::LOCATION).filter(|_| status.is_redirection());
            let location = location.and_then(|l| l.to_str().ok()).ok_or(WebError::Status(status))?;
            url = match location.strip_prefix('/') {
                Some(rest) if !rest.starts_with('/') => {
                    let scheme = uri.scheme_str().unwrap_or("https");
                    format!("{scheme}://{}{location}", uri.authority().map_or("", |a| a.as_str()))
                }
                _ => location.to_owned(),
            };
        }
        Err(WebError::Redirects)
    }

    /// Sends one request; the connection lives as long as the returned handle.
    async fn request(&self, uri: &Uri) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), WebError> {
        let invalid = || WebError::Url(uri.to_string());
        let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(invalid)?;
        let usual_port = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") if self.reach.plain => 80,
            _ => return Err(invalid()),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let tcp = dial(host, authority.port_u16().unwrap_or(usual_port), &self.reach).await?;
        let stream: Pin<Box<dyn Stream>> = if usual_port == 443 {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
            Box::pin(self.tls.connect(name, tcp).await?)
        } else {
            Box::pin(tcp)
        };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        let driven = AbortOnDropHandle::new(tokio::spawn(async move {
            // An error also surfaces in the response.
            let _ = connection.await;
        }));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json, application/jwk-set+json")
            .header(header::USER_AGENT, concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|_| invalid())?;
        Ok((sender.send_request(request).await?, driven))
    }
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

async fn body(response: Response<Incoming>) -> Result<Bytes, WebError> {
    let read = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    match read {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(WebError::TooLong),
        Err(error) => Err(io::Error::other(error).into()),
    }
}

/// Connects to one of the allowed addresses of a host.
async fn dial(host: &str, port: u16, reach: &Reach) -> Result<TcpStream, WebError> {
    let mut last = WebError::Forbidden(host.to_owned());
    let mut found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    found.retain(|address| !is_forbidden(address.ip()));
    if !found.is_empty() {
        last = WebError::Private(host.to_owned());
    }
    for address in found.into_iter().filter(|address| reach.includes(address.ip())).take(MAX_ADDRESSES) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Returns whether an address must not be dialled: it belongs to no host, or to a service that trusts
/// whoever can reach it from this machine.
fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            ip.is_link_local()
                || ip.octets()[0] == 0
                || ip.is_broadcast()
                || ip.is_multicast()
                || METADATA.contains(&ip)
        }
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                // The metadata service of AWS, fd00:ec2::/32.
                || ip.segments()[..2] == [0xfd00, 0xec2]
                || embedded(ip).is_some_and(|ip| is_forbidden(ip.into()))
        }
    }
}

/// Tells whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let is_special = ip.is_private()
                || ip.is_loopback()
                || ip.is_documentation()
                || a >= 240
                // Shared by carriers (RFC 6598), of protocols (RFC 6890), and of benchmarks (RFC 2544).
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b));
            !is_special && !is_forbidden(address)
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            let is_special = ip.is_loopback()
                || ip.is_unique_local()
                // Of sites (RFC 3879), of documentation, and translated within a site (RFC 8215).
                || (first & 0xffc0) == 0xfec0
                || (first == 0x2001 && second == 0xdb8)
                || (first == 0x64 && second == 0xff9b && ip.segments()[2] == 1)
                // Compatible with IPv4, given up long ago (RFC 4291).
                || (ip.segments()[..6] == [0; 6])
                || embedded(ip).is_some_and(|ip| !is_public(ip.into()));
            !is_special && !is_forbidden(address)
        }
    }
}

/// Returns the IPv4 address embedded in an IPv6 one: mapped (RFC 4291), translated (RFC 6052) or
/// tunnelled (RFC 3056).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_of_metadata_services_are_never_dialled() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_forbidden(address.parse().unwrap()), "{address}");
        }
        for address in
            ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd00::1", "2001:db8::1"]
        {
            assert!(!is_forbidden(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn host_without_an_allowed_address_is_refused() {
        for host in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "0"] {
            let dialled = dial(host, 443, &Reach::CONFIGURED).await;
            assert!(matches!(dialled, Err(WebError::Forbidden(_))), "{host}");
        }
    }

    #[tokio::test]
    async fn private_addresses_are_dialled_only_where_they_are_configured() {
        let public = Reach { plain: true, networks: Some(vec!["10.1.0.0/16".parse().unwrap()]) };
        for host in
            ["127.0.0.1", "::1", "localhost", "10.2.0.1", "192.168.1.1", "::ffff:127.0.0.1", "fd00::1"]
        {
            assert!(matches!(dial(host, 1, &public).await, Err(WebError::Private(_))), "{host}");
        }
        assert!(public.includes("10.1.2.3".parse().unwrap()));
        for address in [
            "127.0.0.1",
            "10.2.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fec0::1",
            "fe80::1",
            "2001:db8::1",
            "::ffff:10.2.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "::10.2.0.1",
        ] {
            assert!(!public.includes(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"] {
            assert!(public.includes(address.parse().unwrap()), "{address}");
        }
    }
}
