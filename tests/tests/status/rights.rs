//! Without rights: one clear sentence, and the mesh is served all the same.

use crate::fixture::{Fixture, entry, service, waypoint};
use crate::replica::Replica;
use anyhow::Context;
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, client_of, until};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

async fn grant(fixture: &Fixture, name: &str, rules: Value) -> anyhow::Result<()> {
    let version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({"name": name});
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules});
    fixture.server.apply(&role.to_string()).await?;
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "istio-system"}],
    });
    fixture.server.apply(&binding.to_string()).await
}

/// Returns the kubeconfig of an account that may read what the mesh is made from, and nothing else.
async fn reader(fixture: &Fixture) -> anyhow::Result<PathBuf> {
    let has_account = async || {
        let path = "/api/v1/namespaces/istio-system/serviceaccounts/default";
        let found = fixture.client.request::<Value>(http::Request::get(path).body(Vec::new())?).await;
        Ok(found.is_ok().then_some(()))
    };
    until(LIMIT, has_account).await?;
    let reads: Value = Kind::ALL
        .iter()
        .map(|k| json!({"apiGroups": [k.group()], "resources": [k.plural()], "verbs": ["list", "watch"]}))
        .collect();
    grant(fixture, "reads", reads).await?;
    fixture.server.kubeconfig_of("istio-system", "default").await
}

/// What it takes to lead.
fn locks() -> Value {
    json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update"]},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_to_write_there_is_one_sentence_each_and_the_mesh_is_served() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    fixture.put_all(&waypoint("shop", "way", "Same")).await?;
    let way = json!({"istio.io/use-waypoint": "way"});
    for n in 0..20 {
        fixture.put(service("shop", &format!("web-{n}"), way.clone())).await?;
    }
    let kubeconfig = reader(&fixture).await?;

    // No lock may be read.
    let replica = Replica::start(&kubeconfig, "one").await?;
    let stats = replica.stats();
    let said = async || {
        Ok(Some((stats.conditions.problems(), stats.addresses.problems()))
            .filter(|(c, a)| !c.is_empty() && !a.is_empty()))
    };
    let (conditions, addresses) = until(LIMIT, said).await?;
    assert_eq!((conditions.len(), addresses.len()), (1, 1));
    assert!(
        conditions[0].starts_with("cannot take part in the election for istio-status-leader: leases.coordination.k8s.io \"istio-status-leader\" is forbidden")
            && conditions[0].contains("grant create on leases.coordination.k8s.io, and get and update on istio-status-leader, in the namespace istio-system"),
        "{conditions:?}"
    );
    assert!(addresses[0].contains("grant create on configmaps"), "{addresses:?}");

    // The locks are held, and no status may be written.
    grant(&fixture, "locks", locks()).await?;
    replica.leading().await?;
    let sentence = "not allowed to patch services/status; grant patch on services/status to this user, as the chart's ClusterRole does; the mesh is served all the same";
    let said = async || Ok((stats.conditions.problems() == [sentence]).then_some(()));
    until(LIMIT, said).await?;

    let mut snapshots = replica.engine().snapshots();
    snapshots.mark_unchanged();
    fixture.put(service("shop", "news", way)).await?;
    timeout(LIMIT, snapshots.changed()).await??;
    assert_eq!(fixture.writes().await?, 0);

    // With the right, all is written, and the complaint ends.
    let statuses = json!([{"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]}]);
    grant(&fixture, "statuses", statuses).await?;
    let is_written = async || Ok((replica.written() == (21, 0)).then_some(()));
    until(LIMIT, is_written).await?;
    assert_eq!(stats.conditions.problems(), [""; 0]);
    fixture.has_written(21).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_were_given_back_rest_while_nothing_may_be_written() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let kubeconfig = reader(&fixture).await?;
    grant(&fixture, "locks", locks()).await?;
    let group = "networking.istio.io";
    let statuses =
        json!([{"apiGroups": [group], "resources": ["serviceentries/status"], "verbs": ["patch"]}]);
    grant(&fixture, "statuses", statuses.clone()).await?;
    // Of this range there are five addresses to give.
    let pools =
        mesh::Pools { v4: "240.240.0.0/29".parse().map_err(anyhow::Error::msg)?, ..Default::default() };
    let replica = Replica::start_with(&kubeconfig, "one", |settings| settings.pools = pools).await?;
    let until_given = async |name: &str| {
        let v4 = async || {
            let given = fixture.addresses("shop", name).await?;
            Ok(given.into_iter().map(|(_, ip)| ip).find(|ip| ip.starts_with("240.")))
        };
        until(LIMIT, v4).await.with_context(|| format!("{name} has no address"))
    };
    for name in ["a", "b", "c"] {
        fixture.put(entry("shop", name, &[&format!("{name}.test")])).await?;
        until_given(name).await?;
    }
    let freed = until_given("a").await?;
    fixture.delete(Kind::ServiceEntry, "shop", "a").await?;

    // Two more come when nothing may be written: that is given up, and all is looked at again.
    grant(&fixture, "statuses", json!([])).await?;
    let account = client_of(&kubeconfig).await?;
    let is_forbidden = async || {
        let path =
            format!("/apis/{group}/v1/namespaces/shop/serviceentries/nobody/status?fieldManager=probe");
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        let refused = account.request::<Value>(request.body(b"{}".to_vec())?).await.err();
        Ok(matches!(refused, Some(kube::Error::Api(status)) if status.code == 403).then_some(()))
    };
    until(LIMIT, is_forbidden).await?;
    for name in ["d", "e"] {
        fixture.put(entry("shop", name, &[&format!("{name}.test")])).await?;
    }
    let failed = || replica.stats().addresses.failed.load(Ordering::Relaxed);
    let first = until(LIMIT, async || Ok(Some(failed()).filter(|count| *count > 0))).await?;
    until(LIMIT, async || Ok((failed() > first + 2).then_some(())))
        .await
        .context("it is not looked again")?;
    grant(&fixture, "statuses", statuses).await?;
    for name in ["d", "e"] {
        assert_ne!(until_given(name).await?, freed, "{name} has what a.test had a moment ago");
    }
    Ok(())
}
