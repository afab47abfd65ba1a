//! The pilothouse command.

mod cert;
mod dump;
mod output;
mod serve;
mod table;
mod token;

use clap::{Parser, Subcommand};
use runtime::config::ServeArgs;
use std::process::ExitCode;

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
    Dump(Box<dump::DumpArgs>),
    /// Issue a token for trying a proxy without a cluster
    Token(Box<token::TokenArgs>),
    /// Inspect certificates, or request one
    #[command(subcommand)]
    Cert(cert::CertCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Dump(args) => dump::run(&args),
        Command::Token(args) => token::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Cert(command) => cert::run(&command).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Every message carries its cause: the chain would say it again.
        output::complain(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}
