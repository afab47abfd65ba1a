//! The pilothouse command.

mod dump;
mod table;

use anyhow::Context;
use clap::{Parser, Subcommand};
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use runtime::telemetry;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An ambient-mesh control plane: serves ztunnels and waypoints from a cluster or from a folder
#[derive(Parser)]
#[command(name = "pilothouse", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the mesh of a cluster, or of folders of manifests
    Serve(Box<ServeArgs>),
    /// Print the mesh: of a running control plane, or of folders of manifests
    Dump(dump::DumpArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve(&args),
        Command::Dump(args) => dump::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    telemetry::init(&args.log, args.log_json)
        .with_context(|| format!("cannot read the log filter {:?}; use one such as `info`", args.log))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let daemon = Daemon::prepare(args).await?;
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let running = tokio::spawn(daemon.run(stop.clone()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        running.await.context("the daemon has ended badly")
    })
}
