//! Health for the kubelet, metrics, and debug pages for people, Kiali and istioctl.
//!
//! ```text
//!  monitoring port ─ access: who asks? ─┐
//!                                       ├─▶ table ─▶ own pages, and those that Istio has too ─▶ Answer
//!  DebugApi of the discovery port ──────┘   (index, list and answers alike)
//! ```

use crate::engine_thread::{EngineHandle, Snapshots};
use crate::log::MeshLog;
use crate::source::SourceView;
pub use access::Access;
use asked::Asked;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
pub use discovery::Discovery;
use identity::IdentityView;
use model::Lines;
pub use monitoring::{About, Monitoring, Turns};
pub use objects::Objects;
use prometheus_client::encoding::prometheus_text;
use server::http::PeerAddress;
use std::sync::Arc;
use table::{busy, not_found};
use version::version;

mod access;
mod ambient;
mod answer;
mod asked;
mod config;
mod config_dump;
mod discovery;
mod monitoring;
mod objects;
mod own;
mod proxies;
mod registry;
mod table;
mod version;
mod views;
mod why;

pub use why::Naming;

/// Routes of the health port: `/ready` is 200 once the mesh is served on every port that is wanted,
/// `/healthz` while the process lives.
pub fn health(engine: &EngineHandle, source: SourceView, identity: IdentityView) -> Router {
    Router::new()
        .route("/", get(|| async { HEALTH_INDEX }))
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/ready", get(ready))
        .fallback(|uri| missing(uri, HEALTH_INDEX))
        .with_state(Health { snapshots: engine.snapshots(), log: Arc::clone(engine.log()), source, identity })
}

#[derive(Clone)]
struct Health {
    snapshots: Snapshots,
    log: Arc<MeshLog>,
    source: SourceView,
    identity: IdentityView,
}

async fn ready(State(Health { snapshots, log, source, identity }): State<Health>) -> Response {
    let missing = if let (true, Some(why)) = (snapshots.borrow().is_none(), log.awaited()) {
        let message = "the mesh settings cannot be used, and nothing stands in for them";
        Lines::from_iter([format!("{message}: {}: {why}", why.code)])
    } else if snapshots.borrow().is_none() {
        let problems = source.problems().into_iter();
        std::iter::once("not every kind has been listed yet".to_owned()).chain(problems).collect()
    } else if identity.is_awaited() {
        let problem = identity.authority.status().problem;
        let problem = problem.map_or_else(|| "there is no root yet".to_owned(), |problem| problem.text);
        Lines::from_iter([format!("the secure port is not open: {problem}")])
    } else {
        return StatusCode::OK.into_response();
    };
    answer::text(StatusCode::SERVICE_UNAVAILABLE, missing).response(None)
}

/// Routes of the monitoring port: `/metrics`, `/version`, `/debug/…`.
pub fn monitoring(of: Arc<Monitoring>) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/version", get(version))
        .fallback(page)
        .with_state(of)
}

async fn render_metrics(State(m): State<Arc<Monitoring>>) -> Response {
    ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], m.metrics.render().await).into_response()
}

/// The pages of the health port.
const HEALTH_INDEX: &str = "\
/ready     200 once the mesh is served on every port that is wanted, else 503 with the reason
/healthz   200 while the process lives
";

/// Says which pages there are.
async fn missing(uri: Uri, index: &'static str) -> Response {
    not_found(uri.path(), index).response(None)
}

/// Answers with a page of the table.
async fn page(State(m): State<Arc<Monitoring>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = single_slashes(parts.uri.path());
    // Of what changes something a browser asks first whether the page that wants it may: PUT, not POST.
    let changes = parts.method == Method::PUT && path == "/debug/logz";
    if ![Method::GET, Method::HEAD].contains(&parts.method) && !changes {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match path.trim_end_matches('/') {
        "/metrics" => return render_metrics(State(m)).await,
        "/version" => return version().await.into_response(),
        "" | "/debug" => return table::whole().response(None),
        _ => {}
    }
    let found = path.strip_prefix("/debug/").and_then(table::find);
    let Some(page) = found.filter(|_| m.access.is_over_http()) else {
        return not_found(&path, &table::index()).response(None);
    };
    let peer = parts.extensions.get::<PeerAddress>().copied();
    let viewer = match m.access.viewer(peer, &parts.headers, &m.engine).await {
        Ok(viewer) => viewer,
        Err(refused) => return refused.into_response(),
    };
    let asked = Asked { uri: parts.uri, headers: parts.headers, viewer };
    if changes {
        return own::set_log(&asked).response(None);
    }
    let Some(turn) = m.turn().await else { return busy().response(None) };
    match page.answer(&m, &asked).await {
        Some(answer) => answer.response(Some(turn)),
        None => StatusCode::FORBIDDEN.into_response(),
    }
}

/// Joins slashes: istioctl asks for `//version`.
fn single_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}
