//! Folders that people have: kustomizations, charts, patches, workloads of others.

use super::*;

fn policy(name: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {{action: DENY, rules: [{{}}]}}\n"
    )
}

/// A deployment as bases have it: without a namespace.
fn base(name: &str) -> String {
    deployment("x", name, 1).replace(", namespace: x", "")
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )
}

#[test]
fn kustomization_is_built_with_its_base() {
    let resolved = folder(&[
        ("base/kustomization.yaml", "resources: [web.yaml, policy.yaml]\nlabels: [{pairs: {team: a}, includeSelectors: true}]\n"),
        ("base/web.yaml", &format!("{}---\n{}", base("web"), service("web"))),
        ("base/policy.yaml", &policy("deny")),
        ("base/notes.yaml", &service("unlisted")),
        (
            "overlay/kustomization.yaml",
            "resources: [../base]\nnamespace: shop\nnamePrefix: my-\nreplicas: [{name: web, count: 2}]\npatches:\n- path: image.yaml\n- target: {kind: Service}\n  patch: |-\n    - {op: replace, path: /spec/ports/0/port, value: 81}\n",
        ),
        (
            "overlay/image.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: app, ports: [{name: grpc, containerPort: 9090}]}]}}}\n",
        ),
    ])
    .resolve();
    assert!(complaints(&resolved).is_empty(), "{:?}", resolved.problems);
    assert_eq!(names(&resolved, "Deployment"), ["shop/my-web"]);
    assert_eq!(names(&resolved, "AuthorizationPolicy"), ["shop/my-deny"]);
    assert_eq!(names(&resolved, "Service"), ["shop/my-web"]);
    let service = get(&resolved, "", "Service", "shop", "my-web");
    assert_eq!(service["spec"]["ports"][0]["port"], 81);
    assert_eq!(service["spec"]["selector"], serde_json::json!({"app": "web", "team": "a"}));
    let pods = all(&resolved, "Pod");
    assert_eq!(pods.len(), 2);
    assert_eq!(text(&pods[0].value, "/metadata/labels/team"), "a");
    let ports = &pods[0].value["spec"]["containers"][0]["ports"];
    assert_eq!(ports.as_array().unwrap().len(), 2, "{ports}");
    assert_eq!(all(&resolved, "EndpointSlice").len(), 1);
    let told: Vec<&str> = resolved.problems.iter().map(|problem| &*problem.file).collect();
    assert_eq!(told, ["base/notes.yaml"]);
}

#[test]
fn kustomization_that_is_not_simple_is_named_with_the_pipe() {
    for (text, why) in [
        ("resources: [web.yaml]\nhelmCharts: [{name: x}]\n", "it has `helmCharts`"),
        ("resources: [web.yaml, 'https://example.com/base']\n", "is somewhere else"),
        ("resources: [web.yaml, ../base]\n", "is not among the files that are read"),
    ] {
        let resolved = folder(&[("a/kustomization.yaml", text), ("a/web.yaml", &service("web"))]).resolve();
        let problem = &resolved.problems[0];
        assert_eq!((problem.code, problem.severity), ("FO016", Severity::Warning), "{problem}");
        assert!(problem.message.contains(why), "{problem}");
        assert!(problem.help.contains("kubectl kustomize a | pilothouse dump --from -"), "{problem}");
        assert!(names(&resolved, "Service").is_empty());
    }
}

#[test]
fn kustomization_that_is_wrong_keeps_what_it_made() {
    let mut files =
        folder(&[("kustomization.yaml", "resources: [web.yaml]\n"), ("web.yaml", &service("web"))]);
    assert_eq!(names(&files.resolve(), "Service"), ["default/web"]);
    for wrong in
        ["resource: [web.yaml]\n", "resources: [\n", "resources: [web.yaml]\npatches: [{path: p.yaml}]\n"]
    {
        files.set("kustomization.yaml", wrong);
        let resolved = files.resolve();
        assert_eq!(names(&resolved, "Service"), ["default/web"], "{wrong}");
        let told = complaints(&resolved);
        assert!(told.len() == 1 && told[0].contains("stays active"), "{told:?}");
    }
    files.set("kustomization.yaml", "resources: [web.yaml]\nnamespace: shop\n");
    assert_eq!(names(&files.resolve(), "Service"), ["shop/web"]);
}

#[test]
fn policy_of_a_kustomization_fails_closed_in_its_namespace() {
    let broken = policy("deny").replace("spec:", "spec: [");
    let resolved =
        folder(&[("kustomization.yaml", "resources: [p.yaml]\nnamespace: shop\n"), ("p.yaml", &broken)])
            .resolve();
    let key = Key::new("security.istio.io", "AuthorizationPolicy", "shop", "deny");
    assert!(resolved.objects[&key].refused.is_some(), "{:?}", resolved.problems);
}

#[test]
fn circle_of_kustomizations_ends() {
    let resolved = folder(&[
        ("a/kustomization.yaml", "resources: [../b]\n"),
        ("b/kustomization.yaml", "resources: [../a]\n"),
    ])
    .resolve();
    assert!(complaints(&resolved)[0].contains("leads back"), "{:?}", resolved.problems);
}

#[test]
fn chart_is_named_once_and_left_out() {
    let resolved = folder(&[
        ("deploy/chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("deploy/chart/values.yaml", "replicas: 1\n"),
        ("deploy/chart/templates/a.yaml", "kind: {{ .Values.kind }}\n"),
        ("deploy/chart/templates/b.yaml", &service("no")),
        ("deploy/chart/charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\n"),
        ("deploy/web.yaml", &service("web")),
    ])
    .resolve();
    assert_eq!(names(&resolved, "Service"), ["default/web"]);
    assert_eq!(resolved.problems.len(), 1, "{:?}", resolved.problems);
    let problem = &resolved.problems[0];
    assert_eq!((problem.code, problem.severity), ("FO003", Severity::Warning));
    assert!(problem.help.contains("helm template deploy/chart | pilothouse dump --from -"), "{problem}");
}

#[test]
fn patch_without_a_kustomization_is_no_error() {
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n";
    let of_service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer}\n";
    let resolved = folder(&[
        ("a/replicas.yaml", patch),
        ("a/service-patch.yaml", of_service),
        ("a/delete.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n$patch: delete\n"),
        ("b.yaml", &service("web")),
    ])
    .resolve();
    assert_eq!(names(&resolved, "Service"), ["default/web"]);
    assert!(
        resolved.problems.iter().all(|problem| problem.severity != Severity::Error),
        "{:?}",
        resolved.problems
    );
    assert_eq!(resolved.problems.iter().filter(|problem| problem.code == "FO017").count(), 2);
}

#[test]
fn workloads_of_others_play_as_workloads() {
    let template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{image: a, ports: [{name: http, containerPort: 80}]}]}}";
    let workload = |api_version: &str, kind: &str, name: &str| {
        format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{replicas: 2, {template}}}\n"
        )
    };
    let resolved = folder(&[
        ("rollout.yaml", &workload("argoproj.io/v1alpha1", "Rollout", "rollout")),
        ("clone.yaml", &workload("apps.kruise.io/v1alpha1", "CloneSet", "clone")),
        ("set.yaml", &workload("apps.kruise.io/v1beta1", "StatefulSet", "set")),
        (
            "knative.yaml",
            &workload("serving.knative.dev/v1", "Service", "knative").replace("replicas: 2, ", ""),
        ),
        ("other.yaml", &workload("example.com/v1", "Thing", "other")),
        ("route.yaml", "apiVersion: example.com/v1\nkind: Route\nmetadata: {name: r}\nspec: {template: x}\n"),
    ])
    .resolve();
    let mut owners: Vec<String> = all(&resolved, "Pod")
        .iter()
        .map(|pod| {
            let owner = text(&pod.value, "/metadata/ownerReferences/0/name");
            format!(
                "{} {}",
                text(&pod.value, "/metadata/ownerReferences/0/kind"),
                owner.split('-').next().unwrap()
            )
        })
        .collect();
    owners.dedup();
    owners.sort();
    owners.dedup();
    assert_eq!(
        owners,
        ["CloneSet clone", "ReplicaSet knative", "ReplicaSet rollout", "StatefulSet set", "Thing other"]
    );
    assert_eq!(all(&resolved, "Pod").len(), 9);
    assert!(names(&resolved, "Pod").contains(&"shop/set-1".to_owned()));
    let notes: Vec<String> = resolved.problems.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("Thing of example.com is not known"), "{notes:?}");
}

#[test]
fn wrong_template_of_another_project_is_told() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {template: {metadata: {labels: {version: 1.0}}, spec: {containers: [{name: a}]}}}\n";
    let resolved = resolve(text);
    assert!(all(&resolved, "Pod").is_empty());
    assert_eq!(resolved.problems[0].code, "FO006");
    assert_eq!(resolved.problems[0].field, "spec.template.metadata.labels.version");
}
