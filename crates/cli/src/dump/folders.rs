//! Reads folders of manifests, or standard input, once, as `pilothouse serve --from` would serve them.

use super::query::{Of, Query};
use super::resources::{Collector, Resources};
use super::view::View;
use anyhow::{anyhow, bail};
use model::{Diagnostic, Kind, Name, Str};
use plane::{Conditions, Plane};
use proto::Scope;
use runtime::config::MeshArgs;
use runtime::source::folder::{FolderSettings, LARGEST_FILE, load_once_with};
use runtime::views::{
    ConfigView, GatewayView, RefusedRows, RouteView, Sent, StatusView, WaypointView, find_waypoint,
};
use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::path::PathBuf;

/// Stands for standard input among folders.
const INPUT: &str = "-";

/// Returns what is asked for of folders, and what is wrong with the manifests.
///
/// # Errors
/// When a folder is not there, or nothing comes from standard input, or no object of the kind has a status, or no waypoint that name. What is
/// wrong with a manifest is no error: the rest is served.
pub fn resources(
    folders: &[PathBuf],
    args: &MeshArgs,
    query: &Query,
) -> anyhow::Result<(Resources, Vec<Diagnostic>)> {
    let (input, folders): (Vec<&PathBuf>, Vec<&PathBuf>) =
        folders.iter().partition(|path| path.as_os_str() == INPUT);
    for path in &folders {
        std::fs::metadata(path).map_err(|error| {
            anyhow!("cannot read {}: {error}; name a folder of manifests by --from", path.display())
        })?;
    }
    let settings = FolderSettings {
        folders: folders.into_iter().cloned().collect(),
        config_namespace: args.system_namespace.clone(),
        config_name: mesh::config_map(&args.revision),
        domain: args.domain.clone(),
        pools: args.allocate_addresses.then(|| args.pools()),
        gateways: args.deploys_gateways(true).then(|| args.options(true)),
    };
    let input = if input.is_empty() { None } else { Some(standard_input()?) };
    let (events, of_files, places) = load_once_with(&settings, input.as_deref());
    let mut mesh = Plane::new(&args.options(true));
    mesh.apply(events);
    let of_objects = mesh.diagnostics();
    let mut seen = HashSet::new();
    let told = of_files.iter().chain(&of_objects).filter(|found| seen.insert(found.identity()));
    let diagnostics = told.map(|found| places.placed(found.clone())).collect();
    Ok((shown(&mesh, query)?, diagnostics))
}

/// What is asked for of a mesh.
fn shown(mesh: &Plane, query: &Query) -> anyhow::Result<Resources> {
    let none = Resources::default();
    match query.view {
        View::Gateways => Ok(Resources { gateways: GatewayView::all(GatewayView::rows(mesh)), ..none }),
        View::Routes => Ok(Resources { routes: RouteView::all(RouteView::rows(mesh)), ..none }),
        View::Status => {
            let kind = if let Of::Kind(kind) = query.of { Some(kind) } else { None };
            let rows = StatusView::rows(mesh, kind).map_err(|message| anyhow!(message))?;
            Ok(Resources { objects: StatusView::all(rows), ..none })
        }
        View::Waypoints => {
            let (rows, sent) = (WaypointView::rows(mesh), mesh.resources());
            let by_waypoint = Sent::by_waypoint(&sent);
            let view = |(waypoint, services): (&Name, &BTreeSet<Str>)| {
                let own = by_waypoint.get(waypoint.to_string().as_str()).map(Vec::as_slice);
                WaypointView::of(waypoint, services, own.unwrap_or_default(), &[], &RefusedRows::new())
            };
            Ok(Resources { waypoints: rows.iter().map(view).collect(), ..none })
        }
        View::Config => {
            let Of::Waypoint(name) = &query.of else { return Ok(none) };
            let (rows, sent) = (WaypointView::rows(mesh), mesh.resources());
            let waypoint = find_waypoint(&rows, name).map_err(|message| anyhow!(message))?;
            let own = Sent::by_waypoint(&sent).remove(waypoint.to_string().as_str());
            let all = ConfigView::all(&own.unwrap_or_default());
            Ok(Resources { config: query.of_part(all), ..none })
        }
        View::Workloads | View::Services | View::Policies | View::Nodes => sent(mesh),
    }
}

/// What ztunnels are told.
fn sent(mesh: &Plane) -> anyhow::Result<Resources> {
    let mut collector = Collector::default();
    for resource in mesh.resources().into_iter().filter(|of| of.scope == Scope::Mesh) {
        collector.put(
            resource.resource_type.type_url(),
            &resource.name,
            &resource.body.unwrap_or_default(),
        )?;
    }
    let policies = mesh.conditions().into_iter().filter(|(of, _)| of.kind == Kind::AuthorizationPolicy);
    let statuses = policies
        .map(|(of, conditions)| ((of.name.ns.to_string(), of.name.name.to_string()), status(&conditions)));
    let statuses = Some(statuses.collect());
    Ok(Resources { statuses, ..collector.finish() })
}

/// Reads all of standard input.
fn standard_input() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let limit = LARGEST_FILE;
    let read = std::io::stdin().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| anyhow!("cannot read standard input: {error}"))?;
    if bytes.len() as u64 > limit {
        bail!(
            "standard input has more than the {} MiB that are read; write it to files in a folder",
            limit >> 20
        );
    }
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("standard input is not text in UTF-8"))?;
    if text.trim().is_empty() {
        bail!("standard input is empty: the command before `|` has printed nothing");
    }
    if text
        .lines()
        .all(|line| matches!(line.trim_end(), "" | "---" | "...") || line.trim_start().starts_with('#'))
    {
        bail!("standard input holds no manifest: the command before `|` has printed none");
    }
    Ok(text)
}

fn status(all: &Conditions) -> Vec<String> {
    let texts = all.conditions.iter().map(|condition| {
        let status = if condition.status { "True" } else { "False" };
        format!("{}={status} {}", condition.kind, condition.reason)
    });
    texts.collect()
}
