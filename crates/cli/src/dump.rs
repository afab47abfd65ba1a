//! `pilothouse dump`: what clients are told, for people and for programs.

mod document;
mod folders;
mod resources;
mod rules;
mod server;
mod tables;

use crate::output;
use anyhow::anyhow;
use clap::{Args, ValueEnum};
use model::Severity;
use resources::Resources;
use runtime::config::MeshArgs;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is printed, and of which mesh.
#[derive(Args)]
#[command(after_help = "Exits with 1 if the mesh cannot be read, or if a manifest of --from is refused; \
                        what is wrong with manifests goes to standard error.")]
pub struct DumpArgs {
    /// What to print
    #[arg(value_enum, default_value_t = View::Workloads)]
    view: View,
    /// Control plane to ask: its plaintext xDS address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15010", conflicts_with = "from")]
    server: String,
    /// Folder (or file) of manifests to read instead; may be given several times
    #[arg(long, value_name = "DIR", value_delimiter = ':')]
    from: Vec<PathBuf>,
    /// Only what is in this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// A table, or whole resources
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten, next_help_heading = "Mesh made of --from")]
    mesh: MeshArgs,
}

/// What of the mesh is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum View {
    /// Pods, and endpoints that are no pods
    Workloads,
    /// Services
    Services,
    /// Policies that ztunnels enforce
    Policies,
    /// Nodes of the cluster that have workloads
    Nodes,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line each, the most telling fields
    Table,
    /// Whole resources as one JSON list
    Json,
    /// Whole resources as one YAML list
    Yaml,
}

/// Prints the mesh; fails quietly if manifests are refused, since these have been told.
///
/// # Errors
/// When the mesh cannot be read, or standard output cannot be written.
pub fn run(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let all = if args.from.is_empty() {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let threads = threads.map_err(|error| anyhow!("cannot start: {error}"))?;
        threads.block_on(server::resources(&args.server))?
    } else {
        let (all, diagnostics) = folders::resources(&args.from, &args.mesh)?;
        for diagnostic in &diagnostics {
            let severity = match diagnostic.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            output::complain(&format!("{severity}[{}]: {diagnostic}", diagnostic.code));
        }
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            code = ExitCode::FAILURE;
        }
        all
    };
    output::print(&text(args, &all)?)?;
    if args.is_puzzling(&all) {
        output::complain("why a policy matches nothing is told at /debug/diagnosticz of the control plane");
    }
    Ok(code)
}

impl DumpArgs {
    /// Tells whether a running control plane is asked for a table of policies, of which some match nothing.
    fn is_puzzling(&self, all: &Resources) -> bool {
        let is_shown = self.view == View::Policies && self.output == Format::Table && self.from.is_empty();
        let namespace = |ns: &str| self.namespace.as_deref().is_none_or(|wanted| wanted == ns);
        let mut shown = all.policies.iter().filter(|policy| is_shown && namespace(&policy.namespace));
        shown.any(rules::is_partly_dead)
    }
}

fn text(args: &DumpArgs, all: &Resources) -> anyhow::Result<String> {
    let namespace = args.namespace.as_deref();
    let failed = |error: &dyn std::error::Error| anyhow!("cannot write the resources as text: {error}");
    match args.output {
        Format::Table => Ok(tables::render(all, args.view, namespace)),
        Format::Yaml => {
            let list = document::list(all, args.view, namespace);
            serde_yaml::to_string(&list).map_err(|e| failed(&e))
        }
        Format::Json => {
            let list = document::list(all, args.view, namespace);
            let text = serde_json::to_string_pretty(&list).map_err(|e| failed(&e))?;
            Ok(text + "\n")
        }
    }
}
