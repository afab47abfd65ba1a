//! The control plane in this process, on ports of its own.

use anyhow::Context;
use clap::{CommandFactory, Parser};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, Options};
use plane::Plane;
use runtime::config::{ServeArgs, SourceArgs};
use runtime::controllers::StatusStats;
use runtime::engine_thread::EngineHandle;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A running daemon; dropping it ends it at once.
pub struct Daemon {
    xds: SocketAddr,
    options: mesh::Options,
    engine: EngineHandle,
    stats: Arc<StatusStats>,
    running: JoinHandle<()>,
    _stop: Option<tokio_util::sync::DropGuard>,
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    serve: ServeArgs,
}

impl Daemon {
    /// Serves the cluster that a kubeconfig leads to, with the mesh settings in `system_namespace`.
    pub async fn of_cluster(kubeconfig: &Path, system_namespace: &str) -> anyhow::Result<Self> {
        Self::of_cluster_with(kubeconfig, system_namespace, |_| {}).await
    }

    /// As [`Daemon::of_cluster`], with further settings.
    pub async fn of_cluster_with(
        kubeconfig: &Path,
        system_namespace: &str,
        set: impl FnOnce(&mut ServeArgs),
    ) -> anyhow::Result<Self> {
        let source = SourceArgs { kubeconfig: Some(kubeconfig.to_owned()), ..SourceArgs::default() };
        Self::start(source, system_namespace, set).await
    }

    /// As [`Daemon::of_cluster`], beside another control plane: it only reads.
    pub async fn shadow_of_cluster(kubeconfig: &Path, system_namespace: &str) -> anyhow::Result<Self> {
        Self::of_cluster_with(kubeconfig, system_namespace, |args| args.shadow = true).await
    }

    /// Serves folders, with the mesh settings in `system_namespace`. No gateways are deployed, as in a cluster.
    pub async fn of_folders(folders: Vec<PathBuf>, system_namespace: &str) -> anyhow::Result<Self> {
        let source = SourceArgs { from: folders, ..SourceArgs::default() };
        Self::start(source, system_namespace, |args| args.mesh.deploy_gateways = Some(false)).await
    }

    async fn start(
        source: SourceArgs,
        system_namespace: &str,
        set: impl FnOnce(&mut ServeArgs),
    ) -> anyhow::Result<Self> {
        // Whatever there is to listen on gets a free port: daemons run beside one another here.
        let command = Command::command();
        let flags = command.get_arguments().filter_map(clap::Arg::get_long);
        let addresses = flags.filter(|flag| flag.ends_with("-addr"));
        let ports = addresses.map(|flag| format!("--{flag}=127.0.0.1:0"));
        let mut args = Command::try_parse_from(std::iter::once("serve".to_owned()).chain(ports))?.serve;
        // Each would write roots of its own into every namespace of the cluster that they share.
        args.identity.root_config_map = String::new();
        args.identity.crl_config_map = String::new();
        args.source = source;
        args.mesh.system_namespace = system_namespace.to_owned();
        set(&mut args);
        let daemon = runtime::serve::Daemon::prepare(&args).await?;
        let (xds, engine, stats) =
            (daemon.xds_addr(), daemon.engine().clone(), Arc::clone(daemon.status_stats()));
        let stop = CancellationToken::new();
        let running = tokio::spawn(daemon.run(stop.clone()));
        Ok(Self { xds, options: args.mesh_options(), engine, stats, running, _stop: Some(stop.drop_guard()) })
    }

    /// Returns the options of its mesh.
    pub fn options(&self) -> &mesh::Options {
        &self.options
    }

    /// Returns the address of its streams.
    pub fn address(&self) -> String {
        self.xds.to_string()
    }

    /// Waits until it writes statuses.
    pub async fn leading(&self) -> anyhow::Result<()> {
        let stats = &self.stats;
        let leads = async || {
            let all = [&stats.conditions, &stats.addresses];
            let leads = all.iter().all(|of| of.is_leader.load(Ordering::Relaxed));
            Ok(leads.then_some(()))
        };
        until(LIMIT, leads).await.context("it does not lead")
    }

    /// Returns how many statuses it has written.
    pub fn written(&self) -> u64 {
        let stats = &self.stats;
        [&stats.conditions, &stats.addresses].iter().map(|of| of.written.load(Ordering::Relaxed)).sum()
    }

    /// Ends it in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self._stop.take());
        timeout(LIMIT, &mut self.running).await.context("it does not stop")?.context("it broke")
    }

    /// Waits until the mesh is served.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut snapshots = self.engine.snapshots();
        let is_served = timeout(LIMIT, snapshots.wait_for(Option::is_some));
        is_served.await.context("the daemon does not become ready")?.context("the engine ended").map(drop)
    }

    /// Asks its mesh something.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Plane) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        anyhow::ensure!(!self.running.is_finished(), "the daemon ended");
        self.engine.query(question).await.context("the engine ended")
    }

    /// Connects a client once the mesh is served; it has an answer of each type on return.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.ready().await?;
        let client = Client::connect(self.client_options()).await?;
        client.until("an answer of each type", |state| state.is_ready()).await?;
        Ok(client)
    }

    /// Returns how a client connects to it.
    pub fn client_options(&self) -> Options {
        Options { limit: LIMIT, ..Options::to(self.address()) }
    }
}
