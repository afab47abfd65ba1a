//! Asks a control plane on its monitoring port for what ztunnels are not told.

use super::resources::Resources;
use super::view::View;
use crate::monitoring;
use anyhow::{Context, anyhow};
use hyper::body::Bytes;
use model::Kind;
use serde::de::DeserializeOwned;

/// Most bytes of an answer that are read.
const MAX_BYTES: usize = 200 * 1024 * 1024;

/// Returns what a view shows, of statuses those of one kind or of all.
///
/// # Errors
/// When the control plane at `host:port` cannot be asked: one sentence with the way out.
pub async fn resources(server: &str, view: View, kind: Option<Kind>) -> anyhow::Result<Resources> {
    let asked = async {
        let none = Resources::default();
        anyhow::Ok(match view {
            View::Gateways => Resources { gateways: list(server, "/debug/gatewayz").await?, ..none },
            View::Routes => Resources { routes: list(server, "/debug/routez").await?, ..none },
            _ => {
                let kind = kind.map(|kind| format!("?kind={}", kind.plural())).unwrap_or_default();
                let path = format!("/debug/statusz{kind}");
                Resources { objects: list(server, &path).await?, ..none }
            }
        })
    };
    asked.await.map_err(|error: anyhow::Error| {
        let what = view.plural();
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
