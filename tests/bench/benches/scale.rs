//! Cold build, single changes and memory at several sizes: prints a table.
//!
//! Numbers of pods can be given as arguments; default 1,000, 10,000 and 150,000.

#![allow(missing_docs, clippy::unwrap_used)]

use mesh::{Event, Mesh, Options, ResourceKind};
use pilothouse_bench::{Size, pod, policy};
use std::time::{Duration, Instant};
use tikv_jemalloc_ctl::{epoch, stats};
use xds::{ResourceType, Writer};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn heap() -> usize {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap()
}

fn write(writer: &mut Writer, delta: &mesh::Delta) {
    for change in &delta.resources {
        let kind = match change.kind {
            ResourceKind::Address => ResourceType::Address,
            ResourceKind::Authorization => ResourceType::Authorization,
        };
        match &change.body {
            None => drop(writer.remove(kind, &change.name)),
            Some(body) => drop(writer.upsert(kind, &change.name, body).unwrap()),
        }
    }
}

fn recomputed(mesh: &Mesh) -> u64 {
    mesh.stats().iter().map(|s| s.recomputed).sum()
}

struct Figures {
    cold: Duration,
    resources: usize,
    bytes: u64,
    heap: usize,
    change: [Duration; 3],
    change_rows: f64,
    policy: [Duration; 3],
    policy_resources: usize,
}

fn percentiles(mut of: Vec<Duration>) -> [Duration; 3] {
    of.sort();
    [of[of.len() / 2], of[of.len() * 99 / 100], of[of.len() - 1]]
}

fn measure(size: Size) -> Figures {
    let before = heap();
    let listing = size.listing();
    let begin = Instant::now();
    let mut mesh = Mesh::new(&Options::default());
    let mut writer = Writer::new();
    let delta = mesh.apply(listing);
    write(&mut writer, &delta);
    let snapshot = writer.publish();
    let cold = begin.elapsed();
    let resources = delta.resources.len();
    let bytes = snapshot.bytes(ResourceType::Address) + snapshot.bytes(ResourceType::Authorization);
    drop((delta, snapshot));
    let heap = heap() - before;

    let rows = recomputed(&mesh);
    let changes = 2_000;
    let mut times = Vec::with_capacity(changes);
    for i in 0..changes {
        let object = pod((i * 7_919) % size.pods, i / size.pods % 2 == 1);
        let begin = Instant::now();
        let delta = mesh.apply([Event::Put(object)]);
        write(&mut writer, &delta);
        let snapshot = writer.publish();
        times.push(begin.elapsed());
        assert_eq!(delta.resources.len(), 1, "a pod's change is one resource");
        drop(snapshot);
    }
    let change_rows = (recomputed(&mesh) - rows) as f64 / changes as f64;

    let mut policy_times = Vec::new();
    let mut policy_resources = 0;
    for i in 0..500 {
        let object = policy(i % size.namespaces(), &format!("account-{i}"));
        let begin = Instant::now();
        let delta = mesh.apply([Event::Put(object)]);
        write(&mut writer, &delta);
        let _snapshot = writer.publish();
        policy_times.push(begin.elapsed());
        policy_resources = policy_resources.max(delta.resources.len());
    }
    Figures {
        cold,
        resources,
        bytes,
        heap,
        change: percentiles(times),
        change_rows,
        policy: percentiles(policy_times),
        policy_resources,
    }
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![1_000, 10_000, 150_000] } else { given };
    println!(
        "| pods | cold build | resources | wire MB | heap B/pod | pod change p50 / p99 / max | rows | policy edit p50 / p99 / max | resources |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for pods in sizes {
        let f = measure(Size { pods });
        println!(
            "| {pods} | {:?} | {} | {:.1} | {} | {:?} / {:?} / {:?} | {:.1} | {:?} / {:?} / {:?} | {} |",
            f.cold,
            f.resources,
            f.bytes as f64 / 1e6,
            f.heap / pods,
            f.change[0],
            f.change[1],
            f.change[2],
            f.change_rows,
            f.policy[0],
            f.policy[1],
            f.policy[2],
            f.policy_resources,
        );
    }
}
