//! What the mesh is made from, in the shapes of Istio's pages: objects, settings, clusters.

use super::answer::{self, Answer};
use super::asked::Asked;
use super::monitoring::Monitoring;
use axum::http::StatusCode;
use model::Kind;
use serde::Deserialize;
use serde_json::{Value, json};

/// The kinds of Istio and of the Gateway API that are read.
fn kinds() -> Vec<Kind> {
    let is_config = |kind: &&Kind| {
        !kind.is_built_in() && kind.group().contains(".istio.io")
            || kind.group().starts_with("gateway.networking.")
    };
    Kind::ALL.iter().filter(is_config).copied().collect()
}

fn unread(why: &str) -> Answer {
    answer::line(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// `/debug/configz`.
pub(super) async fn configz(m: &Monitoring, _: &Asked) -> Answer {
    match m.objects.list(&kinds()).await {
        Ok(all) => answer::json(StatusCode::OK, &all),
        Err(why) => unread(&why),
    }
}

/// `/debug/resourcesz`.
pub(super) async fn resourcesz(_: &Monitoring, _: &Asked) -> Answer {
    let view = |kind: Kind| json!({ "group": kind.group(), "version": kind.version(), "kind": kind.name() });
    answer::json(StatusCode::OK, &kinds().into_iter().map(view).collect::<Vec<_>>())
}

/// `/debug/clusterz`: the cluster that is read, which no secret leads to.
pub(super) async fn clusterz(m: &Monitoring, _: &Asked) -> Answer {
    let is_read = m.engine.snapshots().borrow().is_some();
    let status = if is_read { "synced" } else { "syncing" };
    let own = json!({ "id": m.about.cluster_id, "secretName": "", "syncStatus": status });
    answer::json(StatusCode::OK, &[own])
}

/// `/debug/mcsz`.
pub(super) async fn mcsz(_: &Monitoring, _: &Asked) -> Answer {
    answer::json(StatusCode::OK, &[(); 0])
}

/// `/debug/mesh`: the settings as they are written, with the root namespace and the trust domain that are active.
pub(super) async fn mesh(m: &Monitoring, _: &Asked) -> Answer {
    let (namespace, name) = (&m.about.config_namespace, &m.about.config_name);
    let text = match m.objects.config(namespace, name, "mesh").await {
        Ok(text) => text.unwrap_or_default(),
        Err(why) => return unread(&why),
    };
    // What cannot be read is refused where it is taken, and told there.
    let written = Value::deserialize(model::yaml::document(&text)).unwrap_or(Value::Null);
    let mut settings = written.as_object().cloned().unwrap_or_default();
    let root = m.engine.query(plane::Plane::root_namespace).await.flatten();
    if let Some(root) = root {
        settings.insert("rootNamespace".to_owned(), root.as_str().into());
    }
    if let Some(index) = m.identity.index() {
        settings.insert("trustDomain".to_owned(), index.mesh().trust_domain.to_string().into());
    }
    answer::json(StatusCode::OK, &settings)
}
