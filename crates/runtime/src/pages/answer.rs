//! Answers of pages: the only place where a page becomes a response, so that every line and every string
//! of it is printable, and none is longer than a client may take.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use model::{Lines, printable_json};
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;
use std::io::{self, Write};
use tokio::sync::OwnedSemaphorePermit;

/// Most bytes of an answer.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The largest answer that is handed over at once, and the size of the pieces of larger ones.
const PIECE: usize = 256 * 1024;

/// What a page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As of HTTP.
    pub status: StatusCode,
    /// Text for people, or JSON.
    pub body: String,
    is_json: bool,
}

/// Answers with text for people.
pub(super) fn text(status: StatusCode, lines: Lines) -> Answer {
    Answer { status, body: String::from(lines), is_json: false }
}

/// Answers with one line of text for people.
pub(super) fn line(status: StatusCode, line: impl std::fmt::Display) -> Answer {
    text(status, Lines::from_iter([line]))
}

/// Answers with JSON.
pub(super) fn json(status: StatusCode, value: &(impl Serialize + ?Sized)) -> Answer {
    let mut out = Limited(Vec::new());
    match serde_json::to_writer(&mut out, value) {
        Ok(()) => {
            // What serializes is text.
            let body = String::from_utf8(out.0).unwrap_or_default();
            let body = match printable_json(&body) {
                std::borrow::Cow::Borrowed(_) => body,
                std::borrow::Cow::Owned(printable) => printable,
            };
            Answer { status, body, is_json: true }
        }
        Err(error) if error.is_io() => line(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the answer has more than {MAX_BYTES} bytes; ask for less of it, if the page lets you"),
        ),
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, format!("it cannot be shown: {error}")),
    }
}

/// Says that the engine has ended, to who asks for a page that asks it.
pub(super) fn gone() -> Answer {
    line(StatusCode::SERVICE_UNAVAILABLE, "the engine has ended")
}

/// Takes no more than an answer may have.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Answer {
    /// Returns the same in lines and indented, if it is JSON.
    pub(super) fn pretty(self) -> Self {
        let value = if self.is_json { serde_json::from_str::<Value>(&self.body).ok() } else { None };
        let Some(value) = value else { return self };
        let body = serde_json::to_string_pretty(&value).unwrap_or_default();
        Self { body: printable_json(&body).into_owned(), ..self }
    }

    /// Returns the response to a client, of which `permit` is kept until the last of a large one is taken.
    pub(super) fn response(self, permit: Option<OwnedSemaphorePermit>) -> Response {
        let content_type = if self.is_json { "application/json" } else { "text/plain; charset=utf-8" };
        let headers = [(header::CONTENT_TYPE, content_type)];
        let body = Bytes::from(self.body);
        if body.len() <= PIECE {
            return (self.status, headers, body).into_response();
        }
        let len = body.len().to_string();
        let pieces = stream::unfold((body, permit), |(mut rest, permit)| async move {
            let piece = rest.split_to(rest.len().min(PIECE));
            (!piece.is_empty()).then(|| (Ok::<_, Infallible>(piece), (rest, permit)))
        });
        // Its length is known, so that it needs no chunks around its pieces.
        let length = [(header::CONTENT_LENGTH, len)];
        (self.status, headers, length, Body::from_stream(pieces)).into_response()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_bounded_and_one_that_is_pretty_says_the_same() {
        let long = json(StatusCode::OK, &"x".repeat(MAX_BYTES));
        assert_eq!(long.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(long.body.contains("more than"), "{}", long.body);
        let plain = json(StatusCode::OK, &json!({"a": ["\u{1b}[1m"]}));
        let pretty = plain.clone().pretty();
        assert!(pretty.body.lines().count() > 1 && pretty.body.contains("\\u001b"), "{}", pretty.body);
        let value = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).unwrap();
        assert_eq!(value(&plain), value(&pretty));
        let text = line(StatusCode::OK, "{\"a\":1}");
        assert_eq!(text.clone().pretty(), text);
    }
}
