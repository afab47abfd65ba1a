//! Health for the kubelet, metrics and debug views for people.

use crate::engine_thread::{EngineHandle, Snapshots};
use crate::log::MeshLog;
use crate::metrics::Metrics;
use crate::source::SourceView;
use answer::gone;
use axum::Router;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use identity::IdentityView;
use model::{Diagnostic, Lines, rfc3339};
use prometheus_client::encoding::prometheus_text;
use serde_json::json;
use server::Clients;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

mod answer;
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
    answer::text(StatusCode::SERVICE_UNAVAILABLE, missing)
}

#[derive(Clone)]
struct Monitoring {
    engine: EngineHandle,
    clients: Clients,
    source: SourceView,
    identity: IdentityView,
    metrics: Metrics,
    naming: Arc<Naming>,
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
pub fn monitoring(
    engine: EngineHandle,
    clients: Clients,
    source: SourceView,
    identity: IdentityView,
    metrics: Metrics,
    naming: Naming,
) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(render_metrics))
        .route("/version", get(version))
        .route("/debug", get(|| async { INDEX }))
        .route("/debug/", get(|| async { INDEX }))
        .route("/debug/clientz", get(clientz))
        .route("/debug/configz", get(configz))
        .route("/debug/enginez", get(enginez))
        .route("/debug/gatewayz", get(gatewayz))
        .route("/debug/identityz", get(identityz))
        .route("/debug/diagnosticz", get(diagnosticz))
        .route("/debug/routez", get(routez))
        .route("/debug/sourcez", get(sourcez))
        .route("/debug/statusz", get(statusz))
        .route("/debug/waypointz", get(waypointz))
        .route("/debug/whyz", get(whyz))
        .fallback(|uri| missing(uri, INDEX))
        .with_state(Monitoring { engine, clients, source, identity, metrics, naming: Arc::new(naming) })
}

async fn render_metrics(State(m): State<Monitoring>) -> Response {
    ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], m.metrics.render().await).into_response()
}

async fn version() -> Response {
    answer::json(StatusCode::OK, &json!({ "name": "pilothouse", "version": env!("CARGO_PKG_VERSION") }))
}

/// The pages of the health port.
const HEALTH_INDEX: &str = "\
/ready     200 once the mesh is served on every port that is wanted, else 503 with the reason
/healthz   200 while the process lives
";

/// The pages of the monitoring port.
const INDEX: &str = "\
/metrics             metrics for Prometheus
/version             the version of this control plane
/debug/clientz       connected clients: what each was sent, has acknowledged and refused
/debug/configz       what Envoys of a waypoint are sent, as in /debug/configz?waypoint=NAMESPACE/NAME
/debug/diagnosticz   what is wrong with the objects at hand
/debug/enginez       tables of the engine: rows, how often computed, how often changed
/debug/gatewayz      gateways: addresses, listeners, what is deployed, what is wrong
/debug/identityz     the active signer and roots, and problems with key material
/debug/routez        rules of routes where they are tried, each as a sentence, and what is wrong
/debug/sourcez       problems that keep the source from reading; nothing when there are none
/debug/statusz       statuses of objects, also of one kind, as in /debug/statusz?kind=httproute
/debug/waypointz     waypoints: services, size of their configuration, replicas, what they have acknowledged and refused
/debug/whyz          why something is what it is, as in /debug/whyz?name=pod/NAMESPACE/NAME
";

/// Says which pages there are.
async fn missing(uri: Uri, index: &'static str) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let mut text = Lines::from_iter([format!("there is no page {path}; there are"), String::new()]);
    text.push_all(index);
    answer::text(StatusCode::NOT_FOUND, text)
}

async fn clientz(State(m): State<Monitoring>) -> Response {
    let clients: Vec<_> = m.clients.list().into_iter().map(|c| {
        let types: Vec<_> = c.stats.types.iter().map(|t| json!({
            "type": t.type_url,
            "wildcard": t.wildcard,
            "names": t.names,
            "responses": t.responses,
            "bytes": t.bytes,
            "sentStep": t.sent_step,
            "ackedStep": t.acked_step,
            "acks": t.acks,
            "nacks": t.nacks,
            "lastRefusal": t.last_nack.as_ref().map(|n| &n.message),
        })).collect();
        json!({
            "id": c.id,
            "peer": c.peer.map(|p| p.to_string()),
            "node": c.node.map(|n| n.id),
            "gateway": c.gateway,
            "connected": rfc3339(c.stats.connected_at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
            "types": types,
        })
    }).collect();
    answer::json(StatusCode::OK, &json!(clients))
}

async fn identityz(State(m): State<Monitoring>) -> Response {
    let status = m.identity.authority.status();
    let view = |c: &ca::Certificate| {
        json!({
            "subject": c.subject(),
            "serial": c.serial(),
            "notBefore": rfc3339(c.validity().not_before.as_secs()),
            "notAfter": rfc3339(c.validity().not_after.as_secs()),
        })
    };
    let issuer = m.identity.authority.current();
    let page = json!({
        "source": status.source,
        "problem": status.problem.map(|problem| problem.text),
        "signing": issuer.as_ref().and_then(|i| i.certificate()).map(view),
        "intermediate": issuer.as_ref().and_then(|i| i.own_intermediate()).map(|own| match own {
            Ok(certificate) => view(&certificate),
            Err(reason) => json!({ "refused": reason }),
        }),
        "roots": issuer.iter().flat_map(|i| i.trust().roots()).map(view).collect::<Vec<_>>(),
    });
    answer::json(StatusCode::OK, &page)
}

async fn enginez(State(m): State<Monitoring>) -> Response {
    let Some(tables) = m.engine.query(plane::Plane::stats).await else { return gone() };
    let tables: Vec<_> = tables
        .iter()
        .map(|s| json!({ "table": s.name, "rows": s.rows, "recomputed": s.recomputed, "changed": s.changed }))
        .collect();
    answer::json(StatusCode::OK, &json!(tables))
}

async fn diagnosticz(State(m): State<Monitoring>) -> Response {
    let Some(found) = m.findings().await else { return gone() };
    let lines = found.iter().map(|d| format!("{}: {d}", d.code)).collect();
    answer::text(StatusCode::OK, lines)
}

async fn gatewayz(State(m): State<Monitoring>) -> Response {
    views::gateways(&m.engine).await
}

async fn routez(State(m): State<Monitoring>) -> Response {
    views::routes(&m.engine).await
}

async fn statusz(
    State(m): State<Monitoring>,
    query: Result<axum::extract::Query<views::Query>, QueryRejection>,
) -> Response {
    match query {
        Ok(axum::extract::Query(query)) => views::statuses(&m.engine, query).await,
        Err(rejection) => answer::text(StatusCode::BAD_REQUEST, Lines::from_iter([rejection.body_text()])),
    }
}

async fn waypointz(State(m): State<Monitoring>) -> Response {
    views::waypoints(&m.engine, &m.clients).await
}

async fn configz(
    State(m): State<Monitoring>,
    query: Result<axum::extract::Query<views::ConfigQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(axum::extract::Query(query)) => views::config(&m.engine, &query).await,
        Err(rejection) => answer::text(StatusCode::BAD_REQUEST, Lines::from_iter([rejection.body_text()])),
    }
}

async fn sourcez(State(m): State<Monitoring>) -> Response {
    answer::text(StatusCode::OK, m.source.problems().into_iter().collect())
}

async fn whyz(
    State(m): State<Monitoring>,
    headers: HeaderMap,
    query: Result<axum::extract::Query<why::Query>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(axum::extract::Query(query)) => query,
        Err(rejection) => {
            let mut text = Lines::from_iter([rejection.body_text(), String::new()]);
            text.push_all(why::USAGE);
            return answer::text(StatusCode::BAD_REQUEST, text);
        }
    };
    let Some(found) = m.findings().await else { return gone() };
    let snapshot = m.engine.snapshots().borrow().clone();
    query.answer(&headers, &m.naming, snapshot.as_deref(), &m.engine, &found).await
}
