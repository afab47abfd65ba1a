//! The ClusterTrustBundle with the roots, which every pod of the cluster may mount.

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams, TypeMeta};
use kube::core::{ApiResource, GroupVersionKind, Status};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The name of the object; the API server requires the signer name as its prefix.
pub const TRUST_BUNDLE: &str = "istio.io:istiod-ca:root-cert";

/// The signer of the object. Writing it needs permission to `attest` for this signer.
const SIGNER: &str = "istio.io/istiod-ca";

const GROUP: &str = "certificates.k8s.io";

/// The API versions that clusters may serve, newest first: `v1` since Kubernetes 1.37.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The ClusterTrustBundle of the roots.
pub struct TrustBundles {
    client: Client,
    kind: ApiResource,
}

impl TrustBundles {
    /// Discovers the API version that the cluster serves, and reads the roots that the object holds; `None`
    /// if the cluster does not serve the kind.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn find(client: &Client) -> Result<Option<(Self, Option<String>)>, kube::Error> {
        for version in VERSIONS {
            let kind = GroupVersionKind::gvk(GROUP, version, "ClusterTrustBundle");
            let kind = ApiResource::from_gvk_with_plural(&kind, "clustertrustbundles");
            let bundles = Self { client: client.clone(), kind };
            // Lists the object itself, which needs no permission beyond those to read it.
            let only = ListParams::default().fields(&format!("metadata.name={TRUST_BUNDLE}"));
            match bundles.all().list(&only).await {
                Ok(found) => {
                    let held = found.items.first().and_then(|object| bundles.text(object));
                    return Ok(Some((bundles, held)));
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns the namespaces of the object: it is cluster-scoped, which is the empty name.
    pub fn places() -> Arc<BTreeSet<model::Str>> {
        Arc::new(BTreeSet::from([model::Str::new()]))
    }

    /// Returns the API of the kind.
    pub fn all(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &self.kind)
    }

    /// Returns the roots of an object, PEM.
    pub fn text(&self, bundle: &DynamicObject) -> Option<String> {
        bundle.data.pointer("/spec/trustBundle")?.as_str().map(str::to_owned)
    }

    /// Writes the roots into the existing object or a new one.
    ///
    /// # Errors
    /// When the request fails.
    pub async fn write(&self, text: &str, exists: bool) -> Result<DynamicObject, kube::Error> {
        let bundles = self.all();
        if exists {
            let change = json!({ "spec": { "trustBundle": text } });
            return bundles.patch(TRUST_BUNDLE, &PatchParams::default(), &Patch::Merge(change)).await;
        }
        let bundle = DynamicObject {
            types: Some(TypeMeta {
                api_version: self.kind.api_version.clone(),
                kind: self.kind.kind.clone(),
            }),
            metadata: ObjectMeta { name: Some(TRUST_BUNDLE.to_owned()), ..ObjectMeta::default() },
            data: json!({ "spec": { "signerName": SIGNER, "trustBundle": text } }),
        };
        bundles.create(&PostParams::default(), &bundle).await
    }

    /// Returns whether an error needs no action: another replica wrote first, or the object is being deleted.
    pub fn is_passing(&self, status: &Status) -> bool {
        matches!(status.code, 404 | 409)
    }
}
