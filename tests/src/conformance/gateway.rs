//! The tests of the suite that send traffic to gateways: on a node of processes, where a gateway is an Envoy with an
//! address, and what it sends requests to is upstream's own server.

use super::cluster::NodeCluster;
use super::{Outcome, Release, claimed, class, gateway_arguments, run_suite, supported_features};
use std::path::Path;

/// The image of the suite's servers, and where their source is: the module of a later one is not served by proxies.
const ECHO: (&str, &str) = ("echo-basic", "sigs.k8s.io/gateway-api/conformance/echo-basic");

/// One run of these tests.
pub struct GatewayRun<'a> {
    /// Which suite.
    pub release: Release,
    /// The program of the node, with that of the control plane beside it.
    pub node: &'a Path,
    /// The tests that are run, by name; all whose features the class claims where this is empty.
    pub only: &'a [&'a str],
    /// Further flags of the suite; where one is given twice, the last counts.
    pub flags: &'a [String],
}

impl GatewayRun<'_> {
    /// Runs it in a cluster of its own, and prints what becomes of each test.
    ///
    /// # Errors
    /// When the suite cannot be built, or the cluster does not come up; the message ends with what it said last.
    pub async fn outcome(&self) -> anyhow::Result<Outcome> {
        let (tag, module) = (self.release.tag(), self.release.module());
        let name = format!("{tag}-gateway");
        let built = move || {
            let suite = module.tests("conformance", &format!("{tag}.test"))?;
            let echo = Release::V1_6_3.module().program_of(ECHO.1, "conformance", ECHO.0)?;
            anyhow::Ok((suite, echo))
        };
        let (suite, echo) = tokio::task::spawn_blocking(built).await??;
        let image = format!("--image={}={}", ECHO.0, echo.display());
        let arguments = [image, "--".to_owned(), "--deploy-gateways=true".to_owned()];
        let cluster = NodeCluster::start(self.node, &name, &arguments).await?;
        cluster.install(module).await?;
        claimed(cluster.client()).await?;
        let arguments = gateway_arguments().into_iter().chain(self.flags.iter().cloned());
        let suite = cluster.within(suite);
        let outcome = run_suite(suite, &name, &cluster.kubeconfig(), self.only, arguments).await;
        cluster.keep_logs()?;
        let mut outcome = outcome?;
        outcome.claimed = supported_features(&class(cluster.client()).await?);
        Ok(outcome)
    }
}
