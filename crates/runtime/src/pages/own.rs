//! The pages that are about what this control plane has and others do not.

use super::answer::{self, Answer, gone};
use super::asked::{Asked, Viewer};
use super::monitoring::Monitoring;
use super::{views, why};
use axum::http::StatusCode;
use model::{Lines, rfc3339};
use serde_json::json;
use std::time::UNIX_EPOCH;

/// The longest filter of the log, in bytes.
const MAX_FILTER: usize = 1024;

pub(super) async fn clientz(m: &Monitoring, _: &Asked) -> Answer {
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

pub(super) async fn identityz(m: &Monitoring, _: &Asked) -> Answer {
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

pub(super) async fn enginez(m: &Monitoring, _: &Asked) -> Answer {
    let Some(tables) = m.engine.query(plane::Plane::stats).await else { return gone() };
    let tables: Vec<_> = tables
        .iter()
        .map(|s| json!({ "table": s.name, "rows": s.rows, "recomputed": s.recomputed, "changed": s.changed }))
        .collect();
    answer::json(StatusCode::OK, &json!(tables))
}

pub(super) async fn diagnosticz(m: &Monitoring, _: &Asked) -> Answer {
    let Some(found) = m.findings().await else { return gone() };
    let lines = found.iter().map(|d| format!("{}: {d}", d.code)).collect();
    answer::text(StatusCode::OK, lines)
}

pub(super) async fn gatewayz(m: &Monitoring, _: &Asked) -> Answer {
    views::gateways(&m.engine).await
}

pub(super) async fn routez(m: &Monitoring, _: &Asked) -> Answer {
    views::routes(&m.engine).await
}

pub(super) async fn statusz(m: &Monitoring, asked: &Asked) -> Answer {
    match asked.query() {
        Ok(query) => views::statuses(&m.engine, query).await,
        Err(refused) => refused,
    }
}

pub(super) async fn waypointz(m: &Monitoring, _: &Asked) -> Answer {
    views::waypoints(&m.engine, &m.clients).await
}

pub(super) async fn envoyz(m: &Monitoring, asked: &Asked) -> Answer {
    match asked.query() {
        Ok(query) => views::config(&m.engine, &query).await,
        Err(refused) => refused,
    }
}

pub(super) async fn sourcez(m: &Monitoring, _: &Asked) -> Answer {
    answer::text(StatusCode::OK, m.source.problems().into_iter().collect())
}

pub(super) async fn whyz(m: &Monitoring, asked: &Asked) -> Answer {
    let query = match asked.query::<why::Query>() {
        Ok(query) => query,
        Err(refused) => {
            let mut text = Lines::from_iter([refused.body.trim_end(), ""]);
            text.push_all(why::USAGE);
            return answer::text(StatusCode::BAD_REQUEST, text);
        }
    };
    let Some(found) = m.findings().await else { return gone() };
    let snapshot = m.engine.snapshots().borrow().clone();
    query.answer(&asked.headers, &m.about.naming, snapshot.as_deref(), &m.engine, &found).await
}

pub(super) async fn logz(_: &Monitoring, _: &Asked) -> Answer {
    match crate::telemetry::filter() {
        Some(filter) => answer::line(StatusCode::OK, filter),
        None => answer::line(StatusCode::NOT_FOUND, "this process has no log of its own"),
    }
}

/// Changes what is logged, for whoever sees everything.
pub(super) fn set_log(asked: &Asked) -> Answer {
    let wanted = asked.parameter("filter").filter(|filter| !filter.is_empty() && filter.len() <= MAX_FILTER);
    let Some(filter) = wanted.filter(|_| asked.viewer == Viewer::Everything) else {
        let help = "write PUT /debug/logz?filter=FILTER, such as info,pilothouse_server=debug, as somebody who sees all pages";
        return answer::line(StatusCode::BAD_REQUEST, help);
    };
    match crate::telemetry::set_filter(&filter) {
        Ok(()) => {
            tracing::warn!(filter, "what is logged was changed");
            answer::line(StatusCode::OK, filter)
        }
        Err(why) => answer::line(StatusCode::BAD_REQUEST, format!("{filter:?} is no filter: {why}")),
    }
}
