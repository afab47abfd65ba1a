//! Pilothouse as the chart runs it: with the settings of its deployment, as its service account.

use crate::helm::{Rendered, chart, render};
use crate::recorder::Recorder;
use crate::rights::{further, granted, needed};
use anyhow::{Context, bail, ensure};
use clap::{CommandFactory, FromArgMatches, Parser};
use pilothouse_tests::apiserver::{ApiServer, KnownCrds, LIMIT, known_crds, until};
use pilothouse_tests::client::{Client, Options};
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Variables that name the pod for its log and leases, or belong to the secure port: without them this
/// build serves what it serves.
const UNREAD: [&str; 3] = ["POD_NAME", "CA_TRUSTED_NODE_ACCOUNTS", "PILOTHOUSE_SECURE_ADDR"];

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
fn settings(rendered: &Rendered, namespace: &str, kubeconfig: &Path) -> anyhow::Result<ServeArgs> {
    let container = container(rendered)?;
    ensure!(container["args"] == json!(["serve"]), "{}", container["args"]);
    let command = Command::command();
    let mut arguments = vec!["pilothouse".to_owned(), format!("--kubeconfig={}", kubeconfig.display())];
    for (name, value) in environment(container, namespace)? {
        let setting = command.get_arguments().find(|a| a.get_env().is_some_and(|env| env == name.as_str()));
        let Some(setting) = setting else {
            ensure!(UNREAD.contains(&name.as_str()), "{name} is no setting");
            continue;
        };
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

/// Returns what a path of the health port answers.
async fn status(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")
}

/// Objects of which each makes the control plane do something.
fn shop(namespace: &str) -> String {
    let of = |api: &str, kind: &str, name: &str, rest: Value| {
        let mut object = json!({
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace},
        });
        object
            .as_object_mut()
            .into_iter()
            .for_each(|o| o.extend(rest.as_object().cloned().unwrap_or_default()));
        format!("---\n{object}\n")
    };
    let labels = json!({"app": "web", "istio.io/use-waypoint": "absent"});
    let bound = json!({"name": "web", "namespace": namespace, "labels": labels});
    [
        of("v1", "Pod", "web", json!({"spec": {"containers": [{"name": "web", "image": "web"}]}})),
        of("v1", "Service", "web", json!({"metadata": bound, "spec": {"ports": [{"port": 80}]}})),
        of(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "web",
            json!({"spec": {"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}}),
        ),
        of(
            "networking.istio.io/v1",
            "ServiceEntry",
            "web",
            json!({"spec": {
                "hosts": ["web.example.com"],
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "endpoints": [{"address": "192.0.2.1"}],
            }}),
        ),
        of(
            "networking.istio.io/v1",
            "WorkloadEntry",
            "web",
            json!({"metadata": bound, "spec": {"address": "192.0.2.2"}}),
        ),
    ]
    .concat()
}

/// Returns the rights that were used, and complains about requests that none grants.
fn used(recorder: &Recorder, granted: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    for asked in recorder.asked() {
        let one_of = needed(&asked.method, &asked.path);
        let right = one_of.iter().find(|right| granted.contains(*right));
        let right = right.with_context(|| format!("{asked:?}: the chart grants none of {one_of:?}"))?;
        ensure!(asked.status != 403, "{asked:?} is forbidden although there is {right:?}");
        used.insert(right.clone());
    }
    Ok(used)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_its_own_account_it_becomes_ready_serves_and_asks_for_nothing_it_may_not() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let KnownCrds { gateway_standard, .. } = tokio::task::spawn_blocking(known_crds).await??;
    for definition in gateway_standard {
        server.apply(&serde_yaml::to_string(&definition)?).await?;
    }
    let system = server.namespace("mesh").await?;
    for definition in render(&chart("base"), &system, &json!({}))?.definitions {
        server.apply(&definition.to_string()).await?;
    }
    let rendered = render(&chart("pilothouse"), &system, &json!({}))?;
    server.apply(&rendered.manifest()).await?;
    let shop_namespace = server.namespace("shop").await?;
    server.apply(&shop(&shop_namespace)).await?;

    let account = rendered.only("ServiceAccount")?["metadata"]["name"].as_str().context("no name")?;
    let recorder = Recorder::before(&server.kubeconfig_of(&system, account).await?).await?;
    let args = settings(&rendered, &system, recorder.kubeconfig())?;
    assert_eq!(args.mesh.system_namespace, system);
    let daemon = Daemon::prepare(&args).await?;
    let (xds, health) = (daemon.xds_addr(), daemon.health_addr());
    let pump = daemon.pump().clone();
    let stop = CancellationToken::new();
    let running = tokio::spawn(daemon.run(stop.clone()));

    let mut snapshots = pump.snapshots();
    timeout(LIMIT, snapshots.wait_for(Option::is_some)).await.context("not ready")??;
    for probe in ["readinessProbe", "livenessProbe"] {
        let path = container(&rendered)?[probe]["httpGet"]["path"].as_str().context("no probe")?;
        assert_eq!(status(health, path).await?, 200, "{probe} {path}");
    }
    let client = Client::connect(Options { limit: LIMIT, ..Options::to(xds.to_string()) }).await?;
    let host = format!("web.{shop_namespace}.svc.cluster.local");
    client.until("the service", |state| state.services().any(|(_, s)| s.hostname == host)).await?;

    let granted = granted(&rendered)?;
    let unused = until(LIMIT, async || {
        let used = used(&recorder, &granted)?;
        let unused: BTreeSet<String> = granted.difference(&used).cloned().collect();
        Ok(unused.is_subset(&further(&system)).then_some(unused))
    });
    unused.await.context("a right to read is not used")?;

    assert_eq!(client.violations(), []);
    stop.cancel();
    timeout(LIMIT, running).await.context("it does not stop")??;
    used(&recorder, &granted)?;
    Ok(())
}
