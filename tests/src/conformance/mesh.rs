//! The tests of the suite that send traffic through a mesh: on a node of processes.

use super::cluster::NodeCluster;
use super::{Outcome, Release, run_suite};
use crate::apiserver::apply;
use std::path::Path;
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
        let built = move || module.tests("conformance", &format!("{tag}.test"));
        let suite = tokio::task::spawn_blocking(built).await??;
        let cluster = NodeCluster::start(self.node, &name, &[]).await?;
        cluster.install(module).await?;
        for namespace in NAMESPACES {
            apply(cluster.client(), &meshed(namespace)).await?;
        }
        let labels = LABELS.map(|(key, value)| format!("{key}={value}")).join(",");
        let arguments = [
            format!("--conformance-profiles={PROFILES}"),
            format!("--supported-features={}", FEATURES.join(",")),
            format!("--namespace-labels={labels}"),
        ];
        let arguments = arguments.into_iter().chain(self.flags.iter().cloned());
        let outcome = run_suite(Command::new(suite), &name, &cluster.kubeconfig(), &[], arguments).await;
        cluster.keep_logs()?;
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
