//! What the dashboard and the alert rules ask, asked of control planes that run.
//!
//! ```text
//! pilothouse serve, of a folder  ── a client, a change, a certificate ──┐ two scrapes   ┌─▶ each query returns data
//! pilothouse serve, of a cluster ── leads, validates, is asked rubbish ─┴─▶ Prometheus' ┼─▶ no alert fires, and what
//!                                                                            own engine │   it looks at is there
//! charts/dashboards/files ──────────────────────────────────────────────────▶           └─▶ with one value changed,
//!                                                                                           each alert fires
//! ```

use anyhow::{Context, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::Api;
use kube::client::Body;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::client::{Client, Options, Reconnect, State};
use pilothouse_tests::helm::{chart, render};
use pilothouse_tests::program::program;
use pilothouse_tests::promql::{Answer, Scrape, evaluate};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
---
# What no ztunnel can enforce: a finding.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reads, namespace: shop}
spec: {action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]}
";

/// A running `pilothouse serve`.
struct Plane {
    _child: Child,
    lines: mpsc::UnboundedReceiver<Value>,
    xds: String,
    webhook: String,
    monitoring: String,
}

impl Plane {
    /// Starts on free ports; returns once it serves the mesh.
    async fn start(args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program()?);
        command.args(["serve", "--log-json"]).args(args).env_clear().kill_on_drop(true);
        for port in ["--xds-addr", "--secure-addr", "--http-addr", "--webhook-addr", "--monitoring-addr"] {
            command.args([port, "127.0.0.1:0"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut read = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = read.next_line().await {
                let fields = serde_json::from_str(&line)
                    .map_or_else(|_| json!({"message": line}), |mut line: Value| line["fields"].take());
                // Read to its end, whoever listens: a full pipe would stop the server.
                let _ = sender.send(fields);
            }
        });
        let none = String::new;
        let mut plane = Self { _child: child, lines, xds: none(), webhook: none(), monitoring: none() };
        let first = plane.line("serves", |line| line.get("xds").is_some()).await?;
        let address = |of: &str| first[of].as_str().unwrap_or_default().to_owned();
        (plane.xds, plane.webhook, plane.monitoring) =
            (address("xds"), address("webhook"), address("monitoring"));
        let is_ready = |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("ready"));
        plane.line("ready", is_ready).await?;
        Ok(plane)
    }

    /// Waits for a line of the log.
    async fn line(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut seen = Vec::new();
        let wait = async {
            while let Some(line) = self.lines.recv().await {
                if is_it(&line) {
                    return Some(line);
                }
                seen.push(line);
            }
            None
        };
        let found = timeout(LIMIT, wait).await.unwrap_or_default();
        found.with_context(|| format!("the log does not tell {what}: {seen:#?}"))
    }

    /// What it answers on `/metrics`.
    async fn metrics(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.monitoring).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Ok(body.to_owned())
    }

    /// Waits until each of these begins a line of the metrics, with a value that is not 0.
    async fn counted(&self, names: &[&str]) -> anyhow::Result<()> {
        let counted = async || {
            let text = self.metrics().await?;
            let is_counted =
                |name: &&str| text.lines().any(|line| line.starts_with(*name) && !line.ends_with(" 0"));
            Ok(names.iter().all(is_counted).then_some(()))
        };
        until(LIMIT, counted).await.with_context(|| format!("not all of {names:?} are counted"))
    }

    async fn scrape(&self, instance: &str, seconds: u64) -> anyhow::Result<Scrape> {
        // What Prometheus gives the series of a pod with the labels of the chart.
        let labels = [("app", "istiod"), ("instance", instance)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Ok(Scrape { seconds, labels, text: self.metrics().await? })
    }
}

/// A control plane of a folder, with a ztunnel and a workload.
struct Folder {
    dir: tempfile::TempDir,
    plane: Plane,
    secure: String,
    client: Client,
}

impl Folder {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let manifests = dir.path().join("manifests");
        fs::create_dir(&manifests)?;
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/bookinfo"))? {
            let entry = entry?;
            fs::copy(entry.path(), manifests.join(entry.file_name()))?;
        }
        fs::write(manifests.join("pods.yaml"), PODS)?;
        let [from, state] = [manifests, dir.path().join("state")].map(|path| path.display().to_string());
        let mut plane = Plane::start(&["--from", &from, "--state-dir", &state]).await?;
        let open = plane.line("the secure port", |line| line["message"] == "the secure port is open").await?;
        let secure = open["address"].as_str().context("no address")?.to_owned();
        let options = Options { reconnect: Reconnect::Manual, limit: LIMIT, ..Options::to(&plane.xds) };
        let client = Client::connect(options).await?;
        client.until("both types", State::is_ready).await?;
        plane
            .counted(&[
                "pilothouse_xds_ack_seconds_count{type=\"wds\"}",
                "pilothouse_xds_ack_seconds_count{type=\"wads\"}",
            ])
            .await?;
        Ok(Self { dir, plane, secure, client })
    }

    /// Has the client see one more change, and the workload get one more certificate.
    async fn act(&self, replicas: usize) -> anyhow::Result<()> {
        let file = self.dir.path().join("manifests/details.yaml");
        let (before, pods) =
            (fs::read_to_string(&file)?, self.client.with(|state| state.workloads().count()));
        let wanted = format!("replicas: {replicas}");
        let after = before.replacen("replicas: 1", &wanted, 1);
        ensure!(before != after, "{} has no such replicas", file.display());
        fs::write(&file, after)?;
        let seen = |state: &State| state.workloads().count() == pods + replicas - 1;
        self.client.until("more pods", seen).await?;
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let (state, token, out) = (path("state"), path("token"), path("out"));
        let said = run(&["token", "--node", "laptop", "--state-dir", &state]).await?;
        fs::write(&token, said)?;
        let of = "spiffe://cluster.local/ns/shop/sa/web";
        let flags = ["--server", &self.secure, "--token-file", &token, "--identity", of, "--out", &out];
        run(&[&["cert", "request", "--state-dir", &state][..], &flags].concat()).await?;
        Ok(())
    }
}

/// Runs the command with success; returns what it prints.
async fn run(args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program()?);
    let output = timeout(LIMIT, command.args(args).env_clear().output()).await??;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A control plane of a cluster, which leads and validates.
struct Cluster {
    _server: ApiServer,
    client: kube::Client,
    plane: Plane,
}

impl Cluster {
    const CONFIG: &str = "istiod-default-validator";

    async fn start() -> anyhow::Result<Self> {
        let server = ApiServer::start().await?;
        let system = server.namespace("mesh").await?;
        let base = render(&chart("base"), &system, &json!({}))?;
        for definition in &base.definitions {
            server.apply(&definition.to_string()).await?;
        }
        let kubeconfig = server.kubeconfig();
        let kubeconfig = kubeconfig.to_str().context("a path of text")?;
        let plane = Plane::start(&["--kubeconfig", kubeconfig, "--system-namespace", &system]).await?;
        let port = plane.webhook.rsplit(':').next().unwrap_or_default();
        let mut config = base.only("ValidatingWebhookConfiguration")?.clone();
        config["webhooks"][0]["clientConfig"] = json!({"url": format!("https://localhost:{port}/validate")});
        // Those with the label, too: the probe is one.
        config["webhooks"][0]["objectSelector"] = json!({});
        server.apply(&config.to_string()).await?;
        Ok(Self { client: server.client().await?, _server: server, plane })
    }

    /// Has the webhook pass, deny, and not understand.
    async fn act(&self) -> anyhow::Result<()> {
        let configs = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let is_kept = async || {
            let entry = configs.get(Self::CONFIG).await?.webhooks.into_iter().flatten().next();
            Ok(entry.is_some_and(|entry| entry.failure_policy.as_deref() == Some("Fail")).then_some(()))
        };
        until(LIMIT, is_kept).await.context("the webhook is not kept")?;
        let create = async |block: &str| -> anyhow::Result<u16> {
            let policy = json!({
                "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"generateName": "any-", "namespace": "default"},
                "spec": {"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": [block]}}]}]},
            });
            let path = "/apis/security.istio.io/v1/namespaces/default/authorizationpolicies";
            post(&self.client, path, policy.to_string()).await
        };
        // An API server learns late of configurations.
        let asks = async || Ok((create("10.0.0.0/99").await? == 422).then_some(()));
        until(LIMIT, asks).await.context("what is wrong is not denied")?;
        ensure!(create("10.0.0.0/9").await? == 201);
        let mut config = kube::Config::new(format!("https://{}/", self.plane.webhook).parse()?);
        config.accept_invalid_certs = true;
        let status = post(&kube::Client::try_from(config)?, "/validate", "not JSON".to_owned()).await?;
        ensure!(status == 400, "{status}");
        self.plane
            .counted(&[
                "pilothouse_status_leader{what=\"conditions\"}",
                "galley_validation_passed{",
                "galley_validation_failed{",
                "galley_validation_http_error{",
            ])
            .await
    }
}

async fn post(client: &kube::Client, path: &str, body: String) -> anyhow::Result<u16> {
    let request = http::Request::post(path).header("content-type", "application/json");
    Ok(client.send(request.body(Body::from(body.into_bytes()))?).await?.status().as_u16())
}

/// Two scrapes of both control planes, a minute apart as the engine is told.
async fn scrapes() -> anyhow::Result<Vec<Scrape>> {
    let (folder, cluster) = (Folder::start().await?, Cluster::start().await?);
    cluster.act().await?;
    let begun = [folder.plane.scrape("folder", 0).await?, cluster.plane.scrape("cluster", 0).await?];
    folder.act(3).await?;
    folder.plane.counted(&["pilot_proxy_convergence_time_count"]).await?;
    let ended = [folder.plane.scrape("folder", 60).await?, cluster.plane.scrape("cluster", 60).await?];
    Ok(begun.into_iter().chain(ended).collect())
}

/// Returns a file of the chart.
fn file(name: &str) -> anyhow::Result<String> {
    let path = chart("dashboards").join("files").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The queries of the dashboard, as Grafana asks them of scrapes each minute.
fn queries() -> anyhow::Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&file("control-plane.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked = |target: &Value| Some(target["expr"].as_str()?.replace("$__rate_interval", "4m"));
    targets.map(|target| asked(target).context("a target without a query")).collect()
}

/// The alerts: name and expression.
fn alerts() -> anyhow::Result<Vec<(String, String)>> {
    let rules: Value = serde_yaml::from_str(&file("rules.yaml")?)?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    rules.map(|rule| Ok((text(&rule["alert"])?, text(&rule["expr"])?))).collect()
}

/// Returns the scrapes with another value, or none, in the last lines that begin so.
fn changed(scrapes: &[Scrape], begins: &str, value: Option<&str>) -> anyhow::Result<Vec<Scrape>> {
    let last = scrapes.last().context("no scrape")?.seconds;
    let mut all = scrapes.to_vec();
    let mut count = 0;
    for scrape in all.iter_mut().filter(|scrape| value.is_none() || scrape.seconds == last) {
        let lines = scrape.text.lines().filter_map(|line| {
            if !line.starts_with(begins) {
                return Some(line.to_owned());
            }
            count += 1;
            Some(format!("{} {}", line.rsplit_once(' ')?.0, value?))
        });
        scrape.text = lines.map(|line| line + "\n").collect();
    }
    ensure!(count > 0, "no line begins with {begins}");
    Ok(all)
}

/// The beginning of lines of the last scrape, and the value that they get instead; without one, no scrape has the lines.
type Change = (&'static str, Option<&'static str>);

/// What makes each alert fire.
const CAUSES: &[(&str, &[Change])] = &[
    ("PilothouseAbsent", &[("pilothouse_commits_total", None)]),
    ("PilothouseSourceProblem", &[("pilothouse_source_problems", Some("1"))]),
    ("PilothouseKeyMaterialProblem", &[("pilothouse_key_material_problem ", Some("1"))]),
    ("PilothouseRootExpires", &[("pilothouse_certificate_days_left{certificate=\"root\"", Some("29.5"))]),
    (
        "PilothouseServingCertificateExpires",
        &[("pilothouse_certificate_days_left{certificate=\"serving\"", Some("-1"))],
    ),
    ("PilothouseSigningFails", &[("citadel_server_csr_sign_err_count{error=\"CA_NOT_READY\"}", Some("9"))]),
    (
        "PilothouseCertificatesRefused",
        &[("pilothouse_certificates_refused_total{reason=\"not_on_node\"}", Some("9"))],
    ),
    ("PilothouseStreamsRefused", &[("pilothouse_streams_refused_total{reason=\"no_pod\"}", Some("9"))]),
    ("PilothouseNoLeader", &[("pilothouse_status_leader{what=\"conditions\"}", Some("0"))]),
    ("PilothouseWritesFail", &[("pilothouse_status_failures_total{what=\"gateways\"}", Some("99"))]),
    ("PilothouseClientsRefuse", &[("pilot_total_xds_rejects{type=\"wads\"}", Some("1"))]),
    ("PilothouseRefusalStands", &[("pilothouse_xds_refused_resources", Some("1"))]),
    ("PilothouseChangesSlow", &[("pilot_proxy_convergence_time_bucket{le=\"+Inf\"}", Some("1000"))]),
    ("PilothouseConnectionsUnread", &[("pilothouse_connections_ended_total{reason=\"unread\"}", Some("9"))]),
    ("PilothouseBoundReached", &[("pilothouse_bound_refusals_total{bound=\"connections\"}", Some("1"))]),
    ("PilothouseWebhookFails", &[("galley_validation_http_error{", Some("99"))]),
    ("PilothouseWebhookNotKept", &[("galley_validation_config_update_error", Some("1"))]),
    (
        "PilothouseMemoryGrows",
        &[("pilothouse_heap_allocated_bytes", Some("1e9")), ("istiod_uptime_seconds", Some("90000"))],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_returns_data_and_every_alert_fires_for_its_cause_alone() -> anyhow::Result<()> {
    let scrapes = scrapes().await?;
    let ask = |scrapes: &[Scrape], expressions: &[String]| -> anyhow::Result<Vec<Answer>> {
        Ok(evaluate(scrapes, expressions, "")?.answers)
    };
    let (queries, alerts) = (queries()?, alerts()?);
    ensure!(queries.len() > 30 && alerts.len() > 10, "{} queries, {} alerts", queries.len(), alerts.len());
    for (query, answer) in queries.iter().zip(ask(&scrapes, &queries)?) {
        assert!(answer.problem.is_empty() && answer.samples > 0, "{query}: {answer:?}");
    }
    let conditions: Vec<String> = alerts.iter().map(|(_, condition)| condition.clone()).collect();
    for ((name, _), answer) in alerts.iter().zip(ask(&scrapes, &conditions)?) {
        let looks = !answer.operands.is_empty() && answer.operands.iter().all(|operand| operand.samples > 0);
        assert!(answer.problem.is_empty() && looks, "{name}: {answer:?}");
        assert_eq!(answer.samples, 0, "{name} fires for nothing");
    }

    let named: BTreeSet<&str> = alerts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(CAUSES.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), named);
    for (caused, changes) in CAUSES {
        let mut scrapes = scrapes.clone();
        for (begins, value) in *changes {
            scrapes = changed(&scrapes, begins, *value)?;
        }
        let answers = ask(&scrapes, &conditions)?;
        let firing = alerts.iter().zip(&answers).filter(|(_, answer)| answer.samples > 0);
        let firing: Vec<&str> = firing.map(|((name, _), _)| name.as_str()).collect();
        assert_eq!(firing, [*caused], "{changes:?}");
    }

    // What the two loops above would not forgive.
    let wrong = ["pilot_xds_pushes_total", "pilot_xds{app=\"other\"}", "rate(pilot_xds)"];
    let answers = ask(&scrapes, &wrong.map(str::to_owned))?;
    let forgiven = answers.iter().map(|answer| answer.problem.is_empty() && answer.samples > 0);
    assert_eq!(forgiven.collect::<Vec<_>>(), [false; 3], "{answers:?}");
    Ok(())
}

#[test]
fn prometheus_loads_the_rules() -> anyhow::Result<()> {
    let scrape = || Scrape { seconds: 0, labels: [].into(), text: String::new() };
    let rules = file("rules.yaml")?;
    assert_eq!(evaluate(&[scrape()], &[], &rules)?.problems, Vec::<String>::new());
    for (from, to) in
        [("{{ $value }}", "{{ $nothing }}"), ("for: 5m", "for: soon"), ("expr: max", "expr: mex")]
    {
        let broken = rules.replacen(from, to, 1);
        ensure!(broken != rules && !evaluate(&[scrape()], &[], &broken)?.problems.is_empty(), "{to}");
    }
    Ok(())
}
