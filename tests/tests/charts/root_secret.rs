//! The Secret of the root: the chart makes it empty, since no right to create Secrets is given, and a replica fills it.

use crate::own_account::{Replica, Site};
use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::helm::{Rendered, render_in, render_pilothouse};
use serde_json::{Value, json};

const NAME: &str = "istio-ca-secret";

/// Renders a release of the chart in a namespace, as its objects are there.
async fn release(
    server: &ApiServer,
    name: &'static str,
    namespace: &str,
    values: Value,
) -> anyhow::Result<Rendered> {
    let (cluster, namespace) = (server.kubeconfig(), namespace.to_owned());
    tokio::task::spawn_blocking(move || render_in(&cluster, name, &namespace, &values)).await?
}

/// Applies the Secret of a release as helm does: with the marks of whose it is.
async fn install(server: &ApiServer, rendered: &Rendered, release: &str) -> anyhow::Result<()> {
    let mut secret = rendered.only("Secret")?.clone();
    let annotations = secret["metadata"]["annotations"].as_object_mut().context("no annotations")?;
    annotations.insert("meta.helm.sh/release-name".to_owned(), release.into());
    server.apply(&secret.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_makes_an_empty_secret_and_leaves_alone_what_is_in_it_and_what_is_anothers()
-> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let (fresh, taken) = (server.namespace("fresh").await?, server.namespace("taken").await?);
    let first = release(server, "mesh", &fresh, json!({})).await?;
    let secret = first.only("Secret")?;
    assert_eq!((&secret["metadata"]["name"], &secret["type"]), (&json!(NAME), &json!("istio.io/ca-root")));
    assert!(secret.get("data").is_none() && secret.get("stringData").is_none());
    // The root outlives the release.
    assert_eq!(secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    install(server, &first, "mesh").await?;

    let secrets = |namespace: &str| {
        let namespace = namespace.to_owned();
        async move { anyhow::Ok(Api::<Secret>::namespaced(server.client().await?, &namespace)) }
    };
    let api = secrets(&fresh).await?;
    let mut filled = api.get(NAME).await?;
    filled.data = Some([("ca-cert.pem".to_owned(), ByteString(b"a root".to_vec()))].into());
    api.replace(NAME, &PostParams::default(), &filled).await?;
    // An upgrade.
    install(server, &release(server, "mesh", &fresh, json!({"replicaCount": 3})).await?, "mesh").await?;
    assert_eq!(api.get(NAME).await?.data, filled.data);
    // A second control plane beside it takes what is there.
    let second = release(server, "blue", &fresh, json!({"revision": "blue"})).await?;
    assert!(!second.has("Secret") && second.has("Deployment"));

    // One that istiod made is adopted by the replicas; helm would refuse to install over it.
    let of_istiod = json!({
        "metadata": {"name": NAME}, "type": "istio.io/ca-root", "data": {"ca-cert.pem": "YQ=="},
    });
    let api = secrets(&taken).await?;
    let before = api.create(&PostParams::default(), &serde_json::from_value(of_istiod)?).await?;
    let beside = release(server, "mesh", &taken, json!({})).await?;
    assert!(!beside.has("Secret") && beside.has("Deployment"));
    assert_eq!(api.get(NAME).await?.metadata.resource_version, before.metadata.resource_version);
    Ok(())
}

#[test]
fn no_secret_is_made_where_none_is_written_and_none_may_be_created_anywhere() -> anyhow::Result<()> {
    let signer = json!({"externalSigner": {"name": "issuers.example/mesh"}});
    let shadow = json!({"shadow": {"enabled": true}});
    for (values, has) in
        [(json!({}), true), (json!({"revision": "blue"}), true), (signer, false), (shadow, false)]
    {
        let rendered = render_pilothouse("mesh", &values)?;
        assert_eq!(rendered.has("Secret"), has, "{values}");
        for role in rendered
            .objects
            .iter()
            .filter(|object| object["kind"].as_str().is_some_and(|k| k.ends_with("Role")))
        {
            for rule in role["rules"].as_array().context("no rules")? {
                let has = |key: &str, value: &str| {
                    rule[key].as_array().is_some_and(|all| all.iter().any(|v| v == value || v == "*"))
                };
                let is_open = ["create", "update", "patch", "delete"].iter().any(|verb| has("verbs", verb))
                    && rule["resourceNames"].as_array().is_none_or(Vec::is_empty);
                assert!(!(has("resources", "secrets") && is_open), "{rule} with {values}");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_fills_the_secret_and_restores_one_that_is_emptied_or_made_anew() -> anyhow::Result<()> {
    let site = Site::install(false, &json!({}), None).await?;
    let secrets = site.secrets().await?;
    let empty = secrets.get(NAME).await?;
    assert_eq!(empty.data, None);
    let replica = Replica::start(&site, &site.settings()?).await?;
    let root = async |secret: Option<Secret>| secret.and_then(|secret| secret.data?.remove("ca-cert.pem"));
    let held = async || anyhow::Ok(root(secrets.get_opt(NAME).await?).await);
    let first = until(LIMIT, held).await.context("no root is written")?;
    // It is the object of the chart still.
    let filled = secrets.get(NAME).await?;
    assert_eq!(
        (&filled.metadata.uid, &filled.metadata.labels),
        (&empty.metadata.uid, &empty.metadata.labels)
    );
    site.used()?;

    let emptied = Patch::Merge(json!({"data": null}));
    secrets.patch(NAME, &PatchParams::default(), &emptied).await?;
    assert!(until(LIMIT, held).await.context("an emptied Secret is not restored")? == first);
    site.used()?;
    // It may not create one: what to do is told as a problem with key material.
    secrets.delete(NAME, &DeleteParams::default()).await?;
    site.server.apply(&site.rendered.only("Secret")?.to_string()).await?;
    assert!(until(LIMIT, held).await.context("a Secret made anew is not filled")? == first);
    replica.stop().await
}
