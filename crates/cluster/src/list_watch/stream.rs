//! Answers that are read as they arrive, and how long they may take.

use super::response::failure_message;
use crate::error::root_cause;
use ::kube::Client;
use ::kube::client::Body;
use futures::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, FutureExt, TryStreamExt};
use http::Request;
use http_body_util::BodyExt;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The most bytes of one line of a watch. The API server stores no object of more than a few MiB.
const MAX_LINE: usize = 32 << 20;

/// The most bytes that are read of the text of a failure.
const MAX_FAILURE_TEXT: u64 = 64 << 10;

/// How long one watch request lasts, in seconds; the API server then ends it and another follows.
pub(super) const WATCH_SECONDS: u32 = 240;

/// How long a watch may be silent. The API server ends it by then: a peer that is still silent is gone.
const WATCH_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// How long the API server may take to answer: for a page, or for the head of a watch.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause before what failed is tried again.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pause between attempts, which doubles until one of them lasts.
pub(super) struct Backoff {
    pause: Duration,
    began: Instant,
}

impl Backoff {
    /// Makes one whose first attempt begins now.
    pub(super) fn new() -> Self {
        Self { pause: FIRST_PAUSE, began: Instant::now() }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Tells whether the attempt lasted longer than any pause: what failed before it no longer counts.
    pub(super) fn has_lasted(&mut self) -> bool {
        let has_lasted = self.began.elapsed() >= LONGEST_PAUSE;
        if has_lasted {
            self.reset();
        }
        has_lasted
    }

    /// The next pause is the first again.
    pub(super) fn reset(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// Waits, the next time twice as long, but for no longer than `longest`.
    pub(super) async fn wait(&mut self, longest: Duration) {
        sleep(jittered(self.pause)).await;
        self.pause = (self.pause * 2).min(longest);
    }
}

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

/// The lines of a watch, as they arrive.
pub(super) struct Lines<R> {
    reader: R,
    /// What was read of the line so far.
    line: Vec<u8>,
    /// The line was handed out.
    is_whole: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Reads the lines of the body of an answer.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), is_whole: false }
    }

    /// Returns the next line, without its end. `None` where the watch ends, in order, interrupted, or silent for
    /// longer than it may be: the next request shows which.
    ///
    /// # Errors
    /// The line is longer than any object can be.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, String> {
        match timeout(WATCH_TIMEOUT, self.read()).await {
            Ok(read) => read,
            Err(_) => Ok(None),
        }
    }

    /// Returns what [`Lines::next`] does, if it has arrived already.
    pub(super) fn arrived(&mut self) -> Option<Result<Option<&[u8]>, String>> {
        self.read().now_or_never()
    }

    /// Dropping the future loses nothing: what was read is kept, and the next call continues.
    async fn read(&mut self) -> Result<Option<&[u8]>, String> {
        if std::mem::take(&mut self.is_whole) {
            self.line.clear();
        }
        while !self.is_whole {
            let Ok(available) = self.reader.fill_buf().await else { return Ok(None) };
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            self.line.extend_from_slice(&available[..end.unwrap_or(available.len())]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.reader.consume_unpin(used);
            self.is_whole = end.is_some();
            if !self.is_whole && self.line.len() > MAX_LINE {
                return Err(format!("the API server sent an object of more than {} MiB", MAX_LINE >> 20));
            }
        }
        Ok(Some(&self.line))
    }
}

/// Returns a length between half of `pause` and all of it, so that many clients do not come at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    // The only use of chance here: the keys of a hasher are random.
    let half = pause / 2;
    let random = RandomState::new().hash_one(0u8) % 1024;
    half + half * u32::try_from(random).unwrap_or_default() / 1024
}
