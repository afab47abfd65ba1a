//! A client of an authority that is not ours: asks for certificates as a ztunnel does.

use crate::client::transport::channel;
use crate::client::{Target, Tls};
use anyhow::Context;
use proto::citadel::{IstioCertificateRequest, IstioCertificateResponse};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::time_provider::TimeProvider;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic_prost::ProstCodec;

/// How long connecting and asking may take. A server that refuses the client's certificate does so after
/// the client has begun to ask; not every such end reaches the call.
const LIMIT: Duration = Duration::from_secs(30);

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
    /// The time at which certificates are verified; absent: that of the system.
    pub time: Option<Arc<dyn TimeProvider>>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct NewCertificate {
    /// The private key, PEM.
    pub key_pem: String,
    /// The leaf, intermediates, and last the roots, PEM.
    pub chain: Vec<String>,
}

impl NewCertificate {
    /// Returns the chain without its roots, the key and the roots, as TLS takes them.
    ///
    /// # Errors
    /// When one of them is no PEM of such a thing.
    pub fn tls(
        &self,
    ) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Arc<RootCertStore>)> {
        let (roots, chain) = self.chain.split_last().context("an empty chain")?;
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store.add(root?)?;
        }
        let chain = chain.concat();
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?, Arc::new(store)))
    }
}

/// Why no certificate was had.
#[derive(Debug)]
pub enum RequestError {
    /// There is no connection: bad address, refused, TLS failed.
    Connect(anyhow::Error),
    /// The call failed on its way.
    Call(anyhow::Error),
    /// The authority refuses.
    Refused {
        /// The gRPC status code.
        code: u8,
        /// What it says.
        message: String,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error:#}"),
            Self::Call(error) => write!(f, "the request failed: {error:#}"),
            Self::Refused { code, message } => write!(f, "refused: {message} (gRPC status {code})"),
        }
    }
}

impl Error for RequestError {}

/// Asks for a certificate: of `identity` (a SPIFFE id), or else of the caller itself, for `seconds` (0
/// for the default). The request names the identity too, as external signers want it.
///
/// # Errors
/// [`RequestError`].
pub async fn request_certificate(
    target: &CertificateTarget,
    identity: Option<&str>,
    seconds: i64,
) -> Result<NewCertificate, RequestError> {
    let (key, csr) = key_and_request(identity).map_err(RequestError::Call)?;
    let mut call = tonic::Request::new(IstioCertificateRequest::new(csr, seconds, identity));
    if !target.token.is_empty() {
        let bearer: Result<MetadataValue<Ascii>, _> = format!("Bearer {}", target.token.trim()).parse();
        call.metadata_mut().insert("authorization", bearer.map_err(|e| RequestError::Call(e.into()))?);
    }
    let server = Target {
        address: target.address.clone(),
        tls: Some(Tls { roots_pem: target.roots_pem.clone(), server_name: Some(target.server_name.clone()) }),
        certificate: target.client.clone(),
        time: target.time.clone(),
        ..Target::default()
    };
    let answer = tokio::time::timeout(LIMIT, ask(&server, call)).await;
    let chain = answer.map_err(|late| RequestError::Call(late.into()))??;
    Ok(NewCertificate { key_pem: key.serialize_pem(), chain })
}

fn key_and_request(identity: Option<&str>) -> anyhow::Result<(KeyPair, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(identity) = identity {
        params.subject_alt_names.push(SanType::URI(identity.try_into()?));
    }
    let csr = params.serialize_request(&key)?.pem()?;
    Ok((key, csr))
}

async fn ask(
    server: &Target,
    call: tonic::Request<IstioCertificateRequest>,
) -> Result<Vec<String>, RequestError> {
    let mut grpc = tonic::client::Grpc::new(channel(server).await.map_err(RequestError::Connect)?);
    grpc.ready().await.map_err(|error| RequestError::Call(error.into()))?;
    let path = http::uri::PathAndQuery::from_static(proto::rpc_path::CREATE_CERTIFICATE);
    let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
    match grpc.unary(call, path, codec).await {
        Ok(answer) => Ok(answer.into_inner().cert_chain),
        // A status with a cause is one that the client made up.
        Err(status) if status.source().is_some() => Err(RequestError::Call(status.into())),
        Err(status) => Err(RequestError::Refused {
            code: u8::try_from(i32::from(status.code())).unwrap_or(u8::MAX),
            message: status.message().to_owned(),
        }),
    }
}
