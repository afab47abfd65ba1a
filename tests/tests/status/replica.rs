//! Replicas of the control plane in this process: source, engine, writers and a port for streams.

use anyhow::{Context, ensure};
use cluster::{Access, KubeSettings, KubeSource, LeaseTimings, connect};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::{Client, Node, Options};
use runtime::controllers::{ChangedObjects, Controllers, ReportIntervals, StatusSettings, StatusStats};
use runtime::engine_thread::EngineHandle;
use runtime::refusals::Refusals;
use server::{Ads, Clients, Service};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Short enough for a test, long enough for a busy machine.
pub const TIMINGS: LeaseTimings = LeaseTimings {
    lease_duration: Duration::from_secs(8),
    renew_deadline: Duration::from_secs(5),
    retry_period: Duration::from_secs(1),
};

/// A running replica; dropping it ends it as a crash would.
pub struct Replica {
    engine: EngineHandle,
    stats: Arc<StatusStats>,
    stop: CancellationToken,
    writing: JoinHandle<()>,
    following: JoinHandle<()>,
    reading: JoinHandle<()>,
    serving: JoinHandle<()>,
    xds: SocketAddr,
    clients: Clients,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.writing.abort();
        self.following.abort();
        self.reading.abort();
        self.serving.abort();
    }
}

impl Replica {
    /// Starts one that reads and writes as the user of a kubeconfig.
    pub async fn start(kubeconfig: &Path, identity: &str) -> anyhow::Result<Self> {
        Self::start_with(kubeconfig, identity, |_| {}).await
    }

    /// As [`Replica::start`], reporting acknowledgements at these intervals.
    pub async fn start_at(
        kubeconfig: &Path,
        identity: &str,
        intervals: ReportIntervals,
    ) -> anyhow::Result<Self> {
        Self::start_with(kubeconfig, identity, |settings| settings.report_intervals = intervals).await
    }

    /// As [`Replica::start_at`], configuring waypoints.
    pub async fn start_with_waypoints(
        kubeconfig: &Path,
        identity: &str,
        intervals: ReportIntervals,
    ) -> anyhow::Result<Self> {
        Self::start_by(kubeconfig, identity, |settings| settings.report_intervals = intervals, true).await
    }

    /// As [`Replica::start`], with other settings.
    pub async fn start_with(
        kubeconfig: &Path,
        identity: &str,
        set: impl FnOnce(&mut StatusSettings),
    ) -> anyhow::Result<Self> {
        Self::start_by(kubeconfig, identity, set, false).await
    }

    async fn start_by(
        kubeconfig: &Path,
        identity: &str,
        set: impl FnOnce(&mut StatusSettings),
        configures_waypoints: bool,
    ) -> anyhow::Result<Self> {
        let connection = connect(&Access { kubeconfig: Some(kubeconfig.to_owned()), context: None }).await?;
        let mut settings = StatusSettings {
            allocates_addresses: true,
            deploys_gateways: false,
            pools: mesh::Pools::default(),
            identity: identity.to_owned(),
            revision: String::new(),
            namespace: "istio-system".to_owned(),
            timings: TIMINGS,
            resync_delay: Duration::from_secs(2),
            relist_interval: Duration::from_secs(600),
            report_intervals: ReportIntervals::default(),
        };
        set(&mut settings);
        let changes = Arc::<ChangedObjects>::default();
        let options = mesh::Options {
            gateway_api: true,
            configures_waypoints,
            revision: settings.revision.clone(),
            proxies: settings.deploys_gateways.then(mesh::ProxyOptions::default),
            ..mesh::Options::default()
        };
        let engine = EngineHandle::start_with(options, vec![Box::new(Arc::clone(&changes))])?;
        let client = connection.client.clone();
        let source = KubeSource::new(connection, KubeSettings::default());
        let reading = tokio::spawn(source.run(engine.batches()));
        let stop = CancellationToken::new();
        let clients = Clients::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let xds = listener.local_addr()?;
        let service = Service::new(
            Ads::new(engine.snapshots(), clients.clone())
                .with_capabilities(|node| mesh::understood_by(node.property("ISTIO_VERSION")))
                .with_claimed_scopes(|node| {
                    (node.role() == "waypoint").then(|| node.cluster.as_str().into()).into_iter().collect()
                }),
        );
        let drain = stop.clone();
        let serving = tokio::spawn(async move {
            // It ends with the test, or is aborted.
            let _ = service.serve(listener, drain).await;
        });
        let stats = Arc::<StatusStats>::default();
        let refusals = Refusals::new(engine.clone(), clients.clone());
        let controllers = Controllers {
            client,
            engine: engine.clone(),
            clients: clients.clone(),
            refusals: refusals.active(),
            changes,
            stats: Arc::clone(&stats),
            settings,
        };
        let writing = tokio::spawn(controllers.run(stop.clone()));
        let following = tokio::spawn(refusals.run());
        let replica = Self { engine, stats, stop, writing, following, reading, serving, xds, clients };
        let mut snapshots = replica.engine.snapshots();
        timeout(LIMIT, snapshots.wait_for(Option::is_some)).await.context("the mesh is not served")??;
        Ok(replica)
    }

    /// Returns its engine.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Returns where streams are opened.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Returns how the ztunnel of a node connects to it.
    pub fn ztunnel(&self, node: &str) -> Options {
        Options { node: Node::ztunnel(node), limit: LIMIT, ..Options::to(self.xds.to_string()) }
    }

    /// Connects the ztunnel of a node; it has an answer of each type on return.
    pub async fn client(&self, node: &str) -> anyhow::Result<Client> {
        let client = Client::connect(self.ztunnel(node)).await?;
        client.until("an answer of each type", |state| state.is_ready()).await?;
        Ok(client)
    }

    /// Waits until it knows the ztunnels of these nodes (ascending) and that they want policies, and has
    /// no other stream. A client may be a while ahead of it: a stream is open with its headers, before a
    /// request on it was read, and one that was left is found to be gone later.
    pub async fn until_nodes(&self, nodes: &[&str]) -> anyhow::Result<()> {
        let mut last = (0, Vec::new());
        let are_known = async || {
            let standings = self.clients.policy_ack_states();
            last = (self.clients.len(), standings.into_iter().map(|(node, _)| node).collect());
            Ok((last.0 == nodes.len() && last.1 == nodes).then_some(()))
        };
        let waited = until(LIMIT, are_known).await;
        waited.with_context(|| format!("{} streams, of {:?} instead of {nodes:?}", last.0, last.1))
    }

    /// Returns its counters.
    pub fn stats(&self) -> &StatusStats {
        &self.stats
    }

    /// Tells whether it writes conditions and gives addresses.
    pub fn leads(&self) -> (bool, bool) {
        let of = self.stats();
        (of.conditions.is_leader.load(Ordering::Relaxed), of.addresses.is_leader.load(Ordering::Relaxed))
    }

    /// Waits until it does both.
    pub async fn leading(&self) -> anyhow::Result<()> {
        let leads = async || Ok((self.leads() == (true, true)).then_some(()));
        until(LIMIT, leads).await.context("it does not lead")
    }

    /// Returns how many statuses it has written: conditions, addresses. It counts a write when it has
    /// read the answer, so who has seen one asks [`Replica::has_written`] or [`Replica::has_given`].
    pub fn written(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.stats().conditions.written), read(&self.stats().addresses.written))
    }

    /// Waits until it has counted so many statuses as written, conditions and addresses, and checks that
    /// it has counted no more.
    pub async fn has_written(&self, (conditions, addresses): (u64, u64)) -> anyhow::Result<()> {
        self.has_counted((conditions, addresses), |written| written).await
    }

    /// As [`Replica::has_written`], of addresses only.
    pub async fn has_given(&self, addresses: u64) -> anyhow::Result<()> {
        self.has_counted((0, addresses), |(_, addresses)| (0, addresses)).await
    }

    async fn has_counted(
        &self,
        expected: (u64, u64),
        of: impl Fn((u64, u64)) -> (u64, u64),
    ) -> anyhow::Result<()> {
        let enough = async || {
            let (conditions, addresses) = of(self.written());
            Ok((conditions >= expected.0 && addresses >= expected.1).then_some(()))
        };
        let waited = until(LIMIT, enough).await;
        waited.with_context(|| format!("{:?} counted instead of {expected:?}", of(self.written())))?;
        let counted = of(self.written());
        ensure!(counted == expected, "{counted:?} counted instead of {expected:?}");
        Ok(())
    }

    /// Ends it in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        timeout(LIMIT, &mut self.writing).await.context("it does not stop")??;
        Ok(())
    }
}
