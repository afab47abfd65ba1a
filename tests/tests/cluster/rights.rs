//! The rights that it takes to read: to list and watch what is read, and nothing else.

use crate::daemon::Daemon;
use model::Kind;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::client::{Client, OpenError};
use serde_json::{Value, json};
use tonic::Code;

/// Returns the least rules: every kind but ConfigMaps, of which one is read.
fn rules(kinds: impl Iterator<Item = Kind>) -> Value {
    kinds
        .filter(|kind| *kind != Kind::ConfigMap)
        .map(|kind| {
            json!({"apiGroups": [kind.group()], "resources": [kind.plural()], "verbs": ["list", "watch"]})
        })
        .collect()
}

async fn grant(server: &ApiServer, account: &str, name: &str, rules: Value) -> anyhow::Result<()> {
    let api = "rbac.authorization.k8s.io";
    let version = format!("{api}/v1");
    let subject = json!({"kind": "ServiceAccount", "name": "default", "namespace": account});
    let (cluster_wide, metadata) = (name != "settings", format!("{account}-{name}"));
    let prefix = if cluster_wide { "Cluster" } else { "" };
    let role = format!("{prefix}Role");
    let metadata = if cluster_wide {
        json!({"name": metadata})
    } else {
        json!({"name": metadata, "namespace": account})
    };
    server
        .apply(
            &json!({"apiVersion": version, "kind": role, "metadata": metadata, "rules": rules}).to_string(),
        )
        .await?;
    let reference = json!({"apiGroup": api, "kind": role, "name": metadata["name"]});
    server
        .apply(
            &json!({
                "apiVersion": version, "kind": format!("{role}Binding"), "metadata": metadata,
                "roleRef": reference, "subjects": [subject],
            })
            .to_string(),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_until_every_kind_may_be_read_and_a_shadow_needs_no_other_right()
-> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let account = server.namespace("least").await?;
    let kubeconfig = server.kubeconfig_of(&account, "default").await?;
    let others = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Pod);
    grant(server, &account, "most", rules(others)).await?;
    let one_map = json!([{
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["istio"], "verbs": ["list", "watch"],
    }]);
    grant(server, &account, "settings", one_map).await?;

    let daemon = Daemon::shadow_of_cluster(&kubeconfig, &account).await?;
    until(LIMIT, async || {
        let missing = daemon.ask(|mesh| mesh.missing()).await?;
        Ok((missing == [Kind::Pod]).then_some(()))
    })
    .await?;
    let Err(refused) = Client::connect(daemon.client_options()).await else {
        anyhow::bail!("half a mesh is served");
    };
    assert_eq!(refused.downcast_ref().map(OpenError::code), Some(Code::Unavailable), "{refused:#}");

    grant(server, &account, "pods", rules([Kind::Pod].into_iter())).await?;
    let client = daemon.client().await?;
    assert_eq!(client.violations(), []);
    Ok(())
}
