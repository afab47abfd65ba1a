//! Distribution of the roots to namespaces.

use crate::plane::{Plane, namespace, of_cluster};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use serde_json::json;

const NAME: &str = "istio-ca-root-cert";

#[tokio::test(flavor = "multi_thread")]
async fn roots_are_published_in_every_namespace_and_repaired() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let (system, shop) = (server.namespace("system").await?, server.namespace("shop").await?);
    namespace(&server, "local-path-storage").await?;
    let mut args = of_cluster(&server, &system)?;
    args.identity.root_config_map = NAME.to_owned();
    let plane = Plane::open(&args).await?;
    let roots = plane.roots()?;
    let client = server.client().await?;
    let holds = async |namespace: &str| {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        until(LIMIT, async || {
            let found = maps.get_opt(NAME).await?;
            let right =
                found.as_ref().and_then(|map| map.data.as_ref()?.get("root-cert.pem")) == Some(&roots);
            Ok(found.filter(|_| right))
        })
        .await
    };
    for namespace in [system.as_str(), shop.as_str(), "default", "kube-system"] {
        let map = holds(namespace).await?;
        assert_eq!(
            map.metadata.labels.unwrap_or_default().get("istio.io/config").map(String::as_str),
            Some("true")
        );
    }
    namespace(&server, "born-later").await?;
    holds("born-later").await?;

    // Edited, with a key of another owner; and deleted.
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &shop);
    let edit = json!({"data": {"root-cert.pem": "forged", "other": "kept"}});
    maps.patch(NAME, &PatchParams::default(), &Patch::Merge(edit)).await?;
    let repaired = holds(&shop).await?;
    assert_eq!(repaired.data.unwrap_or_default().get("other").map(String::as_str), Some("kept"));
    maps.delete(NAME, &DeleteParams::default()).await?;
    holds(&shop).await?;

    // Everything is up to date: nothing more is written.
    let writes = plane.stats().root_writes.list();
    let version = maps.get(NAME).await?.metadata.resource_version;
    namespace(&server, "last").await?;
    holds("last").await?;
    assert_eq!(maps.get(NAME).await?.metadata.resource_version, version);
    let failed = writes.iter().find(|(outcome, _)| *outcome == "failed").map_or(0, |(_, count)| *count);
    assert_eq!(failed, 0, "{writes:?}");
    for ignored in ["kube-public", "kube-node-lease", "local-path-storage"] {
        if Api::<Namespace>::all(client.clone()).get_opt(ignored).await?.is_some() {
            let maps = Api::<ConfigMap>::namespaced(client.clone(), ignored);
            assert!(maps.get_opt(NAME).await?.is_none(), "{ignored}");
        }
    }

    // With discovery selectors, only selected namespaces are in the mesh.
    plane.stop().await?;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": system},
        "data": {"mesh": "{discoverySelectors: [{matchLabels: {mesh: in}}]}"},
    });
    server.apply(&settings.to_string()).await?;
    let join = async |name: &str| {
        let label = Patch::Merge(json!({"metadata": {"labels": {"mesh": "in"}}}));
        Api::<Namespace>::all(client.clone()).patch(name, &PatchParams::default(), &label).await
    };
    maps.delete(NAME, &DeleteParams::default()).await?;
    namespace(&server, "joins").await?;
    join("default").await?;
    let _plane = Plane::open(&args).await?;
    holds("default").await?;
    join("joins").await?;
    holds("joins").await?;
    assert!(maps.get_opt(NAME).await?.is_none(), "it was not selected");
    Ok(())
}
