//! The tests of the suite that send traffic through a mesh: on a node of processes.

use super::{Outcome, Release, run_suite};
use crate::apiserver::{LIMIT, apply, client_of, read, until, yaml_files};
use crate::go::repository;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// The profiles that a run is held to.
const PROFILES: &str = "MESH-HTTP,MESH-GRPC";
/// The namespaces of the suite that are meshed.
const NAMESPACES: [&str; 2] = ["gateway-conformance-mesh", "gateway-conformance-mesh-consumer"];
/// What has pods meshed, and requests go through a waypoint.
const LABELS: [(&str, &str); 2] =
    [("istio.io/dataplane-mode", "ambient"), ("istio.io/use-waypoint", "waypoint")];
/// The features that tests may need: all but `MeshConsumerRoute`, since a route applies at the waypoint of its Service,
/// whoever calls.
const FEATURES: &[&str] = &[
    "Mesh",
    "HTTPRoute",
    "GRPCRoute",
    "MeshClusterIPMatching",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteNamedRouteRule",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
];

/// One run of these tests.
pub struct MeshRun<'a> {
    /// Which suite.
    pub release: Release,
    /// The program of the node, with that of the control plane beside it.
    pub node: &'a Path,
    /// Further flags of the suite; where one is given twice, the last counts.
    pub flags: &'a [String],
}

impl MeshRun<'_> {
    /// Runs it in a cluster of its own, and prints what becomes of each test.
    ///
    /// # Errors
    /// When the suite cannot be built, or the cluster does not come up; the message ends with what it said last.
    pub async fn outcome(&self) -> anyhow::Result<Outcome> {
        let (tag, module) = (self.release.tag(), self.release.module());
        let name = format!("{tag}-mesh");
        let out = repository().join("target/conformance");
        fs::create_dir_all(&out)?;
        let built = move || module.tests("conformance", &format!("{tag}.test"));
        let suite = tokio::task::spawn_blocking(built).await??;
        let work = tempfile::Builder::new().prefix("node-").tempdir()?;
        let (said, kubeconfig) = (out.join(format!("{name}-node.log")), work.path().join("kubeconfig"));
        let log = File::create(&said)?;
        let mut node = Command::new(self.node)
            .arg("serve")
            .arg("--work")
            .arg(work.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let up = until(LIMIT, async || {
            if let Some(status) = node.try_wait()? {
                bail!("the node ended: {status}");
            }
            Ok(kubeconfig.exists().then_some(()))
        });
        up.await.with_context(|| fs::read_to_string(&said).unwrap_or_default())?;
        let client = client_of(&kubeconfig).await?;
        let upstream =
            tokio::task::spawn_blocking(move || module.pinned("sigs.k8s.io/gateway-api")).await??;
        for definition in read(&yaml_files(&upstream.join("config/crd/experimental"))?)? {
            apply(&client, &serde_json::to_string(&definition)?).await?;
        }
        for namespace in NAMESPACES {
            apply(&client, &meshed(namespace)).await?;
        }
        let labels = LABELS.map(|(key, value)| format!("{key}={value}")).join(",");
        let arguments = [
            format!("--conformance-profiles={PROFILES}"),
            format!("--supported-features={}", FEATURES.join(",")),
            format!("--namespace-labels={labels}"),
        ];
        let arguments = arguments.into_iter().chain(self.flags.iter().cloned());
        let outcome = run_suite(&suite, &name, &kubeconfig, &[], arguments).await;
        // Logs of pods, proxies and the control plane.
        for entry in fs::read_dir(work.path())?.chain(fs::read_dir(work.path().join("pods"))?) {
            let path = entry?.path();
            if path.extension().is_some_and(|of| of == "log") {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                fs::copy(&path, out.join(format!("{name}-{file}")))?;
            }
        }
        outcome
    }
}

/// A namespace of the suite, with a waypoint.
fn meshed(namespace: &str) -> String {
    let labels = LABELS.map(|(key, value)| format!("{key}: {value}")).join(", ");
    format!(
        "\
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{{labels}}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: waypoint, namespace: {namespace}, labels: {{istio.io/waypoint-for: service}}}}
spec: {{gatewayClassName: istio-waypoint, listeners: [{{name: mesh, port: 15008, protocol: HBONE}}]}}
"
    )
}
