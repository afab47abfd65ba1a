//! What the steps act on: the folder, the control plane that serves it, and the node.

use super::outside::{self, Outside};
use super::play::Play;
use crate::cluster::{Cluster, FolderCluster};
use crate::control_plane::ControlPlane;
use crate::node::{ADDRESS, Node};
use crate::pod::{Programs, key};
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver;
use proto::workload::TunnelProtocol;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The addresses that a folder gives to services.
const SERVICES: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 12);
/// How long an edit may take to be everywhere.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer to one call: its status and what the server says, or why there was none.
#[derive(Clone, Debug)]
pub(super) struct Answer(Value);

impl Answer {
    /// The status; none without an answer.
    pub(super) fn status(&self) -> Option<u64> {
        self.0["status"].as_u64()
    }

    /// A field of what the server says of the request.
    pub(super) fn field(&self, name: &str) -> String {
        match &self.0["body"][name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// What the server says, where that is a text.
    pub(super) fn text(&self) -> &str {
        self.0["body"].as_str().unwrap_or_default()
    }

    /// The pod that answered, without what its controller added to its name.
    pub(super) fn workload(&self) -> String {
        let name = self.field("pod_name");
        name.rsplitn(3, '-').last().unwrap_or_default().to_owned()
    }

    /// In a few words.
    pub(super) fn words(&self) -> String {
        match (self.status(), self.workload()) {
            (None, _) => format!("no answer: {}", self.0["error"].as_str().unwrap_or_default()),
            (Some(status), pod) if pod.is_empty() => {
                format!("{status} {}", self.text())
            }
            (Some(status), pod) => format!("{status} from {pod}"),
        }
    }
}

/// The example, served and run.
pub(super) struct Site {
    pub(super) node: Node,
    folder: PathBuf,
    work: PathBuf,
    outside: Outside,
    _control_plane: ControlPlane,
}

impl Site {
    /// Starts it, on a copy of the example.
    pub(super) async fn start(
        example: &Path,
        play: &Play,
        programs: Programs,
        work: &Path,
    ) -> anyhow::Result<Self> {
        let (folder, state) = (work.join(play.name), work.join("state"));
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(example).with_context(|| format!("no example {}", example.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|of| of == "yaml") {
                fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
            }
        }
        (play.prepare)(&folder)?;
        let outside = Outside::start(play.outside, &programs, &work.join("outside"))?;
        let text = |path: &Path| path.display().to_string();
        let arguments = ["--from".to_owned(), text(&folder), "--state-dir".to_owned(), text(&state)];
        let log = work.join("control-plane.log");
        let control_plane =
            ControlPlane::start(programs.pilothouse.clone(), arguments.into(), ADDRESS, log).await?;
        let cluster = FolderCluster::new(folder.clone(), state, programs.pilothouse.clone())?;
        let (cluster, files) = (Cluster::Folder(Box::new(cluster)), work.join("pods"));
        let mut node = Node::new(cluster, programs, files, SERVICES, control_plane.address());
        node.know(outside::hosts(play.outside));
        node.settle().await?;
        node.until_ready().await?;
        Ok(Self { node, folder, work: work.to_owned(), outside, _control_plane: control_plane })
    }

    /// Who vouches for the certificates of what is outside, PEM.
    pub(super) fn authority(&self) -> &str {
        &self.outside.authority
    }

    /// The file that has it.
    pub(super) fn authority_file(&self) -> String {
        self.outside.authority_file.display().to_string()
    }

    /// The address of a pod, by the begin of its name.
    pub(super) fn address(&self, name: &str) -> anyhow::Result<String> {
        let status = self.node.pod(name)?.pod().status.as_ref();
        status.and_then(|status| status.pod_ip.clone()).with_context(|| format!("{name} has no address"))
    }

    /// Reads a metric from a pod, says what it counts by these labels, and returns that.
    pub(super) async fn counts(
        &self,
        from: &str,
        url: &str,
        metric: &str,
        labels: &[&str],
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let answers = self.call(from, &[url]).await?;
        println!("   {from} $ call {url}");
        let mut counts = BTreeMap::<String, u64>::new();
        for line in answers.iter().flat_map(|answer| answer.text().lines()) {
            let Some((found, count)) = line.strip_prefix(metric).and_then(|of| of.rsplit_once(' ')) else {
                continue;
            };
            let shown = labels.iter().map(|name| {
                let value =
                    found.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
                format!("{name}=\"{}\"", value.map_or("", |(value, _)| value))
            });
            let shown: Vec<_> = shown.collect();
            *counts.entry(shown.join(", ")).or_default() += count.parse::<u64>().unwrap_or_default();
        }
        for (labels, count) in &counts {
            println!("     {metric}{{{labels}, …}} {count}");
        }
        Ok(counts)
    }

    /// Writes a file of the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        println!("   + {name}");
        for line in text.trim_end().lines() {
            println!("     {line}");
        }
        Ok(fs::write(self.folder.join(name), text)?)
    }

    /// Adds a label to what a file of the folder has below some lines.
    pub(super) fn label(&self, name: &str, after: &str, label: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(after), "{name} has no lines\n{after}");
        println!("   + {name}: {label}");
        Ok(fs::write(path, text.replacen(after, &format!("{after}    {label}\n"), 1))?)
    }

    /// Enrols a namespace by lines behind those of a file, and waits until its pods are in the mesh.
    pub(super) async fn enrol(&mut self, file: &str, after: &str, lines: &str) -> anyhow::Result<()> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path)?;
        let enrolled = text.replacen(after, &format!("{after}{lines}"), 1);
        ensure!(enrolled != text, "{file} has no lines\n{after}");
        println!("   + {file}: {}", lines.split_whitespace().collect::<Vec<_>>().join(" "));
        fs::write(path, enrolled)?;
        self.node.settle().await?;
        let pods: BTreeSet<_> =
            self.node.pods().filter(|pod| pod.is_in_mesh()).map(|pod| key(pod.pod())).collect();
        for proxy in self.node.proxies() {
            let all = proxy.client().until("the tunnels of all pods", |state| {
                let tunnelled =
                    state.workloads().filter(|(_, of)| of.tunnel_protocol() == TunnelProtocol::Hbone);
                tunnelled.map(|(_, of)| format!("{}/{}", of.namespace, of.name)).eq(pods.iter().cloned())
            });
            all.await?;
        }
        Ok(())
    }

    /// The processes of all pods, by the pods' names.
    pub(super) fn processes(&self) -> BTreeMap<String, Vec<Option<u32>>> {
        let pods = self.node.pods();
        pods.map(|pod| (key(pod.pod()), pod.containers().iter().map(|of| of.process()).collect())).collect()
    }

    /// Calls from a pod, and returns the answers.
    pub(super) async fn call(&self, from: &str, arguments: &[&str]) -> anyhow::Result<Vec<Answer>> {
        let output = self.node.pod(from)?.call(arguments).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| Ok(Answer(serde_json::from_str(line)?))).collect()
    }

    /// Calls once, and says what was asked and answered.
    pub(super) async fn show(&self, from: &str, arguments: &[&str]) -> anyhow::Result<Answer> {
        let all = self.call(from, arguments).await?;
        let answer = all.into_iter().next().context("no line")?;
        println!("   {from} $ call {}\n     {}", arguments.join(" "), answer.words());
        Ok(answer)
    }

    /// Calls again and again until the answer is as wanted, and says what was asked and answered.
    pub(super) async fn until(
        &self,
        from: &str,
        arguments: &[&str],
        is_wanted: impl Fn(&Answer) -> bool,
    ) -> anyhow::Result<Answer> {
        let mut words = String::new();
        let answer = apiserver::until(LIMIT, async || {
            let answer = self.call(from, arguments).await?.into_iter().next().context("no line")?;
            words = answer.words();
            Ok(is_wanted(&answer).then_some(answer))
        });
        let answer = answer.await;
        let answer = answer.with_context(|| format!("{from} calls {}: {words}", arguments.join(" ")))?;
        println!("   {from} $ call {}\n     {words}", arguments.join(" "));
        Ok(answer)
    }

    /// Waits for a line of the proxies' logs that has these words: one about a connection is written once that is over,
    /// which a caller does not wait for.
    pub(super) async fn until_logged(&self, words: &[&str]) -> anyhow::Result<String> {
        let line = apiserver::until(LIMIT, async || self.logged(words)).await;
        line.with_context(|| format!("no proxy has logged {}", words.join(" … ")))
    }

    /// The last line of the proxies' logs that has these words.
    fn logged(&self, words: &[&str]) -> anyhow::Result<Option<String>> {
        let mut found = None;
        for entry in fs::read_dir(self.work.join("pods"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|of| of == "log") {
                let text = fs::read_to_string(path)?;
                let line = text.lines().rfind(|line| words.iter().all(|word| line.contains(word)));
                found = line.map(str::to_owned).or(found);
            }
        }
        Ok(found)
    }
}
