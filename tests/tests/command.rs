//! The `pilothouse` command as a person runs it: real processes, sockets, files and signals.

use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::LIMIT;
use pilothouse_tests::client::{Client, Options, Reconnect, State};
use pilothouse_tests::program::program;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

#[path = "command/certificates.rs"]
mod certificates;
#[path = "command/compare.rs"]
mod compare;
#[path = "command/debug.rs"]
mod debug;
#[path = "command/example.rs"]
mod example;
#[path = "command/findings.rs"]
mod findings;
#[path = "command/gateways.rs"]
mod gateways;
#[path = "command/hostile.rs"]
mod hostile;
#[path = "command/input.rs"]
mod input;
#[path = "command/latencies.rs"]
mod latencies;
#[path = "command/tables.rs"]
mod tables;
#[path = "command/version.rs"]
mod version;
#[path = "command/waypoint.rs"]
mod waypoint;
#[path = "command/waypoints.rs"]
mod waypoints;
#[path = "command/why.rs"]
mod why;

const VIEWS: [&str; 8] =
    ["workloads", "services", "policies", "nodes", "gateways", "routes", "status", "waypoints"];
const FORMATS: [&str; 3] = ["table", "json", "yaml"];
const ANY_PORTS: [&str; 10] = [
    "--xds-addr",
    "127.0.0.1:0",
    "--secure-addr",
    "127.0.0.1:0",
    "--http-addr",
    "127.0.0.1:0",
    "--webhook-addr",
    "127.0.0.1:0",
    "--monitoring-addr",
    "127.0.0.1:0",
];

/// The command with these arguments, and with nothing of our environment.
fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<Command> {
    let mut command = Command::new(program()?);
    command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs the command to its end.
async fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<Output> {
    let output = command(args)?.output();
    timeout(LIMIT, output).await.context("the command does not end")?.context("cannot run the command")
}

/// Runs `dump` with success and returns what it prints.
async fn dump(args: &[&str]) -> anyhow::Result<String> {
    let output = run(["dump"].iter().chain(args)).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "dump {args:?} failed: {errors}");
    ensure!(errors.is_empty(), "dump {args:?} complains: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The example, in the copy that is for tests: whoever follows the README edits the other one.
fn bookinfo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bookinfo")
}

/// A copy of the example, to be edited.
fn copy_of_bookinfo() -> anyhow::Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    for entry in fs::read_dir(bookinfo())? {
        let entry = entry?;
        fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
    }
    Ok(copy)
}

/// Saves a file with one thing replaced.
fn edit(path: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)?;
    ensure!(text.contains(from), "{} does not contain {from:?}", path.display());
    Ok(fs::write(path, text.replacen(from, to, 1))?)
}

/// A running `pilothouse serve`.
struct Server {
    child: Child,
    /// Fields of the log lines that nobody has waited for yet, with their level.
    lines: mpsc::UnboundedReceiver<Value>,
    xds: String,
    health: String,
    monitoring: String,
}

impl Server {
    /// Serves a folder on free ports; returns once it serves it.
    async fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let mut server = Self::start([OsStr::new("--from"), folder.as_os_str()]).await?;
        server
            .until_line("that the mesh is served", |line| text(line, "message").starts_with("ready"))
            .await?;
        Ok(server)
    }

    /// Starts on free ports; returns once it has told its addresses.
    async fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<Self> {
        let mut command = command(["serve", "--log-json"].iter().chain(&ANY_PORTS))?;
        let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut read = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = read.next_line().await {
                // What is no JSON is an error message of the command itself.
                let fields = serde_json::from_str(&line).map_or_else(
                    |_| serde_json::json!({ "message": line }),
                    |mut line: Value| {
                        let mut fields = line["fields"].take();
                        fields["level"] = line["level"].take();
                        fields
                    },
                );
                if sender.send(fields).is_err() {
                    return;
                }
            }
        });
        let none = String::new;
        let mut server = Self { child, lines, xds: none(), health: none(), monitoring: none() };
        let first = server.until_line("the addresses", |line| line.get("xds").is_some()).await?;
        server.xds = text(&first, "xds").to_owned();
        server.health = text(&first, "health").to_owned();
        server.monitoring = text(&first, "monitoring").to_owned();
        Ok(server)
    }

    /// Waits for a line of the log.
    async fn until_line(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
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

    /// The address at which a view is asked for.
    fn shows(&self, view: &str) -> &str {
        address_of(view, &self.xds, &self.monitoring)
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let options = Options { reconnect: Reconnect::Manual, limit: LIMIT, ..Options::to(&self.xds) };
        let client = Client::connect(options).await?;
        client.until("both types", State::is_ready).await?;
        Ok(client)
    }

    async fn signal(&mut self, name: &str) -> anyhow::Result<ExitStatus> {
        let pid = self.child.id().context("the process has ended")?;
        let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().await?;
        ensure!(sent.success(), "cannot send {name}");
        timeout(LIMIT, self.child.wait()).await.context("the process does not end")?.context("cannot wait")
    }
}

/// Which of two addresses is asked for a view: that of plaintext xDS, or that of pages.
fn address_of<'a>(view: &str, xds: &'a str, monitoring: &'a str) -> &'a str {
    if matches!(view, "gateways" | "routes" | "status" | "waypoints") { monitoring } else { xds }
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

/// Asks by HTTP; returns status and body.
async fn get(address: &str, path: &str) -> anyhow::Result<(u16, String)> {
    ask(address, "GET", path).await
}

async fn ask(address: &str, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(LIMIT, ask).await.with_context(|| format!("no answer to {path}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split_whitespace().nth(1).context("an answer has a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Every resource's version, by type and name.
fn versions(state: &State) -> BTreeMap<(&'static str, String), String> {
    let addresses = state.addresses().iter().map(|(name, held)| (("address", name.clone()), &held.version));
    let policies =
        state.authorizations().iter().map(|(name, held)| (("policy", name.clone()), &held.version));
    addresses.chain(policies).map(|(name, version)| (name, version.clone())).collect()
}

#[tokio::test]
async fn a_server_and_its_folder_dump_alike() -> anyhow::Result<()> {
    let folder = bookinfo();
    let server = Server::of_folder(&folder).await?;
    let from = folder.to_str().context("a path of text")?;
    for view in VIEWS {
        for format in FORMATS {
            let live = dump(&[view, "-o", format, "--server", server.shows(view)]).await?;
            let offline = dump(&[view, "-o", format, "--from", from]).await?;
            // What a status says is known of a folder only.
            let offline = match (view, format) {
                ("policies", "table") => without_last_column(&offline, "STATUS")?,
                _ => offline,
            };
            ensure!(live == offline, "{view} as {format}:\n{live}\nis not\n{offline}");
            ensure!(live.lines().count() > 1, "{view} as {format} is empty:\n{live}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_dump_shows_what_a_ztunnel_holds() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let client = server.client().await?;
    let of = |args: &'static [&'static str]| {
        let args = [args, &["--server", server.xds.as_str()]].concat();
        async move { dump(&args).await }
    };
    let names = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|one| text(one, field).to_owned()).collect()
    };

    let workloads: Value = serde_json::from_str(&of(&["-o", "json"]).await?)?;
    let held = client.with(|state| state.workloads().map(|(uid, _)| uid.to_owned()).collect::<Vec<_>>());
    assert_eq!(names(&workloads, "uid"), held);

    let services: Value = serde_yaml::from_str(&of(&["services", "-o", "yaml"]).await?)?;
    let mut held = client.with(|state| state.services().map(|(_, s)| s.hostname.clone()).collect::<Vec<_>>());
    let mut shown = names(&services, "hostname");
    // They are ordered by their own names, not by those on the wire.
    held.sort();
    shown.sort();
    assert_eq!(shown, held);

    let policies = of(&["policies", "-n", "bookinfo"]).await?;
    let rows: Vec<Vec<&str>> = policies.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAMESPACE", "NAME", "SCOPE", "ACTION", "RULES"]);
    assert_eq!(rows.len(), 5, "{policies}");
    let details =
        "bookinfo details-callers WORKLOAD_SELECTOR ALLOW principal cluster.local/ns/bookinfo/sa/productpage";
    assert_eq!(rows[1].join(" "), details);

    let services = of(&["services"]).await?;
    let reviews = services.lines().find(|line| line.contains(" reviews ")).context("reviews are listed")?;
    assert!(reviews.ends_with(" 3/3"), "{reviews}");

    let workloads = of(&["workloads", "-n", "outside"]).await?;
    let curl = workloads.lines().nth(1).context("curl is listed")?;
    let protocol = curl.split_whitespace().nth(5);
    assert_eq!(protocol, Some("TCP"), "{curl}");
    Ok(())
}

#[tokio::test]
async fn an_edited_file_reaches_clients() -> anyhow::Result<()> {
    let folder = copy_of_bookinfo()?;
    let server = Server::of_folder(folder.path()).await?;
    let client = server.client().await?;
    let before = client.with(|state| state.workloads().count());

    edit(&folder.path().join("details.yaml"), "replicas: 1", "replicas: 3")?;
    client.until("two more pods", |state| state.workloads().count() == before + 2).await?;
    assert_eq!(client.violations(), []);

    let table = dump(&["services", "--server", &server.xds]).await?;
    let details = table.lines().find(|line| line.contains(" details ")).context("details are listed")?;
    assert!(details.ends_with(" 3/3"), "{details}");
    Ok(())
}

#[tokio::test]
async fn a_save_that_cannot_be_read_is_placed_and_takes_nothing_away() -> anyhow::Result<()> {
    let folder = copy_of_bookinfo()?;
    let mut server = Server::of_folder(folder.path()).await?;
    let client = server.client().await?;
    let before = client.with(State::digest);

    let broken = folder.path().join("ratings.yaml");
    let good = fs::read_to_string(&broken)?;
    let lines = good.lines().count();
    fs::write(&broken, format!("{good}---\nkind: [Service\n"))?;
    let place = format!("{}:{}:", broken.display(), lines + 3);
    let is_it = |line: &Value| text(line, "message").starts_with(&place);
    let told = server.until_line(&format!("a problem at {place}"), is_it).await?;
    let column = text(&told, "message")[place.len()..].split(':').next().and_then(|c| c.parse::<u32>().ok());
    assert!(column.is_some_and(|c| c >= 1), "{told}");
    assert_eq!(get(&server.health, "/ready").await?.0, 200);

    // Edits of other files still arrive, and by then nothing of the broken one is lost.
    edit(&folder.path().join("details.yaml"), "replicas: 1", "replicas: 2")?;
    let pods = |state: &State, of: &str| state.workloads().filter(|(_, w)| w.workload_name == of).count();
    client.until("another pod of details", |state| pods(state, "details-v1") == 2).await?;
    assert_eq!(client.with(|state| pods(state, "ratings-v1")), 1);

    fs::write(&broken, good.replacen("replicas: 1", "replicas: 2", 1))?;
    client.until("another pod of ratings", |state| pods(state, "ratings-v1") == 2).await?;
    fs::write(&broken, &good)?;
    edit(&folder.path().join("details.yaml"), "replicas: 2", "replicas: 1")?;
    client.until("the state of the beginning", |state| state.digest() == before).await?;
    assert_eq!(client.violations(), []);
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_flag() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for flag in ["--xds-addr", "--http-addr", "--monitoring-addr"] {
        let mut args = ANY_PORTS.map(str::to_owned);
        let at = args.iter().position(|arg| arg == flag).context("the flag is among them")?;
        args[at + 1].clone_from(&address);
        let from = bookinfo();
        let folder = [OsStr::new("serve"), OsStr::new("--from"), from.as_os_str()];
        let output = run(folder.into_iter().chain(args.iter().map(OsStr::new))).await?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&address) && errors.contains(flag), "{errors}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_killed_comes_back_with_equal_versions() -> anyhow::Result<()> {
    let folder = bookinfo();
    let mut server = Server::of_folder(&folder).await?;
    let client = server.client().await?;
    let (before, digest) = client.with(|state| (versions(state), state.digest()));
    let versioned = before.iter().filter(|((of, _), version)| *of == "address" && !version.is_empty());
    assert_eq!(versioned.count(), client.with(|state| state.addresses().len()), "{before:?}");

    server.signal("KILL").await?;
    client.until("the loss of the stream", |state| !state.is_connected()).await?;
    let again = Server::of_folder(&folder).await?;
    assert_eq!(again.client().await?.with(versions), before);

    // Who offers these versions is sent no address again; policies have none and come in full.
    let mark = client.mark();
    client.reconnect_to(&again.xds).await?;
    client.until("both types again", |state| state.received().len() >= mark + 2).await?;
    let addresses = client.since(mark).into_iter().filter(|r| r.type_url == proto::type_url::ADDRESS);
    let sent: Vec<_> = addresses.map(|r| (r.resources.len(), r.removed.len())).collect();
    assert_eq!(sent, [(0, 0)]);
    assert_eq!(client.with(State::digest), digest);
    assert_eq!(client.with(versions), before);
    assert_eq!(client.violations(), []);
    Ok(())
}

#[tokio::test]
async fn every_page_answers() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let client = server.client().await?;
    for path in ["/ready", "/healthz"] {
        assert_eq!(get(&server.health, path).await?.0, 200, "{path}");
    }
    let page = |path: &'static str| {
        let monitoring = server.monitoring.clone();
        async move { get(&monitoring, path).await }
    };
    let (status, version) = page("/version").await?;
    assert!(status == 200 && version.starts_with(concat!(env!("CARGO_PKG_VERSION"), "-")), "{version}");

    let (status, metrics) = page("/metrics").await?;
    assert_eq!(status, 200);
    assert!(metrics.lines().any(|line| line == r#"pilot_xds{version="unknown"} 1"#), "{metrics}");

    let (status, clients) = page("/debug/clientz").await?;
    let clients: Value = serde_json::from_str(&clients)?;
    assert_eq!((status, clients.as_array().map(Vec::len)), (200, Some(1)), "{clients}");
    let connected = clients[0]["connected"].as_str().context("a time")?;
    assert!(connected.len() == 20 && connected.ends_with('Z'), "{connected}");

    let (uid, service) = client.with(|state| {
        let uid = state.workloads().map(|(uid, _)| uid.to_owned()).next();
        (uid, state.services().map(|(name, _)| name.to_owned()).next())
    });
    for name in [uid.context("there is a pod")?, service.context("there is a service")?] {
        let (status, why) = get(&server.monitoring, &format!("/debug/whyz?name={name}")).await?;
        assert_eq!(status, 200, "{name}: {why}");
        assert!(why.contains("bookinfo"), "{name}: {why}");
    }
    assert_eq!(page("/debug/whyz?name=nobody/knows").await?.0, 404);
    for path in ["/debug/enginez", "/debug/diagnosticz"] {
        assert_eq!(page(path).await?.0, 200, "{path}");
    }
    let (_, index) = page("/").await?;
    for path in ["/", "/debug", "/debug/"] {
        assert_eq!(page(path).await?, (200, index.clone()), "{path}");
    }
    // Every page that is listed answers, and a path that is none lists them.
    for line in index.lines() {
        let path = line.split([' ', '?']).next().unwrap_or_default();
        let status = get(&server.monitoring, path).await?.0;
        let asks_of_what =
            line.contains("?name=") || line.contains("?waypoint=") || line.contains("?proxyID=");
        assert_eq!(status, if asks_of_what { 400 } else { 200 }, "{line}");
    }
    let (status, text) = page("/debug/nosuch").await?;
    assert!(status == 404 && text.contains("no page /debug/nosuch") && text.ends_with(&index), "{text}");
    let (status, text) = get(&server.health, "/").await?;
    assert!(status == 200 && text.contains("/ready") && text.contains("/healthz"), "{text}");
    assert_eq!(get(&server.health, "/metrics").await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_ready_and_one_that_is_away_are_told_apart() -> anyhow::Result<()> {
    // Bound and not listening: it refuses, and nobody else gets it meanwhile.
    let refusing = TcpSocket::new_v4()?;
    refusing.bind("127.0.0.1:0".parse()?)?;
    let closed = refusing.local_addr()?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    fs::write(
        &kubeconfig,
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c,\n\
             clusters: [{{name: c, cluster: {{server: 'https://{closed}'}}}}],\n\
             users: [{{name: u, user: {{token: t}}}}],\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}\n"
        ),
    )?;
    let mut server = Server::start([OsStr::new("--kubeconfig"), kubeconfig.as_os_str()]).await?;
    let is_it = |line: &Value| text(line, "message").contains(&closed.to_string());
    server.until_line("that the API server cannot be reached", is_it).await?;
    assert_eq!(get(&server.health, "/healthz").await?.0, 200);
    // What keeps it from being ready is told wherever one looks.
    let (status, ready) = get(&server.health, "/ready").await?;
    assert!(status == 503 && ready.contains(&format!("https://{closed}")), "{ready}");
    let (_, problems) = get(&server.monitoring, "/debug/sourcez").await?;
    assert!(problems.lines().count() == 1 && ready.ends_with(&problems), "{problems}");
    let (_, metrics) = get(&server.monitoring, "/metrics").await?;
    assert!(metrics.lines().any(|line| line == "pilothouse_source_problems 1"), "{metrics}");

    let (closed, health) = (closed.to_string(), server.health.clone());
    for (address, expected) in [
        (server.xds.as_str(), "serves nothing yet"),
        (&closed, "cannot reach a control plane"),
        (&health, "does not speak xDS"),
        ("localhost", "is no address of a control plane"),
    ] {
        let output = run(["dump", "--server", address]).await?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(expected) && errors.contains(address), "{address}: {errors}");
        assert!(output.stdout.is_empty());
    }
    assert!(server.signal("TERM").await?.success());
    Ok(())
}

#[tokio::test]
async fn signals_end_streams_in_order() -> anyhow::Result<()> {
    for name in ["TERM", "INT"] {
        let mut server = Server::of_folder(&bookinfo()).await?;
        let client = server.client().await?;
        let status = server.signal(name).await?;
        assert!(status.success(), "{name}: {status}");
        client.until("the end of the stream", |state| !state.is_connected()).await?;
        assert_eq!(client.with(|state| state.last_error().map(str::to_owned)), None, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_start_is_told_in_one_sentence() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let missing = home.path().join("missing");
    let missing = missing.to_str().context("a path of text")?;
    let folder = bookinfo();
    let folder = folder.to_str().context("a path of text")?;
    for (args, expected) in [
        (vec!["serve", "--from", missing], "--from"),
        (vec!["dump", "--from", missing], "--from"),
        (vec!["serve", "--kubeconfig", missing], "--kubeconfig"),
        (vec!["serve"], "there is no Kubernetes cluster"),
        (vec!["serve", "--from", folder, "--log", "a=b=c"], "--log"),
    ] {
        let is_serve = args[0] == "serve";
        let mut command = command(args.iter().chain(if is_serve { &ANY_PORTS[..] } else { &[] }))?;
        let output = timeout(LIMIT, command.env("HOME", home.path()).output()).await??;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{args:?}: {errors}");
        assert!(errors.starts_with("error: ") && errors.contains(expected), "{args:?}: {errors}");
    }
    Ok(())
}

#[tokio::test]
async fn a_folder_is_served_whatever_kubectl_is_set_to() -> anyhow::Result<()> {
    let mut command = command(["serve", "--from"].iter().map(OsStr::new).chain([bookinfo().as_os_str()]))?;
    command.args(ANY_PORTS).env("KUBECONFIG", "/missing/a:/missing/b").stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("standard error is piped")?).lines();
    let wait = async {
        let mut seen = String::new();
        while let Some(line) = lines.next_line().await? {
            seen = seen + &line + "\n";
            if line.contains("ready: ") {
                return Ok(seen);
            }
        }
        anyhow::bail!("it ended: {seen}")
    };
    let seen = timeout(LIMIT, wait).await.context("it is not ready")??;
    assert!(!seen.contains('\u{1b}'), "colours are for terminals: {seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_dump_of_a_refused_manifest_places_it_and_prints_the_rest() -> anyhow::Result<()> {
    let folder = copy_of_bookinfo()?;
    let path = folder.path().join("broken.yaml");
    fs::write(&path, "apiVersion: v1\nkind: [Service\n")?;
    let output = run([OsStr::new("dump"), OsStr::new("--from"), folder.path().as_os_str()]).await?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let place = format!("{}:3:", path.display());
    assert!(errors.lines().any(|l| l.starts_with("error[FO") && l.contains(&place)), "{errors}");
    let table = String::from_utf8(output.stdout)?;
    assert!(table.contains("productpage-v1-"), "{table}");
    Ok(())
}

/// A table without its last column, which has this head.
fn without_last_column(table: &str, head: &str) -> anyhow::Result<String> {
    let end = table.lines().next().and_then(|line| line.find(head)).context("a table has heads")?;
    let lines = table.lines().map(|line| line.chars().take(end).collect::<String>());
    Ok(lines.map(|line| line.trim_end().to_owned() + "\n").collect())
}

#[tokio::test]
async fn a_dump_of_policies_tells_what_nothing_enforces_and_why() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{namespace: shop, name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let methods = "rules: [{to: [{operation: {methods: [GET]}}]}]";
    let all = [
        policy("allow-get", &format!("{{action: ALLOW, {methods}}}")),
        policy("deny-get", &format!("{{action: DENY, {methods}}}")),
        policy("plain", "{action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}"),
        policy("targeted", "{rules: [{}], targetRefs: [{group: '', kind: Service, name: absent}]}"),
    ];
    fs::write(folder.path().join("policies.yaml"), all.concat())?;
    let from = folder.path().to_str().context("a path of text")?;

    let output = run(["dump", "policies", "--from", from]).await?;
    let (table, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    // A DENY policy that denies nothing is an error.
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let rows: Vec<String> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let dead = "shop deny-get NAMESPACE DENY nothing (HTTP attributes need a waypoint)";
    assert_eq!(
        rows,
        [
            "NAMESPACE NAME SCOPE ACTION RULES STATUS".to_owned(),
            "shop allow-get NAMESPACE ALLOW nothing ZtunnelAccepted=True UnsupportedValue".to_owned(),
            format!("{dead} ZtunnelAccepted=True UnsupportedValue"),
            "shop plain NAMESPACE DENY port 80 ZtunnelAccepted=True Accepted".to_owned(),
            "shop targeted - - - WaypointAccepted=False TargetNotFound".to_owned(),
        ]
    );
    for (code, name) in
        [("warning[AP104]", "allow-get"), ("error[AP104]", "deny-get"), ("warning[AP109]", "targeted")]
    {
        let begin = format!("{code}: ");
        let told = errors.lines().filter(|line| line.contains(&format!("AuthorizationPolicy shop/{name}")));
        assert!(told.clone().count() == 1 && told.clone().all(|line| line.starts_with(&begin)), "{errors}");
    }
    assert_eq!(errors.lines().count(), 3, "{errors}");
    assert!(errors.lines().all(|line| line.contains("policies.yaml:")), "{errors}");

    // A running control plane is asked for what it sends, and says elsewhere why.
    let server = Server::of_folder(folder.path()).await?;
    let output = run(["dump", "policies", "--server", &server.xds]).await?;
    let (table, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    assert!(output.status.success() && table.lines().count() == 4, "{table}");
    let joined: Vec<&str> = table.split_whitespace().collect();
    assert!(joined.join(" ").contains(dead), "{table}");
    assert!(errors.contains("/debug/diagnosticz") && errors.lines().count() == 1, "{errors}");
    Ok(())
}

#[tokio::test]
async fn output_that_nobody_reads_ends_quietly() -> anyhow::Result<()> {
    let from = bookinfo();
    for format in FORMATS {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = command(["dump", "-o", format, "--from"])?;
        command.arg(&from).stdout(writer).stderr(Stdio::piped());
        let output = timeout(LIMIT, command.spawn()?.wait_with_output()).await??;
        let errors = String::from_utf8(output.stderr)?;
        assert!(output.status.success() && errors.is_empty(), "{format}: {}: {errors}", output.status);
    }
    Ok(())
}
