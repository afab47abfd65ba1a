//! The Secret of a listener comes, changes and goes; the status of its gateway follows.

use crate::fixture::Fixture;
use crate::whole::Whole;
use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::helm;
use serde_json::{Value, json};

/// What a condition says: status, reason.
type Statement = (String, String);

/// Returns what a condition of an object or of one of its entries says, of its latest generation.
fn said(of: Option<&Value>, kind: &str, generation: &Value) -> Option<Statement> {
    let conditions = of?["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (found["observedGeneration"] == *generation).then(|| (text("status"), text("reason")))
}

/// Waits until the Gateway says this: whether references of its listener are resolved, whether the listener is
/// programmed, and whether the gateway is.
async fn until_said(fixture: &Fixture, expected: [(&str, &str); 3]) -> anyhow::Result<()> {
    let expected = expected.map(|(status, reason)| Some((status.to_owned(), reason.to_owned())));
    let mut last = Default::default();
    let is_so = async || {
        let gateway = fixture.get(Kind::Gateway, "shop", "gw").await?;
        let (status, generation) = (gateway.get("status"), &gateway["metadata"]["generation"]);
        let listener = gateway.pointer("/status/listeners/0");
        let of_listener = ["ResolvedRefs", "Programmed"].map(|kind| said(listener, kind, generation));
        let [resolved, programmed] = of_listener;
        last = [resolved, programmed, said(status, "Programmed", generation)];
        Ok((last == expected).then_some(()))
    };
    until(LIMIT, is_so).await.with_context(|| format!("{last:?} instead of {expected:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_of_a_listener_that_comes_changes_and_goes_is_followed() -> anyhow::Result<()> {
    const RESOLVED: (&str, &str) = ("True", "ResolvedRefs");
    const UNRESOLVED: (&str, &str) = ("False", "InvalidCertificateRef");
    const PROGRAMMED: (&str, &str) = ("True", "Programmed");
    const INVALID: (&str, &str) = ("False", "Invalid");
    let fixture = Fixture::start_with_controllers(&[("shop", json!({}))]).await?;
    let values = json!({"gateways": {"enabled": true}, "secretNamespaces": ["shop"]});
    let account = helm::account_with(&fixture.server, "istio-system", values).await?;
    let plane = Whole::start(&account, |args| args.mesh.deploy_gateways = Some(true)).await?;
    let reference = json!([{"name": "web"}]);
    fixture
        .put(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "gw", "namespace": "shop"},
            "spec": {"gatewayClassName": "istio", "listeners": [
                {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": reference}},
            ]},
        }))
        .await?;
    until_said(&fixture, [UNRESOLVED, INVALID, INVALID]).await?;

    let secrets = Api::<Secret>::namespaced(fixture.client.clone(), "shop");
    let params = PatchParams::apply("tests").force();
    let put = async |certificate: &str, key: &str| {
        let data = json!({"tls.crt": certificate, "tls.key": key});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "namespace": "shop"},
            "type": "kubernetes.io/tls", "stringData": data,
        });
        secrets.patch("web", &params, &Patch::Apply(secret)).await.map(drop)
    };
    let [old, new] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["shop.example.com".to_owned()]));
    let (old, new) = (old?, new?);
    let (old_key, new_key) = (old.signing_key.serialize_pem(), new.signing_key.serialize_pem());
    put(&old.cert.pem(), &old_key).await?;
    until_said(&fixture, [RESOLVED, PROGRAMMED, PROGRAMMED]).await?;
    // A certificate without its key is none.
    put(&new.cert.pem(), &old_key).await?;
    until_said(&fixture, [UNRESOLVED, INVALID, INVALID]).await?;
    put(&new.cert.pem(), &new_key).await?;
    until_said(&fixture, [RESOLVED, PROGRAMMED, PROGRAMMED]).await?;
    secrets.delete("web", &DeleteParams::default()).await?;
    until_said(&fixture, [UNRESOLVED, INVALID, INVALID]).await?;
    put(&old.cert.pem(), &old_key).await?;
    until_said(&fixture, [RESOLVED, PROGRAMMED, PROGRAMMED]).await?;
    plane.stop().await
}
