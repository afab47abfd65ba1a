//! Objects of several clusters stand beside each other under the same names.

use crate::{parsed, synced};
use mesh::Options;
use model::Event;
use model::{Kind, Name, Ns, Object, ObjectRef};
use plane::Plane;
use prost::Message;
use proto::workload::address::Type;
use proto::workload::{Address, Workload};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const POD: &str = "east//Pod/shop/web";

fn pod(ip: &str) -> Object {
    parsed(
        Kind::Pod,
        json!({
            "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        }),
    )
}

fn node(region: &str) -> Object {
    let labels = json!({"topology.kubernetes.io/region": region});
    parsed(Kind::Node, json!({"metadata": {"name": "n1", "labels": labels}}))
}

/// Moves a pod or a node into another cluster.
fn moved(object: Object, cluster: &str) -> Object {
    let there = |name: &Name| Name { ns: Ns::of(cluster, &name.ns), name: name.name.clone() };
    match object {
        Object::Pod(mut pod) => {
            let own = Arc::make_mut(&mut pod);
            own.name = there(&own.name);
            Object::Pod(pod)
        }
        Object::Node(mut node) => {
            let own = Arc::make_mut(&mut node);
            own.name = there(&own.name);
            Object::Node(node)
        }
        other => panic!("{:?} is not moved", other.reference()),
    }
}

fn held(mesh: &Plane) -> BTreeMap<String, Arc<[u8]>> {
    mesh.resources().into_iter().filter_map(|r| Some((r.name, r.body?))).collect()
}

fn workload(body: &[u8]) -> Workload {
    match Address::decode(body).unwrap().r#type {
        Some(Type::Workload(workload)) => workload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_another_cluster_has_under_the_same_names_is_its_own() {
    let policy = parsed(
        Kind::AuthorizationPolicy,
        json!({
            "metadata": {"namespace": "shop", "name": "nobody"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }),
    );
    let here = [policy, node("here"), pod("10.0.0.1")];
    let mut mesh = synced(&Options::default(), here.map(Event::Put).into());
    let before = held(&mesh);
    let own = workload(&before["Kubernetes//Pod/shop/web"]);
    assert_eq!(own.authorization_policies, ["shop/nobody"]);

    mesh.apply([node("there"), pod("10.9.0.1")].map(|object| Event::Put(moved(object, "east"))));
    let mut both = held(&mesh);
    let there = workload(&both.remove(POD).unwrap());
    assert_eq!(both, before, "nothing here has changed");
    let region = |of: &Workload| of.locality.as_ref().map(|l| l.region.clone());
    assert_eq!((region(&own).as_deref(), region(&there).as_deref()), (Some("here"), Some("there")));
    assert_eq!((own.cluster_id.as_str(), there.cluster_id.as_str()), ("Kubernetes", "east"));
    assert_eq!((there.namespace.as_str(), there.name.as_str()), ("shop", "web"));
    assert!(there.authorization_policies.is_empty(), "the policy is of a namespace here");

    mesh.apply([Event::Remove(ObjectRef { kind: Kind::Pod, name: Name::new("shop", "web") })]);
    assert_eq!(held(&mesh).into_keys().filter(|name| name.contains("Pod")).collect::<Vec<_>>(), [POD]);
}
