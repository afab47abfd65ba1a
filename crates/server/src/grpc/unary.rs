//! One call as a client.

use super::message::{MessageBuffer, PREFIX_BYTES, prefix};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

/// What broke a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// HTTP/2 failed.
    #[error("{0}")]
    Transport(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// The answer is not what gRPC says.
    #[error("the answer is no gRPC message: {0}")]
    Answer(String),
}

/// Makes one call on a new connection: the answer, or the status code and message of the refusal.
///
/// # Errors
/// [`CallError`] when there is no answer.
pub async fn unary<I, Q, A>(
    io: I,
    authority: &str,
    path: &str,
    headers: HeaderMap,
    request_message: &Q,
) -> Result<Result<A, (u8, String)>, CallError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    Q: Message,
    A: Message + Default,
{
    let too_long = || CallError::Answer("the request fits no message".to_owned());
    let mut data = BytesMut::with_capacity(PREFIX_BYTES + request_message.encoded_len());
    data.put_slice(&prefix(request_message.encoded_len() as u64).ok_or_else(too_long)?);
    request_message.encode(&mut data).map_err(|_| too_long())?;
    let mut request = Request::post(format!("https://{authority}{path}")).body(Full::new(data.freeze()))?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let result = read(answer?).await;
    driving.abort();
    result
}

async fn read<A: Message + Default>(
    answer: http::Response<hyper::body::Incoming>,
) -> Result<Result<A, (u8, String)>, CallError> {
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Err(CallError::Answer(format!("HTTP status {}", head.status)));
    }
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let header =
        |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).and_then(|v| v.to_str().ok());
    let malformed = |e: &str| CallError::Answer(e.to_owned());
    let code: u8 =
        header("grpc-status").and_then(|c| c.parse().ok()).ok_or_else(|| malformed("it has no status"))?;
    if code != 0 {
        return Ok(Err((code, header("grpc-message").unwrap_or_default().to_owned())));
    }
    let mut buffer = MessageBuffer::default();
    buffer.push(&collected.to_bytes());
    let message: Option<Bytes> = buffer.next().map_err(|status| CallError::Answer(status.message))?;
    let message = message.ok_or_else(|| malformed("it is empty"))?;
    A::decode(message).map(Ok).map_err(|e| CallError::Answer(e.to_string()))
}
