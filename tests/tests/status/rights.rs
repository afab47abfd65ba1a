//! Without rights: one clear sentence, and the mesh is served all the same.

use crate::replica::Replica;
use crate::world::{World, service, waypoint};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::{Value, json};
use tokio::time::timeout;

async fn grant(world: &World, name: &str, rules: Value) -> anyhow::Result<()> {
    let version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({"name": name});
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules});
    world.server.apply(&role.to_string()).await?;
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "istio-system"}],
    });
    world.server.apply(&binding.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_to_write_there_is_one_sentence_each_and_the_mesh_is_served() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    world.put_all(&waypoint("shop", "way", "Same")).await?;
    let way = json!({"istio.io/use-waypoint": "way"});
    for n in 0..20 {
        world.put(service("shop", &format!("web-{n}"), way.clone())).await?;
    }
    let has_account = async || {
        let path = "/api/v1/namespaces/istio-system/serviceaccounts/default";
        let found = world.client.request::<Value>(http::Request::get(path).body(Vec::new())?).await;
        Ok(found.is_ok().then_some(()))
    };
    until(LIMIT, has_account).await?;
    let kubeconfig = world.server.kubeconfig_of("istio-system", "default").await?;
    let reads: Value = Kind::ALL
        .iter()
        .map(|k| json!({"apiGroups": [k.group()], "resources": [k.plural()], "verbs": ["list", "watch"]}))
        .collect();
    grant(&world, "reads", reads).await?;

    // No lock may be read.
    let replica = Replica::start(&kubeconfig, "one").await?;
    let stats = replica.stats();
    let said = async || {
        Ok(Some((stats.conditions.troubles(), stats.addresses.troubles()))
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
    let locks = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update"]},
    ]);
    grant(&world, "locks", locks).await?;
    replica.leading().await?;
    let sentence = "not allowed to patch services/status; grant patch on services/status to this user, as the chart's ClusterRole does; the mesh is served all the same";
    let said = async || Ok((stats.conditions.troubles() == [sentence]).then_some(()));
    until(LIMIT, said).await?;

    let mut snapshots = replica.pump().snapshots();
    snapshots.mark_unchanged();
    world.put(service("shop", "news", way)).await?;
    timeout(LIMIT, snapshots.changed()).await??;
    assert_eq!(world.writes().await?, 0);

    // With the right, all is written, and the complaint ends.
    let statuses = json!([{"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]}]);
    grant(&world, "statuses", statuses).await?;
    let is_written = async || Ok((replica.written() == (21, 0)).then_some(()));
    until(LIMIT, is_written).await?;
    assert_eq!(stats.conditions.troubles(), [""; 0]);
    world.has_written(21).await?;
    Ok(())
}
