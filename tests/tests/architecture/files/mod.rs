//! What holds between the files of a crate: no circle, and no arrow to a higher room.
//!
//! The syntax of every file is read, and each name is followed to the file that defines it.

mod arrows;
mod circles;
mod resolve;
mod source;
mod tests;

use crate::{check, files};
use anyhow::Error;
use arrows::Arrows;
use source::{Crate, Sources};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The rooms of a crate in order, lowest first; those of one line are on one floor.
///
/// A room is a file directly below `src` or a folder there. A file uses only files of its own floor and of
/// lower ones.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "host kind nearest timestamp yaml",
            "name",
            "request_limit",
            "crd field",
            "diagnostic label trust_domain",
            "facts",
            "event parse",
        ],
    ),
    ("engine", &["row set slab stats why", "core", "index", "table", "context", "stage", "graph", "read"]),
    (
        "folder",
        &[
            "code field hash key value",
            "apiserver document problem",
            "object",
            "analysis cluster diff locate places salvage",
            "kustomize load",
            "admit",
            "file",
            "layout",
            "state",
        ],
    ),
    (
        "ca",
        &[
            "der entropy pem pods refusal",
            "identity serial signature ttl",
            "certificate profile request server_name",
            "bundle chain crl key pair",
            "root token",
            "authorize issuer stream",
            "external intermediate peers rotation",
            "secret",
            "material",
        ],
    ),
    (
        "xds",
        &[
            "bounds capability name types version wire",
            "error",
            "log",
            "mesh",
            "lookup",
            "snapshot",
            "session writer",
        ],
    ),
    ("output", &["diagnostic encoded condition", "resource status", "outputs"]),
    (
        "mesh",
        &[
            "address capabilities encode input key options rank",
            "labels revision settings",
            "namespace policy",
            "identity network waypoint",
            "service",
            "authorizer enforcement extension",
            "telemetry workload",
            "destination own_address split_horizon status",
            "graph",
        ],
    ),
    (
        "gateway",
        &[
            "allowed class feature grant hostname key name reference",
            "listener parameters",
            "deployment route",
            "policy routing",
            "status",
            "lib",
        ],
    ),
    (
        "envoy",
        &[
            "attached hops key matcher message",
            "send settings telemetry",
            "extension profile",
            "bootstrap locality port",
            "upstream",
            "tls",
            "endpoint policy",
            "cluster listener",
            "route",
            "profiles",
            "connect east_west edge outbound",
            "waypoint",
            "lib",
        ],
    ),
    ("plane", &["identity", "delta made_from summary", "lib"]),
    ("admission", &["codes decision", "review", "judge"]),
    (
        "cluster",
        &[
            "error leader_election work_queue",
            "stats",
            "connect dispatcher lock object_client",
            "object_writer status_writer without_effect",
            "list_watch",
        ],
    ),
    ("limits", &["peer ranking token_bucket", "fair_budget fair_slots peer_limiter"]),
    (
        "identity",
        &[
            "bindings clock issue_request refused stats",
            "external identity_index settings tokens",
            "authority",
            "authentication roots",
            "serving",
            "assembly",
        ],
    ),
    ("server", &["grpc", "latencies limits", "ads certificates http", "service", "listen"]),
    (
        "runtime",
        &[
            "config kinds latency telemetry views",
            "engine_thread log source webhook",
            "refusals",
            "controllers keys",
            "metrics secure subscribers",
            "pages",
            "serve",
        ],
    ),
    (
        "cli",
        &[
            "address grpc monitoring plugin serve",
            "table",
            "output",
            "check dump man token version waypoint",
            "bootstrap cert compare",
            "main",
        ],
    ),
];

/// Files that are in a circle today, by crate: nothing may be added, and the list is to become empty.
const KNOWN: &[(&str, &[&str])] = &[];

/// The arrows between the files of each crate, read once for all tests.
static ARROWS: LazyLock<Result<BTreeMap<String, Arrows>, String>> =
    LazyLock::new(|| arrows().map_err(|error| format!("{error:#}")));

fn arrows() -> anyhow::Result<BTreeMap<String, Arrows>> {
    let mut crates: BTreeMap<String, Sources> = BTreeMap::new();
    for (path, text) in files()? {
        let parts = path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"));
        if let Some((own, file)) = parts.filter(|(own, file)| !own.contains('/') && file.ends_with(".rs")) {
            crates.entry(own.to_owned()).or_default().insert(file.to_owned(), text);
        }
    }
    let mut found = BTreeMap::new();
    for (own, sources) in crates {
        let mut arrows = Arrows::new();
        for root in source::roots(&sources)? {
            arrows.extend(Crate::read(&sources, root)?.arrows());
        }
        found.insert(own, arrows);
    }
    Ok(found)
}

#[test]
fn no_files_of_a_crate_use_one_another_in_a_circle() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    let all = ARROWS.as_ref().map_err(Error::msg)?;
    for (own, _) in KNOWN.iter().filter(|(own, _)| !all.contains_key(*own)) {
        broken.push(format!("there is no crate {own}: take it from the list"));
    }
    for (own, arrows) in all {
        let listed = KNOWN.iter().find(|(known, _)| known == own).map_or(&[] as &[&str], |(_, files)| files);
        let listed: BTreeSet<String> = listed.iter().map(|file| (*file).to_owned()).collect();
        let circles = circles::circles(arrows);
        for circle in circles.iter().filter(|circle| !circle.is_subset(&listed)) {
            broken.push(format!("{own}: {}", circles::describe(circle, arrows)));
        }
        for file in listed.iter().filter(|file| !circles.iter().any(|circle| circle.contains(*file))) {
            broken.push(format!("{own}: {file} is in no circle any more: take it from the list"));
        }
    }
    check(&broken)
}

#[test]
fn arrows_within_a_crate_point_to_lower_rooms() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    let all = ARROWS.as_ref().map_err(Error::msg)?;
    for (own, floors) in ROOMS {
        match all.get(*own) {
            Some(arrows) => {
                broken.extend(upward(floors, arrows).into_iter().map(|line| format!("{own}: {line}")));
            }
            None => broken.push(format!("there is no crate {own}")),
        }
    }
    check(&broken)
}

/// Describes what in a crate breaks the order of its rooms.
fn upward(floors: &[&str], arrows: &Arrows) -> Vec<String> {
    let floors: BTreeMap<&str, usize> = floors
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| rooms.split(' ').map(move |r| (r, floor)))
        .collect();
    let mut broken = Vec::new();
    let mut used = BTreeSet::new();
    for ((from, to), names) in arrows {
        used.extend([room(from), room(to)]);
        match (floors.get(room(from)), floors.get(room(to))) {
            (Some(lower), Some(higher)) if lower < higher => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                broken.push(format!("{from} uses {to}, which is in a higher room: {}", names.join(", ")));
            }
            _ => {}
        }
    }
    for room in used.iter().filter(|room| !floors.contains_key(*room)) {
        broken.push(format!("the room {room} has no place in the order"));
    }
    for room in floors.keys().filter(|room| !used.contains(*room)) {
        broken.push(format!("the room {room} is not there, or is not used"));
    }
    broken
}

/// The room that a file is in.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}
