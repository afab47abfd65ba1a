//! A cluster whose pods are processes, from outside.

use anyhow::{Context, bail, ensure};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::kubectl::Kubectl;
use pilothouse_tests::{envoy, program};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The cluster, from outside.
pub struct Cluster {
    /// What its processes write.
    pub work: TempDir,
    kubectl: Kubectl,
    program: &'static Path,
    _node: Child,
}

impl Cluster {
    /// Starts one, with arguments for its control plane.
    pub async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let program =
            tokio::task::spawn_blocking(|| envoy::program().and_then(|_| program::node())).await??;
        let work = tempfile::tempdir()?;
        let (said, kubeconfig) = (work.path().join("said"), work.path().join("kubeconfig"));
        let log = File::create(&said)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--work").arg(work.path()).arg("--").args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?);
        let mut node = command.stderr(log).kill_on_drop(true).spawn()?;
        let up = until(LIMIT, async || {
            if let Some(status) = node.try_wait()? {
                bail!("the node ended: {status}");
            }
            Ok(kubeconfig.exists().then_some(()))
        });
        up.await.with_context(|| fs::read_to_string(&said).unwrap_or_default())?;
        Ok(Self { kubectl: Kubectl::of(&kubeconfig).await?, work, program, _node: node })
    }

    pub async fn apply(&self, text: &str) -> anyhow::Result<()> {
        let file = self.work.path().join("manifest.yaml");
        fs::write(&file, text)?;
        self.run(&["apply", "--filename", file.to_str().context("a path of text")?]).await.map(drop)
    }

    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl.run(arguments.iter().copied()).await
    }

    /// Forwards a port of this machine to one of a pod, as long as what is returned with it lives.
    pub async fn forward(&self, namespace: &str, pod: &str, port: u16) -> anyhow::Result<(Child, String)> {
        let ports = format!(":{port}");
        let mut command = self.kubectl.command(["port-forward", "--namespace", namespace, pod, &ports])?;
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        let first = timeout(LIMIT, said.next_line()).await??.context("nothing is forwarded")?;
        let address = first.split_whitespace().nth(2).context("an address is told")?.to_owned();
        // Whoever does not read ends it with its next line.
        tokio::spawn(async move { while said.next_line().await.is_ok_and(|line| line.is_some()) {} });
        Ok((child, address))
    }

    /// Calls a service from a pod, and returns what the client prints.
    pub async fn call(&self, namespace: &str, pod: &str, url: &str) -> anyhow::Result<String> {
        self.run(&["exec", "--namespace", namespace, pod, "--", "client", url]).await
    }

    /// Calls a service from the network of the node, and returns what the client prints.
    pub async fn call_within(&self, url: &str) -> anyhow::Result<String> {
        let mut command = Command::new(self.program);
        command.arg("enter").arg("--work").arg(self.work.path());
        command.arg("--").arg(self.program).args(["call", url]);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The log of the proxies of all nodes.
    pub fn proxies(&self) -> anyhow::Result<String> {
        let logs = (0..2).map(|number| self.work.path().join(format!("pods/test-node-{number}.log")));
        logs.filter(|log| log.exists()).map(|log| Ok(fs::read_to_string(log)?)).collect()
    }
}
