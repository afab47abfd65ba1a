//! `pilothouse-node`: what runs in pods, and what runs them.

use anyhow::Context;
use clap::{Parser, Subcommand};
use pilothouse_node::client::Call;
use pilothouse_node::echo::Echo;
use pilothouse_node::load::Load;
use pilothouse_node::pod::Programs;
use pilothouse_node::{demo, isolation, node, serve};
use pilothouse_tests::{apiserver, envoy};
use std::env::{args_os, current_exe};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "A node of a cluster on this machine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The client of pods.
#[derive(Parser)]
struct InPod {
    #[command(flatten)]
    call: Call,
    /// Print lines of JSON instead of fields
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what reaches these ports, whatever is spoken there
    Echo {
        /// The ports
        ports: Vec<u16>,
        /// The certificate that it shows, PEM; then port 443 takes TLS alone
        #[arg(long, requires = "key")]
        certificate: Option<PathBuf>,
        /// The key of the certificate, PEM
        #[arg(long, requires = "certificate")]
        key: Option<PathBuf>,
    },
    /// Ask a server, and print each answer as a line of JSON
    Call(Call),
    /// Ask a server at a steady rate, and print a line for each answer
    Load(Load),
    /// Do nothing
    Idle,
    /// Play an example on processes, step by step
    Demo {
        /// The folder of the example: bookinfo, or egress
        #[arg(long)]
        example: PathBuf,
        /// Keep what processes write in this folder
        #[arg(long)]
        work: Option<PathBuf>,
    },
    /// Run a cluster whose pods are processes: an API server with controllers, a control plane, and the node
    Serve {
        /// Where `kubeconfig` is written, and what processes write
        #[arg(long)]
        work: PathBuf,
        /// A ztunnel that does for the pods what the node's own proxy does else
        #[arg(long)]
        ztunnel: Option<PathBuf>,
        /// What an image stands for, by its name without registry and tag
        #[arg(long = "image", value_name = "NAME=PROGRAM", value_parser = image)]
        images: Vec<(String, PathBuf)>,
        /// Arguments for `pilothouse serve`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run a command of this machine in the network of a cluster, where load balancers are reached
    Enter {
        /// Where the cluster writes what its processes write
        #[arg(long)]
        work: PathBuf,
        /// The command
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

/// Reads `NAME=PROGRAM`.
fn image(text: &str) -> anyhow::Result<(String, PathBuf)> {
    let (name, program) = text.split_once('=').context("an image is written as NAME=PROGRAM")?;
    Ok((name.to_owned(), PathBuf::from(program)))
}

/// The file by which commands come into the network of a cluster.
const DOOR: &str = "process";

/// The variable with the port by which the API server is reached from outside.
const PORT: &str = "PILOTHOUSE_NODE_PORT";

fn main() -> anyhow::Result<ExitCode> {
    // As the client of pods it has their client's name.
    let own = args_os().next().map(PathBuf::from);
    let is_client = own.as_deref().and_then(Path::file_name).is_some_and(|name| name == "client");
    let command = if is_client {
        let InPod { mut call, json } = InPod::parse();
        call.fields = !json;
        Command::Call(call)
    } else {
        Arguments::parse().command
    };
    let needs_isolation = matches!(command, Command::Demo { .. } | Command::Serve { .. });
    if needs_isolation && !isolation::is_inside() {
        return outside(&command);
    }
    if needs_isolation {
        isolation::prepare(&node::ADDRESS.to_string())?;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build()?.block_on(async {
        tokio::select! {
            ended = run(command) => ended,
            () = isolation::abandoned(), if needs_isolation => Ok(ExitCode::FAILURE),
        }
    })
}

/// Does what must be done outside, and then the rest inside.
fn outside(command: &Command) -> anyhow::Result<ExitCode> {
    let (mut variables, mut door) = (Vec::new(), None);
    // Inside, nothing can be fetched.
    envoy::program()?;
    if let Command::Serve { work, .. } = command {
        apiserver::program()?;
        apiserver::known_crds()?;
        std::fs::create_dir_all(work)?;
        door = Some(work.join(DOOR));
        variables.push((PORT, serve::forward(work)?.to_string()));
        // What is gone with the namespaces.
        variables.push(("TMPDIR", "/run".to_owned()));
    } else if let Command::Demo { example, .. } = command {
        demo::introduce(example)?;
    }
    let status = isolation::run_inside(args_os().skip(1), variables, door.as_deref())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Echo { ports, certificate, key } => {
            Echo::new(certificate.as_deref().zip(key.as_deref()))?.serve(&ports).await?
        }
        Command::Call(call) => {
            let are_answered = call.run().await?;
            // Else a line tells it.
            if call.fields && !are_answered {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Load(load) => load.run().await,
        Command::Idle => std::future::pending().await,
        Command::Demo { example, work } => {
            // Unless told otherwise, in what is gone with the namespaces.
            let work = work.unwrap_or_else(|| PathBuf::from("/run/demo"));
            demo::run(&example, programs(None, Vec::new())?, &std::path::absolute(work)?).await?;
        }
        Command::Enter { work, command } => match isolation::enter(&work.join(DOOR), &command)? {},
        Command::Serve { work, ztunnel, images, arguments } => {
            let port = std::env::var(PORT).context("no port")?.parse()?;
            serve::run(programs(ztunnel, images)?, arguments, &std::path::absolute(work)?, port).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The programs that pods run: `pilothouse` is beside this one.
fn programs(ztunnel: Option<PathBuf>, images: Vec<(String, PathBuf)>) -> anyhow::Result<Programs> {
    let node = current_exe()?;
    let pilothouse = node.parent().unwrap_or(Path::new("")).join("pilothouse");
    let found = pilothouse.exists().then_some(pilothouse);
    let pilothouse =
        found.context("there is no program pilothouse beside this one: build it (`make demo` does)")?;
    Ok(Programs { pilothouse, envoy: envoy::program()?, ztunnel, images: images.into_iter().collect(), node })
}
