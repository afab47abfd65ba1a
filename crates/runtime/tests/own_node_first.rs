//! The stream of the node that a change is about sees it before all others.
//!
//! Every stream is a body that the test polls by hand, as the transport does when it has room, so each
//! order of events is one that the test chose.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use identity::Connection;
use mesh::Options;
use model::Event;
use model::facts::{Namespace, Pod};
use model::{Kind, Labels, Name, Ns, Object, ObjectRef, Str};
use pilothouse_runtime::engine_thread::EngineHandle;
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use server::{Ads, AffectedNodes, Clients, ResponseBody, Service};
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use xds::ResourceType::Address as ADDRESS;
use xds::{Scope, Snapshot, Writer};

/// More turns than the server waits for anybody.
const MANY: usize = 1_000;

struct Server {
    writer: Writer,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    affected: Arc<AffectedNodes>,
    service: Service,
    count: u64,
}

impl Server {
    fn start() -> Self {
        let mut writer = Writer::new();
        let (snapshots, newest) = watch::channel(Some(writer.publish()));
        let affected = Arc::<AffectedNodes>::default();
        let ads = Ads::with_affected_nodes(Arc::clone(&affected), newest, Clients::default());
        Self { writer, snapshots, affected, service: Service::new(ads), count: 0 }
    }

    /// Publishes a change about these nodes.
    fn publish(&mut self, nodes: &[&'static str]) {
        self.count += 1;
        self.writer.put(&Scope::Mesh, ADDRESS, "pod", self.count.to_string().as_bytes()).unwrap();
        let snapshot = self.writer.publish();
        self.affected.add(snapshot.step(), nodes.iter().map(|node| Str::from(*node)));
        self.snapshots.send_replace(Some(snapshot));
    }

    async fn stream(&self, node: &str) -> Stream {
        // Each task has a budget until it yields: without, many streams would not be read.
        yield_now().await;
        let mut stream = open(&self.service, node).await;
        assert_eq!(stream.read(), [0]);
        stream
    }
}

/// Opens the stream of a node's ztunnel; nothing of it is read.
async fn open(service: &Service, node: &str) -> Stream {
    let (requests, outgoing) = mpsc::unbounded_channel();
    let text = prost_types::value::Kind::StringValue(node.to_owned());
    let fields = [("NODE_NAME".to_owned(), prost_types::Value { kind: Some(text) })].into();
    let request = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "ztunnel~10.0.0.1~z.istio-system~d".to_owned(),
            metadata: Some(prost_types::Struct { fields }),
            ..Node::default()
        }),
        type_url: ADDRESS.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut message = vec![0];
    message.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
    request.encode(&mut message).unwrap();
    requests.send(Bytes::from(message)).unwrap();
    let frames = UnboundedReceiverStream::new(outgoing).map(|data| Ok::<_, Infallible>(Frame::data(data)));
    let call = Request::post(proto::rpc_path::DELTA_AGGREGATED_RESOURCES)
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(StreamBody::new(frames))
        .unwrap();
    let answer = service.call(call, &Connection::default(), &CancellationToken::new()).await.into_body();
    Stream { _requests: requests, answer, woken: Arc::default() }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Stream {
    _requests: mpsc::UnboundedSender<Bytes>,
    answer: ResponseBody,
    woken: Arc<Woken>,
}

impl Stream {
    /// Asks for one frame, as a transport with room for one does; returns how many resources it has.
    fn take(&mut self) -> Option<usize> {
        self.woken.0.store(0, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        match Pin::new(&mut self.answer).poll_frame(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(frame) => {
                let data = frame.unwrap().unwrap().into_data().unwrap();
                Some(DeltaDiscoveryResponse::decode(&data[5..]).unwrap().resources.len())
            }
        }
    }

    /// Takes all there is, as a transport with room does.
    fn read(&mut self) -> Vec<usize> {
        std::iter::from_fn(|| self.take()).collect()
    }

    /// Returns once it is woken, as by the engine's thread, which takes its time.
    async fn woken(&self) {
        while !self.is_woken() {
            yield_now().await;
        }
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst) > 0
    }
}

/// Lets the server's own task run so many times.
async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[tokio::test]
async fn others_see_a_change_once_the_stream_of_its_node_has_it() {
    let mut server = Server::start();
    let (mut own, mut other) = (server.stream("a").await, server.stream("b").await);
    turns(MANY).await;
    assert_eq!((own.read(), other.read()), (vec![], vec![]));
    server.publish(&["a"]);
    turns(5).await;
    assert!(own.is_woken() && !other.is_woken());
    assert_eq!(other.read(), [0; 0], "whatever else wakes it, it does not see what is not for it yet");
    assert_eq!(own.read(), [1]);
    turns(5).await;
    assert!(other.is_woken());
    assert_eq!((own.read(), other.read()), (vec![], vec![1]));
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody() {
    let mut server = Server::start();
    let (mut stalled, mut other) = (server.stream("a").await, server.stream("b").await);
    server.publish(&["a"]);
    turns(5).await;
    // Its transport has no room for a further frame, and so does not ask for one.
    assert_eq!(stalled.take(), Some(1));
    turns(5).await;
    assert_eq!(other.read(), [1]);
    server.publish(&["a"]);
    turns(2).await;
    assert!(other.is_woken());
    assert_eq!(other.read(), [1]);
}

#[tokio::test]
async fn a_client_that_shuts_its_window_delays_others_by_some_turns() {
    let mut server = Server::start();
    let (mut shut, mut other) = (server.stream("a").await, server.stream("b").await);
    turns(MANY).await;
    assert_eq!((shut.read(), other.read()), (vec![], vec![]));
    server.publish(&["a"]);
    // It is woken, but its transport has lost the room that it had.
    turns(MANY).await;
    assert!(shut.is_woken() && other.is_woken());
    assert_eq!(other.read(), [1]);
    assert_eq!(shut.read(), [1]);
}

#[tokio::test]
async fn a_stream_that_ends_while_it_is_told_delays_nobody() {
    let mut server = Server::start();
    let (own, mut other) = (server.stream("a").await, server.stream("b").await);
    turns(MANY).await;
    assert_eq!(other.read(), [0; 0]);
    server.publish(&["a"]);
    turns(5).await;
    drop(own);
    turns(5).await;
    assert_eq!(other.read(), [1]);
}

#[tokio::test]
async fn a_newer_change_does_not_queue_behind_those_who_wait_for_an_older_one() {
    let mut server = Server::start();
    let mut own = server.stream("own").await;
    let mut others = Vec::new();
    for n in 0..500 {
        others.push(server.stream(&format!("node-{n}")).await);
    }
    turns(MANY).await;
    assert_eq!(own.read(), [0; 0]);
    assert!(others.iter_mut().all(|other| other.read().is_empty()));
    server.publish(&[]);
    turns(3).await;
    let woken = others.iter().filter(|other| other.is_woken()).count();
    assert!(woken > 0 && woken < 500, "{woken} of 500 woken");
    server.publish(&["own"]);
    turns(5).await;
    assert_eq!(own.read(), [1]);
    // Nobody new was woken before it had the change.
    assert_eq!(others.iter().filter(|other| other.is_woken()).count(), woken);
    turns(MANY).await;
    assert!(others.iter().all(Stream::is_woken));
    for other in &mut others {
        assert_eq!(other.read(), [1], "the sum of both changes is one resource");
    }
}

#[tokio::test]
async fn streams_that_join_meanwhile_take_nobodys_turn() {
    let mut server = Server::start();
    let mut old = Vec::new();
    for n in 0..200 {
        old.push(server.stream(&format!("node-{n}")).await);
    }
    turns(MANY).await;
    assert!(old.iter_mut().all(|stream| stream.read().is_empty()));
    server.publish(&[]);
    while !old.iter().any(Stream::is_woken) {
        turns(1).await;
    }
    let (mut first, mut others): (Vec<_>, Vec<_>) = old.into_iter().partition(Stream::is_woken);
    assert!(!first.is_empty() && !others.is_empty());
    assert!(first.iter_mut().all(|stream| stream.read() == [1]));
    server.publish(&[]);
    while !others.iter().any(Stream::is_woken) {
        turns(1).await;
    }
    assert!(!others.iter().all(Stream::is_woken), "the round is under way");
    let mut new = Vec::new();
    for n in 0..200 {
        new.push(open(&server.service, &format!("new-{n}")).await);
    }
    turns(MANY).await;
    for stream in first.iter_mut().chain(&mut others) {
        assert!(stream.is_woken());
        assert_eq!(stream.read(), [1]);
    }
    for stream in &mut new {
        yield_now().await;
        assert_eq!(stream.read(), [1]);
    }
}

#[tokio::test]
async fn a_change_about_no_node_or_about_very_many_is_for_everybody_at_once() {
    let mut server = Server::start();
    let (mut one, mut two) = (server.stream("a").await, server.stream("b").await);
    turns(MANY).await;
    assert_eq!((one.read(), two.read()), (vec![], vec![]));
    server.publish(&[]);
    turns(5).await;
    assert_eq!((one.read(), two.read()), (vec![1], vec![1]));
    let many = (0..1_000).map(|n| &*format!("node-{n}").leak());
    server.publish(&many.chain(["a"]).collect::<Vec<_>>());
    turns(5).await;
    assert_eq!((one.read(), two.read()), (vec![1], vec![1]));
}

fn pod(node: &str, ready: bool) -> Event {
    Event::Put(Object::Pod(Arc::new(Pod {
        name: Name::new("shop", &format!("web-{node}")),
        ips: [std::net::IpAddr::from([10, 0, 0, 1])].into_iter().collect(),
        node: Str::from(node),
        serving: ready,
        ..Pod::default()
    })))
}

#[tokio::test]
async fn a_pod_is_first_on_its_own_node_when_it_comes_and_when_it_changes() {
    let affected = Arc::<AffectedNodes>::default();
    let engine = EngineHandle::start_with(Options::default(), vec![Box::new(Arc::clone(&affected))]).unwrap();
    let labels = Labels::new([("istio.io/dataplane-mode", "ambient")]);
    let name = Ns::own("shop");
    let namespace = Object::Namespace(Arc::new(Namespace { name, labels, ..Namespace::default() }));
    let listing = [Event::Put(namespace)].into_iter().chain(Kind::ALL.iter().map(|k| Event::Synced(*k)));
    let mut newest = engine.snapshots();
    engine.batches().send(listing.collect::<Vec<_>>().into()).await.unwrap();
    newest.wait_for(Option::is_some).await.unwrap();
    let ads = Ads::with_affected_nodes(affected, engine.snapshots(), Clients::default());
    let service = Service::new(ads);
    let (mut own, mut other) = (open(&service, "a").await, open(&service, "b").await);
    turns(MANY).await;
    assert_eq!((own.read(), other.read()), (vec![0], vec![0]));
    for event in [pod("a", false), pod("a", true)] {
        engine.batches().send(vec![event].into()).await.unwrap();
        own.woken().await;
        assert!(!other.is_woken());
        assert_eq!((other.read(), own.read()), (vec![], vec![1]));
        turns(5).await;
        assert_eq!(other.read(), [1]);
    }
    // What goes is no news that its node waits for.
    let gone = ObjectRef { kind: Kind::Pod, name: Name::new("shop", "web-a") };
    engine.batches().send(vec![Event::Remove(gone)].into()).await.unwrap();
    other.woken().await;
    assert_eq!((other.read(), own.read()), (vec![0], vec![0]));
}
