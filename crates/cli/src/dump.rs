//! `pilothouse dump`: what clients are told, for people and for programs.

mod config;
pub mod document;
mod folders;
mod listings;
mod pages;
mod query;
mod resources;
mod rules;
pub mod server;
mod tables;
mod view;

use crate::address::dialled;
use crate::output;
use crate::plugin::Forward;
use crate::table::Room;
use anyhow::{anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ValueEnum};
use model::{Lines, Severity, nearest, yaml};
use query::{Of, Part, Query};
use resources::Resources;
use runtime::config::MeshArgs;
use runtime::kinds::kind_of;
use std::path::PathBuf;
use std::process::ExitCode;
pub use view::View;

/// Most namespaces that are listed where a person may have meant one of them.
const NAMED: usize = 10;

/// What is printed, and of which mesh.
#[derive(Args)]
#[command(after_help = "\
Tables fit the terminal (or the width in COLUMNS): long lists end in a count, and columns for which there \
is no room are left out. `-o wide` shows all of them in full.

Exits with 1 if the mesh cannot be read, or if a manifest of --from is refused; what is wrong with \
manifests goes to standard error.

Examples:
  pilothouse dump services -n shop
  pilothouse dump status httproutes -o yaml
  pilothouse dump config shop/waypoint routes
  pilothouse dump --from path/to/a/repository
  kubectl kustomize overlays/prod | pilothouse dump policies --from -")]
pub struct DumpArgs {
    /// What to print
    #[arg(value_enum, default_value_t = View::Workloads)]
    view: View,
    /// Of `status`: the kind of the objects, as kubectl takes it; of `config`: the waypoint, as NAMESPACE/NAME or with -n
    of: Option<String>,
    /// Of `config`: which resources
    #[arg(value_enum)]
    part: Option<Part>,
    /// Control plane to ask: its monitoring address for gateways, routes, status, waypoints and config, its plaintext xDS
    /// address for all else; without it and --from, that of PILOTHOUSE_MONITORING_ADDR or PILOTHOUSE_XDS_ADDR, or of this machine
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// What stands for --server where it is not given
    #[arg(long, hide = true, env = "PILOTHOUSE_XDS_ADDR", default_value = "127.0.0.1:15010")]
    xds_addr: String,
    /// The same of what the monitoring port shows
    #[arg(long, hide = true, env = "PILOTHOUSE_MONITORING_ADDR", default_value = "127.0.0.1:15014")]
    monitoring_addr: String,
    /// Folder (or file) of manifests to read instead, `-` for standard input; may be given several times
    #[arg(long, value_name = "DIR", env = "PILOTHOUSE_FROM", value_delimiter = ':')]
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line each, the most telling fields, as wide as the terminal
    Table,
    /// The same, every field in full
    Wide,
    /// Whole resources as one JSON list
    Json,
    /// Whole resources as one YAML list
    Yaml,
}

/// Prints the mesh; fails quietly if manifests are refused, since these have been told.
///
/// # Errors
/// When the mesh cannot be read, or standard output cannot be written.
pub fn run(args: &DumpArgs, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let folders = args.folders(matches)?;
    let query = args.query()?;
    let all = if folders.is_empty() {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let threads = threads.map_err(|error| anyhow!("cannot start: {error}"))?;
        threads.block_on(args.ask(&query))?
    } else {
        let (all, diagnostics) = folders::resources(folders, &args.mesh, &query)?;
        for diagnostic in &diagnostics {
            output::complain(&format!("{}[{}]: {diagnostic}", diagnostic.severity, diagnostic.code));
        }
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            code = ExitCode::FAILURE;
        }
        all
    };
    let left_out = print(args, &all)?;
    if !left_out.is_empty() {
        output::complain(&format!("no room for {}: -o wide shows all columns", left_out.join(", ")));
    }
    if let (Some(namespace), Of::All | Of::Kind(_)) = (&args.namespace, &query.of)
        && let Some(hint) = without_anything(&all, args.view, namespace)
    {
        output::complain(&hint);
    }
    if folders.is_empty() && args.is_puzzling(&all) {
        output::complain("why a policy matches nothing is told at /debug/diagnosticz of the control plane");
    }
    Ok(code)
}

/// Says that a namespace has nothing to show, and which one may have been meant.
fn without_anything(all: &Resources, view: View, namespace: &str) -> Option<String> {
    let known = all.namespaces();
    let quoted = |namespace: &str| format!("\"{namespace}\"");
    let wanted = quoted(namespace);
    if known.contains(namespace) {
        let is_empty = all.count(view, namespace) == 0;
        return is_empty.then(|| format!("namespace {wanted} has no {}", view.plural()));
    }
    // Of what pages show nothing else is known.
    let mut text = match view.is_on_pages() {
        true => format!("there are no {} in a namespace {wanted}", view.plural()),
        false => format!("nothing in this mesh is in a namespace {wanted}"),
    };
    if let Some(meant) = nearest(namespace, known.iter().copied()) {
        text += &format!("; did you mean {}?", quoted(meant));
    } else if !known.is_empty() {
        let more = known.len().saturating_sub(NAMED);
        let mut listed: Vec<String> = known.into_iter().take(NAMED).map(quoted).collect();
        if more > 0 {
            listed.push(format!("{more} more"));
        }
        let some = if view.is_on_pages() { "there are some in" } else { "there are" };
        text += &format!("; {some} {}", listed.join(", "));
    }
    Some(text)
}

impl DumpArgs {
    /// Returns the folders to read, or none where a control plane is to be asked.
    ///
    /// A flag wins over variables, which may be set for `pilothouse serve`; of these, that of folders.
    fn folders(&self, matches: &ArgMatches) -> anyhow::Result<&[PathBuf]> {
        let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        match (is_flag("server"), is_flag("from")) {
            (true, true) => Err(anyhow!("--server and --from are two meshes: give one of them")),
            (true, false) => Ok(&[]),
            (false, _) => Ok(&self.from),
        }
    }

    /// Returns what is asked for.
    fn query(&self) -> anyhow::Result<Query> {
        let of = match (self.view, &self.of) {
            (View::Status, Some(word)) => Of::Kind(kind_of(word).map_err(|message| anyhow!(message))?),
            (View::Config, Some(name)) => Of::Waypoint(match (&self.namespace, name.contains('/')) {
                (Some(namespace), false) => format!("{namespace}/{name}"),
                (None, false) => bail!("{name:?} is in no namespace: write NAMESPACE/{name}, or add -n"),
                (_, true) => name.clone(),
            }),
            (View::Config, None) => {
                bail!("of which waypoint? `dump waypoints` lists them, as NAMESPACE/NAME")
            }
            (view, Some(word)) => {
                let view = view.plural();
                bail!(
                    "{word:?} is too much: {view} are shown of all; `dump status` takes a kind, and `dump config` a waypoint"
                )
            }
            (_, None) => Of::All,
        };
        if let (Some(part), false) = (self.part, self.view == View::Config) {
            bail!("{:?} is too much: only `dump config` takes a type of resources", part.name());
        }
        Ok(Query { view: self.view, of, part: self.part })
    }

    /// Asks a control plane for what is to be shown.
    async fn ask(&self, query: &Query) -> anyhow::Result<Resources> {
        let (is_on_pages, given) = (self.view.is_on_pages(), self.server.as_ref());
        let forward = Forward::in_place_of(given, &self.mesh.system_namespace, &self.mesh.revision)?;
        let (monitoring, xds) = match &forward {
            Some(forward) => (&forward.monitoring, &forward.xds),
            None => (&self.monitoring_addr, &self.xds_addr),
        };
        let stands = if is_on_pages { monitoring } else { xds };
        let server = dialled(given.unwrap_or(stands));
        match is_on_pages {
            true => pages::resources(&server, query).await,
            false => server::resources(&server).await,
        }
    }

    /// Tells whether a table of policies is shown, of which some match nothing.
    fn is_puzzling(&self, all: &Resources) -> bool {
        let is_table = matches!(self.output, Format::Table | Format::Wide);
        let is_shown = self.view == View::Policies && is_table;
        let namespace = |ns: &str| self.namespace.as_deref().is_none_or(|wanted| wanted == ns);
        let mut shown = all.policies.iter().filter(|policy| is_shown && namespace(&policy.namespace));
        shown.any(rules::is_partly_dead)
    }
}

/// Prints the resources; returns the heads of columns for which there is no room.
fn print(args: &DumpArgs, all: &Resources) -> anyhow::Result<Vec<&'static str>> {
    let namespace = args.namespace.as_deref();
    let failed = |error: &dyn std::error::Error| anyhow!("cannot write the resources as text: {error}");
    match args.output {
        Format::Table | Format::Wide => {
            let room = if args.output == Format::Wide { Room::Full } else { output::room() };
            let table = tables::render(all, args.view, namespace, room);
            output::print(&table.text.lines().collect::<Lines>())?;
            return Ok(table.left_out);
        }
        Format::Yaml => {
            // YAML would write some of what hides in a line as it is.
            let list = document::list(all, args.view, namespace).map_err(|e| failed(&e))?;
            let list = document::printable(list);
            output::print_document(&yaml::to_string(&list).map_err(|e| failed(&e))?)?;
        }
        Format::Json => {
            let list = document::list(all, args.view, namespace).map_err(|e| failed(&e))?;
            let text = serde_json::to_string_pretty(&list).map_err(|e| failed(&e))?;
            output::print_json(&(text + "\n"))?;
        }
    }
    Ok(Vec::new())
}
