//! Cold build, single changes and memory at several sizes, without and with every kind: prints two
//! tables.
//!
//! Numbers of pods can be given as arguments; default 1,000, 10,000 and 150,000.

#![allow(missing_docs, clippy::unwrap_used)]

use mesh::Options;
use model::Event;
use model::Object;
use pilothouse_bench::measure::heap;
use pilothouse_bench::{Size, machine, pod, policy, waypoint};
use plane::Plane;
use std::time::{Duration, Instant};
use xds::{ResourceType, Writer};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn write(writer: &mut Writer, delta: &plane::Delta) {
    for change in &delta.resources {
        let (scope, kind) = (&change.scope, change.resource_type);
        match &change.body {
            None => drop(writer.remove(scope, kind, &change.name)),
            Some(body) => drop(writer.put_shared(scope, kind, &change.name, body, 0).unwrap()),
        }
    }
}

fn recomputed(mesh: &Plane) -> u64 {
    mesh.stats().iter().map(|s| s.recomputed).sum()
}

/// How long changes of one sort take, and what they cost.
struct Changes {
    times: [Duration; 3],
    rows: f64,
    /// The most resources that one change sent.
    resources: usize,
}

/// Puts objects one at a time, each until it is published.
fn change(mesh: &mut Plane, writer: &mut Writer, objects: impl Iterator<Item = Object>) -> Changes {
    let before = recomputed(mesh);
    let (mut times, mut resources) = (Vec::new(), 0);
    for object in objects {
        let begin = Instant::now();
        let delta = mesh.apply([Event::Put(object)]);
        write(writer, &delta);
        let _snapshot = writer.publish();
        times.push(begin.elapsed());
        assert!(!delta.resources.is_empty(), "a change that is none measures nothing");
        resources = resources.max(delta.resources.len());
    }
    times.sort();
    let rows = (recomputed(mesh) - before) as f64 / times.len() as f64;
    let times = [times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]];
    Changes { times, rows, resources }
}

struct Figures {
    cold: Duration,
    resources: usize,
    bytes: u64,
    heap: usize,
    changes: Vec<(&'static str, Changes)>,
}

fn measure(size: Size) -> Figures {
    let before = heap();
    let listing = size.listing();
    let begin = Instant::now();
    let mut mesh = Plane::new(&Options::default());
    let mut writer = Writer::new();
    let delta = mesh.apply(listing);
    write(&mut writer, &delta);
    let snapshot = writer.publish();
    let cold = begin.elapsed();
    let resources = delta.resources.len();
    let bytes =
        snapshot.mesh().bytes(ResourceType::Address) + snapshot.mesh().bytes(ResourceType::Authorization);
    drop((delta, snapshot));
    let heap = heap() - before;

    let namespaces = size.namespaces();
    let (mesh, writer) = (&mut mesh, &mut writer);
    let pods = (0..2_000).map(|i| pod((i * 7_919) % size.pods, i / size.pods % 2 == 1));
    let pods = change(mesh, writer, pods);
    assert_eq!(pods.resources, 1, "a pod's change is one resource");
    let policies = (0..500).map(|i| policy(i % namespaces, &format!("account-{i}")));
    let policies = change(mesh, writer, policies);
    assert_eq!(policies.resources, 1, "an edit of a policy's rules sends no workload");
    let mut changes = vec![("pod", pods), ("policy", policies)];
    if size.all_kinds {
        let machines = (0..500).map(|i| machine(i % namespaces, 0, 2 + i as u32));
        changes.push(("machine", change(mesh, writer, machines)));
        let waypoints = (0..500).map(|i| waypoint(i % namespaces, (i / namespaces).is_multiple_of(2)));
        changes.push(("waypoint moves", change(mesh, writer, waypoints)));
    }
    Figures { cold, resources, bytes, heap, changes }
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![1_000, 10_000, 150_000] } else { given };
    for all_kinds in [false, true] {
        let kinds = if all_kinds { "every kind" } else { "pods, services and policies" };
        println!("\n{kinds}\n");
        println!(
            "| pods | cold build | resources | wire MB | heap B/pod | change | p50 / p99 / max | rows | resources |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for &pods in &sizes {
            let f = measure(Size { pods, all_kinds });
            let (heap, megabytes) = (f.heap / pods, f.bytes as f64 / 1e6);
            let mut left = format!("{pods} | {:?} | {} | {megabytes:.1} | {heap}", f.cold, f.resources);
            for (name, Changes { times: [p50, p99, max], rows, resources }) in f.changes {
                println!("| {left} | {name} | {p50:?} / {p99:?} / {max:?} | {rows:.1} | {resources} |");
                left = " | | | |".to_owned();
            }
        }
    }
}
