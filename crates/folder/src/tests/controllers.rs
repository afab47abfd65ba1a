//! Controllers become pods.

use super::*;

#[test]
fn deployment_makes_ready_pods_with_addresses_nodes_and_an_owner() {
    let resolved = resolve(&deployment("shop", "web", 3));
    let pods = all(&resolved, "Pod");
    assert_eq!(pods.len(), 3);
    let mut nodes = Vec::new();
    for pod in pods {
        let value = &pod.value;
        let hash = text(value, "/metadata/labels/pod-template-hash");
        let owner = text(value, "/metadata/ownerReferences/0/name");
        assert_eq!(owner, format!("web-{hash}"));
        assert_eq!(text(value, "/metadata/ownerReferences/0/kind"), "ReplicaSet");
        assert!(pod.key.name.starts_with(&format!("{owner}-")) && pod.key.name.len() == owner.len() + 6);
        assert_eq!(text(value, "/metadata/generateName"), format!("{owner}-"));
        assert_eq!(text(value, "/status/phase"), "Running");
        assert_eq!(text(value, "/status/podIP"), text(value, "/status/podIPs/0/ip"));
        assert!(text(value, "/status/podIP").starts_with("10."));
        assert_eq!(text(value, "/spec/serviceAccountName"), "default");
        assert_eq!(pod.made_for, Some(Key::new("apps", "Deployment", "shop", "web")));
        nodes.push(text(value, "/spec/nodeName").to_owned());
    }
    nodes.sort();
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
    assert!(complaints(&resolved).is_empty());
}

#[test]
fn nodes_have_regions_and_zones() {
    let resolved = resolve("");
    let zones: Vec<&str> = all(&resolved, "Node")
        .iter()
        .map(|node| text(&node.value, "/metadata/labels/topology.kubernetes.io~1zone"))
        .collect();
    assert_eq!(zones, ["zone-a", "zone-b", "zone-c"]);
}

#[test]
fn default_namespaces_and_accounts_exist() {
    let resolved = resolve(&deployment("shop", "web", 1));
    let namespaces = names(&resolved, "Namespace");
    for name in ["default", "istio-system", "kube-system", "shop"] {
        assert!(namespaces.contains(&format!("/{name}")), "{namespaces:?}");
        get(&resolved, "", "ServiceAccount", name, "default");
    }
    let shop = get(&resolved, "", "Namespace", "", "shop");
    assert_eq!(text(shop, "/metadata/labels/kubernetes.io~1metadata.name"), "shop");
}

#[test]
fn declared_nodes_are_the_only_ones() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: big, namespace: ignored}\nstatus:\n  addresses: [{type: \
                InternalIP, address: 192.0.2.7}]\n---\n";
    let host = deployment("shop", "web", 1).replace("    spec:\n", "    spec:\n      hostNetwork: true\n");
    let resolved = resolve(&format!("{node}{host}"));
    assert_eq!(names(&resolved, "Node"), ["/big"]);
    let pod = all(&resolved, "Pod")[0];
    assert_eq!(text(&pod.value, "/spec/nodeName"), "big");
    assert_eq!(text(&pod.value, "/status/podIP"), "192.0.2.7");
}

#[test]
fn stateful_set_numbers_its_pods() {
    let set = deployment("shop", "db", 2).replace("kind: Deployment", "kind: StatefulSet");
    let resolved = resolve(&set.replace("spec:\n  replicas", "spec:\n  serviceName: db\n  replicas"));
    assert_eq!(names(&resolved, "Pod"), ["shop/db-0", "shop/db-1"]);
    let pod = get(&resolved, "", "Pod", "shop", "db-0");
    assert_eq!(text(pod, "/metadata/labels/statefulset.kubernetes.io~1pod-name"), "db-0");
    assert_eq!(text(pod, "/metadata/ownerReferences/0/kind"), "StatefulSet");
    assert_eq!(text(pod, "/spec/subdomain"), "db");
}

#[test]
fn daemon_set_has_one_pod_per_node() {
    let set = deployment("shop", "agent", 9)
        .replace("kind: Deployment", "kind: DaemonSet")
        .replace("  replicas: 9\n", "");
    let resolved = resolve(&set);
    let mut nodes: Vec<&str> =
        all(&resolved, "Pod").iter().map(|pod| text(&pod.value, "/spec/nodeName")).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
}

#[test]
fn jobs_run_their_parallel_pods_until_they_are_over() {
    let job = |extra: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: mail}}\nspec:\n  parallelism: 3\n  completions: 2\n  \
             template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: a}}]}}}}\n{extra}"
        )
    };
    let resolved = resolve(&job(""));
    assert_eq!(all(&resolved, "Pod").len(), 2);
    let pod = all(&resolved, "Pod")[0];
    assert_eq!(text(&pod.value, "/metadata/labels/job-name"), "mail");
    assert!(all(&resolve(&job("status: {completionTime: '2026-01-01T00:00:00Z'}\n")), "Pod").is_empty());
}

#[test]
fn zero_replicas_make_no_pods_and_too_many_are_bounded() {
    assert!(all(&resolve(&deployment("shop", "web", 0)), "Pod").is_empty());
    let resolved = resolve(&deployment("shop", "web", 20_000));
    assert_eq!(all(&resolved, "Pod").len(), 10_000);
    assert!(complaints(&resolved)[0].contains("20000 pods are wanted, 10000 are made"));
}

#[test]
fn enrolment_follows_the_namespace_and_the_pod() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n---\n";
    let with = |label: &str| deployment("shop", "web", 1).replace("version: v1", label);
    let enrolled = |text: &str| {
        let resolved = resolve(text);
        let pod = all(&resolved, "Pod")[0];
        pod.value.pointer("/metadata/annotations/ambient.istio.io~1redirection")
            == Some(&Value::from("enabled"))
    };
    assert!(enrolled(&format!("{namespace}{}", with("version: v1"))));
    assert!(!enrolled(&format!("{namespace}{}", with("istio.io/dataplane-mode: none"))));
    assert!(!enrolled(&with("version: v1")));
    assert!(enrolled(&with("istio.io/dataplane-mode: ambient")));
    let host = with("version: v1").replace("    spec:\n", "    spec:\n      hostNetwork: true\n");
    assert!(!enrolled(&format!("{namespace}{host}")));
}

#[test]
fn declared_pod_is_kept_as_given_with_the_defaults_of_an_api_server() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: curl, namespace: shop}\nspec: {containers: [{name: a, image: a}]}\n";
    let resolved = resolve(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{istio.io/dataplane-mode: ambient}}}}\n---\n{pod}"
    ));
    let value = get(&resolved, "", "Pod", "shop", "curl");
    assert!(value.pointer("/status").is_none() && value.pointer("/metadata/annotations").is_none());
    assert_eq!(text(value, "/spec/serviceAccountName"), "default");
    assert_eq!(resolved.problems.len(), 1);
    assert!(resolved.problems[0].message.contains("no address"));
}

#[test]
fn copy_of_a_cluster_is_not_doubled() {
    let pod = "apiVersion: v1
kind: Pod
metadata:
  name: web-abc-1
  namespace: shop
  labels: {app: web, pod-template-hash: abc}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-abc, uid: u, controller: true}]
spec: {containers: [{name: a, image: a}]}
status: {podIP: 10.9.9.9}
---
";
    let set = deployment("shop", "web-abc", 1).replace("kind: Deployment", "kind: ReplicaSet");
    let resolved = resolve(&format!("{pod}{}---\n{set}", deployment("shop", "web", 1)));
    assert_eq!(names(&resolved, "Pod"), ["shop/web-abc-1"]);
}

#[test]
fn selector_that_misses_its_template_is_refused() {
    let resolved =
        resolve(&deployment("shop", "web", 1).replace("labels: {app: web,", "labels: {app: other,"));
    assert!(all(&resolved, "Pod").is_empty());
    let problem = &resolved.problems[0];
    assert_eq!(problem.field, "spec.template.metadata.labels");
    assert!(problem.message.contains("`selector` does not match template `labels`"), "{problem}");
    assert!(problem.help.contains("app=web"), "{problem}");
    assert_eq!(problem.line, 8, "{problem}");
}

#[test]
fn undeclared_account_is_warned_of() {
    let text =
        deployment("shop", "web", 1).replace("    spec:\n", "    spec:\n      serviceAccountName: web\n");
    let resolved = resolve(&text);
    assert_eq!(all(&resolved, "Pod").len(), 1);
    assert!(complaints(&resolved)[0].contains("service account shop/web is not declared"));
}

#[test]
fn scaling_keeps_the_pods_that_were_there() {
    let few = resolve(&deployment("shop", "web", 2));
    let many = resolve(&deployment("shop", "web", 5));
    let changed: Vec<String> = crate::changes(&few.objects, &many.objects)
        .into_iter()
        .map(|change| match change {
            crate::Change::Put(object) => object.key.kind.clone(),
            crate::Change::Remove(key) => panic!("{key} is gone"),
        })
        .collect();
    assert_eq!(changed, ["Pod", "Pod", "Pod", "Deployment"]);
}

#[test]
fn moving_an_object_to_another_line_changes_nothing() {
    let before = resolve(&deployment("shop", "web", 2));
    let after = resolve(&format!("# a comment\n\n{}", deployment("shop", "web", 2)));
    assert!(crate::changes(&before.objects, &after.objects).is_empty());
}
