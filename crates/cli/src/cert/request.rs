//! Requests a certificate over TLS, as a ztunnel does.

use crate::grpc::deepest;
use anyhow::{Context, anyhow, bail};
use ca::{Certificate, SigningKey};
use proto::citadel::{IstioCertificateRequest, IstioCertificateResponse};
use std::error::Error;
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{self, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// How long connecting and asking may take. A server that refuses the client's certificate does so after
/// the client has begun to ask; not every such end reaches the call.
const LIMIT: Duration = Duration::from_secs(30);

/// Whom to ask, and as whom.
pub struct Target {
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
pub struct NewCertificate {
    /// The private key, PEM. A secret.
    pub key_pem: String,
    /// The leaf, intermediates, and last the roots, PEM.
    pub chain: Vec<String>,
}

/// Requests a certificate: of `identity` (a SPIFFE id), or else of the caller itself, for `seconds` (0
/// for the default).
///
/// # Errors
/// When something given cannot be used, the server cannot be reached, or it refuses: one sentence.
pub async fn request(
    target: &Target,
    identity: Option<&str>,
    seconds: i64,
) -> anyhow::Result<NewCertificate> {
    let endpoint = endpoint(target)?;
    let key = SigningKey::generate_p256().map_err(|error| anyhow!("cannot make a key: {error}"))?;
    let csr = key.request_pem(&identity.into_iter().collect::<Vec<_>>())?;
    let mut call = Request::new(IstioCertificateRequest::new(csr, seconds, identity));
    if !target.token.is_empty() {
        let bearer: MetadataValue<Ascii> = format!("Bearer {}", target.token.trim())
            .parse()
            .map_err(|_| anyhow!("the token is no text of one line"))?;
        call.metadata_mut().insert("authorization", bearer);
    }
    let answer = tokio::time::timeout(LIMIT, ask(target, endpoint, call)).await;
    let chain = answer.map_err(|_| failed(target, &format!("no answer in {} s", LIMIT.as_secs())))??;
    Ok(NewCertificate { key_pem: key.to_pem().to_owned(), chain })
}

/// Says how to connect, after a look at everything that was given.
fn endpoint(target: &Target) -> anyhow::Result<Endpoint> {
    Certificate::all_from_pem(&target.roots_pem)
        .map_err(|error| anyhow!("cannot read the roots: {error}"))?;
    let plain = Endpoint::from_shared(format!("https://{}", target.address))
        .with_context(|| format!("{:?} is no address: write --server host:port", target.address))?;
    let tls = ClientTlsConfig::new().domain_name(&target.server_name);
    plain
        .clone()
        .tls_config(tls.clone())
        .map_err(|_| anyhow!("{:?} is no name of a server; give one by --server-name", target.server_name))?;
    let tls = tls.ca_certificate(transport::Certificate::from_pem(&target.roots_pem));
    let tls = match &target.client {
        None => tls,
        Some((chain, key)) => tls.identity(Identity::from_pem(chain, key)),
    };
    plain.tls_config(tls).map_err(|error| anyhow!("cannot use the client certificate: {}", deepest(&error)))
}

async fn ask(
    target: &Target,
    endpoint: Endpoint,
    call: Request<IstioCertificateRequest>,
) -> anyhow::Result<Vec<String>> {
    let channel: Channel = endpoint
        .connect()
        .await
        .map_err(|error| anyhow!("cannot connect to {}: {}", target.address, deepest(&error)))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| failed(target, &deepest(&error)))?;
    let path = PathAndQuery::from_static(proto::rpc_path::CREATE_CERTIFICATE);
    let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
    match grpc.unary(call, path, codec).await {
        Ok(answer) => Ok(answer.into_inner().cert_chain),
        Err(status) => match status.source() {
            Some(source) => Err(failed(target, &deepest(source))),
            None => bail!("{}", refused(target, &status)),
        },
    }
}

fn failed(target: &Target, detail: &str) -> anyhow::Error {
    anyhow!("the request to {} failed: {detail}", target.address)
}

fn refused(target: &Target, status: &Status) -> String {
    let code = i32::from(status.code());
    format!("{} refuses: {} (gRPC status {code})", target.address, status.message())
}
