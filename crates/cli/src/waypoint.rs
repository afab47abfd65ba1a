//! `pilothouse waypoint`: waypoints as Gateways, with the words that people know from istioctl.

mod gateways;
mod manifest;

use crate::output;
use crate::table::{self, Cell, Column, Rendered};
use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use cluster::Access;
use gateways::{Gateways, USE_WAYPOINT, Waypoint};
use manifest::WaypointArgs;
use model::{Lines, yaml};
use runtime::config::duration;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Manage waypoints
#[derive(Subcommand)]
pub enum WaypointCommand {
    /// Print the Gateway of a waypoint as YAML
    Generate(GenerateArgs),
    /// Apply a waypoint to the cluster, for a control plane that deploys gateways
    Apply(ApplyArgs),
    /// List the waypoints of a namespace, or of all
    List(ListArgs),
    /// Print what the status of each waypoint of a namespace says
    Status(StatusArgs),
    /// Delete waypoints of a namespace
    Delete(DeleteArgs),
}

/// Which cluster, and where in it.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Namespace; without it that of the kubeconfig's context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Kubeconfig file; without one kubectl's default ($KUBECONFIG, ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", env = "PILOTHOUSE_CONTEXT")]
    context: Option<String>,
}

impl ClusterArgs {
    async fn gateways(&self, all_namespaces: bool) -> anyhow::Result<Gateways> {
        let access = Access { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() };
        Gateways::connect(&access, self.namespace.as_deref(), all_namespaces).await
    }
}

#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    waypoint: WaypointArgs,
    /// Namespace; without it none is written
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    waypoint: WaypointArgs,
    /// Let the namespace use the waypoint, by its label
    #[arg(long)]
    enroll_namespace: bool,
    /// Do so also if the namespace uses another waypoint
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Wait until the waypoint can be used
    #[arg(short, long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = duration)]
    waypoint_timeout: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Only this waypoint
    name: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// Names of waypoints
    #[arg(required_unless_present_any = ["all", "revision"], conflicts_with_all = ["all", "revision"])]
    names: Vec<String>,
    /// All waypoints of the namespace
    #[arg(long)]
    all: bool,
    /// Those of this revision
    #[arg(short, long, value_name = "NAME")]
    revision: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs one of the commands.
///
/// # Errors
/// When the cluster cannot be reached or refuses, or a waypoint is not there or not ready in time.
pub fn run(command: &WaypointCommand) -> anyhow::Result<ExitCode> {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let threads = threads.map_err(|error| anyhow!("cannot start: {error}"))?;
    threads.block_on(async {
        match command {
            WaypointCommand::Generate(args) => generate(args),
            WaypointCommand::Apply(args) => apply(args).await,
            WaypointCommand::List(args) => list(args).await,
            WaypointCommand::Status(args) => status(args).await,
            WaypointCommand::Delete(args) => delete(args).await,
        }
    })
}

fn generate(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let gateway = args.waypoint.gateway(args.namespace.as_deref())?;
    let text =
        yaml::to_string(&gateway).map_err(|error| anyhow!("cannot write the Gateway as YAML: {error}"))?;
    output::print_document(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn apply(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let cluster = args.cluster.gateways(false).await?;
    let (namespace, name) = (cluster.namespace(), args.waypoint.name.as_str());
    let gateway = args.waypoint.gateway(Some(namespace))?;
    if args.enroll_namespace {
        let (is_enrolled, used) = cluster.enrolment().await?;
        if let Some(used) = used.filter(|used| used != name && !args.overwrite) {
            bail!(
                "namespace {namespace} already uses the waypoint {used:?}: nothing was applied; add --overwrite to let it use {name:?}"
            );
        }
        if !is_enrolled {
            output::complain(&format!(
                "warning: namespace {namespace} is not enrolled; consider running `kubectl label namespace {namespace} istio.io/dataplane-mode=ambient`"
            ));
        }
    }
    cluster.apply(name, &gateway).await?;
    say(format!("✅ waypoint {namespace}/{name} applied"))?;
    if args.wait.wait {
        cluster.until_programmed(name, args.wait.waypoint_timeout).await?;
        say(format!("✅ waypoint {namespace}/{name} is ready!"))?;
    }
    if args.enroll_namespace {
        cluster.enrol(name).await?;
        say(format!("✅ namespace {namespace} labeled with \"{USE_WAYPOINT}: {name}\""))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    const COLUMNS: [Column; 5] = [
        Column::key("NAMESPACE"),
        Column::key("NAME"),
        Column::of("REVISION", 2),
        Column::of("TRAFFIC TYPE", 1),
        Column::key("PROGRAMMED"),
    ];
    let waypoints = args.cluster.gateways(args.all_namespaces).await?.list(None).await?;
    let row = |waypoint: &Waypoint| {
        let programmed = waypoint.programmed().status;
        [waypoint.namespace(), waypoint.name(), waypoint.revision(), waypoint.traffic(), &programmed]
            .map(Cell::text)
    };
    print(&COLUMNS, args.all_namespaces, waypoints.iter().map(row))
}

async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    const COLUMNS: [Column; 6] = [
        Column::key("NAMESPACE"),
        Column::key("NAME"),
        Column::key("STATUS"),
        Column::of("TYPE", 3),
        Column::of("REASON", 2),
        Column::of("MESSAGE", 1),
    ];
    let cluster = args.cluster.gateways(false).await?;
    let mut waypoints = cluster.list(None).await?;
    if let Some(name) = &args.name {
        waypoints.retain(|waypoint| waypoint.name() == name);
        if waypoints.is_empty() {
            bail!("waypoint {}/{name} not found", cluster.namespace());
        }
    }
    if args.wait.wait {
        for waypoint in &mut waypoints {
            *waypoint = cluster.until_programmed(waypoint.name(), args.wait.waypoint_timeout).await?;
        }
    }
    let row = |waypoint: &Waypoint| {
        let programmed = waypoint.programmed();
        [
            waypoint.namespace(),
            waypoint.name(),
            &programmed.status,
            &programmed.kind,
            &programmed.reason,
            &programmed.message,
        ]
        .map(Cell::text)
    };
    print(&COLUMNS, args.cluster.namespace.is_none(), waypoints.iter().map(row))
}

async fn delete(args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let cluster = args.cluster.gateways(false).await?;
    let namespace = cluster.namespace();
    let there: Vec<String> = cluster
        .list(args.revision.as_deref())
        .await?
        .iter()
        .map(|waypoint| waypoint.name().to_owned())
        .collect();
    let wanted = if args.names.is_empty() { &there } else { &args.names };
    let mut code = ExitCode::SUCCESS;
    for name in wanted {
        // A Gateway of another class is no waypoint, and stays.
        if there.contains(name) && cluster.delete(name).await? {
            say(format!("waypoint {namespace}/{name} deleted"))?;
        } else {
            output::complain(&format!("error: waypoint {namespace}/{name} not found"));
            code = ExitCode::FAILURE;
        }
    }
    if wanted.is_empty() {
        say("No waypoints found.".to_owned())?;
    }
    Ok(code)
}

fn say(line: String) -> anyhow::Result<()> {
    output::print(&Lines::from_iter([line]))
}

/// Prints rows of which the first cell is the namespace, which is left out if only one was asked for.
fn print<const N: usize>(
    columns: &[Column; N],
    with_namespace: bool,
    rows: impl Iterator<Item = [Cell; N]>,
) -> anyhow::Result<ExitCode> {
    let from = usize::from(!with_namespace);
    let rows: Vec<Vec<Cell>> = rows.map(|row| row.into_iter().skip(from).collect()).collect();
    if rows.is_empty() {
        say("No waypoints found.".to_owned())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Rendered { text, left_out } = table::render(&columns[from..], &rows, output::room());
    output::print(&text.lines().collect::<Lines>())?;
    if !left_out.is_empty() {
        output::complain(&format!(
            "no room for {}: widen the terminal to see all columns",
            left_out.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}
