//! A container as a process, which is ended as a kubelet ends one.

use super::log_path;
use super::volumes::Volumes;
use crate::image::{self, Image};
use crate::proxy::PodNetwork;
use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{Container as Spec, EnvVarSource, Pod};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

/// The programs that containers run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Of this control plane.
    pub pilothouse: PathBuf,
    /// Of the proxies.
    pub envoy: PathBuf,
    /// A ztunnel, if it is to do for the pods of nodes what the proxy of this program does else.
    pub ztunnel: Option<PathBuf>,
    /// What images stand for that the table does not have, by their names.
    pub images: BTreeMap<String, PathBuf>,
    /// This one.
    pub node: PathBuf,
}

impl Programs {
    /// The program that was given for an image.
    pub(super) fn given(&self, image: &str) -> Option<&PathBuf> {
        self.images.get(image::name(image))
    }
}

/// How long a process that ended stays away.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a process that is told to end may take at least, also when what runs before took all the time.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// What a pod is told: nothing, or to end within a time.
pub(super) type ToEnd = Option<Duration>;

/// What runs before a process is told to end.
enum BeforeEnd {
    Sleep(Duration),
    Command(PathBuf, Vec<String>),
}

/// What is to be run.
pub(super) struct Prepared {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    before_end: Option<BeforeEnd>,
}

/// A container that runs, again and again; dropping it ends its process.
pub struct Container {
    name: String,
    log: PathBuf,
    process: watch::Receiver<Option<u32>>,
    supervision: AbortHandle,
    _supervised: JoinSet<()>,
}

impl Container {
    /// Finds out what a container runs.
    pub(super) fn prepare(
        pod: &Pod,
        of: &Spec,
        volumes: &Volumes,
        programs: &Programs,
        folder: &Path,
    ) -> anyhow::Result<Prepared> {
        let arguments = of.args.iter().flatten().map(|text| volumes.translated(text));
        let image = of.image.as_deref().unwrap_or_default();
        let (program, arguments) = match Image::of(image) {
            Image::Echo if let Some(given) = programs.given(image) => (given, arguments.collect()),
            Image::Envoy => (&programs.envoy, arguments.collect()),
            Image::Pilothouse => (&programs.pilothouse, arguments.collect()),
            Image::Ztunnel if let Some(ztunnel) = &programs.ztunnel => (ztunnel, arguments.collect()),
            Image::Idle | Image::Ztunnel => (&programs.node, vec!["idle".to_owned()]),
            Image::Load => (&programs.node, std::iter::once("load".to_owned()).chain(arguments).collect()),
            Image::Echo => {
                let ports = of.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP"));
                let ports = ports.map(|port| port.container_port.to_string());
                (&programs.node, std::iter::once("echo".to_owned()).chain(ports).collect())
            }
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut environment = vec![
            ("POD_NAME".to_owned(), text(&pod.metadata.name)),
            ("POD_NAMESPACE".to_owned(), text(&pod.metadata.namespace)),
            ("POD_IP".to_owned(), field(pod, "status.podIP")?),
            ("CONTAINER".to_owned(), of.name.clone()),
        ];
        for variable in of.env.iter().flatten() {
            let value = match &variable.value_from {
                None => volumes.translated(variable.value.as_deref().unwrap_or_default()),
                Some(EnvVarSource { field_ref: Some(field_ref), .. }) => field(pod, &field_ref.field_path)?,
                Some(_) => continue,
            };
            environment.push((variable.name.clone(), value));
        }
        let log = log_path(folder, &of.name);
        let (name, program) = (of.name.clone(), program.clone());
        Ok(Prepared { name, program, arguments, environment, log, before_end: BeforeEnd::of(of, volumes)? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process; `None` while there is none.
    pub fn process(&self) -> Option<u32> {
        *self.process.borrow()
    }

    /// Tells whether its process has ended for good.
    pub(super) fn has_ended(&self) -> bool {
        self.supervision.is_finished()
    }

    /// The end of its log, with its name.
    pub(super) fn last_words(&self) -> String {
        last_words(&self.name, &self.log)
    }
}

fn last_words(name: &str, log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!("{name}: {}", lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n"))
}

impl BeforeEnd {
    /// Returns what the hook of a container does.
    fn of(container: &Spec, volumes: &Volumes) -> anyhow::Result<Option<Self>> {
        let Some(hook) = container.lifecycle.as_ref().and_then(|of| of.pre_stop.as_ref()) else {
            return Ok(None);
        };
        if let Some(sleep) = &hook.sleep {
            return Ok(Some(Self::Sleep(Duration::from_secs(sleep.seconds.try_into()?))));
        }
        let command = hook.exec.as_ref().and_then(|exec| exec.command.as_ref());
        let mut command = command.into_iter().flatten().map(|text| volumes.translated(text));
        let program = command.next().context("a preStop other than sleep and exec is not known here")?;
        Ok(Some(Self::Command(program.into(), command.collect())))
    }
}

/// Waits until a pod is told to end; returns how long that may take.
async fn told(to_end: &mut watch::Receiver<ToEnd>) -> Duration {
    let told = to_end.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
    match told {
        Some(grace) => grace,
        // It is dropped: whoever waits is about to be.
        None => std::future::pending().await,
    }
}

impl Prepared {
    /// Runs it to its end.
    pub(super) async fn run(&self, network: &PodNetwork, limit: Duration) -> anyhow::Result<()> {
        let mut child = self.spawn(network, &self.program, &self.arguments)?;
        let ended = tokio::time::timeout(limit, child.wait()).await;
        let status = ended.with_context(|| format!("{} does not end", self.name))??;
        ensure!(status.success(), "{status}: {}", last_words(&self.name, &self.log));
        Ok(())
    }

    /// Runs it until its pod is told to end.
    pub(super) fn start(self, network: &Arc<PodNetwork>, to_end: watch::Receiver<ToEnd>) -> Container {
        let (tell, process) = watch::channel(None);
        let mut supervised = JoinSet::new();
        let (name, log, network) = (self.name.clone(), self.log.clone(), Arc::clone(network));
        let supervision = supervised.spawn(async move { self.supervise(&network, to_end, &tell).await });
        Container { name, log, process, supervision, _supervised: supervised }
    }

    async fn supervise(
        &self,
        network: &PodNetwork,
        mut to_end: watch::Receiver<ToEnd>,
        tell: &watch::Sender<Option<u32>>,
    ) {
        loop {
            if let Ok(mut child) = self.spawn(network, &self.program, &self.arguments) {
                tell.send_replace(child.id());
                let grace = tokio::select! {
                    // Its log says why.
                    _ = child.wait() => None,
                    grace = told(&mut to_end) => Some(grace),
                };
                if let Some(grace) = grace {
                    self.end(&mut child, grace, network).await;
                }
                tell.send_replace(None);
                if grace.is_some() {
                    return;
                }
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                _ = told(&mut to_end) => return,
            }
        }
    }

    /// Ends a process: what the pod wants done before that, then a signal, and another that leaves no choice.
    async fn end(&self, child: &mut Child, grace: Duration, network: &PodNetwork) {
        let last = Instant::now() + grace;
        let before = async {
            match &self.before_end {
                None => {}
                Some(BeforeEnd::Sleep(pause)) => sleep(*pause).await,
                Some(BeforeEnd::Command(program, arguments)) => {
                    // One that fails changes nothing: the process ends all the same.
                    if let Ok(mut command) = self.spawn(network, program, arguments) {
                        let _ = command.wait().await;
                    }
                }
            }
        };
        let _ = timeout_at(last, before).await;
        let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(process) = process {
            // It may have ended by itself.
            let _ = kill_process(process, Signal::TERM);
        }
        if timeout_at(last.max(Instant::now() + LEAST_GRACE), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    fn spawn(&self, network: &PodNetwork, program: &Path, arguments: &[String]) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let handle = Handle::current();
        let spawned = network.namespace.within(|| {
            let _entered = handle.enter();
            command.spawn()
        })?;
        spawned.with_context(|| format!("cannot run {}", program.display()))
    }
}

/// The value of a field of a pod, as the downward API has it.
fn field(pod: &Pod, path: &str) -> anyhow::Result<String> {
    let (metadata, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let value = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" => status.and_then(|status| status.pod_ip.clone()),
        "status.hostIP" => status.and_then(|status| status.host_ip.clone()),
        _ => bail!("the field {path} is not known here"),
    };
    Ok(value.unwrap_or_default())
}
