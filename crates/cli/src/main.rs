//! The pilothouse command.

mod address;
mod bootstrap;
mod cert;
mod check;
mod compare;
mod dump;
mod grpc;
mod man;
mod monitoring;
mod output;
mod plugin;
mod serve;
mod table;
mod token;
mod version;
mod waypoint;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use runtime::config::ServeArgs;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An ambient-mesh control plane: serves ztunnels and waypoints from a cluster or from a folder
#[derive(Parser)]
#[command(name = "pilothouse", version, arg_required_else_help = true, max_term_width = 100)]
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
    /// Compare what two control planes tell ztunnels of one mesh
    Compare(Box<compare::CompareArgs>),
    /// Check whether a control plane can be installed in a cluster; once it is, whether it works
    Check(check::CheckArgs),
    /// Manage waypoints of a cluster
    #[command(subcommand)]
    Waypoint(waypoint::WaypointCommand),
    /// Issue a token for trying a proxy without a cluster
    Token(Box<token::TokenArgs>),
    /// Inspect certificates, or request one
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Print what an Envoy of a gateway or waypoint reads first
    Bootstrap(Box<bootstrap::BootstrapArgs>),
    /// Print the version of this command, and of a control plane
    Version(version::VersionArgs),
    /// Print the manual, or write a page for each command
    Man(man::ManArgs),
    /// Print what completes this command's arguments in a shell
    #[command(after_help = "\
For this shell alone:   source <(pilothouse completions bash)
For every new one:      pilothouse completions bash > ~/.local/share/bash-completion/completions/pilothouse
                        pilothouse completions zsh > ~/.zfunc/_pilothouse     # a folder of $fpath
                        pilothouse completions fish > ~/.config/fish/completions/pilothouse.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let mut command = Cli::command();
    if plugin::is_plugin() {
        command = command.bin_name("kubectl pilothouse");
    }
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // Where a value comes from, which the arguments do not tell.
    let sources = matches.subcommand().map(|(_, sources)| sources).unwrap_or(&matches);
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Dump(args) => dump::run(&args, sources),
        Command::Compare(args) => compare::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Waypoint(command) => waypoint::run(&command),
        Command::Token(args) => token::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Cert(command) => cert::run(&command).map(|()| ExitCode::SUCCESS),
        Command::Bootstrap(args) => bootstrap::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Version(args) => version::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Man(args) => man::run(&args, Cli::command()).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => completions(shell).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Every message carries its cause: the chain would say it again.
        output::complain(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

/// Prints the script that completes arguments in a shell.
fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pilothouse", &mut script);
    output::print_document(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The help of a command and of those below it, with the command's name.
    fn helps(command: &mut clap::Command, above: &str, all: &mut Vec<(String, String)>) {
        let name = format!("{above} {}", command.get_name());
        all.push((format!("{name} -h"), command.render_help().to_string()));
        all.push((format!("{name} --help"), command.render_long_help().to_string()));
        for below in command.get_subcommands_mut() {
            helps(below, &name, all);
        }
    }

    #[test]
    fn help_is_at_most_a_hundred_columns_wide() {
        let mut command = Cli::command();
        command.build();
        let mut all = Vec::new();
        helps(&mut command, "", &mut all);
        assert!(all.len() > 10, "so few commands cannot be all");
        for (name, help) in all {
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{name}: {line}");
            }
        }
    }

    #[test]
    fn arguments_are_declared_well() {
        Cli::command().debug_assert();
    }
}
