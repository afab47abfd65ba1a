//! The client's side: asks an authority for a certificate, as a ztunnel does.

use crate::grpc::unary;
use ca::SigningKey;
use http::{HeaderMap, HeaderValue, header};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proto::citadel::{IstioCertificateRequest, IstioCertificateResponse};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Why no certificate was had.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The roots cannot be read.
    #[error("cannot read the roots: {0}")]
    Roots(String),
    /// The client certificate or its key cannot be used.
    #[error("cannot use the client certificate: {0}")]
    Client(String),
    /// The name cannot be one of a server.
    #[error("{0:?} is no name of a server; give one by --server-name")]
    ServerName(String),
    /// There is no connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system or TLS says.
        source: io::Error,
    },
    /// A key cannot be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] ca::KeyError),
    /// The call failed on its way.
    #[error("the request to {address} failed: {detail}")]
    Call {
        /// `host:port`.
        address: String,
        /// What went wrong.
        detail: String,
    },
    /// The authority refuses.
    #[error("{address} refuses: {message} (gRPC status {code})")]
    Refused {
        /// `host:port`.
        address: String,
        /// The status code.
        code: u8,
        /// What it says.
        message: String,
    },
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub struct CertificateTarget {
    /// `host:port`.
    pub address: String,
    /// The name that the server's certificate must have.
    pub server_name: String,
    /// The roots to trust, PEM.
    pub roots_pem: Vec<u8>,
    /// The bearer token; empty sends none.
    pub token: String,
    /// A client certificate (chain and private key, PEM) to show in the handshake.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct NewCertificate {
    /// The private key, PEM. A secret.
    pub key_pem: String,
    /// The leaf, intermediates, and last the roots, PEM.
    pub chain: Vec<String>,
}

/// How long connecting and asking may take. A server that refuses the client's certificate does so after
/// the client has begun to ask; not every such end reaches the call.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks for a certificate: of `identity` (a SPIFFE id), or else of the caller itself, for `seconds` (0
/// for the default).
///
/// # Errors
/// [`RequestError`].
pub async fn request_certificate(
    target: &CertificateTarget,
    identity: Option<&str>,
    seconds: i64,
) -> Result<NewCertificate, RequestError> {
    let address = || target.address.clone();
    let key = SigningKey::generate_p256()?;
    let csr = key.request_pem(&identity.into_iter().collect::<Vec<_>>())?;
    let metadata = identity.map(|identity| Struct {
        fields: [(
            "ImpersonatedIdentity".to_owned(),
            Value { kind: Some(Kind::StringValue(identity.to_owned())) },
        )]
        .into(),
    });
    let message = IstioCertificateRequest { csr, validity_duration: seconds, metadata };
    let failed = |detail: String| RequestError::Call { address: address(), detail };
    let mut headers = HeaderMap::new();
    if !target.token.is_empty() {
        let bearer = HeaderValue::try_from(format!("Bearer {}", target.token.trim()));
        let bearer = bearer.map_err(|_| failed("the token is no text of one line".to_owned()))?;
        headers.insert(header::AUTHORIZATION, bearer);
    }
    let ask = async {
        let stream = connect(target).await?;
        let path = proto::rpc_path::CREATE_CERTIFICATE;
        let answer =
            unary::<_, _, IstioCertificateResponse>(stream, &target.address, path, headers, &message);
        answer.await.map_err(|e| failed(e.to_string()))
    };
    let answer = timeout(LIMIT, ask).await;
    match answer.map_err(|_| failed(format!("no answer in {} s", LIMIT.as_secs())))?? {
        Ok(response) => Ok(NewCertificate { key_pem: key.to_pem().to_owned(), chain: response.cert_chain }),
        Err((code, message)) => Err(RequestError::Refused { address: address(), code, message }),
    }
}

async fn connect(
    target: &CertificateTarget,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, RequestError> {
    let failed = |source| RequestError::Connect { address: target.address.clone(), source };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&target.roots_pem) {
        let root = root.map_err(|e| RequestError::Roots(e.to_string()))?;
        roots.add(root).map_err(|e| RequestError::Roots(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(RequestError::Roots("there is no certificate among them".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(io::Error::other(e)))?
        .with_root_certificates(roots);
    let mut config = match &target.client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let chain = chain.map_err(|e| RequestError::Client(e.to_string()))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| RequestError::Client(e.to_string()))?;
            config.with_client_auth_cert(chain, key).map_err(|e| RequestError::Client(e.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(target.server_name.clone())
        .map_err(|_| RequestError::ServerName(target.server_name.clone()))?;
    let tcp = TcpStream::connect(&target.address).await.map_err(failed)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(failed)
}
