//! What the deployment gives its pods, read as the process would read it.

use anyhow::{Context, bail, ensure};
use clap::{CommandFactory, FromArgMatches, Parser};
use pilothouse_tests::helm::Rendered;
use runtime::config::ServeArgs;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Returns the container of the deployment.
pub fn container(rendered: &Rendered) -> anyhow::Result<&Value> {
    let containers = &rendered.only("Deployment")?["spec"]["template"]["spec"]["containers"];
    let all = containers.as_array().context("no containers")?;
    ensure!(all.len() == 1, "one container");
    Ok(&all[0])
}

/// Returns the environment of a container, with what Kubernetes fills in for a pod.
pub fn environment(container: &Value, namespace: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in container["env"].as_array().context("no environment")? {
        let name = entry["name"].as_str().context("no name")?;
        let value = match entry["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => namespace,
            Some("metadata.name") => "istiod-0",
            Some(other) => bail!("{name}: no field {other}"),
            None => entry["value"].as_str().with_context(|| format!("{name}: no value"))?,
        };
        all.push((name.to_owned(), value.to_owned()));
    }
    Ok(all)
}

/// Reads settings as the process would from its environment, with ports of this machine.
///
/// The environment of this process is that of every test: each variable is given by the flag that it
/// stands for. One that stands for none is an error: the process would not notice it.
pub fn settings(rendered: &Rendered, namespace: &str, kubeconfig: &Path) -> anyhow::Result<ServeArgs> {
    let container = container(rendered)?;
    ensure!(container["args"] == json!(["serve"]), "{}", container["args"]);
    let command = Command::command();
    let mut arguments = vec!["pilothouse".to_owned(), format!("--kubeconfig={}", kubeconfig.display())];
    for (name, value) in environment(container, namespace)? {
        let setting = command.get_arguments().find(|a| a.get_env().is_some_and(|env| env == name.as_str()));
        let setting = setting.with_context(|| format!("{name} is no setting"))?;
        let flag = setting.get_long().context("a setting without a flag")?;
        if name.ends_with("_ADDR") {
            value.parse::<SocketAddr>().with_context(|| format!("{name}={value}"))?;
            arguments.push(format!("--{flag}=127.0.0.1:0"));
        } else if setting.get_action().takes_values() {
            arguments.push(format!("--{flag}={value}"));
        } else if value.parse::<bool>().with_context(|| format!("{name}={value}"))? {
            arguments.push(format!("--{flag}"));
        }
    }
    let matches = Command::command().try_get_matches_from(&arguments)?;
    Ok(ServeArgs::from_arg_matches(&matches)?)
}
