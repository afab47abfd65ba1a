//! Policies that the API server takes and Pilothouse does not understand.

use crate::cluster::{Cluster, pod, policy, service};
use crate::daemon::Daemon;
use crate::fresh::{held_by, list, settled};
use anyhow::Context;
use model::Kind;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::client::{Client, State};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// A definition that checks nothing, as an old or foreign one may be.
const LAX: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: authorizationpolicies.security.istio.io}
spec:
  group: security.istio.io
  scope: Namespaced
  names: {kind: AuthorizationPolicy, plural: authorizationpolicies}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {status: {}}
";

const APPS: [&str; 4] = ["shape", "port", "range", "fine"];

/// Returns which pods the account `api` reaches, in the order of [`APPS`].
fn reached(state: &State) -> Vec<bool> {
    let from = IpAddr::from(Ipv4Addr::new(10, 1, 9, 9));
    let to = |app: &&str| {
        let uid = format!("Kubernetes//Pod/shop/{app}");
        let decision = state.allowed(Some("spiffe://cluster.local/ns/shop/sa/api"), from, &uid, 8080);
        decision.is_some_and(|d| d.is_allowed())
    };
    APPS.iter().map(to).collect()
}

async fn until_reached(client: &Client, wanted: [bool; 4]) -> anyhow::Result<()> {
    client.until(&format!("reached: {wanted:?}"), |state| reached(state) == wanted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_understood_denies_what_it_selects_and_nothing_else() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let cluster = Cluster::of(&server).await?;
    server.apply(LAX).await?;
    cluster.namespace("istio-system", json!({})).await?;
    cluster.namespace("shop", json!({})).await?;
    for (n, app) in APPS.iter().enumerate() {
        cluster.apply(&service("shop", app)).await?;
        cluster.pod(&pod("shop", app, app, &format!("10.1.0.{n}"))).await?;
    }
    let api = json!([{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/api"]}}]}]);
    cluster.apply(&policy("shop", "fine", "fine", "ALLOW", api.clone())).await?;

    let daemon = Daemon::of_cluster(&server.kubeconfig(), "istio-system").await?;
    let client = daemon.client().await?;
    until_reached(&client, [true, true, true, true]).await?;
    let before = settled(&client, cluster.client(), daemon.options()).await?;

    let bad: [(&str, &str, Value); 3] = [
        // No list of rules at all: the policy is refused as a whole.
        ("shape", "ALLOW", json!(5)),
        // No port has a name here: it may be any.
        ("port", "DENY", json!([{"to": [{"operation": {"ports": ["https"]}}]}])),
        // No address is in it.
        ("range", "ALLOW", json!([{"from": [{"source": {"ipBlocks": ["10.1.0.0/64"]}}]}])),
    ];
    for (app, action, rules) in &bad {
        cluster.apply(&policy("shop", &format!("bad-{app}"), app, action, rules.clone())).await?;
    }
    until_reached(&client, [false, false, false, true]).await?;
    let after = settled(&client, cluster.client(), daemon.options()).await?;
    let touched = crate::fresh::changed(&before, &after);
    let touched: Vec<&str> = touched.iter().map(|(_, name)| name.as_str()).collect();
    let expected = [
        "Kubernetes//Pod/shop/port",
        "Kubernetes//Pod/shop/range",
        "Kubernetes//Pod/shop/shape",
        "shop/bad-port",
        "shop/bad-range",
        "shop/bad-shape",
    ];
    assert_eq!(touched, expected);

    let told: Vec<String> =
        daemon.ask(|mesh| mesh.diagnostics().iter().map(ToString::to_string).collect()).await?;
    let stored = list(cluster.client(), Kind::AuthorizationPolicy, "istio-system").await?;
    let stricter = "enforced more strictly than written: ";
    for (name, field, status, reason, begin, message) in [
        (
            "bad-shape",
            "spec.rules",
            "False",
            "Invalid",
            "the policy is not understood, so it denies all traffic: ",
            "invalid type: integer `5`, expected a sequence",
        ),
        (
            "bad-port",
            "spec.rules[0].to[0].operation.ports[0]",
            "True",
            "PartiallyInvalid",
            stricter,
            "\"https\" is not a port from 0 to 65535, so the whole list is ignored and more is denied than written",
        ),
        (
            "bad-range",
            "spec.rules[0].from[0].source.ipBlocks[0]",
            "True",
            "PartiallyInvalid",
            stricter,
            "\"10.1.0.0/64\" is not an IP address or a range such as 10.0.0.0/8, so it allows nothing",
        ),
    ] {
        let sentence = format!("AuthorizationPolicy shop/{name}, {field}: ");
        let tell = told.iter().filter(|told| told.starts_with(&sentence)).count();
        assert_eq!(tell, 1, "{sentence}… in {told:#?}");
        // And its status says the same: it was compared with the mesh, so it is there.
        let object = stored.iter().find(|object| object["metadata"]["name"] == name).context(name)?;
        let all = object["status"]["conditions"].as_array().context(name)?;
        let accepted = all.iter().find(|c| c["type"] == "ZtunnelAccepted").context(name)?;
        let said = [&accepted["status"], &accepted["reason"], &accepted["message"]];
        assert_eq!(said, [status, reason, &format!("{begin}{field}: {message}")]);
    }

    for (app, ..) in &bad {
        cluster.apply(&policy("shop", &format!("bad-{app}"), app, "ALLOW", api.clone())).await?;
    }
    until_reached(&client, [true, true, true, true]).await?;
    settled(&client, cluster.client(), daemon.options()).await?;
    until(LIMIT, async || {
        let count = daemon.ask(|mesh| mesh.diagnostics().len()).await?;
        Ok((count == 0).then_some(()))
    })
    .await?;
    assert_eq!(client.violations(), []);
    assert_eq!(client.with(held_by).len(), after.len());
    Ok(())
}
