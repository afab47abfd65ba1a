//! Waypoints: how much each is sent, how long a compilation and single changes take, memory; prints tables.
//!
//! Times are of the processor, which other processes do not add to. A change is measured from the event to the
//! published snapshot. Bytes are names and messages of resources.

#![allow(missing_docs, clippy::unwrap_used)]

use model::{Event, Kind, Name, Ns, ObjectRef, Str};
use pilothouse_bench::measure::heap;
use pilothouse_bench::server::{Server, heading};
use pilothouse_bench::waypoints::{Size, name, policy, route};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events by which service `s` of namespace 0, its slice, its pods and its route go.
fn gone(size: Size, s: usize) -> Vec<Event> {
    let delete = |kind, of: String| {
        Event::Remove(ObjectRef { kind, name: Name { ns: Ns::from("ns-0"), name: Str::from(of) } })
    };
    let mut events = vec![
        delete(Kind::Service, name(s)),
        delete(Kind::EndpointSlice, format!("{}-x", name(s))),
        delete(Kind::HTTPRoute, name(s)),
    ];
    events.extend((0..size.pods).map(|p| delete(Kind::Pod, format!("{}-{p}", name(s)))));
    events
}

/// Many services at one waypoint.
fn large(services: usize) {
    let size = Size { waypoints: 1, services, pods: 10, rules: true };
    let without = Server::new(false).apply(size.listing()).taken;
    let mut server = Server::new(true);
    let sent = server.apply(size.listing());
    println!("\n| services of one waypoint | all | of it its configuration | resources | bytes |");
    println!("|---|---|---|---|---|");
    println!(
        "| {services} | {:?} | {:?} | {} | {} |",
        sent.taken,
        sent.taken.saturating_sub(without),
        sent.resources,
        sent.bytes
    );
    heading("change");
    server.changes("route", (0..2_000).map(|i| vec![route(0, i * 7 % services, 1 + i)]));
    let pods = (0..2_000).map(|i| vec![size.pod(0, i * 7 % services, 0, i / services % 2 == 1)]);
    server.changes("pod", pods);
    server.changes("policy of the waypoint", (0..100).map(|i| vec![policy(0, &format!("/{i}"))]));
    server.changes("service goes", (0..100).map(|i| gone(size, i * 7)));
    let come = (0..100).map(|i| {
        let mut events = size.service(0, i * 7);
        events.push(route(0, i * 7, 0));
        events
    });
    server.changes("service comes", come);
}

/// Many waypoints, and what of them a change concerns.
fn many(waypoints: usize) {
    let size = Size { waypoints, services: 10, pods: 10, rules: true };
    let mut server = Server::new(true);
    server.apply(size.listing());
    heading(&format!("change, {waypoints} waypoints"));
    server.changes("policy of one waypoint", (0..500).map(|i| vec![policy(i % waypoints, &format!("/{i}"))]));
    server.changes("route", (0..500).map(|i| vec![route(i % waypoints, 0, 1 + i)]));
    server.changes("pod", (0..500).map(|i| vec![size.pod(i % waypoints, 0, 0, i / waypoints % 2 == 1)]));
}

/// What the configuration of waypoints adds to the heap.
fn memory(size: Size) {
    let of = |configures_waypoints| {
        let before = heap();
        let mut server = Server::new(configures_waypoints);
        let sent = server.apply(size.listing());
        (heap() - before, sent)
    };
    let (without, _) = of(false);
    let (with, sent) = of(true);
    println!(
        "| {} | {} | {} | {} | {:.1} | {:.1} | {:.1} |",
        size.waypoints,
        size.waypoints * size.services * size.pods,
        if size.rules { "yes" } else { "no" },
        sent.resources,
        sent.bytes as f64 / 1e6,
        without as f64 / f64::from(1 << 20),
        with.saturating_sub(without) as f64 / f64::from(1 << 20)
    );
}

fn main() {
    let size = Size { waypoints: 10, services: 25, pods: 10, rules: false };
    let sent = Server::new(true).apply(size.listing());
    println!("| waypoints | services × pods of each | bytes of each | resources of each |");
    println!("|---|---|---|---|");
    println!("| 10 | 25 × 10 | {} | {} |", sent.bytes / 10, sent.resources / 10);
    large(1_000);
    many(500);
    println!(
        "\n| waypoints | pods | routes, policies | resources | wire MB | heap without MiB | added MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for rules in [false, true] {
        memory(Size { waypoints: 1_500, services: 10, pods: 10, rules });
    }
}
