//! A cluster whose pods are processes, for one run of a suite.

use crate::apiserver::{LIMIT, apply, client_of, read, until, yaml_files};
use crate::go::{Module, repository};
use anyhow::{Context, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The cluster, from outside; dropping it ends it.
pub(super) struct NodeCluster {
    program: PathBuf,
    work: TempDir,
    /// Where logs are kept.
    logs: PathBuf,
    client: kube::Client,
    _node: Child,
}

impl NodeCluster {
    /// Starts the program of the node with further arguments, for a run of this name.
    pub(super) async fn start(program: &Path, name: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let out = repository().join("target/conformance");
        fs::create_dir_all(&out)?;
        let work = tempfile::Builder::new().prefix("node-").tempdir()?;
        let (said, kubeconfig) = (out.join(format!("{name}-node.log")), work.path().join("kubeconfig"));
        let log = File::create(&said)?;
        let mut node = Command::new(program)
            .arg("serve")
            .arg("--work")
            .arg(work.path())
            .args(arguments)
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
        Ok(Self { program: program.to_owned(), work, logs: out.join(name), client, _node: node })
    }

    /// Installs the definitions of kinds of the suite's own release.
    pub(super) async fn install(&self, suite: Module) -> anyhow::Result<()> {
        let upstream = tokio::task::spawn_blocking(move || suite.pinned("sigs.k8s.io/gateway-api")).await??;
        for definition in read(&yaml_files(&upstream.join("config/crd/experimental"))?)? {
            apply(&self.client, &serde_json::to_string(&definition)?).await?;
        }
        Ok(())
    }

    pub(super) fn client(&self) -> &kube::Client {
        &self.client
    }

    /// With all rights, from outside and from inside.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.work.path().join("kubeconfig")
    }

    /// Returns what starts a program inside, where the addresses of load balancers lead to pods.
    pub(super) fn within(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("enter").arg("--work").arg(self.work.path()).arg("--").arg(program);
        command
    }

    /// Keeps the logs of the control plane, of nodes and of pods in a folder of the run's name, in the place of those of
    /// the run before.
    pub(super) fn keep_logs(&self) -> anyhow::Result<()> {
        if self.logs.exists() {
            fs::remove_dir_all(&self.logs)?;
        }
        keep_logs(self.work.path(), &self.logs)
    }
}

fn keep_logs(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, kept) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            keep_logs(&path, &kept)?;
        } else if path.extension().is_some_and(|of| of == "log") {
            fs::create_dir_all(to)?;
            fs::copy(&path, kept)?;
        }
    }
    Ok(())
}
