//! `pilothouse waypoint`.

use super::run;
use anyhow::ensure;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, known_crds, until};
use serde_json::json;
use std::path::PathBuf;

/// The command in a namespace of an API server.
struct Waypoint {
    kubeconfig: PathBuf,
    namespace: String,
}

/// What a run of the command left behind.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    out: String,
    errors: String,
}

impl Waypoint {
    async fn run(&self, args: &[&str]) -> anyhow::Result<Ran> {
        let kubeconfig = self.kubeconfig.to_str().unwrap_or_default();
        let place = ["--kubeconfig", kubeconfig, "--namespace", &self.namespace];
        let output = run(["waypoint"].iter().chain(args).chain(&place)).await?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes);
        Ok(Ran { code: output.status.code(), out: text(output.stdout)?, errors: text(output.stderr)? })
    }

    /// Runs the command with success and returns what it prints.
    async fn prints(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(args).await?;
        ensure!(ran.code == Some(0) && ran.errors.is_empty(), "{args:?}: {ran:?}");
        Ok(ran.out)
    }

    /// Runs the command and returns why it fails.
    async fn fails(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(args).await?;
        ensure!(ran.code == Some(1), "{args:?}: {ran:?}");
        Ok(ran.errors)
    }
}

#[tokio::test]
async fn waypoint_is_generated_without_a_cluster() -> anyhow::Result<()> {
    let output = run(["waypoint", "generate", "-n", "shop", "--for", "all", "-r", "canary"]).await?;
    let expected = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  labels:
    istio.io/rev: canary
    istio.io/waypoint-for: all
  name: waypoint
  namespace: shop
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
";
    assert_eq!(String::from_utf8(output.stdout)?, expected);
    let output = run(["waypoint", "generate", "--name", "none"]).await?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("error: no waypoint can be called \"none\""), "{errors}");
    Ok(())
}

#[tokio::test]
async fn cluster_without_gateway_api_is_told() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let namespace = server.namespace("waypoint").await?;
    let waypoint = Waypoint { kubeconfig: server.kubeconfig(), namespace };
    for args in [&["list"][..], &["status"], &["apply"], &["delete", "--all"]] {
        let error = waypoint.fails(args).await?;
        let end = ": the cluster has no Gateway API; install its CRDs, then try again\n";
        assert!(error.starts_with("error: cannot ") && error.ends_with(end), "{args:?}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn waypoints_are_managed_in_a_cluster() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let known = tokio::task::spawn_blocking(known_crds).await??;
    for definition in known.gateway_standard {
        server.apply(&serde_yaml::to_string(&definition)?).await?;
    }
    let namespace = server.namespace("waypoint").await?;
    let waypoint = Waypoint { kubeconfig: server.kubeconfig(), namespace };
    until(LIMIT, async || Ok((waypoint.run(&["list"]).await?.code == Some(0)).then_some(()))).await?;
    waypoint_is_applied_waited_for_listed_and_deleted(&server, &waypoint).await?;
    namespace_is_enrolled_and_not_taken_from_another_waypoint(&waypoint).await
}

async fn waypoint_is_applied_waited_for_listed_and_deleted(
    server: &ApiServer,
    waypoint: &Waypoint,
) -> anyhow::Result<()> {
    let namespace = &waypoint.namespace;
    assert_eq!(waypoint.prints(&["list"]).await?, "No waypoints found.\n");

    let applied = format!("✅ waypoint {namespace}/waypoint applied\n");
    assert_eq!(waypoint.prints(&["apply"]).await?, applied);
    let expected =
        "NAME       REVISION   TRAFFIC TYPE   PROGRAMMED\nwaypoint   default    service        Unknown\n";
    assert_eq!(waypoint.prints(&["list"]).await?, expected);
    let error = waypoint.fails(&["apply", "--wait", "--waypoint-timeout", "1s"]).await?;
    assert!(
        error.contains(&format!(
            "timed out after 1 s while waiting for the waypoint {namespace}/waypoint: Programmed is Unknown"
        )),
        "{error}"
    );

    // Nothing else writes here: a control plane comes, and sees it through.
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
    let resource = ApiResource::from_gvk(&kind);
    let gateways: Api<DynamicObject> = Api::namespaced_with(server.client().await?, namespace, &resource);
    let generation = gateways.get("waypoint").await?.metadata.generation;
    let programmed = json!({
        "type": "Programmed", "status": "True", "reason": "Programmed", "message": "Resource programmed",
        "observedGeneration": generation, "lastTransitionTime": "2026-01-02T03:04:05Z",
    });
    let status = Patch::Merge(json!({ "status": { "conditions": [programmed] } }));
    gateways.patch_status("waypoint", &PatchParams::default(), &status).await?;
    let ready = format!("{applied}✅ waypoint {namespace}/waypoint is ready!\n");
    assert_eq!(waypoint.prints(&["apply", "--wait"]).await?, ready);
    let expected = "NAME       STATUS   TYPE         REASON       MESSAGE\nwaypoint   True     Programmed   Programmed   Resource programmed\n";
    let status = waypoint.prints(&["status"]).await?;
    assert!(status.contains(expected.lines().last().unwrap_or_default()), "{status}");

    // A change that nobody has judged yet is not programmed.
    let change = Patch::Merge(json!({ "spec": { "infrastructure": { "labels": { "team": "a" } } } }));
    gateways.patch("waypoint", &PatchParams::default(), &change).await?;
    let list = waypoint.prints(&["list"]).await?;
    assert!(list.ends_with("Unknown\n"), "{list}");

    // Only waypoints are deleted.
    let other = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: ingress, namespace: {namespace}}}\nspec: {{gatewayClassName: istio, listeners: [{{name: web, port: 80, protocol: HTTP}}]}}\n"
    );
    server.apply(&other).await?;
    let error = waypoint.fails(&["delete", "ingress"]).await?;
    assert_eq!(error, format!("error: waypoint {namespace}/ingress not found\n"));
    assert_eq!(
        waypoint.prints(&["delete", "--all"]).await?,
        format!("waypoint {namespace}/waypoint deleted\n")
    );
    assert_eq!(waypoint.prints(&["list"]).await?, "No waypoints found.\n");
    gateways.get("ingress").await?;
    Ok(())
}

async fn namespace_is_enrolled_and_not_taken_from_another_waypoint(
    waypoint: &Waypoint,
) -> anyhow::Result<()> {
    let namespace = &waypoint.namespace;
    let ran = waypoint.run(&["apply", "--enroll-namespace"]).await?;
    let labeled =
        |name: &str| format!("✅ namespace {namespace} labeled with \"istio.io/use-waypoint: {name}\"\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.ends_with(&labeled("waypoint")), "{ran:?}");
    assert!(
        ran.errors.contains(&format!("kubectl label namespace {namespace} istio.io/dataplane-mode=ambient")),
        "{ran:?}"
    );

    let error = waypoint.fails(&["apply", "--enroll-namespace", "--name", "other"]).await?;
    assert!(error.contains("already uses the waypoint \"waypoint\": nothing was applied"), "{error}");
    assert!(!waypoint.prints(&["list"]).await?.contains("other"));
    let ran = waypoint.run(&["apply", "--enroll-namespace", "--name", "other", "--overwrite"]).await?;
    assert!(ran.out.ends_with(&labeled("other")), "{ran:?}");
    Ok(())
}
