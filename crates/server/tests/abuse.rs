//! What a hostile client does to HTTP/2, and how a well-behaved one fares meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, header};
use pilothouse_server::{Ads, Bounds, ClientView, Clients, CloseReason, Service, Timeouts};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds::ResourceType::Address as ADDRESS;
use xds::{Scope, Snapshot, Writer};

/// Limit of a whole test; only one that hangs reaches it.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the server waits for what keeps a place occupied.
const SHORT: Duration = Duration::from_millis(500);

/// How many connections one address may have.
const CONNECTIONS: usize = 64;

/// What a client of HTTP/2 says first (RFC 9113, section 3.4), with empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// A PING of eight bytes.
const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00flooding";
/// Settings that change nothing.
const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// HEADERS of stream 1 that do not end, with an empty block.
const HEADERS: &[u8] = b"\x00\x00\x00\x01\x00\x00\x00\x00\x01";
/// A CONTINUATION of stream 1 that does not end: the field `a: a`, literal and not indexed.
const CONTINUATION: &[u8] = b"\x00\x00\x05\x09\x00\x00\x00\x00\x01\x00\x01a\x01a";

struct Server {
    address: SocketAddr,
    clients: Clients,
    _snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    _stop: DropGuard,
}

impl Server {
    /// Serves `resources` of 1 KiB each, with short timeouts.
    async fn start(resources: usize) -> Self {
        Self::bounded(resources, Bounds { connections_of_address: CONNECTIONS, ..Bounds::default() }).await
    }

    async fn bounded(resources: usize, bounds: Bounds) -> Self {
        let timeouts = Timeouts {
            first_call: SHORT,
            keepalive_interval: SHORT,
            keepalive_timeout: SHORT,
            read: SHORT,
            ..Timeouts::default()
        };
        Self::with(resources, bounds, timeouts).await
    }

    async fn with(resources: usize, bounds: Bounds, timeouts: Timeouts) -> Self {
        let mut writer = Writer::new();
        for i in 0..resources {
            writer.put(&Scope::Mesh, ADDRESS, &format!("r{i:06}"), &[0; 1024]).unwrap();
        }
        let (snapshots, newest) = watch::channel(Some(writer.publish()));
        let clients = Clients::default();
        let service = Service::new(Ads::new(newest, clients.clone())).with_timeouts(timeouts);
        let service = service.with_bounds(bounds);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let drain = stop.clone();
        tokio::spawn(async move { service.serve(listener, drain).await });
        Self { address, clients, _snapshots: snapshots, _stop: stop.drop_guard() }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the same frames until the server ends the connection, reading what it says or not.
    async fn flood(&self, hello: &[u8], frame: &[u8], reads: bool) {
        let (mut from, mut to) = self.dial().await.into_split();
        to.write_all(hello).await.unwrap();
        let many = frame.repeat(512);
        let sending = async { while to.write_all(&many).await.is_ok() {} };
        let reading = async {
            let mut said = vec![0; 64 * 1024];
            while reads && !matches!(from.read(&mut said).await, Ok(0) | Err(_)) {}
        };
        tokio::join!(sending, reading);
    }

    /// How often clients were refused at a bound.
    fn refused(&self, bound: &str) -> u64 {
        let all = self.clients.refusals().list();
        all.into_iter().find(|(name, _)| *name == bound).unwrap().1
    }

    /// How many calls were refused for what they asked for.
    fn refused_calls(&self) -> u64 {
        self.clients.refusals().calls().into_iter().map(|(_, count)| count).sum()
    }

    /// Bytes that are held for what clients follow.
    fn followed_bytes(&self) -> u64 {
        self.clients.followed_bytes().into_iter().map(|(_, bytes)| bytes).sum()
    }

    /// Waits until it has ended a connection for this.
    async fn has_ended_one(&self, reason: CloseReason) {
        while self.clients.closed().count(reason) == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// A client that reads is served.
    async fn serves(&self) {
        serves(self.dial().await).await;
    }
}

/// Asks for the mesh on a connection, and gets it.
async fn serves(io: TcpStream) {
    let mut client = Http2::connect(io, 16 * 1024 * 1024).await;
    let (_requests, mut answer) = client.stream().await;
    let first = answer.data().await.unwrap().unwrap();
    assert!(!first.is_empty());
}

/// Connects from an address of its own.
async fn dial_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// A client of HTTP/2 that keeps its connection alive.
struct Http2(SendRequest<Bytes>);

impl Http2 {
    /// Connects, with a window of this many bytes for all that it is sent.
    async fn connect(io: TcpStream, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        let (calls, connection) = builder.handshake(io).await.unwrap();
        // Answers each PING until the server ends it.
        tokio::spawn(connection);
        Self(calls)
    }

    fn request(&self) -> Request<()> {
        let uri = format!("http://localhost{}", proto::rpc_path::DELTA_AGGREGATED_RESOURCES);
        Request::post(uri).header(header::CONTENT_TYPE, "application/grpc").body(()).unwrap()
    }

    /// Opens a stream and asks for all addresses.
    async fn stream(&mut self) -> (SendStream<Bytes>, RecvStream) {
        self.follow(Vec::new()).await
    }

    /// Opens a stream and asks for addresses by name.
    async fn follow(&mut self, names: Vec<String>) -> (SendStream<Bytes>, RecvStream) {
        let mut calls = self.0.clone().ready().await.unwrap();
        let (answer, mut requests) = calls.send_request(self.request(), false).unwrap();
        let node = Node { id: "ztunnel~10.0.0.1~z.istio-system~d".to_owned(), ..Node::default() };
        let first = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: ADDRESS.type_url().to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        };
        let mut data = BytesMut::new();
        data.put_u8(0);
        data.put_u32(u32::try_from(first.encoded_len()).unwrap());
        first.encode(&mut data).unwrap();
        requests.send_data(data.freeze(), false).unwrap();
        (requests, answer.await.unwrap().into_body())
    }

    /// Waits until the server has ended the connection.
    async fn ended(self) {
        let mut calls = self.0;
        loop {
            match calls.ready().await {
                Ok(ready) => calls = ready,
                Err(_) => return,
            }
            let request = Request::get("http://localhost/").body(()).unwrap();
            match calls.send_request(request, true) {
                Ok((answer, _)) => drop(answer.await),
                Err(_) => return,
            }
        }
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test hangs") });
}

#[test]
fn a_client_that_answers_pings_and_does_not_read_loses_its_connection() {
    run(async {
        let server = Server::start(4096).await;
        // 4 MiB for a window of 64 KiB that is never opened again.
        let mut client = Http2::connect(server.dial().await, 65_535).await;
        let (_requests, _answer) = client.stream().await;
        server.has_ended_one(CloseReason::Unread).await;
        client.ended().await;
        while !server.clients.is_empty() {
            tokio::task::yield_now().await;
        }
        server.serves().await;
    });
}

#[test]
fn an_old_connection_is_ended_in_order_with_its_stream() {
    run(async {
        let timeouts = Timeouts { age: Some(SHORT), ..Timeouts::default() };
        let server = Server::with(1, Bounds::default(), timeouts).await;
        let mut old = Http2::connect(server.dial().await, 65_535).await;
        let (_requests, mut answer) = old.stream().await;
        answer.data().await.unwrap().unwrap();
        server.has_ended_one(CloseReason::Aged).await;
        while let Some(data) = answer.data().await {
            data.unwrap();
        }
        // A clean end, upon which clients connect again without delay.
        let trailers = answer.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        old.ended().await;
        let mut new = Http2::connect(server.dial().await, 65_535).await;
        let (_requests, mut answer) = new.stream().await;
        answer.data().await.unwrap().unwrap();
    });
}

#[test]
fn floods_of_control_frames_end_when_the_client_does_not_read() {
    run(async {
        let server = Server::start(1).await;
        for frame in [PING, SETTINGS] {
            server.flood(HELLO, frame, false).await;
        }
        server.serves().await;
    });
}

#[test]
fn headers_without_end_are_cut_off() {
    run(async {
        let server = Server::start(1).await;
        let hello = [HELLO, HEADERS].concat();
        server.flood(&hello, CONTINUATION, true).await;
        server.serves().await;
    });
}

#[test]
fn rapid_resets_end_the_connection() {
    run(async {
        let server = Server::start(1).await;
        // Each opens stream n by `:method: POST` and resets it at once.
        let (mut from, mut to) = server.dial().await.into_split();
        to.write_all(HELLO).await.unwrap();
        let sending = async {
            for stream in (1u32..2_000_000).step_by(2) {
                let mut frames = BytesMut::new();
                let block = b"\x83\x86\x84\x41\x09localhost";
                frames.put_slice(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 4]);
                frames.put_u32(stream);
                frames.put_slice(block);
                frames.put_slice(&[0, 0, 4, 3, 0]);
                frames.put_u32(stream);
                frames.put_u32(8);
                if to.write_all(&frames).await.is_err() {
                    return true;
                }
            }
            false
        };
        let reading = async {
            let mut said = vec![0; 64 * 1024];
            while !matches!(from.read(&mut said).await, Ok(0) | Err(_)) {}
        };
        let (ended, ()) = tokio::join!(sending, reading);
        assert!(ended, "a million resets were taken");
        // For the resets, or for calls that nobody serves: whichever is counted to its end first.
        let closed = server.clients.closed();
        while closed.count(CloseReason::Http2) + closed.count(CloseReason::Refused) == 0 {
            tokio::task::yield_now().await;
        }
        server.serves().await;
    });
}

#[test]
fn connections_without_a_call_are_ended() {
    run(async {
        let server = Server::start(1).await;
        for said in [&b""[..], HELLO, &[HELLO, HEADERS].concat()] {
            let mut half_open = server.dial().await;
            half_open.write_all(said).await.unwrap();
            let mut rest = Vec::new();
            // The end, or a reset: either is one.
            drop(half_open.read_to_end(&mut rest).await);
        }
        server.serves().await;
    });
}

#[test]
fn a_port_that_is_full_takes_whoever_comes_and_the_largest_loses_its_oldest() {
    run(async {
        let bounds = Bounds { connections: 4, ..Bounds::default() };
        let server = Server::with(1, bounds, Timeouts::default()).await;
        let (mut held, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let mut client = Http2::connect(dial_from([127, 0, 0, 2], server.address).await, 65_535).await;
            streams.push(client.stream().await);
            held.push(client);
        }
        server.serves().await;
        assert_eq!(server.refused("connections"), 1);
        held.remove(0).ended().await;
        assert_eq!(server.clients.closed().count(CloseReason::Evicted), 1);
        drop(streams);
    });
}

#[test]
fn calls_that_are_not_served_are_counted_and_end_their_connection() {
    run(async {
        let server = Server::with(1, Bounds::default(), Timeouts::default()).await;
        // `GET /` on one stream after the other, by a client that does as if it heard nothing.
        let (mut from, mut to) = server.dial().await.into_split();
        to.write_all(HELLO).await.unwrap();
        let mut said = vec![0; 64 * 1024];
        let ended = 'calls: {
            for stream in (1u32..20_000).step_by(2) {
                let mut frame = BytesMut::new();
                let block = b"\x82\x86\x84\x41\x09localhost";
                frame.put_slice(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5]);
                frame.put_u32(stream);
                frame.put_slice(block);
                // The next after an answer: so each is one that was taken.
                if to.write_all(&frame).await.is_err() || matches!(from.read(&mut said).await, Ok(0) | Err(_))
                {
                    break 'calls true;
                }
            }
            false
        };
        assert!(ended, "ten thousand calls were taken");
        let counted = server.refused_calls();
        assert!((8..512).contains(&counted), "{counted} calls were answered");
        // One that does as it is told has some, each answered.
        let client = Http2::connect(server.dial().await, 65_535).await;
        let mut answered = 0;
        let mut calls = client.0.clone();
        while let Ok(mut ready) = calls.clone().ready().await {
            let uri = "http://localhost/grpc.health.v1.Health/Check";
            let call = Request::post(uri).header(header::CONTENT_TYPE, "application/grpc").body(()).unwrap();
            let Ok((answer, _)) = ready.send_request(call, true) else { break };
            let Ok(answer) = answer.await else { break };
            assert_eq!(answer.headers()["grpc-status"], "12");
            (answered, calls) = (answered + 1, ready);
        }
        assert!((8..64).contains(&answered), "{answered} calls were answered");
        assert_eq!(server.refused_calls() - counted, answered);
        assert!(server.clients.closed().count(CloseReason::Refused) > 0);
        server.serves().await;
    });
}

#[test]
fn names_that_lead_nowhere_take_little_memory_from_others() {
    const MIB: u64 = 1024 * 1024;
    run(async {
        let server = Server::with(1, Bounds::default(), Timeouts::default()).await;
        let mut client = Http2::connect(server.dial().await, 16 * 1024 * 1024).await;
        let mut streams = Vec::new();
        for stream in 0..44 {
            let names = (0..12_000).map(|n| format!("{stream:02}{n:05}")).collect();
            let (requests, mut answer) = client.follow(names).await;
            answer.data().await.unwrap().unwrap();
            streams.push((requests, answer));
            assert!(server.followed_bytes() <= 64 * MIB, "{}", server.followed_bytes());
        }
        assert!(server.followed_bytes() > 32 * MIB, "{}", server.followed_bytes());
        // Of equal ones the oldest has made way, and holds nothing although nobody has read that it ended.
        let followed = |view: &ClientView| view.stats.types.iter().map(|of| of.names).sum::<usize>();
        let first = server.clients.list().into_iter().find(|view| view.id == 0);
        assert_eq!(first.map_or(0, |view| followed(&view)), 0);
        let (_requests, mut answer) = streams.remove(0);
        while let Some(data) = answer.data().await {
            data.unwrap();
        }
        let trailers = answer.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "8", "{trailers:?}");
        assert!(server.refused("memory_of_client") > 0);
        // All of them are one client, and yet one that wants little is served.
        server.serves().await;
    });
}

#[test]
fn unauthenticated_connections_of_one_address_are_evicted_for_one_of_another() {
    run(async {
        let bounds = Bounds { unauthenticated: 8, handshakes_of_address: 8, ..Bounds::default() };
        let server = Server::with(1, bounds, Timeouts::default()).await;
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(dial_from([127, 0, 0, 2], server.address).await);
        }
        // For one more of the same address its oldest goes; one of another is served all the same.
        silent.push(dial_from([127, 0, 0, 2], server.address).await);
        server.has_ended_one(CloseReason::Evicted).await;
        drop(silent.remove(0).read_to_end(&mut Vec::new()).await);
        assert_eq!(server.refused("handshakes_of_address"), 1);
        server.serves().await;
        let from_there = dial_from([127, 0, 0, 2], server.address).await;
        serves(from_there).await;
    });
}

#[test]
fn authenticated_connections_hold_no_slots_of_unauthenticated_ones() {
    run(async {
        let bounds = Bounds { unauthenticated: 2, handshakes_of_address: 2, ..Bounds::default() };
        let server = Server::with(1, bounds, Timeouts::default()).await;
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut client = Http2::connect(server.dial().await, 65_535).await;
            let stream = client.stream().await;
            held.push((client, stream));
        }
        assert_eq!((server.refused("handshakes_of_address"), server.clients.len()), (0, 8));
    });
}

#[test]
fn a_connection_without_calls_is_ended_in_order_and_one_with_a_stream_is_not() {
    run(async {
        let timeouts = Timeouts { idle: SHORT, ..Timeouts::default() };
        let server = Server::with(1, Bounds::default(), timeouts).await;
        let mut busy = Http2::connect(server.dial().await, 65_535).await;
        let (_requests, mut answer) = busy.stream().await;
        answer.data().await.unwrap().unwrap();
        let mut idle = Http2::connect(server.dial().await, 65_535).await;
        drop(idle.stream().await);
        // `ended` makes calls that are refused: the connection is closed all the same.
        server.has_ended_one(CloseReason::Idle).await;
        idle.ended().await;
        assert_eq!(server.clients.closed().count(CloseReason::Idle), 1);
        drop(answer);
    });
}

#[test]
fn floods_of_control_frames_end_when_the_client_reads_too() {
    run(async {
        let server = Server::with(1, Bounds::default(), Timeouts::default()).await;
        for (nth, frame) in [PING, SETTINGS].into_iter().enumerate() {
            server.flood(HELLO, frame, true).await;
            while server.clients.closed().count(CloseReason::Http2) <= nth as u64 {
                tokio::task::yield_now().await;
            }
        }
        server.serves().await;
    });
}

#[test]
fn a_request_that_does_not_arrive_whole_ends_its_stream() {
    run(async {
        let timeouts = Timeouts { request: SHORT, ..Timeouts::default() };
        let server = Server::with(1, Bounds::default(), timeouts).await;
        let mut client = Http2::connect(server.dial().await, 65_535).await;
        let mut calls = client.0.clone().ready().await.unwrap();
        let (answer, mut requests) = calls.send_request(client.request(), false).unwrap();
        // The prefix of a message of one byte, which does not follow.
        requests.send_data(Bytes::from_static(&[0, 0, 0, 0, 1]), false).unwrap();
        let mut answer = answer.await.unwrap().into_body();
        let trailers = answer.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "8", "{trailers:?}");
        let (_requests, mut answer) = client.stream().await;
        answer.data().await.unwrap().unwrap();
    });
}

#[test]
fn one_address_cannot_take_every_place() {
    run(async {
        let bounds = Bounds { connections_of_address: CONNECTIONS, ..Bounds::default() };
        let server = Server::with(1, bounds, Timeouts::default()).await;
        let (mut held, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS + 20 {
            let mut client = Http2::connect(dial_from([127, 0, 0, 2], server.address).await, 65_535).await;
            streams.push(client.stream().await);
            held.push(client);
        }
        // Its oldest end for its newest.
        assert_eq!(server.refused("connections_of_address"), 20);
        for client in held.drain(..20) {
            client.ended().await;
        }
        while server.clients.len() > CONNECTIONS {
            tokio::task::yield_now().await;
        }
        server.serves().await;
        drop((held, streams));
    });
}
