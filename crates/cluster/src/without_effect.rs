//! Kinds that have no effect in this version: whether the cluster has objects of them.
//!
//! One object's metadata of each kind is asked for, every ten minutes. Nothing is watched or kept for this; what is
//! told is a hint, and may be late.

use crate::object_client::{ListedObject, ObjectClient};
use ::kube::Client;
use model::{Diagnostic, KnownKind, Severity, known_kinds, parse};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the cluster is asked.
const INTERVAL: Duration = Duration::from_secs(600);

/// Looks for objects of kinds that have no effect in this version.
pub struct KindsWithoutEffect {
    client: ObjectClient,
    found: watch::Sender<Arc<[Diagnostic]>>,
}

impl KindsWithoutEffect {
    /// Prepares to look; nothing is requested yet.
    pub fn new(client: Client) -> Self {
        Self { client: ObjectClient::new(client), found: watch::Sender::new(Arc::from([])) }
    }

    /// Returns what was found: one finding for each kind that the cluster has objects of.
    pub fn found(&self) -> watch::Receiver<Arc<[Diagnostic]>> {
        self.found.subscribe()
    }

    /// Looks again and again; it never ends.
    pub async fn run(self) {
        let kinds: Vec<_> = known_kinds().filter_map(|kind| Some((kind, kind.state.told()?))).collect();
        let mut found: Vec<Option<Diagnostic>> = vec![None; kinds.len()];
        loop {
            for ((kind, told), found) in kinds.iter().zip(&mut found) {
                match self.client.first_metadata(kind).await {
                    Ok(first) => *found = first.map(|first| finding(kind, told, &first)),
                    // A hint: what was found stays, and neither the right to it nor an answer is missed.
                    Err(error) => {
                        tracing::debug!(kind = kind.name, %error, "cannot look for a kind without effect");
                    }
                }
            }
            self.found.send_replace(found.iter().flatten().cloned().collect());
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn finding(kind: &KnownKind, told: &str, first: &ListedObject) -> Diagnostic {
    let (name, group) = (kind.name, kind.group);
    let object = match first.namespace.as_str() {
        "" => first.name.clone(),
        namespace => format!("{namespace}/{}", first.name),
    };
    Diagnostic {
        code: parse::code::KIND_WITHOUT_EFFECT,
        severity: Severity::Warning,
        object: None,
        field: String::new(),
        message: format!("{name} {object}, and others if there are any: the kind, of {group}, {told}"),
        help: kind.state.instead().to_owned(),
        place: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use ::kube::client::Body;
    use http::header::ACCEPT;
    use http::{Request, Response, StatusCode};
    use std::convert::Infallible;

    /// An API server that has a DestinationRule, an EnvoyFilter and, in an older version, a UDPRoute, lets nobody read
    /// Telemetry, and knows no other of the kinds.
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
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let is_for_metadata = accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadataList"));
        let (status, body) = match request.uri().to_string().replace("?&", "?").as_str() {
            "/apis/networking.istio.io/v1alpha3/envoyfilters?limit=1" => {
                list(serde_json::json!({"name": "lua"}))
            }
            "/apis/gateway.networking.k8s.io/v1alpha2/udproutes?limit=1" if is_for_metadata => {
                list(serde_json::json!({"name": "db", "namespace": "shop"}))
            }
            // As an API server writes a list of none.
            "/apis/networking.istio.io/v1/workloadgroups?limit=1" => {
                (StatusCode::OK, serde_json::json!({"kind": "PartialObjectMetadataList", "items": null}))
            }
            "/apis/networking.istio.io/v1/sidecars?limit=1" => failure(403, "Forbidden"),
            _ => failure(404, "NotFound"),
        };
        let body = Body::from(body.to_string().into_bytes());
        Ok(Response::builder().status(status).body(body).unwrap())
    }

    #[tokio::test]
    async fn each_kind_that_has_objects_is_told_once() {
        let kinds = KindsWithoutEffect::new(Client::new(tower::service_fn(answer), "default"));
        let mut found = kinds.found();
        let running = tokio::spawn(kinds.run());
        let found = found.wait_for(|found| !found.is_empty()).await.unwrap().clone();
        running.abort();
        let told: Vec<_> = found.iter().map(|d| (d.code, d.message.as_str())).collect();
        let unread = "is known and not read, so nothing of it is active";
        let resolved = "is read and resolved, and configures no proxy in this version";
        let message = |object: &str, group: &str, rest: &str| {
            format!("{object}, and others if there are any: the kind, of {group}, {rest}")
        };
        assert_eq!(
            told,
            [
                ("KO006", &*message("UDPRoute shop/db", "gateway.networking.k8s.io", resolved)),
                ("KO006", &*message("EnvoyFilter lua", "networking.istio.io", unread)),
            ]
        );
        assert!(found.iter().all(|d| !d.help.is_empty() && d.severity == Severity::Warning));
    }
}
