//! A replica that is a process.

use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, Node, Options};
use pilothouse_tests::program::program;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running `pilothouse serve`.
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Where streams are opened.
    pub xds: String,
}

impl Process {
    /// Starts a replica, and waits until it serves the mesh.
    pub async fn start(kubeconfig: &Path, name: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(program()?);
        command.args(["serve", "--replica-name", name, "--deploy-gateways=false"]);
        for port in ["--xds-addr", "--secure-addr", "--http-addr", "--monitoring-addr", "--webhook-addr"] {
            command.args([port, "127.0.0.1:0"]);
        }
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .kill_on_drop(true)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut process = Self { child, log, xds: String::new() };
        let first = process.until_line(" xds=").await?;
        let (_, rest) = first.split_once(" xds=").context("no address")?;
        process.xds = rest.split(' ').next().unwrap_or_default().to_owned();
        let serves = async || {
            Ok(Client::connect(process.ztunnel("first"))
                .await
                .ok()
                .filter(|client| client.with(|s| s.is_ready())))
        };
        until(LIMIT, serves).await.with_context(|| process.log())?;
        Ok(process)
    }

    /// How the ztunnel of a node connects to it.
    pub fn ztunnel(&self, node: &str) -> Options {
        Options { node: Node::ztunnel(node), limit: LIMIT, ..Options::to(self.xds.clone()) }
    }

    /// Connects a ztunnel that has an answer of each type on return.
    pub async fn client(&self, node: &str) -> anyhow::Result<Client> {
        let client = Client::connect(self.ztunnel(node)).await?;
        client.until("an answer of each type", |state| state.is_ready()).await?;
        Ok(client)
    }

    /// Ends it at once, as a crash would.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits for a line of the log.
    async fn until_line(&self, text: &str) -> anyhow::Result<String> {
        let find = async || Ok(self.log().lines().find(|line| line.contains(text)).map(str::to_owned));
        until(LIMIT, find).await.with_context(|| format!("no {text:?} in the log:\n{}", self.log()))
    }
}
