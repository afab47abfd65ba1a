//! When a changed pod reaches the stream of its own node, and when all others: prints a table.
//!
//! Engine, servers and streams in one process, on real sockets. Arguments: streams (400), changes a
//! second (500), changes of each part (2,000).
//!
//! *One at a time*: the next change waits until every stream has the one before. *Steady*: changes
//! come at a fixed rate, whether or not all streams keep up.

#![allow(missing_docs, clippy::unwrap_used)]

use bytes::{Buf, BytesMut};
use h2::client;
use http::{Request, header};
use mesh::Options;
use model::Event;
use model::{Object, Str, shared};
use pilothouse_bench::{Size, pod};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource};
use runtime::engine_thread::EngineHandle;
use server::{Ads, AffectedNodes, Clients, Service};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

const PODS: usize = 1_000;

/// A pod's resource at a stream.
struct Received {
    stream: usize,
    pod: usize,
    at: Instant,
}

fn node(n: usize) -> Str {
    shared(&format!("node-{n}"))
}

/// Pod `p`, on the node whose stream is number `p % streams`.
fn change(p: usize, streams: usize, ready: bool) -> Event {
    let Object::Pod(pod) = pod(p, ready) else { unreachable!() };
    let mut pod = (*pod).clone();
    pod.node = node(p % streams);
    Event::Put(Object::Pod(Arc::new(pod)))
}

/// The number of the pod that a resource is of.
fn number(name: &str) -> Option<usize> {
    usize::from_str_radix(name.rsplit_once('-')?.1, 16).ok().filter(|_| name.contains("//Pod/"))
}

/// Follows all addresses, and tells of every pod.
async fn stream(io: TcpStream, number_of: usize, received: mpsc::UnboundedSender<Received>) {
    io.set_nodelay(true).unwrap();
    let mut builder = client::Builder::new();
    builder.initial_window_size(1 << 24).initial_connection_window_size(1 << 24);
    let (calls, connection) = builder.handshake::<_, bytes::Bytes>(io).await.unwrap();
    tokio::spawn(connection);
    let mut calls = calls.ready().await.unwrap();
    let uri = format!("http://localhost{}", proto::rpc_path::DELTA_AGGREGATED_RESOURCES);
    let call = Request::post(uri).header(header::CONTENT_TYPE, "application/grpc").body(()).unwrap();
    let (answer, mut requests) = calls.send_request(call, false).unwrap();
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    let metadata = prost_types::Struct { fields: [("NODE_NAME".to_owned(), text(&node(number_of)))].into() };
    let first = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local".to_owned(),
            metadata: Some(metadata),
            ..Node::default()
        }),
        type_url: proto::type_url::ADDRESS.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut message = vec![0];
    message.extend_from_slice(&(first.encoded_len() as u32).to_be_bytes());
    first.encode(&mut message).unwrap();
    requests.send_data(message.into(), false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut held = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        let at = Instant::now();
        body.flow_control().release_capacity(data.len()).unwrap();
        held.extend_from_slice(&data);
        while held.len() >= 5 {
            let len = u32::from_be_bytes(held[1..5].try_into().unwrap()) as usize;
            if held.len() < 5 + len {
                break;
            }
            held.advance(5);
            let response = DeltaDiscoveryResponse::decode(held.split_to(len)).unwrap();
            for resource in response.resources {
                let name = Resource::decode(resource).unwrap().name;
                if let Some(pod) = number(&name) {
                    received.send(Received { stream: number_of, pod, at }).unwrap();
                }
            }
        }
    }
}

#[derive(Default)]
struct Times {
    own: Vec<Duration>,
    others: Vec<Duration>,
    /// When the last stream had it, where that is known.
    last: Vec<Duration>,
}

fn row(part: &str, times: Times) {
    let of = |mut times: Vec<Duration>| {
        times.sort();
        let at = |per_mille: usize| times.get(times.len() * per_mille / 1000);
        match (at(500), at(990)) {
            (Some(median), Some(late)) => format!("{median:.2?} / {late:.2?}"),
            _ => "–".to_owned(),
        }
    };
    println!("| {part} | {} | {} | {} |", of(times.own), of(times.others), of(times.last));
}

struct Bench {
    streams: usize,
    engine: EngineHandle,
    received: mpsc::UnboundedReceiver<Received>,
    /// How many changes were made so far.
    made: usize,
}

impl Bench {
    /// The next change, of which pod: pass after pass over all pods, each other than the one before.
    fn next(&mut self) -> (usize, Event) {
        let (p, ready) = (self.made % PODS, self.made / PODS % 2 == 1);
        self.made += 1;
        (p, change(p, self.streams, ready))
    }

    async fn one_at_a_time(&mut self, changes: usize) -> Times {
        let mut times = Times::default();
        for _ in 0..changes {
            let (p, event) = self.next();
            let begin = Instant::now();
            self.engine.batches().send(vec![event].into()).await.unwrap();
            for left in (0..self.streams).rev() {
                let arrival = self.received.recv().await.unwrap();
                let took = arrival.at - begin;
                let own = arrival.stream == p % self.streams;
                if own {
                    times.own.push(took)
                } else {
                    times.others.push(took)
                }
                if left == 0 {
                    times.last.push(took);
                }
            }
        }
        times
    }

    async fn steady(&mut self, changes: usize, rate: f64) -> Times {
        let mut times = Times::default();
        let mut begins = vec![Instant::now(); PODS];
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut sent, mut came) = (0, 0);
        // What is coalesced never comes: the end is when nothing comes any more.
        loop {
            tokio::select! {
                _ = ticks.tick(), if sent < changes => {
                    let (p, event) = self.next();
                    begins[p] = Instant::now();
                    self.engine.batches().send(vec![event].into()).await.unwrap();
                    sent += 1;
                }
                arrival = self.received.recv() => {
                    let arrival = arrival.unwrap();
                    let took = arrival.at.saturating_duration_since(begins[arrival.pod]);
                    let own = arrival.stream == arrival.pod % self.streams;
                    if own { times.own.push(took) } else { times.others.push(took) }
                    came += 1;
                    if came == changes * self.streams {
                        return times;
                    }
                }
                () = tokio::time::sleep(Duration::from_secs(5)), if sent == changes => return times,
            }
        }
    }
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let argument = |at: usize, or| given.get(at).copied().unwrap_or(or);
    let (streams, rate, changes) = (argument(0, 400), argument(1, 500), argument(2, 2_000));
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (serving, watching) = (runtime(), runtime());
    let (engine, address) = serving.block_on(async {
        let nodes = Arc::<AffectedNodes>::default();
        let engine = EngineHandle::start_with(Options::default(), vec![Box::new(nodes.clone())]).unwrap();
        let mut events = Size { pods: PODS, all_kinds: false }.listing();
        let synced = events.iter().position(|event| matches!(event, Event::Synced(_))).unwrap();
        events.splice(synced..synced, (0..PODS).map(|p| change(p, streams, true)));
        engine.batches().send(events.into()).await.unwrap();
        engine.snapshots().wait_for(Option::is_some).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service::new(Ads::with_affected_nodes(nodes, engine.snapshots(), Clients::default()));
        tokio::spawn(async move { service.serve(listener, CancellationToken::new()).await });
        (engine, address)
    });
    watching.block_on(async {
        let (tell, received) = mpsc::unbounded_channel();
        let mut bench = Bench { streams, engine, received, made: 0 };
        for n in 0..streams {
            // One after another: the system's queue of connections is shorter than many at once.
            let io = TcpStream::connect(address).await.unwrap();
            tokio::spawn(stream(io, n, tell.clone()));
        }
        for _ in 0..streams * PODS {
            bench.received.recv().await.unwrap();
        }
        println!("{streams} streams; p50 / p99 from the event to the client");
        println!("| changes | own node | others | the last one |");
        println!("|---|---|---|---|");
        bench.one_at_a_time(changes / 4).await;
        row("one at a time", bench.one_at_a_time(changes).await);
        row(&format!("steady, {rate} a second"), bench.steady(changes, rate as f64).await);
    });
}
