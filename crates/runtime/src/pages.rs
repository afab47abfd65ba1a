//! Health for the kubelet, metrics, and debug pages for people, Kiali and istioctl.
//!
//! ```text
//!  monitoring port ─ access: who asks? ─┐
//!                                       ├─▶ table ─▶ own pages, and those that Istio has too ─▶ Answer
//!  DebugApi of the discovery port ──────┘   (index, list and answers alike)
//! ```

use crate::engine_thread::{EngineHandle, Snapshots};
use crate::log::MeshLog;
use crate::metrics::Metrics;
use crate::source::SourceView;
pub use access::Access;
use asked::{Asked, Viewer};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
pub use discovery::Discovery;
use identity::IdentityView;
use model::{Diagnostic, Lines};
pub use objects::Objects;
use prometheus_client::encoding::prometheus_text;
use server::Clients;
use server::http::PeerAddress;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

mod access;
mod ambient;
mod answer;
mod asked;
mod config;
mod config_dump;
mod discovery;
mod objects;
mod own;
mod proxies;
mod registry;
mod table;
mod views;
mod why;

pub use why::Naming;

/// How many debug pages are made at once.
const AT_ONCE: usize = 4;

/// How long a page waits for its turn.
const TURN: Duration = Duration::from_secs(10);

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

/// Who this control plane is, and what its names are made with.
#[derive(Debug, Clone)]
pub struct About {
    /// The name of this process among the replicas.
    pub replica: String,
    /// The name of its cluster.
    pub cluster_id: String,
    /// The namespace of the ConfigMap with the settings of the mesh.
    pub config_namespace: String,
    /// The name of that ConfigMap.
    pub config_name: String,
    /// What names of resources are made with.
    pub naming: Naming,
}

/// What debug pages are made from.
pub struct Monitoring {
    /// The mesh.
    pub engine: EngineHandle,
    /// Who is connected.
    pub clients: Clients,
    /// What keeps the source from reading.
    pub source: SourceView,
    /// Key material and roots.
    pub identity: IdentityView,
    /// The counters.
    pub metrics: Metrics,
    /// Objects as they are written.
    pub objects: Objects,
    /// Who may see debug pages.
    pub access: Access,
    /// Who this control plane is.
    pub about: About,
    /// How many pages are made at once.
    pub turns: Turns,
}

/// Turns to make a page, of which there are few at once.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Monitoring {
    /// Returns what is wrong with objects, then with files, with the places; what is told of both is told
    /// once. `None` when the engine has ended.
    async fn findings(&self) -> Option<Vec<Diagnostic>> {
        let found = self.engine.query(plane::Plane::diagnostics).await?;
        let of_files = self.source.findings();
        let mut seen = HashSet::new();
        let all = found.iter().chain(&*of_files).filter(|found| seen.insert(found.identity()));
        let places = self.engine.log().places();
        Some(all.map(|found| places.placed(found.clone())).collect())
    }
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

/// The version of this control plane.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision of its source, and the state of that: a build does not know them.
const REVISION: &str = "unknown";
const STATE: &str = "unknown";

/// Answers as istioctl reads it: `VERSION-REVISION-STATE`.
async fn version() -> String {
    format!("{VERSION}-{REVISION}-{STATE}")
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

/// Says that there is no such page, and which there are. What it begins with is what istioctl looks for.
fn not_found(path: &str, index: &str) -> answer::Answer {
    let path: String = path.chars().take(200).collect();
    let mut text = Lines::from_iter([format!("404 page not found: there is no page {path}; there are")]);
    text.push("");
    text.push_all(index);
    answer::text(StatusCode::NOT_FOUND, text)
}

/// Answers with a page of the table.
async fn page(State(m): State<Arc<Monitoring>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = single_slashes(parts.uri.path());
    match path.trim_end_matches('/') {
        "/metrics" => return render_metrics(State(m)).await,
        "/version" => return version().await.into_response(),
        "" | "/debug" => return m.index().response(None),
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
    let Some(turn) = m.turn().await else { return busy().response(None) };
    let asked = Asked { uri: parts.uri, headers: parts.headers, viewer };
    match m.answer(page, &asked).await {
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

fn busy() -> answer::Answer {
    answer::line(StatusCode::SERVICE_UNAVAILABLE, "too many pages are being made; ask again")
}

impl Monitoring {
    /// Waits until a page may be made; `None` when too many others are.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(TURN, Arc::clone(&self.turns.0).acquire_owned()).await.ok()?.ok()
    }

    /// Makes a page; `None` for a viewer who may not see it.
    async fn answer(&self, page: &table::Page, asked: &Asked) -> Option<answer::Answer> {
        if page.sees_whole_mesh() && asked.viewer != Viewer::Everything {
            return None;
        }
        let answer = page.make(self, asked).await;
        Some(if asked.parameter("pretty").is_some() { answer.pretty() } else { answer })
    }

    fn index(&self) -> answer::Answer {
        let mut text = Lines::default();
        text.push_all(&table::index());
        answer::text(StatusCode::OK, text)
    }
}
