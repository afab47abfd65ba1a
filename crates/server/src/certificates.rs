//! The certificate authority over gRPC: `istio.v1.auth.IstioCertificateService/CreateCertificate`.
//!
//! Nothing is read of a request before its caller is authenticated and within the limits.

use crate::grpc::{PREFIX_BYTES, Status, prefix};
use crate::limits::{Bound, ConnectionState, Refusals};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use identity::{Authenticated, Authorizer, CertificateRequest, Refused, Tokens};
use limits::truncated;
use prost::Message;
use proto::Code;
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
pub(crate) async fn create_certificate<B>(
    authorizer: &Authorizer,
    refusals: &Refusals,
    headers: &HeaderMap,
    body: B,
    from: &ConnectionState,
) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let stats = authorizer.stats();
    stats.requests.add();
    let refuse = |refused: Refused, caller: Option<&Authenticated>, requested: &str| {
        stats.refused.add(refused.reason);
        // An authenticated caller has a line for each identity that is refused; peers that are not share one.
        let client = caller.map_or_else(
            || from.connection.client(),
            |caller| format!("{} for {}", caller.client(), truncated(requested)),
        );
        if let Some(times) = refusals.log_due(&client, refused.reason) {
            tracing::warn!(
                caller = caller.map(|c| c.identity().to_string()),
                peer = from.connection.address.map(tracing::field::display),
                times,
                requested = truncated(requested),
                reason = refused.reason,
                detail = truncated(&refused.detail),
                "refused a certificate",
            );
        }
        status(&refused)
    };
    let limited = |refused: Refused, bound: Bound, client: &dyn Display, caller: Option<&Authenticated>| {
        if refusals.add_if_exhausted(&refused, bound, client) {
            stats.refused.add(refused.reason);
            return status(&refused);
        }
        refuse(refused, caller, "")
    };
    let caller = from
        .authenticate(authorizer, headers, Tokens::OfPods, refusals)
        .await
        .map_err(|refused| limited(refused, Bound::TokensOfAddress, &from.connection.client(), None))?;
    authorizer
        .permit_certificate(&caller)
        .await
        .map_err(|refused| limited(refused, Bound::CertificatesOfClient, caller.identity(), Some(&caller)))?;
    let received = match timeout(SEND, receive(body)).await {
        Ok(received) => received,
        Err(_) => Err(Refused {
            code: Code::DeadlineExceeded,
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
    let requested = CertificateRequest {
        csr: &request.csr,
        impersonated,
        signer: request.cert_signer(),
        ttl_seconds: request.validity_duration,
    };
    match authorizer.issue(&caller, &requested).await {
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
            if refused.reason == "rate_limited" {
                return Err(limited(refused, Bound::CertificatesOfClient, caller.identity(), Some(&caller)));
            }
            Err(refuse(refused, Some(&caller), impersonated))
        }
    }
}

/// Returns the status that a client gets, in words that clients know from istiod.
fn status(refused: &Refused) -> Status {
    let message = match refused.code {
        Code::InvalidArgument | Code::Internal => format!("CSR signing error ({})", refused.message()),
        _ => refused.message(),
    };
    Status::new(refused.code, message)
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
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| malformed(format!("the request breaks off: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if received.len() + data.len() > MAX_REQUEST_BYTES + PREFIX_BYTES {
            return Err(too_long());
        }
        received.extend_from_slice(data);
        // A request that the prefix rules out is not awaited.
        framed_len(&received)?;
    }
    if framed_len(&received)? != Some(received.len()) {
        return Err(malformed("the request is not exactly one message".to_owned()));
    }
    Ok(received.split_off(PREFIX_BYTES).freeze())
}

/// Returns the length of a request with its prefix, once the prefix has arrived.
fn framed_len(received: &[u8]) -> Result<Option<usize>, Refused> {
    let Some(&[flag, a, b, c, d]) = received.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    if flag != 0 {
        let detail = "the request is compressed, and no compression was agreed on".to_owned();
        return Err(Refused { code: Code::Unimplemented, reason: "compressed", detail });
    }
    match u32::from_be_bytes([a, b, c, d]) as usize {
        length if length > MAX_REQUEST_BYTES => Err(too_long()),
        length => Ok(Some(PREFIX_BYTES + length)),
    }
}

fn too_long() -> Refused {
    let detail = format!("the request has more than {MAX_REQUEST_BYTES} bytes");
    Refused { code: Code::ResourceExhausted, reason: "too_long", detail }
}

fn frame(response: &IstioCertificateResponse) -> Result<Bytes, Status> {
    let length = response.encoded_len();
    let too_long = || Status::new(Code::Internal, "the response fits no message");
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + length);
    data.put_slice(&prefix(length as u64).ok_or_else(too_long)?);
    response.encode(&mut data).map_err(|_| too_long())?;
    Ok(data.freeze())
}
