//! Answers that are read as they arrive, and how long they may take.

use super::response::failure_message;
use crate::error::root_cause;
use ::kube::Client;
use ::kube::client::Body;
use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, TryStreamExt};
use http::Request;
use http_body_util::BodyExt;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::pin;
use std::time::Duration;

/// The most bytes of one line of a watch. The API server stores no object of more than a few MiB.
const MAX_LINE: usize = 32 << 20;

/// The most bytes that are read of the text of a failure.
const MAX_FAILURE_TEXT: u64 = 64 << 10;

/// How long one watch request lasts, in seconds; the API server then ends it and another follows.
pub(super) const WATCH_SECONDS: u32 = 240;

/// How long a watch may be silent. The API server ends it by then: a peer that is still silent is gone.
pub(super) const WATCH_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// How long the API server may take to answer: for a page, or for the head of a watch.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The first and the longest backoff after a failure; it doubles in between.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Why there is no answer to read.
pub(super) enum OpenError {
    /// None came.
    NoAnswer(String),
    /// The API server refuses the request.
    Refused {
        /// The HTTP code.
        code: u16,
        /// What it says.
        message: String,
    },
}

/// Sends a request and returns the body of the answer, to be read as it arrives.
pub(super) async fn open(
    client: &Client,
    request: Request<Vec<u8>>,
) -> Result<impl AsyncBufRead + use<>, OpenError> {
    let answer = client.send(request.map(Body::from)).await;
    let answer = answer.map_err(|error| OpenError::NoAnswer(root_cause(&error)))?;
    let status = answer.status();
    let body = answer.into_body().into_data_stream().map_err(std::io::Error::other).into_async_read();
    if status.is_success() {
        return Ok(body);
    }
    let mut text = Vec::new();
    // A text that is cut off is still better than none.
    let _ = pin!(body.take(MAX_FAILURE_TEXT)).read_to_end(&mut text).await;
    Err(OpenError::Refused { code: status.as_u16(), message: failure_message(&text) })
}

/// Reads on until `line` has a whole line, without its end; `false` at the end of the stream.
///
/// Dropping the future loses nothing: what was read is in `line`, and the next call continues.
pub(super) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(false);
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
        let used = end.map_or(available.len(), |end| end + 1);
        reader.consume_unpin(used);
        if end.is_some() {
            return Ok(true);
        }
        if line.len() > MAX_LINE {
            let message = format!("the API server sent an object of more than {} MiB", MAX_LINE >> 20);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
        }
    }
}

/// Returns a length between half of `pause` and all of it, so that many clients do not come at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    // The only use of chance here: the keys of a hasher are random.
    let half = pause / 2;
    let random = RandomState::new().hash_one(0u8) % 1024;
    half + half * u32::try_from(random).unwrap_or_default() / 1024
}
