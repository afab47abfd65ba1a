//! Whether the API server is answered: a dry run of a write of an object that asks to be denied, is.
//!
//! The object is a Telemetry, a kind of the base chart; istiod has a Gateway of its own, which that chart has not.

use cluster::error_message;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::json;

/// What an API server says of a denial; and what it says where it cannot be asked so.
const DENIALS: [&str; 2] = ["denied the request", "does not support dry run"];

/// Asks for a denial.
pub(super) struct Probe {
    api: Api<DynamicObject>,
    object: DynamicObject,
}

impl Probe {
    /// Prepares to ask in a namespace, by an object of this revision.
    pub fn new(client: Client, namespace: &str, revision: &str) -> Self {
        let kind = GroupVersionKind::gvk("telemetry.istio.io", "v1", "Telemetry");
        let resource = ApiResource::from_gvk_with_plural(&kind, "telemetries");
        let mut object =
            DynamicObject::new("invalid-telemetry", &resource).within(namespace).data(json!({"spec": {}}));
        object.metadata.labels = Some([("istio.io/rev".to_owned(), revision.to_owned())].into());
        let annotation = ("internal.istio.io/webhook-always-reject".to_owned(), "true".to_owned());
        object.metadata.annotations = Some([annotation].into());
        Self { api: Api::namespaced_with(client, namespace, &resource), object }
    }

    /// Tells whether the write is denied. Where the kind is not installed there is nothing to ask with, and it is not.
    pub async fn is_denied(&self) -> bool {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match self.api.create(&params, &self.object).await {
            Ok(_) => {
                tracing::debug!("the validation webhook is not asked yet");
                false
            }
            Err(kube::Error::Api(status)) if DENIALS.iter().any(|denial| status.message.contains(denial)) => {
                true
            }
            Err(error) => {
                tracing::debug!(error = error_message(&error), "the validation webhook cannot be tried yet");
                false
            }
        }
    }
}
