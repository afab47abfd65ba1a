//! `pilothouse-load`: fills an API server or a folder with a mesh, and measures any control plane
//! that serves ztunnels.
//!
//! It speaks to the API server and to the delta stream only, and knows nothing of what is behind
//! them. What it measures:
//!
//! * `sync`: M streams opened at once; the time until each holds the whole mesh, and the bytes.
//! * `churn`: changes of pods at a fixed rate; the time from the API server's answer to a write
//!   until the changed resource is decoded at each sampled stream.
//! * `certs`: certificates a second over TLS, and how long each takes.
//! * `abuse` measures nothing: it is a hostile client, for measuring beside it.
//! * CPU and memory of the process given by `--pid`, for each phase.
//!
//! The table goes to standard error, the same as JSON to standard output.

mod abuse;
mod args;
mod certs;
mod churn;
mod cluster;
mod feed;
mod fill;
mod folder;
mod kinds;
mod ledger;
mod mesh;
mod process;
mod report;
mod sync;

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;

use args::{Args, Command};
use feed::Feeds;
use ledger::Ledger;
use process::Meter;
use report::Report;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if matches!(args.command, Command::ApiServer) {
        println!("{}", pilothouse_tests::apiserver::program()?.display());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let report = runtime.block_on(run(&args))?;
    eprint!("{}", report.to_table());
    let json = report.to_json()?;
    match &args.json {
        Some(path) => {
            std::fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))?;
        }
        None => println!("{json}"),
    }
    Ok(())
}

async fn run(args: &Args) -> anyhow::Result<Report> {
    let mut report = Report::default();
    match &args.command {
        // Nothing is measured.
        Command::ApiServer => {}
        Command::Fill { mesh, destination } => {
            report.fill = Some(match &destination.folder {
                Some(folder) => folder::fill(mesh, folder)?,
                None => {
                    let cluster = cluster::Cluster::connect(&destination.cluster).await?;
                    fill::fill(&cluster, mesh).await?
                }
            });
        }
        Command::Sync { streams } => {
            let meter = Meter::of(args.pid);
            let feeds = Feeds::open(streams, streams.expect.unwrap_or(0), &Arc::new(Ledger::new(0)))?;
            report.sync = Some(sync::measure(&feeds, streams, meter).await?);
        }
        Command::Churn { mesh, cluster, streams, change } => {
            let cluster = cluster::Cluster::connect(cluster).await?;
            measure_both(args, &mut report, mesh, &cluster, streams, change).await?;
        }
        Command::Certs { certificates } => {
            let meter = Meter::of(args.pid);
            report.certs = Some(certs::measure(certificates, meter).await?);
        }
        Command::Abuse { hostility } => {
            report.abuse = Some(abuse::attack(hostility).await?);
        }
        Command::All { mesh, cluster, streams, change } => {
            let cluster = cluster::Cluster::connect(cluster).await?;
            report.fill = Some(fill::fill(&cluster, mesh).await?);
            measure_both(args, &mut report, mesh, &cluster, streams, change).await?;
        }
    }
    Ok(report)
}

/// Synchronises the streams, then changes pods under them.
async fn measure_both(
    args: &Args,
    report: &mut Report,
    mesh: &mesh::Mesh,
    cluster: &cluster::Cluster,
    streams: &args::Streams,
    change: &args::Change,
) -> anyhow::Result<()> {
    let ledger = Arc::new(Ledger::new(streams.sampled()));
    let meter = Meter::of(args.pid);
    let expect = streams.expect.unwrap_or(mesh.addresses());
    let feeds = Feeds::open(streams, expect, &ledger)?;
    report.sync = Some(sync::measure(&feeds, streams, meter).await?);
    let meter = Meter::of(args.pid);
    report.churn = Some(churn::measure(cluster, mesh, &feeds, &ledger, change, meter).await?);
    Ok(())
}
