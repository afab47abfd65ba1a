//! One ClusterTrustBundle, which every pod of the cluster may mount.

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams, TypeMeta};
use kube::core::{ApiResource, GroupVersionKind, Status};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The name of the object; it has to begin with that of the signer.
pub const TRUST_BUNDLE: &str = "istio.io:istiod-ca:root-cert";

/// Whose roots they are. Who writes the object needs the right to `attest` for this signer.
const SIGNER: &str = "istio.io/istiod-ca";

const GROUP: &str = "certificates.k8s.io";

/// The versions in which clusters may serve the kind, the newest first: `v1` since Kubernetes 1.37.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The ClusterTrustBundle of the roots.
pub struct TrustBundles {
    client: Client,
    kind: ApiResource,
}

impl TrustBundles {
    /// Finds out in which version the kind is served, and what the object holds; nothing where it is not
    /// served at all.
    ///
    /// # Errors
    /// When the API server does not tell.
    pub async fn find(client: &Client) -> Result<Option<(Self, Option<String>)>, kube::Error> {
        for version in VERSIONS {
            let kind = GroupVersionKind::gvk(GROUP, version, "ClusterTrustBundle");
            let kind = ApiResource::from_gvk_with_plural(&kind, "clustertrustbundles");
            let bundles = Self { client: client.clone(), kind };
            // Asked for what is read anyway: needs no right to look around.
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

    /// The one place that such an object has.
    pub fn places() -> Arc<BTreeSet<model::Str>> {
        Arc::new(BTreeSet::from([model::Str::new()]))
    }

    /// All objects of the kind.
    pub fn all(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &self.kind)
    }

    /// The roots that an object holds, PEM.
    pub fn text(&self, bundle: &DynamicObject) -> Option<String> {
        bundle.data.pointer("/spec/trustBundle")?.as_str().map(str::to_owned)
    }

    /// Writes the roots, into the object that is there or a new one.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer.
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

    /// Tells whether a refusal needs no remedy: another replica was faster, or the object is being deleted.
    pub fn is_passing(&self, status: &Status) -> bool {
        matches!(status.code, 404 | 409)
    }
}
