//! Kinds that are known and not read: whether the cluster has objects of them.
//!
//! One object's metadata of each kind is asked for, every ten minutes. Nothing is watched or kept, since nothing
//! of them is used; what is told is a hint, and may be late.

use ::kube::{Client, Error};
use http::header::ACCEPT;
use model::{Diagnostic, Severity, UNSUPPORTED_KINDS, UnsupportedKind, parse};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the cluster is asked.
const INTERVAL: Duration = Duration::from_secs(600);

/// Metadata without specs.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Looks for objects of kinds that are known and not read.
pub struct UnreadKinds {
    client: Client,
    found: watch::Sender<Arc<[Diagnostic]>>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

impl UnreadKinds {
    /// Prepares to look; nothing is requested yet.
    pub fn new(client: Client) -> Self {
        Self { client, found: watch::Sender::new(Arc::from([])) }
    }

    /// Returns what was found: one finding for each kind that the cluster has objects of.
    pub fn found(&self) -> watch::Receiver<Arc<[Diagnostic]>> {
        self.found.subscribe()
    }

    /// Looks again and again; it never ends.
    pub async fn run(self) {
        let mut found: Vec<Option<Diagnostic>> = vec![None; UNSUPPORTED_KINDS.len()];
        loop {
            for (kind, found) in UNSUPPORTED_KINDS.iter().zip(&mut found) {
                match self.first(kind).await {
                    Ok(first) => *found = first.map(|item| finding(kind, &item.metadata)),
                    // A hint: what was found stays, and neither the right to it nor an answer is missed.
                    Err(error) => {
                        tracing::debug!(kind = kind.name, %error, "cannot look for a kind that is not read");
                    }
                }
            }
            self.found.send_replace(found.iter().flatten().cloned().collect());
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Returns the first object of a kind. A kind that is not installed has none.
    async fn first(&self, kind: &UnsupportedKind) -> Result<Option<Item>, Error> {
        let UnsupportedKind { group, version, plural, .. } = kind;
        let request = http::Request::get(format!("/apis/{group}/{version}/{plural}?limit=1"));
        let request = request.header(ACCEPT, METADATA).body(Vec::new()).map_err(Error::HttpError)?;
        match self.client.request::<List>(request).await {
            Ok(list) => Ok(list.items.into_iter().next()),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn finding(kind: &UnsupportedKind, first: &Metadata) -> Diagnostic {
    let (name, group) = (kind.name, kind.group);
    let object = match first.namespace.as_str() {
        "" => first.name.clone(),
        namespace => format!("{namespace}/{}", first.name),
    };
    Diagnostic {
        code: parse::code::UNSUPPORTED_KIND,
        severity: Severity::Warning,
        object: None,
        field: String::new(),
        message: format!(
            "{name} {object}: the kind, of {group}, is known and not read, so nothing of it and of others is active"
        ),
        help: kind.instead.to_owned(),
        place: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use ::kube::client::Body;
    use http::{Request, Response, StatusCode};
    use std::convert::Infallible;

    /// An API server that has a VirtualService and an EnvoyFilter, lets nobody read Telemetry, and knows no other
    /// of the kinds.
    async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let failure = |code: u16, reason: &str| {
            let status = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason,
            });
            (StatusCode::from_u16(code).unwrap(), status)
        };
        let list = |metadata: serde_json::Value| {
            let list =
                serde_json::json!({"kind": "PartialObjectMetadataList", "items": [{"metadata": metadata}]});
            (StatusCode::OK, list)
        };
        let is_for_metadata = request.headers().get(ACCEPT).is_some_and(|accept| accept == METADATA);
        let (status, body) = match request.uri().to_string().as_str() {
            "/apis/networking.istio.io/v1/virtualservices?limit=1" if is_for_metadata => {
                list(serde_json::json!({"name": "reviews", "namespace": "shop"}))
            }
            "/apis/networking.istio.io/v1alpha3/envoyfilters?limit=1" => {
                list(serde_json::json!({"name": "lua"}))
            }
            "/apis/telemetry.istio.io/v1/telemetries?limit=1" => failure(403, "Forbidden"),
            _ => failure(404, "NotFound"),
        };
        let body = Body::from(body.to_string().into_bytes());
        Ok(Response::builder().status(status).body(body).unwrap())
    }

    #[tokio::test]
    async fn each_kind_that_has_objects_is_told_once() {
        let kinds = UnreadKinds::new(Client::new(tower::service_fn(answer), "default"));
        let mut found = kinds.found();
        let running = tokio::spawn(kinds.run());
        let found = found.wait_for(|found| !found.is_empty()).await.unwrap().clone();
        running.abort();
        let told: Vec<_> = found.iter().map(|d| (d.code, d.message.as_str())).collect();
        let rest = "is known and not read, so nothing of it and of others is active";
        assert_eq!(
            told,
            [
                ("KO006", &*format!("VirtualService shop/reviews: the kind, of networking.istio.io, {rest}")),
                ("KO006", &*format!("EnvoyFilter lua: the kind, of networking.istio.io, {rest}")),
            ]
        );
        assert!(found.iter().all(|d| !d.help.is_empty() && d.severity == Severity::Warning));
    }
}
