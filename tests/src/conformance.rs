//! Upstream's conformance suite of the Gateway API, against a control plane in a test cluster.
//!
//! ```text
//! tests/conformance (the suite, unmodified) ──┐
//!                                             ├──▶ API server with controllers
//! the control plane, a process ───────────────┘
//! ```
//!
//! The definitions of kinds are those of the suite's own release, out of its Go module. What comes of
//! it lies in `target/conformance/`: `RELEASE.yaml`, upstream's own report; `RELEASE.log`, all that
//! the suite said; `RELEASE-control-plane.log`; and the built suite.

mod cluster;
mod gateway;
mod mesh;
mod outcome;

pub use gateway::GatewayRun;
pub use mesh::MeshRun;
pub use outcome::Outcome;

use crate::apiserver::{ApiServer, LIMIT, read, until, yaml_files};
use crate::go::{Module, repository};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A release of the Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// v1.6.3, for figures that can be held beside those of other implementations.
    V1_6_3,
    /// v1.7.0, the one that counts.
    V1_7_0,
}

impl Release {
    /// Returns its tag, as in `v1.7.0`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::V1_6_3 => "v1.6.3",
            Self::V1_7_0 => "v1.7.0",
        }
    }

    /// Returns the tests of its suite that need no traffic, ascending.
    pub fn status_tests(self) -> Vec<&'static str> {
        let lines = include_str!("../conformance/status-tests").lines().filter(|line| !line.starts_with('#'));
        let of_release = lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).filter(|(_, since)| {
            // The tags of the two releases compare as their texts do.
            *since <= self.tag()
        });
        of_release.map(|(name, _)| name).collect()
    }

    fn module(self) -> Module {
        let file = match self {
            Self::V1_6_3 => "v1.6.3.mod",
            Self::V1_7_0 => "go.mod",
        };
        Module { folder: "tests/conformance", file }
    }
}

/// Which definitions of kinds are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Those that are stable.
    Standard,
    /// Those too, with further fields, and experimental kinds.
    Experimental,
}

impl Channel {
    fn folder(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        }
    }
}

/// The profiles that a run is held to; each adds its core features to those that are claimed.
pub const PROFILES: [&str; 4] = ["GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS", "GATEWAY-TCP"];

/// The class whose gateways are tested.
const CLASS: &str = "istio";

/// One run of the suite.
pub struct Run<'a> {
    /// Which suite, and which definitions of kinds.
    pub release: Release,
    /// The channel of these definitions.
    pub channel: Channel,
    /// The program of the control plane, which is called as `pilothouse` is.
    pub control_plane: &'a Path,
    /// The tests that are run, by name; all where this is empty. The report names the others as skipped.
    pub only: &'a [&'a str],
    /// Further flags of the suite; where one is given twice, the last counts.
    pub flags: &'a [String],
}

impl Run<'_> {
    /// Runs it in a test cluster of its own, and prints what becomes of each test.
    ///
    /// # Errors
    /// When the suite cannot be built or does not come as far as its first test; the message ends
    /// with what it said last.
    pub async fn outcome(&self) -> anyhow::Result<Outcome> {
        let tag = self.release.tag();
        let out = repository().join("target/conformance");
        fs::create_dir_all(&out)?;
        let module = self.release.module();
        let built = move || module.tests("conformance", &format!("{tag}.test"));
        let suite = tokio::task::spawn_blocking(built).await??;

        let server = ApiServer::with_controllers().await?;
        self.install(&server).await.context("the definitions of kinds cannot be installed")?;
        let said = out.join(format!("{tag}-control-plane.log"));
        let mut control_plane = self.start(&server, &said)?;
        let client = server.client().await?;
        claimed(&client).await.with_context(|| format!("see {}", said.display()))?;
        let arguments = gateway_arguments().into_iter().chain(self.flags.iter().cloned());
        let suite = Command::new(suite);
        let mut outcome = run_suite(suite, tag, &server.kubeconfig(), self.only, arguments).await?;
        outcome.claimed = supported_features(&class(&client).await?);
        if let Some(status) = control_plane.try_wait()? {
            anyhow::bail!("the control plane ended: {status}; see {}", said.display());
        }
        Ok(outcome)
    }

    async fn install(&self, server: &ApiServer) -> anyhow::Result<()> {
        let module = self.release.module();
        let gateway_api =
            tokio::task::spawn_blocking(move || module.pinned("sigs.k8s.io/gateway-api")).await??;
        let upstream = gateway_api.join("config/crd").join(self.channel.folder());
        for folder in [upstream, repository().join("charts/base/crds")] {
            for definition in read(&yaml_files(&folder)?)? {
                server.apply(&serde_json::to_string(&definition)?).await?;
            }
        }
        server.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}").await
    }

    fn start(&self, server: &ApiServer, said: &Path) -> anyhow::Result<tokio::process::Child> {
        let log = File::create(said)?;
        Command::new(self.control_plane)
            .arg("serve")
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .args(["--xds-addr=127.0.0.1:0", "--secure-addr=127.0.0.1:0", "--webhook-addr=127.0.0.1:0"])
            .args(["--http-addr=127.0.0.1:0", "--monitoring-addr=127.0.0.1:0", "--deploy-gateways=true"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", self.control_plane.display()))
    }
}

/// The flags of the suite for gateways.
fn gateway_arguments() -> Vec<String> {
    vec![
        format!("--gateway-class={CLASS}"),
        format!("--conformance-profiles={}", PROFILES.join(",")),
        // A Service of the suite, and one that is nowhere.
        "--usable-address=infra-backend-v1.gateway-conformance-infra.svc.cluster.local".to_owned(),
        "--unusable-address=foo".to_owned(),
    ]
}

/// Runs a suite, by the command that starts it, in the cluster of a kubeconfig; what comes of it has this name.
async fn run_suite(
    mut suite: Command,
    name: &str,
    kubeconfig: &Path,
    only: &[&str],
    arguments: impl IntoIterator<Item = String>,
) -> anyhow::Result<Outcome> {
    let out = repository().join("target/conformance");
    let report = out.join(format!("{name}.yaml"));
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let log = out.join(format!("{name}.log"));
    let mut process = suite
        // The cluster is gone afterwards.
        .args(["-test.v", "-test.timeout=2h", "--cleanup-base-resources=false"])
        .args(["--organization=pilothouse", "--project=pilothouse", "--url=https://pilothouse.example"])
        .args(["--contact=maintainers", &format!("--version={}", env!("CARGO_PKG_VERSION"))])
        .arg(format!("--report-output={}", report.display()))
        .args((!only.is_empty()).then(|| format!("--only={}", only.join(","))))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .current_dir(&out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(out.join(format!("{name}.stderr")))?)
        .kill_on_drop(true)
        .spawn()?;
    let mut outcome = Outcome::new(report, log.clone());
    let mut log = File::create(log)?;
    let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
    let mut tail = Vec::new();
    while let Some(line) = lines.next_line().await? {
        writeln!(log, "{line}")?;
        if outcome.note(&line) {
            // Past the capture of the test harness: minutes of silence would look like a hang.
            writeln!(std::io::stderr(), "{}", line.trim())?;
        }
        tail.push(line);
        tail.drain(..tail.len().saturating_sub(20));
    }
    process.wait().await?;
    ensure!(!outcome.is_empty(), "no test was run; the suite said last:\n{}", tail.join("\n"));
    Ok(outcome)
}

/// Reads the class.
async fn class(client: &kube::Client) -> anyhow::Result<Value> {
    let path = format!("/apis/gateway.networking.k8s.io/v1/gatewayclasses/{CLASS}");
    Ok(client.request(http::Request::get(path).body(Vec::new())?).await?)
}

/// Waits until the class claims features: the suite gives up at once on one that is not there or does not. The control
/// plane makes it, and writes its status afterwards.
async fn claimed(client: &kube::Client) -> anyhow::Result<()> {
    let claims = async || Ok(class(client).await.ok().filter(|class| !supported_features(class).is_empty()));
    let waited = until(LIMIT, claims).await;
    waited.map(drop).with_context(|| format!("there is no GatewayClass {CLASS} that claims features"))
}

/// The names of the features that a class claims, in its order.
fn supported_features(class: &Value) -> Vec<String> {
    let all = class["status"]["supportedFeatures"].as_array();
    let names = all.into_iter().flatten().filter_map(|feature| feature["name"].as_str());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::Release;

    #[test]
    fn the_releases_have_the_status_tests_that_they_have() {
        let (before, now) = (Release::V1_6_3.status_tests(), Release::V1_7_0.status_tests());
        assert_eq!((before.len(), now.len()), (44, 48));
        assert!(now.is_sorted_by(|a, b| a < b), "{now:?}");
        assert!(before.iter().all(|name| now.contains(name)));
        assert!(!before.contains(&"GatewayPreserveForeignConditions"));
    }
}
