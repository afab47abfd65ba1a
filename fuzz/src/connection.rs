//! A whole connection's bytes into the server.

use crate::allocations::peak_of;
use server::{Ads, Clients, Service, Timeouts};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xds::{ResourceType, Scope, Snapshot, Writer};

/// What a connection may take beside what it sent: windows, tables and buffers of HTTP/2, and what one call in each of
/// its streams takes.
const CEILING: i64 = 16 * 1024 * 1024;

/// What it may take for each byte.
const PER_BYTE: i64 = 256;

/// Calls that are refused before the connection ends, and those that may be on their way then.
const MAX_REFUSED: u64 = 8 + 128 + 64;

/// Limit of a connection that has ended on its client's side.
const LIMIT: Duration = Duration::from_secs(30);

/// How many turns of the executor the server has for its answers before the client's side ends.
const TURNS: usize = 256;

/// What a client says first (RFC 9113, section 3.4), with empty settings.
pub const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Serves a connection on which these bytes arrive, and then no more: it ends, few of its calls were refused before
/// that, and it took no more memory than the ceiling.
pub fn run(input: &[u8]) {
    let clients = Clients::default();
    let ((), peak) = peak_of(|| serve(input, &clients));
    assert!(peak <= CEILING + PER_BYTE * input.len() as i64, "{} bytes took {peak}", input.len());
    let refused: u64 = clients.refusals().calls().iter().map(|(_, count)| count).sum();
    assert!(refused <= MAX_REFUSED, "{refused} calls were answered");
    assert!(clients.is_empty(), "its streams have ended");
    assert!(clients.followed_bytes().iter().all(|(_, bytes)| *bytes == 0), "and hold nothing");
}

/// How many calls of a connection with these bytes are refused, and how many streams it has.
pub fn calls(input: &[u8]) -> (u64, u64) {
    let clients = Clients::default();
    serve(input, &clients);
    (clients.refusals().calls().iter().map(|(_, count)| count).sum(), clients.totals().streams)
}

fn snapshot() -> Arc<Snapshot> {
    let mut writer = Writer::new();
    let _ = writer.put(&Scope::Mesh, ResourceType::Authorization, "a/x", b"\x0a\x01x");
    let _ = writer.put(&Scope::Mesh, ResourceType::Address, "c//Pod/a/p", b"\x0a\x04\xa2\x01\x01u");
    writer.publish()
}

fn serve(input: &[u8], clients: &Clients) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (publisher, newest) = watch::channel(Some(snapshot()));
    let ended = runtime.block_on(async {
        let timeouts = Timeouts { drain: Duration::from_millis(50), ..Timeouts::default() };
        let service = Service::new(Ads::new(newest, clients.clone())).with_timeouts(timeouts);
        let (ours, theirs) = duplex(64 * 1024);
        let serving = service.serve_one(theirs, CancellationToken::new());
        let (mut from, mut to) = tokio::io::split(ours);
        let talking = async {
            // What cannot be written any more has ended.
            let _ = to.write_all(input).await;
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            let _ = to.shutdown().await;
        };
        let reading = async {
            let mut said = vec![0; 16 * 1024];
            while !matches!(from.read(&mut said).await, Ok(0) | Err(_)) {}
        };
        tokio::time::timeout(LIMIT, async { tokio::join!(serving, talking, reading) }).await.is_ok()
    });
    drop(publisher);
    // Tasks of its calls go with it.
    drop(runtime);
    assert!(ended, "the connection does not end");
}
