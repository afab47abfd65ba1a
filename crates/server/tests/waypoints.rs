//! Gateways and waypoints beside ztunnels: each stream gets its own scope, in either variant.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use pilothouse_server::{Ads, Clients, Service};
use prost::Message;
use proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node, Resource,
};
use proto::rpc_path::{DELTA_AGGREGATED_RESOURCES, STREAM_AGGREGATED_RESOURCES};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use xds::ResourceType::{Address, Cluster};
use xds::{Scope, Snapshot, Writer};

/// Limit of a whole test; only one that hangs reaches it.
const LIMIT: Duration = Duration::from_secs(120);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await }).expect("the test ends in time");
}

struct Server {
    writer: Writer,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    clients: Clients,
    channel: Channel,
}

impl Server {
    /// Serves a waypoint what is in the scope that its cluster names.
    async fn start() -> Self {
        let (snapshots, newest) = watch::channel(None);
        let clients = Clients::default();
        let ads = Ads::new(newest, clients.clone()).with_claimed_scopes(|node| {
            if node.role() == "waypoint" { vec![node.cluster.as_str().into()] } else { Vec::new() }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { Service::new(ads).serve(listener, CancellationToken::new()).await });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { writer: Writer::new(), snapshots, clients, channel }
    }

    fn put(&mut self, scope: &str, name: &str, body: &[u8]) {
        self.writer.put(&Scope::proxy(scope), Cluster, name, body).unwrap();
        self.snapshots.send_replace(Some(self.writer.publish()));
    }

    async fn open<Q, A>(
        &self,
        path: &'static str,
        first: Q,
    ) -> Result<(mpsc::Sender<Q>, Streaming<A>), Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let (requests, outgoing) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let outgoing = tonic::Request::new(ReceiverStream::new(outgoing));
        let path = PathAndQuery::from_static(path);
        let answer = grpc.streaming(outgoing, path, ProstCodec::<Q, A>::default()).await?;
        Ok((requests, answer.into_inner()))
    }
}

fn node(role: &str, cluster: &str) -> Option<Node> {
    Some(Node { id: format!("{role}~10.0.0.1~w.shop~d"), cluster: cluster.to_owned(), metadata: None })
}

fn delta(role: &str, cluster: &str) -> DeltaDiscoveryRequest {
    let type_url = Cluster.type_url().to_owned();
    DeltaDiscoveryRequest { node: node(role, cluster), type_url, ..DeltaDiscoveryRequest::default() }
}

fn whole(role: &str, cluster: &str) -> DiscoveryRequest {
    let type_url = Cluster.type_url().to_owned();
    DiscoveryRequest { node: node(role, cluster), type_url, ..DiscoveryRequest::default() }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<String> {
    response.resources.iter().map(|bytes| Resource::decode(bytes.clone()).unwrap().name).collect()
}

#[test]
fn each_waypoint_gets_its_own_scope_and_nothing_of_others() {
    run(async {
        let mut server = Server::start().await;
        server.put("shop", "a", b"\x0a\x01a");
        server.put("bank", "b", b"\x0a\x01b");
        let open = |cluster| server.open(DELTA_AGGREGATED_RESOURCES, delta("waypoint", cluster));
        let (shop_requests, mut shop) = open("shop").await.unwrap();
        let (_bank_requests, mut bank) = open("bank").await.unwrap();
        let first: DeltaDiscoveryResponse = shop.message().await.unwrap().unwrap();
        assert_eq!(names(&first), ["a"]);
        assert_eq!(names(&bank.message().await.unwrap().unwrap()), ["b"]);
        shop_requests
            .send(DeltaDiscoveryRequest { response_nonce: first.nonce, ..delta("waypoint", "shop") })
            .await
            .unwrap();
        // What changes elsewhere is not sent here, and what changes here comes.
        server.put("bank", "b", b"\x0a\x01b\x10\x01");
        server.writer.put(&Scope::Mesh, Address, "w", b"\x12\x00").unwrap();
        server.put("shop", "c", b"\x0a\x01c");
        assert_eq!(names(&shop.message().await.unwrap().unwrap()), ["c"]);
        assert_eq!(names(&bank.message().await.unwrap().unwrap()), ["b"]);
        let types: Vec<_> = server.clients.list().into_iter().map(|of| of.stats.types[0].responses).collect();
        assert_eq!(types, [2, 2]);
    });
}

#[test]
fn state_of_the_world_is_served_to_waypoints_alone() {
    run(async {
        let mut server = Server::start().await;
        server.put("shop", "a", b"\x0a\x01a");
        let (_requests, mut stream) =
            server.open(STREAM_AGGREGATED_RESOURCES, whole("waypoint", "shop")).await.unwrap();
        let first: DiscoveryResponse = stream.message().await.unwrap().unwrap();
        assert_eq!((first.type_url.as_str(), first.resources.len()), (Cluster.type_url(), 1));
        assert_eq!(first.resources[0].value, b"\x0a\x01a");
        let refused = server.open(STREAM_AGGREGATED_RESOURCES, whole("ztunnel", "shop")).await;
        let error = match refused {
            Ok((_requests, mut stream)) => {
                Streaming::<DiscoveryResponse>::message(&mut stream).await.unwrap_err()
            }
            Err(error) => error,
        };
        assert_eq!(error.code(), Code::Unimplemented, "{error}");
    });
}

#[test]
fn a_waypoint_for_which_nothing_is_served_is_refused() {
    run(async {
        let mut server = Server::start().await;
        server.put("shop", "a", b"\x0a\x01a");
        for (role, cluster) in [("waypoint", "none"), ("router", "shop")] {
            let refused = server.open(DELTA_AGGREGATED_RESOURCES, delta(role, cluster)).await;
            let error = match refused {
                Ok((_requests, mut stream)) => {
                    Streaming::<DeltaDiscoveryResponse>::message(&mut stream).await.unwrap_err()
                }
                Err(error) => error,
            };
            assert_eq!(error.code(), Code::Unimplemented, "{role}: {error}");
        }
    });
}

#[test]
fn what_is_refused_stands_until_it_is_taken_or_the_stream_ends() {
    run(async {
        let mut server = Server::start().await;
        server.put("shop/waypoint", "a", b"\x0a\x01a");
        let mut changes = server.clients.refusal_changes();
        let (requests, mut stream) =
            server.open(DELTA_AGGREGATED_RESOURCES, delta("waypoint", "shop/waypoint")).await.unwrap();
        let answer = |response: &DeltaDiscoveryResponse, error: Option<&str>| DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: error.map(|message| proto::rpc::Status { code: 3, message: message.to_owned() }),
            ..delta("waypoint", "shop/waypoint")
        };
        let first: DeltaDiscoveryResponse = stream.message().await.unwrap().unwrap();
        assert_eq!(server.clients.refusing(), []);
        requests.send(answer(&first, Some("Error adding/updating cluster(s) a: no"))).await.unwrap();
        changes.changed().await.unwrap();
        let refusing = server.clients.refusing();
        assert_eq!((refusing.len(), refusing[0].gateway.as_str()), (1, "shop/waypoint"));
        assert_eq!(refusing[0].node, "waypoint~10.0.0.1~w.shop~d");
        let refused = &refusing[0].refused[0];
        assert_eq!((refused.of, refused.name.as_deref(), refused.step), (Cluster, Some("a"), 1));
        assert_eq!(&*refused.message, "Error adding/updating cluster(s) a: no");
        assert_eq!(server.clients.list()[0].refused, refusing[0].refused);

        server.put("shop/waypoint", "a", b"\x0a\x01a\x10\x01");
        let second: DeltaDiscoveryResponse = stream.message().await.unwrap().unwrap();
        requests.send(answer(&second, None)).await.unwrap();
        changes.changed().await.unwrap();
        assert_eq!(server.clients.refusing(), []);

        server.put("shop/waypoint", "a", b"\x0a\x01a\x10\x02");
        let third: DeltaDiscoveryResponse = stream.message().await.unwrap().unwrap();
        requests.send(answer(&third, Some("a: never"))).await.unwrap();
        changes.changed().await.unwrap();
        assert_eq!(server.clients.refusing().len(), 1);
        drop((requests, stream));
        changes.changed().await.unwrap();
        assert_eq!(server.clients.refusing(), []);
    });
}
