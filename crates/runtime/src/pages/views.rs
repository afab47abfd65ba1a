//! `/debug/gatewayz`, `/debug/routez` and `/debug/statusz`: lists as JSON, as `pilothouse dump` shows them.

use super::answer::{self, gone};
use crate::engine_thread::EngineHandle;
use crate::kinds::kind_of;
use crate::views::{GatewayView, RouteView, StatusView};
use axum::http::StatusCode;
use axum::response::Response;
use model::Lines;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Of which kind statuses are asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    kind: Option<String>,
}

/// Answers with the gateways.
pub(super) async fn gateways(engine: &EngineHandle) -> Response {
    if let Some(early) = too_early(engine) {
        return early;
    }
    // What the engine need not wait for is made here.
    engine.query(GatewayView::rows).await.map_or_else(gone, |rows| list(&GatewayView::all(rows)))
}

/// Answers with the rules of routes.
pub(super) async fn routes(engine: &EngineHandle) -> Response {
    if let Some(early) = too_early(engine) {
        return early;
    }
    engine.query(RouteView::rows).await.map_or_else(gone, |rows| list(&RouteView::all(rows)))
}

/// Answers with statuses.
pub(super) async fn statuses(engine: &EngineHandle, query: Query) -> Response {
    let refused = |message: String| answer::text(StatusCode::BAD_REQUEST, Lines::from_iter([message]));
    let kind = match query.kind.as_deref().map(kind_of).transpose() {
        Ok(kind) => kind,
        Err(message) => return refused(message),
    };
    if let Some(early) = too_early(engine) {
        return early;
    }
    let rows = engine.query(move |plane| StatusView::rows(plane, kind)).await;
    rows.map_or_else(gone, |rows| rows.map_or_else(refused, |rows| list(&StatusView::all(rows))))
}

/// Before every kind has been listed, a list would be of half a mesh.
fn too_early(engine: &EngineHandle) -> Option<Response> {
    let is_early = engine.snapshots().borrow().is_none();
    let told = || Lines::from_iter(["nothing is served yet: /ready of the health port says why"]);
    is_early.then(|| answer::text(StatusCode::SERVICE_UNAVAILABLE, told()))
}

fn list(views: &impl Serialize) -> Response {
    answer::json(StatusCode::OK, &json!(views))
}
