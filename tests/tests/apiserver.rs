//! The API server fixture is a cluster as far as tests rely on one.

use anyhow::Context;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, PostParams};
use kube::core::Status;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, client_of, until};

async fn review(server: &ApiServer, token: &str, audience: &str) -> anyhow::Result<TokenReview> {
    let reviews = Api::<TokenReview>::all(server.client().await?);
    let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![audience.to_owned()]) };
    let review = TokenReview { spec, ..Default::default() };
    Ok(reviews.create(&PostParams::default(), &review).await?)
}

#[tokio::test]
async fn a_token_for_the_certificate_authority_is_reviewed_for_that_audience_only() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("tokens").await?;
    let token = server.token(&ns, "default", &["istio-ca"]).await?;

    let status = review(server, &token, "istio-ca").await?.status.context("no status")?;
    assert_eq!(status.authenticated, Some(true));
    assert_eq!(status.audiences, Some(vec!["istio-ca".to_owned()]));
    let user = status.user.and_then(|u| u.username);
    assert_eq!(user, Some(format!("system:serviceaccount:{ns}:default")));

    let status = review(server, &token, "somebody-else").await?.status.context("no status")?;
    assert_ne!(status.authenticated, Some(true));
    Ok(())
}

#[tokio::test]
async fn a_service_account_has_no_rights_but_those_granted() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("rights").await?;
    let client = client_of(&server.kubeconfig_of(&ns, "default").await?).await?;
    let maps = Api::<ConfigMap>::namespaced(client, &ns);
    assert_eq!(code(maps.list(&Default::default()).await.map(drop)), Some(403));

    server
        .apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {ns}}}
rules: [{{apiGroups: [''], resources: [configmaps], verbs: [list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {ns}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {ns}}}]
"
        ))
        .await?;
    until(LIMIT, async || Ok(maps.list(&Default::default()).await.ok())).await?;
    Ok(())
}

fn code(result: kube::Result<()>) -> Option<u16> {
    match result {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

#[tokio::test]
async fn only_health_is_answered_without_credentials() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let text = std::fs::read_to_string(server.kubeconfig())?;
    let mut config: serde_yaml::Value = serde_yaml::from_str(&text)?;
    config["users"][0]["user"] = serde_yaml::Value::Mapping(Default::default());
    let path = server.dir().join("kubeconfig-nobody");
    std::fs::write(&path, serde_yaml::to_string(&config)?)?;
    let nobody = client_of(&path).await?;

    let get = |path: &str| http::Request::get(path).body(Vec::new());
    assert_eq!(nobody.request_text(get("/readyz")?).await?, "ok");
    assert_eq!(code(nobody.request::<Status>(get("/api/v1/namespaces")?).await.map(drop)), Some(401));
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_goes_away_with_its_pods() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("short-lived").await?;
    server
        .apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: {ns}}}
spec: {{containers: [{{name: web, image: web}}]}}
"
        ))
        .await?;
    let namespaces = Api::<Namespace>::all(server.client().await?);
    namespaces.delete(&ns, &Default::default()).await?;
    until(LIMIT, async || Ok(namespaces.get_opt(&ns).await?.is_none().then_some(()))).await
}

#[tokio::test]
async fn data_and_address_survive_an_orderly_end_and_a_crash() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let url = server.url().to_owned();
    for (round, crash) in [false, true].into_iter().enumerate() {
        let map =
            format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{round}, namespace: default}}}}");
        server.apply(&map).await?;
        if crash {
            server.kill()?;
        } else {
            server.stop().await?;
        }
        let maps = Api::<ConfigMap>::namespaced(server.client().await?, "default");
        assert!(maps.get("m0").await.is_err(), "nothing serves in between");
        server.restart().await?;
        assert_eq!(server.url(), url);
        maps.get(&format!("m{round}")).await?;
    }
    Ok(())
}
