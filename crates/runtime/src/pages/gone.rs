//! The answer of pages that ask an engine which has ended.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Says that the engine has ended.
pub(super) fn gone() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the engine has ended\n").into_response()
}
