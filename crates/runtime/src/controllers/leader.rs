//! The controllers of one replica, each of which runs while this replica is the leader for it.

use super::addresses;
use super::changes::ChangedObjects;
use super::deployment;
use super::settings::StatusSettings;
use super::stats::StatusStats;
use super::status::{self, Part};
use super::unread;
use crate::engine_thread::EngineHandle;
use crate::refusals::ActiveRefusals;
use cluster::{Candidate, Election, Lock, WriterStats};
use kube::Client;
use server::Clients;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The lock of conditions; istiod uses the same.
const CONDITIONS: &str = "istio-status-leader";
/// The lock of statuses of the Gateway API, before the revision; istiod uses the same.
const GATEWAYS: &str = "istio-gateway-status-leader";
/// The lock of who deploys gateways, before the revision; istiod uses the same.
const DEPLOYMENTS: &str = "istio-gateway-deployment";
/// The lock of automatic addresses; istiod uses the same.
const ADDRESSES: &str = "istio-ip-autoallocate";

/// The controllers that write statuses, ready to run.
pub struct Controllers {
    /// The way to the API server.
    pub client: Client,
    /// Knows what statuses should hold.
    pub engine: EngineHandle,
    /// The clients of this replica, which acknowledge policies.
    pub clients: Clients,
    /// What Envoys of this replica refuse.
    pub refusals: ActiveRefusals,
    /// The objects that changed, as the engine thread notes them.
    pub changes: Arc<ChangedObjects>,
    /// The counters.
    pub stats: Arc<StatusStats>,
    /// Who takes part in the elections, and where.
    pub settings: StatusSettings,
}

impl Controllers {
    /// Writes statuses until `stop`; begins once the mesh is served, since nothing is known before.
    pub async fn run(self, stop: CancellationToken) {
        let Self { client, engine, clients, refusals, changes, stats, settings } = self;
        let mut snapshots = engine.snapshots();
        let is_served = tokio::select! {
            served = snapshots.wait_for(Option::is_some) => served.is_ok(),
            () = stop.cancelled() => false,
        };
        if !is_served {
            return;
        }
        let key = if settings.revision.is_empty() { "default" } else { &settings.revision };
        let candidate = |lock, task| {
            let (is_leader, watched) = watch::channel(false);
            let candidate = Candidate {
                lock,
                namespace: settings.namespace.clone(),
                election: Election::new(settings.identity.clone(), key.to_owned(), settings.timings),
                retry_period: settings.timings.retry_period,
                task,
                is_leader,
            };
            (candidate, watched)
        };
        let lease = Lock::lease(client.clone(), &settings.namespace, CONDITIONS);
        let of_revision = Lock::lease(client.clone(), &settings.namespace, &format!("{GATEWAYS}-{key}"));
        let of_deployments =
            Lock::lease(client.clone(), &settings.namespace, &format!("{DEPLOYMENTS}-{key}"));
        let map = Lock::config_map(client.clone(), &settings.namespace, ADDRESSES);
        let (for_conditions, leads_conditions) = candidate(lease, "writes conditions");
        let (for_gateways, leads_gateways) = candidate(of_revision, "writes statuses of the Gateway API");
        let (for_deployments, leads_deployments) = candidate(of_deployments, "deploys gateways");
        let (for_addresses, leads_addresses) = candidate(map, "allocates addresses");
        let unread = while_leading(leads_conditions.clone(), &stats.unread, || {
            unread::run(&client, &engine, &stats, &settings)
        });
        let conditions = while_leading(leads_conditions, &stats.conditions, || {
            status::run(Part::Mesh, &client, &engine, &clients, &refusals, &changes, &stats, &settings)
        });
        let gateways = while_leading(leads_gateways, &stats.gateways, || {
            status::run(Part::Gateways, &client, &engine, &clients, &refusals, &changes, &stats, &settings)
        });
        let addresses = while_leading(leads_addresses, &stats.addresses, || {
            addresses::run(&client, &engine, &changes, &stats, &settings)
        });
        let deployments = while_leading(leads_deployments, &stats.deployments, || {
            deployment::run(&client, &engine, &changes, &stats, &settings)
        });
        let controllers = async {
            tokio::join!(conditions, gateways, deployments, unread, addresses);
        };
        let candidates = async {
            let addresses = async {
                // Without a candidate there is no leader: the controller ends at once.
                if settings.allocates_addresses {
                    for_addresses.run(&stats.addresses, stop.clone()).await;
                }
            };
            let deployments = async {
                if settings.deploys_gateways {
                    for_deployments.run(&stats.deployments, stop.clone()).await;
                }
            };
            tokio::join!(
                for_conditions.run(&stats.conditions, stop.clone()),
                for_gateways.run(&stats.gateways, stop.clone()),
                deployments,
                addresses,
            );
        };
        tokio::select! {
            () = candidates => {}
            // They end when the engine has ended.
            () = controllers => {}
        }
    }
}

/// Runs a controller whenever this replica is the leader, and drops it at once when it no longer is.
async fn while_leading<C: Future<Output = ()>>(
    mut is_leader: watch::Receiver<bool>,
    stats: &WriterStats,
    controller: impl Fn() -> C,
) {
    loop {
        if is_leader.wait_for(|is_leader| *is_leader).await.is_err() {
            return;
        }
        stats.is_leader.store(true, Ordering::Relaxed);
        let has_lost = tokio::select! {
            biased;
            lost = is_leader.wait_for(|is_leader| !*is_leader) => lost.is_ok(),
            () = controller() => false,
        };
        stats.is_leader.store(false, Ordering::Relaxed);
        stats.waiting.store(0, Ordering::Relaxed);
        if !has_lost {
            return;
        }
    }
}
