//! Answers of pages: the only places where a page becomes a response, so that every line and every string
//! of it is printable.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Lines, printable_json};
use serde_json::Value;

/// Answers with text for people.
pub(super) fn text(status: StatusCode, lines: Lines) -> Response {
    (status, String::from(lines)).into_response()
}

/// Answers with JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let body = printable_json(&value.to_string()).into_owned();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Says that the engine has ended, to who asks for a page that asks it.
pub(super) fn gone() -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, Lines::from_iter(["the engine has ended"]))
}
