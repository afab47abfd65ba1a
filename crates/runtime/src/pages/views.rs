//! `/debug/gatewayz`, `/debug/routez`, `/debug/statusz`, `/debug/waypointz` and `/debug/envoyz`: lists as JSON, as
//! `pilothouse dump` shows them.

use super::answer::{self, Answer, gone};
use crate::engine_thread::EngineHandle;
use crate::kinds::kind_of;
use crate::views::{ConfigView, GatewayView, RouteView, Sent, StatusView, WaypointView, find_waypoint};
use axum::http::StatusCode;
use model::{Lines, Name, Str};
use plane::Plane;
use serde::{Deserialize, Serialize};
use serde_json::json;
use server::Clients;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Of which kind statuses are asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    kind: Option<String>,
}

/// Of which waypoint the configuration is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ConfigQuery {
    #[serde(default)]
    waypoint: String,
}

/// Answers with the gateways.
pub(super) async fn gateways(engine: &EngineHandle) -> Answer {
    if let Some(early) = too_early(engine) {
        return early;
    }
    // What the engine need not wait for is made here.
    engine.query(GatewayView::rows).await.map_or_else(gone, |rows| list(&GatewayView::all(rows)))
}

/// Answers with the rules of routes.
pub(super) async fn routes(engine: &EngineHandle) -> Answer {
    if let Some(early) = too_early(engine) {
        return early;
    }
    engine.query(RouteView::rows).await.map_or_else(gone, |rows| list(&RouteView::all(rows)))
}

/// Answers with statuses.
pub(super) async fn statuses(engine: &EngineHandle, query: Query) -> Answer {
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

/// Answers with the waypoints.
pub(super) async fn waypoints(engine: &EngineHandle, clients: &Clients) -> Answer {
    let Some(snapshot) = engine.snapshots().borrow().clone() else { return early() };
    let clients = Arc::new(clients.list());
    let listed = Arc::clone(&clients);
    let query = move |plane: &Plane| (WaypointView::rows(plane), WaypointView::refused(plane, &listed));
    let Some((rows, refused)) = engine.query(query).await else { return gone() };
    let view = |(waypoint, services): (&Name, &BTreeSet<Str>)| {
        WaypointView::of(waypoint, services, &Sent::of_snapshot(&snapshot, waypoint), &clients, &refused)
    };
    list(&rows.iter().map(view).collect::<Vec<_>>())
}

/// Answers with the configuration of a waypoint.
pub(super) async fn config(engine: &EngineHandle, query: &ConfigQuery) -> Answer {
    let Some(snapshot) = engine.snapshots().borrow().clone() else { return early() };
    let Some(rows) = engine.query(WaypointView::rows).await else { return gone() };
    match find_waypoint(&rows, &query.waypoint) {
        Ok(waypoint) => list(&ConfigView::all(&Sent::of_snapshot(&snapshot, waypoint))),
        Err(message) => answer::text(StatusCode::BAD_REQUEST, Lines::from_iter([message])),
    }
}

/// Before every kind has been listed, a list would be of half a mesh.
fn too_early(engine: &EngineHandle) -> Option<Answer> {
    engine.snapshots().borrow().is_none().then(early)
}

fn early() -> Answer {
    let told = Lines::from_iter(["nothing is served yet: /ready of the health port says why"]);
    answer::text(StatusCode::SERVICE_UNAVAILABLE, told)
}

fn list(views: &impl Serialize) -> Answer {
    answer::json(StatusCode::OK, &json!(views))
}
