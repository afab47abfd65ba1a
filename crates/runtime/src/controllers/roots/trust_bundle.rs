//! One ClusterTrustBundle, which every pod of the cluster may mount.

use super::text_objects::TextObjects;
use identity::{TRUST_BUNDLE, TrustBundles};
use kube::api::{Api, DynamicObject};
use kube::core::Status;

impl TextObjects for TrustBundles {
    type Object = DynamicObject;

    fn name(&self) -> &str {
        TRUST_BUNDLE
    }

    fn api(&self) -> Api<DynamicObject> {
        self.all()
    }

    fn text(&self, bundle: &DynamicObject) -> Option<String> {
        self.text(bundle)
    }

    async fn write(&self, _: &str, text: &str, exists: bool) -> Result<DynamicObject, kube::Error> {
        self.write(text, exists).await
    }

    fn is_transient(&self, status: &Status) -> bool {
        self.is_passing(status)
    }
}
