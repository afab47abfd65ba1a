//! A container as a process.

use super::log_path;
use super::volumes::Volumes;
use crate::image::Image;
use crate::proxy::PodNetwork;
use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{Container as Spec, EnvVarSource, Pod};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The programs that containers run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Of this control plane.
    pub pilothouse: PathBuf,
    /// Of the proxies.
    pub envoy: PathBuf,
    /// A ztunnel, if it is to do for the pods of nodes what the proxy of this program does else.
    pub ztunnel: Option<PathBuf>,
    /// This one.
    pub node: PathBuf,
}

/// How long a process that ended stays away.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be run.
pub(super) struct Prepared {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
}

/// A container that runs, again and again; dropping it ends its process.
pub struct Container {
    name: String,
    log: PathBuf,
    process: watch::Receiver<Option<u32>>,
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
        let image = Image::of(of.image.as_deref().unwrap_or_default());
        let (program, arguments) = match image {
            Image::Envoy => (&programs.envoy, arguments.collect()),
            Image::Pilothouse => (&programs.pilothouse, arguments.collect()),
            Image::Ztunnel if let Some(ztunnel) = &programs.ztunnel => (ztunnel, arguments.collect()),
            Image::Idle | Image::Ztunnel => (&programs.node, vec!["idle".to_owned()]),
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
        Ok(Prepared { name: of.name.clone(), program: program.clone(), arguments, environment, log })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process; `None` while there is none.
    pub fn process(&self) -> Option<u32> {
        *self.process.borrow()
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

impl Prepared {
    /// Runs it to its end.
    pub(super) async fn run(&self, network: &PodNetwork, limit: Duration) -> anyhow::Result<()> {
        let mut child = self.spawn(network)?;
        let ended = tokio::time::timeout(limit, child.wait()).await;
        let status = ended.with_context(|| format!("{} does not end", self.name))??;
        ensure!(status.success(), "{status}: {}", last_words(&self.name, &self.log));
        Ok(())
    }

    /// Runs it for good.
    pub(super) fn start(self, network: &Arc<PodNetwork>) -> Container {
        let (tell, process) = watch::channel(None);
        let mut supervised = JoinSet::new();
        let (name, log, network) = (self.name.clone(), self.log.clone(), Arc::clone(network));
        supervised.spawn(async move {
            loop {
                if let Ok(mut child) = self.spawn(&network) {
                    tell.send_replace(child.id());
                    // Its log says why.
                    let _ = child.wait().await;
                    tell.send_replace(None);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Container { name, log, process, _supervised: supervised }
    }

    fn spawn(&self, network: &PodNetwork) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let handle = Handle::current();
        let spawned = network.namespace.within(|| {
            let _entered = handle.enter();
            command.spawn()
        })?;
        spawned.with_context(|| format!("cannot run {}", self.program.display()))
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
