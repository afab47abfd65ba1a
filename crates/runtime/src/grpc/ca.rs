//! The certificate authority over gRPC: `istio.v1.auth.IstioCertificateService/CreateCertificate`.
//!
//! Nothing is read of a request before its caller is authenticated and within the limits.

use super::bounds::{Bound, Refusals};
use super::message::{Inbox, PREFIX_BYTES, Status, prefix};
use crate::identity::{Authenticated, CertificateRequest, Connection, Gate, Refused};
use bytes::{BufMut, Bytes, BytesMut};
use ca::Code;
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use prost::Message;
use proto::citadel::{IstioCertificateRequest, IstioCertificateResponse};
use std::fmt::Display;
use std::time::Duration;
use tokio::time::timeout;

/// Longest request, in bytes: four times the longest certificate request.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// How long a client may take to send its request.
const SEND: Duration = Duration::from_secs(10);

/// Answers one call with the bytes of the response message, framed.
///
/// # Errors
/// The status that ends the call.
pub(super) async fn create_certificate<B>(
    gate: &Gate,
    refusals: &Refusals,
    headers: &HeaderMap,
    body: B,
    from: &Connection,
) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let stats = gate.stats();
    stats.requests.add();
    let refuse = |refused: Refused, caller: Option<&Authenticated>, requested: &str| {
        stats.refused.add(refused.reason);
        tracing::warn!(
            caller = caller.map(|c| c.identity().to_string()), peer = ?from.address, requested,
            reason = refused.reason, detail = refused.detail, "refused a certificate",
        );
        Status::from(refused)
    };
    let limited = |refused: Refused, bound: Bound, client: &dyn Display, caller: Option<&Authenticated>| {
        if refused.at_bound(refusals, bound, client) {
            stats.refused.add(refused.reason);
            return Status::from(refused);
        }
        refuse(refused, caller, "")
    };
    let caller = gate
        .authenticate(headers, from)
        .await
        .map_err(|refused| limited(refused, Bound::TokensOfAddress, &from.client(), None))?;
    gate.admit_request(&caller)
        .await
        .map_err(|refused| limited(refused, Bound::CertificatesOfClient, caller.identity(), Some(&caller)))?;
    let received = match timeout(SEND, receive(body)).await {
        Ok(received) => received,
        Err(_) => Err(Refused {
            code: Code::ResourceExhausted,
            reason: "slow_request",
            detail: format!("the request did not arrive within {} s", SEND.as_secs()),
        }),
    };
    let message = received.map_err(|refused| refuse(refused, Some(&caller), ""))?;
    let request = IstioCertificateRequest::decode(message).map_err(|error| {
        let detail = format!("the request is no IstioCertificateRequest: {error}");
        refuse(Refused { code: Code::InvalidArgument, reason: "malformed", detail }, Some(&caller), "")
    })?;
    let impersonated = request.impersonated_identity();
    let question = CertificateRequest {
        csr: &request.csr,
        impersonated,
        signer: request.cert_signer(),
        life_seconds: request.validity_duration,
    };
    match gate.issue(&caller, &question).await {
        Ok(issued) => {
            stats.issued.add();
            frame(&IstioCertificateResponse { cert_chain: issued.chain })
        }
        Err(refused) => {
            if refused.code == Code::Unauthenticated {
                stats.unauthenticated.add();
            } else {
                stats.sign_errors.add(error_type(&refused));
            }
            Err(refuse(refused, Some(&caller), impersonated))
        }
    }
}

/// Returns the label of `citadel_server_csr_sign_err_count` for a refusal.
fn error_type(refused: &Refused) -> &'static str {
    match (refused.code, refused.reason) {
        (_, "not_ready") => "CA_NOT_READY",
        (Code::InvalidArgument, reason) if reason.starts_with("ttl") => "TTL_ERROR",
        (Code::InvalidArgument, _) => "CSR_ERROR",
        (Code::Internal | Code::DeadlineExceeded | Code::Unavailable, _) => "CERT_GEN_ERROR",
        _ => "UNKNOWN",
    }
}

/// Reads the one message of a request.
async fn receive<B>(mut body: B) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let malformed = |detail: String| Refused { code: Code::InvalidArgument, reason: "malformed", detail };
    let mut inbox = Inbox::default();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| malformed(format!("the request breaks off: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length > MAX_REQUEST_BYTES + PREFIX_BYTES {
            let detail = format!("the request has more than {MAX_REQUEST_BYTES} bytes");
            return Err(Refused { code: Code::ResourceExhausted, reason: "too_long", detail });
        }
        inbox.push(data);
    }
    let message = inbox.next().map_err(|status| malformed(status.message))?;
    match message {
        Some(message) if !inbox.is_partial() => Ok(message),
        _ => Err(malformed("the request is not exactly one message".to_owned())),
    }
}

fn frame(response: &IstioCertificateResponse) -> Result<Bytes, Status> {
    let length = response.encoded_len();
    let too_long = || Status::new(Status::INTERNAL, "the answer fits no message");
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + length);
    data.put_slice(&prefix(length as u64).ok_or_else(too_long)?);
    response.encode(&mut data).map_err(|_| too_long())?;
    Ok(data.freeze())
}
