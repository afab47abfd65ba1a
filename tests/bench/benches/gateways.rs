//! Gateways, routes and their statuses: cold build and single changes; prints two tables.
//!
//! Of each is printed how long it took, and the time of the processor that it took, which other processes do not add to.
//! The number of gateways can be given as argument; default 1,000, which is 10,000 routes and 5,000 services.

#![allow(missing_docs, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mesh::Options;
use model::Event;
use pilothouse_bench::gateways::{Certificate, ROUTES, SERVICES, listing, pod, route, secret};
use pilothouse_bench::measure::{heap, processor, spread};
use plane::Plane;
use std::collections::BTreeMap;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["*.example.com".to_owned()]).unwrap();
    Certificate {
        chain: STANDARD.encode(made.cert.pem()),
        key: STANDARD.encode(made.signing_key.serialize_pem()),
    }
}

/// How often the function of a row ran, by table; some tables, one for each kind of route, have one name.
fn recomputed(plane: &Plane) -> BTreeMap<&'static str, u64> {
    plane.stats().iter().fold(BTreeMap::new(), |mut all, stage| {
        *all.entry(stage.name).or_default() += stage.recomputed;
        all
    })
}

/// Tables of routes and of what they become.
fn is_of_routes(table: &str) -> bool {
    ["route", "host", "attachment", "request", "stream"].iter().any(|part| table.contains(part))
}

/// Applies events one at a time, reads the statuses that changed, and prints what that took; returns how many rows
/// of routes were computed.
fn change(plane: &mut Plane, name: &str, events: impl Iterator<Item = Event>) -> u64 {
    let before = recomputed(plane);
    let (mut times, mut taken, mut conditions) = (Vec::new(), Vec::new(), 0);
    for event in events {
        let (begin, before) = (Instant::now(), processor());
        let delta = plane.apply([event]);
        let written: Vec<_> = delta.conditions.iter().filter_map(|of| plane.conditions_of(of)).collect();
        taken.push(processor() - before);
        times.push(begin.elapsed());
        conditions = conditions.max(written.len());
    }
    let count = times.len() as u64;
    let after = recomputed(plane);
    let by_table: Vec<(&str, u64)> =
        after.iter().map(|(table, n)| (*table, n - before[table])).filter(|(_, n)| *n > 0).collect();
    let rows: u64 = by_table.iter().map(|(_, n)| n).sum();
    let of_routes: u64 = by_table.iter().filter(|(table, _)| is_of_routes(table)).map(|(_, n)| n).sum();
    let per_change = |n: u64| n as f64 / count as f64;
    println!(
        "| {name} | {} | {} | {:.1} | {:.1} | {conditions} |",
        spread(times),
        spread(taken),
        per_change(rows),
        per_change(of_routes)
    );
    if std::env::var_os("TABLES").is_some() {
        eprintln!("{name}: {by_table:?}");
    }
    of_routes
}

fn main() {
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let gateways: usize = given.unwrap_or(1_000);
    let (first, second) = (certificate(), certificate());
    let options = Options { gateway_api: true, ..Options::default() };
    let events = listing(gateways, &first);
    let before = heap();
    let (begin, idle) = (Instant::now(), processor());
    let mut plane = Plane::new(&options);
    let delta = plane.apply(events);
    let (cold, taken) = (begin.elapsed(), processor() - idle);
    let (conditions, resources) = (delta.conditions.len(), delta.resources.len());
    drop(delta);
    let heap = heap() - before;
    println!(
        "| gateways | routes | services | cold build | of the processor | statuses | resources for ztunnels | heap MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!(
        "| {gateways} | {} | {} | {cold:?} | {taken:?} | {conditions} | {resources} | {:.1} |",
        gateways * ROUTES,
        gateways * SERVICES,
        heap as f64 / 1e6
    );
    println!("\n| change | p50 / p99 / max | of the processor | rows | of them of routes | statuses |");
    println!("|---|---|---|---|---|---|");
    let plane = &mut plane;
    let edits = (0..2_000).map(|i| route(i * 7 % gateways, i % ROUTES, 1 + i % 80));
    assert_ne!(change(plane, "route", edits), 0, "tables of routes are known by their names");
    let edits = (0..500)
        .map(|i| secret(i * 7 % gateways, if (i / gateways).is_multiple_of(2) { &second } else { &first }));
    change(plane, "Secret", edits);
    let edits = (0..2_000).map(|i| pod(i * 7 % gateways, i % SERVICES, 0, i / gateways % 2 == 1));
    assert_eq!(change(plane, "pod", edits), 0, "a pod's change touches no route");
}
