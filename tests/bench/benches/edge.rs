//! A gateway at the edge: how long it takes to compile, and what single changes take and send; prints tables.
//!
//! Times are of the processor, which other processes do not add to. A change is measured from the event to the published
//! snapshot. Bytes are names and messages of resources.

#![allow(missing_docs, clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pilothouse_bench::edge::{Size, secret};
use pilothouse_bench::gateways::Certificate;
use pilothouse_bench::measure::heap;
use pilothouse_bench::server::{Server, heading};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["*.secure.example.com".to_owned()]).unwrap();
    Certificate {
        chain: STANDARD.encode(made.cert.pem()),
        key: STANDARD.encode(made.signing_key.serialize_pem()),
    }
}

fn compile(size: Size, certificate: &Certificate) -> Server {
    let without = Server::new(false).apply(size.listing(certificate)).taken;
    let before = heap();
    let mut server = Server::new(true);
    let sent = server.apply(size.listing(certificate));
    println!(
        "| {} | {} | {} | {:?} | {:?} | {} | {} | {:.1} |",
        size.routes,
        size.certificates,
        size.services,
        sent.taken,
        sent.taken.saturating_sub(without),
        sent.resources,
        sent.bytes,
        (heap() - before) as f64 / 1e6
    );
    server
}

fn main() {
    let (first, second) = (certificate(), certificate());
    println!(
        "| routes | certificates | services | all | of it configuration | resources | bytes | heap MB |\n\
         |---|---|---|---|---|---|---|---|"
    );
    // Only services that some route leads to are sent.
    compile(Size { routes: 10, certificates: 0, services: 1_000 }, &first);
    let size = Size { routes: 1_000, certificates: 500, services: 1_000 };
    let mut server = compile(size, &first);
    heading("one gateway");
    server.changes("route", (0..2_000).map(|i| vec![size.route(i * 7 % size.routes, 1 + i % 80)]));
    let certificates = |i: usize| if (i / size.certificates).is_multiple_of(2) { &second } else { &first };
    server.changes("certificate", (0..500).map(|i| vec![secret(i % size.certificates, certificates(i))]));
}
