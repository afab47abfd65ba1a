//! Streams as cheap as they can be: all count, a sample decodes the pods it is told of.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pilothouse_tests::client::transport::{self, Wire};
use pilothouse_tests::client::{Node, State, Target, ip};
use prost::Message as _;
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use proto::type_url;
use proto::workload::address::Type;
use proto::workload::{Address, WorkloadStatus};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::Streams;
use crate::ledger::{Ledger, Seen};

/// What a stream got so far. Times count from the moment all streams were started.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// When the server accepted the stream.
    pub opened: Option<Duration>,
    /// When the first response was decoded.
    pub first: Option<Duration>,
    /// When both types were answered and the expected addresses held.
    pub synced: Option<Duration>,
    /// Responses.
    pub responses: u64,
    /// Encoded responses, in bytes.
    pub bytes: u64,
    /// Addresses received, repeated ones again.
    pub addresses: u64,
    /// Authorizations received, repeated ones again.
    pub authorizations: u64,
    /// Names removed.
    pub removed: u64,
    /// Why the stream ended.
    pub error: Option<String>,
    answered: [bool; 2],
}

/// All streams of a run; dropping it ends them.
pub struct Feeds {
    /// What each got so far.
    pub progress: Vec<watch::Receiver<Progress>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Feeds {
    /// Starts all streams at once. A stream is synchronised when it has an answer of both types
    /// and `expect` addresses. The first `ledger.streams()` of them report pods to the ledger.
    ///
    /// # Errors
    /// If a file with roots or token cannot be read.
    pub fn open(streams: &Streams, expect: usize, ledger: &Arc<Ledger>) -> anyhow::Result<Self> {
        let target = streams.target()?;
        let begun = Instant::now();
        let mut feeds = Self { progress: Vec::new(), tasks: Vec::new() };
        for index in 0..streams.streams {
            let (report, progress) = watch::channel(Progress::default());
            let ledger = (index < ledger.streams()).then(|| Arc::clone(ledger));
            let feed = Feed { index, begun, expect: expect as u64, report, ledger };
            let (target, node) = (target.clone(), streams.node(index));
            feeds.tasks.push(tokio::spawn(async move { feed.run(&target, &node).await }));
            feeds.progress.push(progress);
        }
        Ok(feeds)
    }

    /// What each stream got so far.
    pub fn now(&self) -> Vec<Progress> {
        self.progress.iter().map(|progress| progress.borrow().clone()).collect()
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Feed {
    index: usize,
    begun: Instant,
    expect: u64,
    report: watch::Sender<Progress>,
    ledger: Option<Arc<Ledger>>,
}

impl Feed {
    async fn run(self, target: &Target, node: &Node) {
        let error = match transport::open(target, State::new(false).initial_requests(node)).await {
            Ok(wire) => {
                self.report.send_modify(|progress| progress.opened = Some(self.begun.elapsed()));
                self.read(wire).await
            }
            Err(error) => error.to_string(),
        };
        self.report.send_modify(|progress| progress.error = Some(error));
    }

    /// Reads until the stream ends; returns why.
    async fn read(&self, mut wire: Wire) -> String {
        loop {
            let response = match wire.responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return "the server ended the stream".to_owned(),
                Err(status) => return format!("stream broke: {:?}: {}", status.code(), status.message()),
            };
            if let Some(ledger) = &self.ledger
                && response.type_url == type_url::ADDRESS
                && ledger.is_open()
            {
                self.tell(ledger, &response);
            }
            self.count(&response);
            // a server that is gone shows in the next read
            let _ = wire.requests.send(DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                ..Default::default()
            });
        }
    }

    fn count(&self, response: &DeltaDiscoveryResponse) {
        let now = self.begun.elapsed();
        let resources = response.resources.len() as u64;
        self.report.send_modify(|progress| {
            progress.first.get_or_insert(now);
            progress.responses += 1;
            progress.bytes += response.encoded_len() as u64;
            progress.removed += response.removed_resources.len() as u64;
            match response.type_url.as_str() {
                type_url::ADDRESS => {
                    progress.addresses += resources;
                    progress.answered[0] = true;
                }
                type_url::AUTHORIZATION => {
                    progress.authorizations += resources;
                    progress.answered[1] = true;
                }
                _ => {}
            }
            if progress.answered == [true; 2] && progress.addresses >= self.expect {
                progress.synced.get_or_insert(now);
            }
        });
    }

    fn tell(&self, ledger: &Ledger, response: &DeltaDiscoveryResponse) {
        for bytes in &response.resources {
            if let Some((pod, seen)) = decode_pod(bytes) {
                ledger.seen(self.index, &pod, &seen, Instant::now());
            }
        }
        for pod in response.removed_resources.iter().filter_map(|name| pod_key(name)) {
            ledger.seen(self.index, pod, &Seen::Gone, Instant::now());
        }
    }
}

/// `namespace/name` of a pod's resource name, `<cluster>//Pod/<namespace>/<name>`.
fn pod_key(name: &str) -> Option<&str> {
    Some(name.split_once("//Pod/")?.1)
}

/// A pod's key, and what its workload says.
fn decode_pod(bytes: &Bytes) -> Option<(String, Seen)> {
    let resource = Resource::decode(bytes.clone()).ok()?;
    let key = pod_key(&resource.name)?.to_owned();
    let address = Address::decode(resource.resource?.value.as_slice()).ok()?;
    let Some(Type::Workload(workload)) = address.r#type else { return None };
    let ips: Vec<IpAddr> = workload.addresses.iter().filter_map(|bytes| ip(bytes)).collect();
    let ready = workload.status() == WorkloadStatus::Healthy;
    Some((key, Seen::Pod { ips, ready }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;
    use pilothouse_tests::client::scripted::{ScriptedServer, ScriptedStream};
    use proto::workload::Workload;

    use super::*;
    use crate::args::{Args, Command};
    use crate::ledger::Expected;
    use crate::process::Meter;
    use crate::sync;

    const LIMIT: Duration = Duration::from_secs(20);

    fn streams(server: &ScriptedServer) -> Streams {
        let address = server.address.to_string();
        let args = Args::try_parse_from(["load", "sync", "--address", &address, "--streams", "2"]).unwrap();
        let Command::Sync { streams } = args.command else { panic!("not a sync") };
        streams
    }

    fn pod(name: &str, last: u8) -> Bytes {
        let workload = Workload { addresses: vec![vec![11, 0, 0, last].into()], ..Default::default() };
        let address = Address { r#type: Some(Type::Workload(workload)) };
        let any = prost_types::Any { type_url: type_url::ADDRESS.to_owned(), value: address.encode_to_vec() };
        let name = format!("Kubernetes//Pod/shop/{name}");
        Resource { name, resource: Some(any), ..Default::default() }.encode_to_vec().into()
    }

    fn response(url: &str, resources: Vec<Bytes>, removed: &[&str]) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            type_url: url.to_owned(),
            nonce: "n".to_owned(),
            resources,
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        }
    }

    async fn accept(server: &ScriptedServer) -> ScriptedStream {
        let mut stream = server.accept().await.unwrap();
        for url in [type_url::ADDRESS, type_url::AUTHORIZATION] {
            let request = stream.request().await.unwrap().unwrap();
            assert_eq!(request.type_url, url);
            assert!(request.node.unwrap().id.starts_with("ztunnel~"));
        }
        stream
    }

    #[tokio::test]
    async fn streams_are_synchronised_with_both_answers_and_enough_addresses() {
        let server = ScriptedServer::start().await.unwrap();
        let streams = streams(&server);
        let feeds = Feeds::open(&streams, 2, &Arc::new(Ledger::new(0))).unwrap();
        let measure = sync::measure(&feeds, &streams, Meter::of(None));
        tokio::pin!(measure);
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = accept(&server).await;
            stream.respond(response(type_url::ADDRESS, vec![pod("a", 1)], &[]));
            stream.respond(response(type_url::AUTHORIZATION, vec![], &[]));
            for _ in 0..2 {
                assert_eq!(stream.request().await.unwrap().unwrap().response_nonce, "n");
            }
            open.push(stream);
        }
        // both acknowledged all there was, and one address is missing
        assert!(feeds.now().iter().all(|one| one.responses == 2 && one.synced.is_none()));
        for stream in &open {
            stream.respond(response(type_url::ADDRESS, vec![pod("b", 2)], &[]));
        }
        let found = tokio::time::timeout(LIMIT, measure).await.unwrap().unwrap();
        assert_eq!((found.streams, found.responses, found.addresses_per_stream), (2, 6, 2));
        assert!(found.bytes_per_stream > 0);
    }

    #[tokio::test]
    async fn a_stream_that_ends_fails_the_measurement() {
        let server = ScriptedServer::refusing(tonic::Status::unavailable("not ready")).await.unwrap();
        let streams = streams(&server);
        let feeds = Feeds::open(&streams, 0, &Arc::new(Ledger::new(0))).unwrap();
        let error = sync::measure(&feeds, &streams, Meter::of(None)).await.unwrap_err().to_string();
        assert!(error.contains("not ready"), "{error}");
    }

    #[tokio::test]
    async fn sampled_streams_tell_the_ledger_of_pods_and_removals() {
        let server = ScriptedServer::start().await.unwrap();
        let ledger = Arc::new(Ledger::new(1));
        ledger.open();
        let begun = Instant::now();
        let moved = ledger.begin("shop/a", Expected::Address(IpAddr::from([11, 0, 0, 2])), begun);
        let gone = ledger.begin("shop/b", Expected::Gone, begun);
        for ticket in [&moved, &gone] {
            ledger.answer(ticket, begun);
        }
        let _feeds = Feeds::open(&streams(&server), 0, &ledger).unwrap();
        // either stream may be the sampled one
        let open = [accept(&server).await, accept(&server).await];
        for stream in &open {
            let resources = vec![pod("a", 1), pod("a", 2), Bytes::from_static(b"\xff")];
            stream.respond(response(type_url::ADDRESS, resources, &["Kubernetes//Pod/shop/b", "shop/web"]));
        }
        ledger.drain(LIMIT).await;
        let found = ledger.propagation();
        assert_eq!((found.missing, found.update.count, found.removal.count), (0, 1, 1));
    }
}
