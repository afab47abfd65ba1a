//! Discovery over real sockets, asked by a client of another library.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_server::{Ads, Clients, MAX_REQUEST_BYTES, Service};
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource};
use proto::workload::{Address, Workload, address};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use xds::ResourceType::{Address as ADDRESS, Authorization as AUTHORIZATION};
use xds::{ResourceType, Scope, Snapshot, Writer};

/// Limit of a whole test; only one that hangs reaches it.
const LIMIT: Duration = Duration::from_secs(120);

/// A server with its writer.
struct Server {
    writer: Writer,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    clients: Clients,
    address: SocketAddr,
    drain: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start() -> Self {
        let (snapshots, newest) = watch::channel(None);
        let clients = Clients::default();
        let service = Service::new(Ads::new(newest, clients.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = CancellationToken::new();
        let task = {
            let drain = drain.clone();
            tokio::spawn(async move { service.serve(listener, drain).await })
        };
        Self { writer: Writer::new(), snapshots, clients, address, drain, task }
    }

    fn put(&mut self, uid: &str, revision: u64) {
        self.writer.put(&Scope::Mesh, ADDRESS, uid, &workload(uid, revision)).unwrap();
    }

    fn publish(&mut self) {
        let snapshot = self.writer.publish();
        self.snapshots.send_replace(Some(snapshot));
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn stream(&self) -> Stream {
        self.try_stream(request(ADDRESS)).await.unwrap()
    }

    async fn try_stream(&self, first: DeltaDiscoveryRequest) -> Result<Stream, Status> {
        let path = PathAndQuery::from_static(proto::rpc_path::DELTA_AGGREGATED_RESOURCES);
        Stream::open(self.channel().await, path, first).await
    }
}

/// The client's end of a stream.
struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    async fn open(
        channel: Channel,
        path: PathAndQuery,
        first: DeltaDiscoveryRequest,
    ) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let mut grpc = Grpc::new(channel).max_decoding_message_size(200 * 1024 * 1024);
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let outgoing = tonic::Request::new(ReceiverStream::new(outgoing));
        let responses = grpc.streaming(outgoing, path, codec).await?.into_inner();
        Ok(Self { requests, responses })
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.responses.message().await.unwrap().expect("the stream goes on")
    }

    async fn answer(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let error = error.map(|message| proto::rpc::Status { code: 0, message: message.to_owned() });
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error,
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }
}

fn request(kind: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "ztunnel~10.0.0.1~z.istio-system~d".to_owned(), ..Node::default() }),
        type_url: kind.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn workload(uid: &str, revision: u64) -> Vec<u8> {
    let workload = Workload {
        uid: uid.to_owned(),
        canonical_revision: revision.to_string(),
        addresses: vec![Bytes::copy_from_slice(&[10, 0, 0, 1])],
        ..Workload::default()
    };
    Address { r#type: Some(address::Type::Workload(workload)) }.encode_to_vec()
}

fn names(response: &DeltaDiscoveryResponse) -> BTreeSet<String> {
    response.resources.iter().map(|bytes| Resource::decode(bytes.clone()).unwrap().name).collect()
}

/// Waits until a condition holds.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test hangs") });
}

#[test]
fn a_wildcard_client_gets_everything_then_changes() {
    run(async {
        let mut server = Server::start().await;
        server.put("a", 1);
        server.writer.put(&Scope::Mesh, AUTHORIZATION, "ns/p", b"\x0a\x01p").unwrap();
        server.publish();
        let mut stream = server.stream().await;
        let first = stream.next().await;
        assert_eq!(names(&first), ["a".to_owned()].into());
        stream.answer(&first, None).await;
        stream.send(request(AUTHORIZATION)).await;
        assert_eq!(names(&stream.next().await), ["ns/p".to_owned()].into());

        server.put("b", 1);
        server.writer.remove(&Scope::Mesh, ADDRESS, "a");
        server.publish();
        let change = stream.next().await;
        assert_eq!(
            (names(&change), change.removed_resources),
            (["b".to_owned()].into(), vec!["a".to_owned()])
        );
    });
}

#[test]
fn a_large_state_with_holes_arrives_whole() {
    run(async {
        let mut server = Server::start().await;
        let mut wanted = BTreeMap::new();
        for i in 0..30_000u64 {
            server.put(&format!("cluster//Pod/namespace/pod-{i:05}"), 1);
        }
        server.publish();
        for i in 0..30_000u64 {
            let name = format!("cluster//Pod/namespace/pod-{i:05}");
            let revision = if i % 3 == 0 { 2 } else { 1 };
            server.put(&name, revision);
            wanted.insert(name.clone(), workload(&name, revision));
        }
        server.publish();
        let first = server.stream().await.next().await;
        let mut held = BTreeMap::new();
        for bytes in &first.resources {
            let resource = Resource::decode(bytes.clone()).unwrap();
            held.insert(resource.name, resource.resource.unwrap().value);
        }
        assert!(held == wanted);
    });
}

#[test]
fn a_stream_is_refused_until_there_is_a_snapshot() {
    run(async {
        let mut server = Server::start().await;
        let refused = server.try_stream(request(ADDRESS)).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unavailable);
        server.publish();
        let mut stream = server.stream().await;
        assert_eq!(stream.next().await.resources.len(), 0);
    });
}

#[test]
fn an_unknown_method_is_unimplemented() {
    run(async {
        let mut server = Server::start().await;
        server.publish();
        let path = PathAndQuery::from_static("/example.Service/Method");
        let error = Stream::open(server.channel().await, path, request(ADDRESS)).await.err().unwrap();
        assert_eq!(error.code(), Code::Unimplemented);
    });
}

#[test]
fn a_first_request_without_a_node_ends_the_stream() {
    run(async {
        let mut server = Server::start().await;
        server.publish();
        let nameless = DeltaDiscoveryRequest { node: None, ..request(ADDRESS) };
        let error = match server.try_stream(nameless).await {
            Ok(mut stream) => stream.responses.message().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("node.id"), "{error}");
        until(|| server.clients.is_empty()).await;
    });
}

#[test]
fn a_client_gets_no_answer_to_what_is_not_for_its_kind() {
    run(async {
        let mut server = Server::start().await;
        server.put("a", 1);
        server.publish();
        let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
        let policy = AUTHORIZATION.type_url();
        for (role, type_url, code) in [
            // An empty answer would make an Envoy drop what it has.
            ("waypoint", cluster, Code::Unimplemented),
            ("ztunnel", cluster, Code::Unimplemented),
            ("ztunnel", "example.com/secret", Code::Unimplemented),
            ("waypoint", policy, Code::PermissionDenied),
            ("sidecar", ADDRESS.type_url(), Code::PermissionDenied),
            ("waypoint", ADDRESS.type_url(), Code::PermissionDenied),
            ("router", ADDRESS.type_url(), Code::PermissionDenied),
            ("agent", ADDRESS.type_url(), Code::InvalidArgument),
        ] {
            let node = Node { id: format!("{role}~10.0.0.1~z.shop~d"), ..Node::default() };
            let type_url = type_url.to_owned();
            let first = DeltaDiscoveryRequest { node: Some(node), type_url, ..request(ADDRESS) };
            let error = match server.try_stream(first).await {
                Ok(mut stream) => stream.responses.message().await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.code(), code, "{role}: {error}");
        }
        assert_eq!(server.clients.totals().responses, 0);
    });
}

#[test]
fn a_flood_of_requests_ends_the_stream() {
    run(async {
        let mut server = Server::start().await;
        server.publish();
        let stream = server.stream().await;
        let (requests, mut responses) = (stream.requests, stream.responses);
        let flood = async { while requests.send(request(ADDRESS)).await.is_ok() {} };
        let end = async {
            loop {
                match responses.message().await {
                    Ok(answer) => assert!(answer.is_some(), "it ended without a reason"),
                    Err(error) => return error,
                }
            }
        };
        let ((), error) = tokio::join!(flood, end);
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(server.clients.refusals().list().contains(&("requests_of_stream", 1)));
    });
}

#[test]
fn an_on_demand_client_gets_what_it_names() {
    run(async {
        let mut server = Server::start().await;
        server.put("a", 1);
        server.put("b", 1);
        server.publish();
        let nothing = DeltaDiscoveryRequest {
            resource_names_subscribe: vec!["*".to_owned()],
            resource_names_unsubscribe: vec!["*".to_owned()],
            ..request(ADDRESS)
        };
        let mut stream = server.try_stream(nothing).await.unwrap();
        assert_eq!(stream.next().await.resources.len(), 0);
        let b = DeltaDiscoveryRequest { resource_names_subscribe: vec!["b".to_owned()], ..request(ADDRESS) };
        stream.send(b).await;
        assert_eq!(names(&stream.next().await), ["b".to_owned()].into());
        server.put("a", 2);
        server.put("b", 2);
        server.publish();
        assert_eq!(names(&stream.next().await), ["b".to_owned()].into());
    });
}

#[test]
fn a_returning_client_may_list_as_many_names_as_fit_a_request() {
    run(async {
        let mut server = Server::start().await;
        server.put("kept", 1);
        server.publish();
        let version = xds::Version::of(&workload("kept", 1)).to_string();
        let mut offered: BTreeMap<String, String> =
            (0..400_000).map(|i| (format!("{i:0>140}"), "0123456789abcdef".to_owned())).collect();
        offered.insert("kept".to_owned(), version);
        let gone = offered.len() - 1;
        let returning = DeltaDiscoveryRequest { initial_resource_versions: offered, ..request(ADDRESS) };
        assert!((60 << 20..MAX_REQUEST_BYTES).contains(&returning.encoded_len()));
        let mut stream = server.try_stream(returning).await.unwrap();
        stream.send(request(AUTHORIZATION)).await;
        assert_eq!(stream.next().await.type_url, AUTHORIZATION.type_url());
        let addresses = stream.next().await;
        assert_eq!((addresses.resources.len(), addresses.removed_resources.len()), (0, gone));
    });
}

#[test]
fn a_request_that_is_too_long_ends_the_stream() {
    run(async {
        let mut server = Server::start().await;
        server.publish();
        let name = "x".repeat(MAX_REQUEST_BYTES);
        let long = DeltaDiscoveryRequest { resource_names_subscribe: vec![name], ..request(ADDRESS) };
        let error = match server.try_stream(long).await {
            Ok(mut stream) => stream.responses.message().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    });
}

#[test]
fn a_returning_client_that_wants_only_addresses_is_answered_in_the_end() {
    run(async {
        let mut server = Server::start().await;
        server.put("a", 1);
        server.publish();
        let offered = [("gone".to_owned(), "1".to_owned())].into();
        let returning = DeltaDiscoveryRequest { initial_resource_versions: offered, ..request(ADDRESS) };
        let mut stream = server.try_stream(returning).await.unwrap();
        let answer = stream.next().await;
        assert_eq!(
            (names(&answer), answer.removed_resources),
            (["a".to_owned()].into(), vec!["gone".to_owned()])
        );
    });
}

#[test]
fn the_registry_knows_who_is_connected_and_what_they_refused() {
    run(async {
        let mut server = Server::start().await;
        server.put("a", 1);
        server.publish();
        let mut stream = server.stream().await;
        let first = stream.next().await;
        stream.answer(&first, Some("bad workload")).await;
        until(|| server.clients.totals().nacks == 1).await;
        let [client] = <[_; 1]>::try_from(server.clients.list()).unwrap();
        assert_eq!(client.node.unwrap().role(), "ztunnel");
        assert!(client.peer.unwrap().ip().is_loopback());
        let nack = client.stats.types[0].last_nack.clone().unwrap();
        assert_eq!((nack.nonce, nack.message), (first.nonce, "bad workload".to_owned()));

        drop(stream);
        until(|| server.clients.is_empty()).await;
        let totals = server.clients.totals();
        assert_eq!((totals.streams, totals.responses, totals.acks, totals.nacks), (1, 1, 0, 1));
    });
}

#[test]
fn a_client_that_does_not_read_costs_a_place_in_the_log_not_a_queue() {
    run(async {
        let mut server = Server::start().await;
        for i in 0..40_000 {
            server.put(&format!("cluster//Pod/namespace/pod-{i:05}"), 0);
        }
        server.publish();
        let mut slow = server.stream().await;
        until(|| server.clients.totals().responses == 1).await;
        // A reader follows every one of these; the slow one has not read its first answer.
        let mut reader = server.stream().await;
        reader.next().await;
        for revision in 1..=100 {
            for i in 0..100 {
                server.put(&format!("cluster//Pod/namespace/pod-{i:05}"), revision);
            }
            server.publish();
            assert!(reader.next().await.resources.len() == 100);
        }
        assert_eq!(server.clients.list()[0].stats.responses, 1);
        assert_eq!(slow.next().await.resources.len(), 40_000);
        let rest = slow.next().await;
        assert_eq!(rest.resources.len(), 100);
        let last = Resource::decode(rest.resources[0].clone()).unwrap();
        assert_eq!(last.resource.unwrap().value, workload(&last.name, 100));
    });
}

#[test]
fn streams_end_cleanly_when_the_server_drains() {
    run(async {
        let mut server = Server::start().await;
        server.put("a", 1);
        server.publish();
        let mut stream = server.stream().await;
        stream.next().await;
        server.drain.cancel();
        assert!(stream.responses.message().await.unwrap().is_none());
        drop(stream);
        server.task.await.unwrap().unwrap();
        assert!(server.clients.is_empty());
    });
}
