//! Charts, as helm's own packages render them: the program in `tests/helm`.

use crate::apiserver::ApiServer;
use crate::go::Module;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a chart becomes with some values.
#[derive(Deserialize)]
pub struct Rendered {
    /// The objects of the templates.
    pub objects: Vec<Value>,
    /// The definitions of kinds (`crds/`).
    pub definitions: Vec<Value>,
    /// What helm prints after the installation.
    pub notes: String,
}

impl Rendered {
    /// Returns the only object of a kind.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only(&self, kind: &str) -> anyhow::Result<&Value> {
        let all: Vec<&Value> = self.objects.iter().filter(|object| object["kind"] == kind).collect();
        ensure!(all.len() == 1, "{} objects of kind {kind}", all.len());
        Ok(all[0])
    }

    /// Tells whether there is an object of a kind.
    pub fn has(&self, kind: &str) -> bool {
        self.objects.iter().any(|object| object["kind"] == kind)
    }

    /// Returns the objects as YAML (JSON) documents.
    pub fn manifest(&self) -> String {
        self.objects.iter().map(|object| format!("---\n{object}\n")).collect()
    }
}

/// Returns the folder of a chart of ours.
pub fn chart(name: &str) -> PathBuf {
    root().join("charts").join(name)
}

/// Renders a chart for a namespace.
///
/// # Errors
/// With helm's words when helm refuses.
pub fn render(chart: &Path, namespace: &str, values: &Value) -> anyhow::Result<Rendered> {
    ask("render", chart, namespace, &[], values)
}

/// Renders the chart `pilothouse` as a release of this name would be installed, or brought up to date, in a namespace of a
/// cluster: templates find the objects that are there.
///
/// # Errors
/// With helm's words when helm refuses.
pub fn render_in(cluster: &Path, release: &str, namespace: &str, values: &Value) -> anyhow::Result<Rendered> {
    let cluster = cluster.to_str().context("a path that is no text")?;
    let of = ["--release", release, "--kubeconfig", cluster];
    ask("render", &chart("pilothouse"), namespace, &of, &with_image(values))
}

/// Renders a chart as for an API server that tells this version.
///
/// # Errors
/// With helm's words when helm refuses.
pub fn render_on(chart: &Path, kubernetes: &str, values: &Value) -> anyhow::Result<Rendered> {
    ask("render", chart, "istio-system", &["--kubernetes", kubernetes], values)
}

/// Renders the chart `pilothouse` for a namespace, with an image unless the values name one.
///
/// # Errors
/// With helm's words when helm refuses.
pub fn render_pilothouse(namespace: &str, values: &Value) -> anyhow::Result<Rendered> {
    render(&chart("pilothouse"), namespace, &with_image(values))
}

fn with_image(values: &Value) -> Value {
    let mut values = values.as_object().cloned().unwrap_or_default();
    values.entry("hub").or_insert_with(|| "registry.example/mesh".into());
    values.into()
}

/// Returns what helm's lint has to say of a chart: errors and warnings.
///
/// # Errors
/// With helm's words when helm refuses.
pub fn lint(chart: &Path, values: &Value) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Linted {
        findings: Vec<String>,
    }
    ask::<Linted>("lint", chart, "istio-system", &[], values).map(|answer| answer.findings)
}

/// Gives the account of our chart the rights that the chart gives it in a namespace, which must be
/// there, those to deploy gateways included, and the Secret that it may write, and returns the path of its kubeconfig.
/// Nothing else of the chart is installed.
///
/// # Errors
/// When the chart cannot be rendered, or the API server refuses.
pub async fn account(server: &ApiServer, namespace: &str) -> anyhow::Result<PathBuf> {
    account_with(server, namespace, json!({"gateways": {"enabled": true}})).await
}

/// As [`account`], with the rights that the chart gives with these values.
///
/// # Errors
/// As [`account`].
pub async fn account_with(server: &ApiServer, namespace: &str, values: Value) -> anyhow::Result<PathBuf> {
    const KINDS: [&str; 6] =
        ["ServiceAccount", "Secret", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let release = namespace.to_owned();
    let render = move || render_pilothouse(&release, &values);
    let rendered = tokio::task::spawn_blocking(render).await??;
    for kind in KINDS {
        for object in rendered.objects.iter().filter(|object| object["kind"] == kind) {
            server.apply(&object.to_string()).await?;
        }
    }
    let name = rendered.only("ServiceAccount")?["metadata"]["name"].as_str().context("no name")?;
    server.kubeconfig_of(namespace, name).await
}

fn ask<T: DeserializeOwned>(
    command: &str,
    chart: &Path,
    namespace: &str,
    further: &[&str],
    values: &Value,
) -> anyhow::Result<T> {
    let mut process = Command::new(Module::of("tests/helm").program("helm", "helm-chart")?)
        .arg("--chart")
        .arg(chart)
        .args(["--namespace", namespace])
        .args(further)
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    process.stdin.take().context("no input")?.write_all(values.to_string().as_bytes())?;
    let output = process.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    serde_json::from_slice(&output.stdout).context("the program's answer")
}

/// Returns the folder of upstream's chart, out of the Go module that publishes it.
///
/// # Errors
/// When the module cannot be had.
pub fn upstream(chart: &str) -> anyhow::Result<PathBuf> {
    let folder = Module::of("tests/helm/upstream").pinned("istio.io/istio")?;
    Ok(folder.join("manifests/charts").join(chart))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
