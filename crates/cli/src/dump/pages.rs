//! Asks a control plane on its monitoring port for what ztunnels are not told.

use super::query::{Of, Query};
use super::resources::Resources;
use super::view::View;
use crate::monitoring;
use anyhow::{Context, anyhow};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

/// Most bytes of an answer that are read.
const MAX_BYTES: usize = 200 * 1024 * 1024;

/// Returns what is asked for.
///
/// # Errors
/// When the control plane at `host:port` cannot be asked: one sentence with the way out.
pub async fn resources(server: &str, query: &Query) -> anyhow::Result<Resources> {
    let asked = async {
        let none = Resources::default();
        anyhow::Ok(match (query.view, &query.of) {
            (View::Gateways, _) => Resources { gateways: list(server, "/debug/gatewayz").await?, ..none },
            (View::Routes, _) => Resources { routes: list(server, "/debug/routez").await?, ..none },
            (View::Waypoints, _) => Resources { waypoints: list(server, "/debug/waypointz").await?, ..none },
            (_, Of::Waypoint(name)) => {
                // Whatever stands in a query as it is; no name of an object has anything else.
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
                anyhow::ensure!(name.chars().all(plain), "{name:?} is no name of a waypoint");
                let path = format!("/debug/envoyz?waypoint={name}");
                Resources { config: query.of_part(list(server, &path).await?), ..none }
            }
            (_, of) => {
                let kind = match of {
                    Of::Kind(kind) => format!("?kind={}", kind.plural()),
                    _ => String::new(),
                };
                Resources { objects: list(server, &format!("/debug/statusz{kind}")).await?, ..none }
            }
        })
    };
    asked.await.map_err(|error: anyhow::Error| {
        let what = query.view.plural();
        anyhow!(
            "cannot ask the control plane at {server} for its {what}: {error:#}; \
             name its monitoring address by --server, or read a folder by --from"
        )
    })
}

async fn list<T: DeserializeOwned>(server: &str, path: &str) -> anyhow::Result<Vec<T>> {
    let body: Bytes = monitoring::get(server, path, MAX_BYTES).await?;
    serde_json::from_slice(&body).context("it is no control plane of this version")
}
