//! A pod as processes in a network namespace.

mod container;
mod probe;
mod volumes;

pub use container::{Container, Programs};

use crate::cluster::Cluster;
use crate::image::Image;
use crate::namespace::Namespace;
use crate::proxy::{Capture, Owner, PodNetwork, Proxy};
use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};
use probe::Probe;
use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What the agent of a node writes on a pod whose traffic it redirects.
const REDIRECTION: &str = "ambient.istio.io/redirection";
/// How long what runs before the containers may take, and what runs until it is ready.
const LIMIT: Duration = Duration::from_secs(60);

/// A pod that runs; dropping it ends its processes and removes its namespace.
pub struct RunningPod {
    /// As it was started.
    pod: Pod,
    capture: Capture,
    to_end: watch::Sender<container::ToEnd>,
    containers: Vec<Container>,
    /// Of each container, in the same order.
    probes: Vec<Option<Probe>>,
    network: Arc<PodNetwork>,
    programs: Arc<Programs>,
    folder: PathBuf,
}

/// Tells whether a pod is in the mesh.
pub fn is_in_mesh(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(REDIRECTION)).is_some_and(|value| value == "enabled")
}

/// Its name with its namespace.
pub fn key(pod: &Pod) -> String {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", of(&pod.metadata.namespace), of(&pod.metadata.name))
}

fn owner(pod: &Pod) -> Owner {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    Owner {
        uid: of(&pod.metadata.uid),
        name: of(&pod.metadata.name),
        namespace: of(&pod.metadata.namespace),
        service_account: account.unwrap_or_else(|| "default".to_owned()),
    }
}

/// How long a pod that is being deleted may take to end; `None` for one that is not.
pub fn grace(pod: &Pod) -> Option<Duration> {
    let seconds = pod.metadata.deletion_timestamp.as_ref().and(pod.metadata.deletion_grace_period_seconds);
    seconds.map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or_default()))
}

/// The address that its status has.
fn address(pod: &Pod) -> Option<Ipv4Addr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

impl RunningPod {
    /// Starts a pod: its network, then what runs before its containers, then these. Files of it are below a folder.
    ///
    /// # Errors
    /// When something of that fails.
    pub async fn start(
        pod: &Pod,
        number: u32,
        cluster: &Cluster,
        proxy: &Arc<Proxy>,
        programs: &Arc<Programs>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let address = address(pod).context("it has no address")?;
        let namespace = tokio::task::spawn_blocking(move || Namespace::create(number, address)).await??;
        set_kernel_parameters(pod, &namespace)?;
        let network = Arc::new(PodNetwork { namespace, address });
        let capture = proxy.serve(&network, owner(pod), is_in_mesh(pod)).await?;
        let folder = folder.join(key(pod));
        if folder.exists() {
            // Of one before, of the same name.
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let volumes = volumes::mount(pod, cluster, &folder).await?;
        let spec = pod.spec.clone().unwrap_or_default();
        let start = |of| Container::prepare(pod, of, &volumes, programs, &folder);
        // What other images would do before, their containers do not need here.
        let is_known =
            |of: &&ContainerSpec| Image::of(of.image.as_deref().unwrap_or_default()) == Image::Pilothouse;
        for of in spec.init_containers.iter().flatten().filter(is_known) {
            start(of)?.run(&network, LIMIT).await?;
        }
        let (mut containers, mut probes) = (Vec::new(), Vec::new());
        let to_end = watch::Sender::new(None);
        for of in &spec.containers {
            probes.push(Probe::of(of, programs));
            containers.push(start(of)?.start(&network, to_end.subscribe()));
        }
        let programs = Arc::clone(programs);
        Ok(Self { pod: pod.clone(), capture, to_end, containers, probes, network, programs, folder })
    }

    /// The pod as it was started.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Its containers.
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Tells whether it is in the mesh now.
    pub fn is_in_mesh(&self) -> bool {
        self.capture.is_in_mesh()
    }

    /// Takes it into the mesh or out of it.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn set_in_mesh(&mut self, in_mesh: bool) -> anyhow::Result<()> {
        self.capture.set_in_mesh(in_mesh).await
    }

    /// Brings its volumes up to date.
    ///
    /// # Errors
    /// When the cluster does not tell what is in them.
    pub async fn refresh(&self, cluster: &Cluster) -> anyhow::Result<()> {
        volumes::refresh(&self.pod, cluster, &self.folder).await
    }

    /// Has its processes end within a time, if they were not told before.
    pub fn end(&self, grace: Duration) {
        self.to_end.send_if_modified(|to_end| {
            let is_new = to_end.is_none();
            to_end.get_or_insert(grace);
            is_new
        });
    }

    /// Tells whether its processes have ended, as they were told.
    pub fn has_ended(&self) -> bool {
        self.containers.iter().all(Container::has_ended)
    }

    /// The names of the containers that are ready at this moment.
    pub async fn ready(&self) -> Vec<&str> {
        let mut ready = Vec::new();
        for (container, probe) in self.containers.iter().zip(&self.probes) {
            let succeeds = match probe {
                Some(probe) => probe.succeeds(self.network.address).await,
                None => true,
            };
            if succeeds && container.process().is_some() {
                ready.push(container.name());
            }
        }
        ready
    }

    /// The file that stands for its network namespace.
    pub fn network_file(&self) -> PathBuf {
        self.network.namespace.path()
    }

    /// The folder with its logs, of each container one.
    pub fn logs(&self) -> &Path {
        &self.folder
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When that takes too long; the message has the ends of its logs.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.ready().await.len() < self.containers.len() {
            if begin.elapsed() > LIMIT {
                let logs: Vec<String> = self.containers.iter().map(Container::last_words).collect();
                bail!("{} does not become ready:\n{}", key(&self.pod), logs.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Runs this program's own client in the pod, and returns what it prints.
    ///
    /// # Errors
    /// When it cannot be run, and when it fails.
    pub async fn call<S: AsRef<OsStr> + Sync>(&self, arguments: &[S]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.programs.node);
        command.arg("call").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        self.output(command).await
    }

    /// Runs a command in the pod, and returns what it prints.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn output(&self, mut command: Command) -> anyhow::Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let handle = Handle::current();
        let spawned = self.network.namespace.within(|| {
            let _entered = handle.enter();
            command.spawn()
        })?;
        Ok(spawned.context("cannot run a command in a pod")?.wait_with_output().await?)
    }
}

/// Sets what a pod wants of its kernel; what is not of its network is none of its own here.
fn set_kernel_parameters(pod: &Pod, namespace: &Namespace) -> anyhow::Result<()> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    for wanted in context.iter().flat_map(|context| context.sysctls.iter().flatten()) {
        ensure!(
            wanted.name.starts_with("net."),
            "the kernel parameter {} is not of the network",
            wanted.name
        );
        let file = Path::new("/proc/sys").join(wanted.name.replace('.', "/"));
        let set = namespace.within(|| fs::write(&file, &wanted.value))?;
        set.with_context(|| format!("the kernel parameter {}", wanted.name))?;
    }
    Ok(())
}

/// The log of a container below the folder of its pod.
fn log_path(folder: &Path, container: &str) -> PathBuf {
    folder.join(format!("{container}.log"))
}
