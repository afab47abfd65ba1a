//! One ConfigMap in every namespace.
//!
//! Only one key and one label are written: whatever else is in the ConfigMap is left alone.

use super::text_objects::TextObjects;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::json;
use std::collections::BTreeMap;

/// The label by which others know the ConfigMap.
const LABEL: (&str, &str) = ("istio.io/config", "true");

/// ConfigMaps of one name.
pub(super) struct ConfigMaps {
    pub client: Client,
    pub name: String,
    /// The key of the text.
    pub key: &'static str,
}

impl TextObjects for ConfigMaps {
    type Object = ConfigMap;

    fn name(&self) -> &str {
        &self.name
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::all(self.client.clone())
    }

    fn text(&self, map: &ConfigMap) -> Option<String> {
        let labels = map.metadata.labels.as_ref();
        let labelled = labels.and_then(|labels| labels.get(LABEL.0)).is_some_and(|value| value == LABEL.1);
        map.data.as_ref().and_then(|data| data.get(self.key)).filter(|_| labelled).cloned()
    }

    async fn write(&self, namespace: &str, text: &str, exists: bool) -> Result<ConfigMap, kube::Error> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let data = BTreeMap::from([(self.key.to_owned(), text.to_owned())]);
        let labels = BTreeMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]);
        if exists {
            let change = json!({ "metadata": { "labels": labels }, "data": data });
            return maps.patch(&self.name, &PatchParams::default(), &Patch::Merge(change)).await;
        }
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
        maps.create(&PostParams::default(), &map).await
    }

    fn is_transient(&self, status: &Status) -> bool {
        let causes = || status.details.iter().flat_map(|details| &details.causes);
        let terminating = || causes().any(|cause| cause.reason == "NamespaceTerminating");
        matches!(status.code, 404 | 409) || (status.code == 403 && terminating())
    }
}
