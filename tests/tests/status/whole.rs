//! The whole control plane in this process, as the command line starts it.

use clap::Parser;
use pilothouse_tests::apiserver::LIMIT;
use runtime::config::{ServeArgs, SourceArgs};
use runtime::engine_thread::EngineHandle;
use runtime::serve::Daemon;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    serve: ServeArgs,
}

/// A running control plane of a cluster.
pub struct Whole {
    engine: EngineHandle,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Whole {
    /// Starts one as the user of a kubeconfig, with these settings, and waits until it serves the mesh.
    pub async fn start(kubeconfig: &Path, set: impl FnOnce(&mut ServeArgs)) -> anyhow::Result<Self> {
        let mut args = Command::try_parse_from(["serve"])?.serve;
        args.source = SourceArgs { kubeconfig: Some(kubeconfig.to_owned()), ..SourceArgs::default() };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (args.xds_addr, args.http_addr, args.monitoring_addr, args.secure_addr) = (any, any, any, any);
        args.webhook_addr = any;
        set(&mut args);
        let daemon = Daemon::prepare(&args).await?;
        let engine = daemon.engine().clone();
        let stop = CancellationToken::new();
        let running = tokio::spawn(daemon.run(stop.clone()));
        timeout(LIMIT, engine.snapshots().wait_for(Option::is_some)).await??;
        Ok(Self { engine, stop, running })
    }

    /// Returns its engine.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Ends it in order.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(timeout(LIMIT, self.running).await??)
    }
}
