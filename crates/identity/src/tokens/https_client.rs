//! An HTTPS client for configured URLs that does not follow them to link-local or cloud metadata services.
//!
//! ```text
//!  URL ─▶ https, no user ─▶ resolve ─▶ filter addresses ─▶ TLS ─▶ GET ─▶ 200: body, up to a size
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
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
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
pub(crate) enum HttpsError {
    /// The URL is invalid, or its scheme is not https.
    #[error("{0:?} is not an https:// URL")]
    Url(String),
    /// The host resolves to an address that must not be dialled.
    #[error("{0} is at an address that must not be dialled: link-local, or a cloud metadata service")]
    Forbidden(String),
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

/// Fetches documents.
#[derive(Clone)]
pub(crate) struct HttpsClient {
    tls: TlsConnector,
}

impl HttpsClient {
    /// Verifies servers with `roots`, which is PEM or the path of a PEM file, or else with the system roots.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn new(roots: Option<&str>) -> Result<Self, RootsError> {
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
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Fetches the document at an `https://` URL. Has no timeout of its own.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn get(&self, url: &str) -> Result<Bytes, HttpsError> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let uri: Uri = url.parse().map_err(|_| HttpsError::Url(url.clone()))?;
            let (response, _connection) = self.request(&uri).await?;
            let status = response.status();
            if status == StatusCode::OK {
                return body(response).await;
            }
            let location = response.headers().get(header::LOCATION).filter(|_| status.is_redirection());
            let location = location.and_then(|l| l.to_str().ok()).ok_or(HttpsError::Status(status))?;
            url = match location.strip_prefix('/') {
                Some(rest) if !rest.starts_with('/') => {
                    format!("https://{}{location}", uri.authority().map_or("", |a| a.as_str()))
                }
                _ => location.to_owned(),
            };
        }
        Err(HttpsError::Redirects)
    }

    /// Sends one request; the connection lives as long as the returned handle.
    async fn request(&self, uri: &Uri) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), HttpsError> {
        let invalid = || HttpsError::Url(uri.to_string());
        let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(invalid)?;
        if uri.scheme_str() != Some("https") {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
        let tcp = dial(host, authority.port_u16().unwrap_or(443)).await?;
        let stream = self.tls.connect(name, tcp).await?;
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

async fn body(response: Response<Incoming>) -> Result<Bytes, HttpsError> {
    let read = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    match read {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(HttpsError::TooLong),
        Err(error) => Err(io::Error::other(error).into()),
    }
}

/// Connects to one of the allowed addresses of a host.
async fn dial(host: &str, port: u16) -> Result<TcpStream, HttpsError> {
    let mut last = HttpsError::Forbidden(host.to_owned());
    let found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    for address in found.into_iter().filter(|address| !is_forbidden(address.ip())).take(MAX_ADDRESSES) {
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
            assert!(matches!(dial(host, 443).await, Err(HttpsError::Forbidden(_))), "{host}");
        }
    }
}
