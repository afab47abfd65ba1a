//! The locks in the cluster that replicas, ours and istiod's, hold while they lead.
//!
//! A lock is a `Lease`, or where istiod uses one, a `ConfigMap` with an annotation; both hold the same
//! [`LeaderRecord`]. A write names the version that was read, so of two candidates one fails.

use crate::leader_election::{Election, LeaderRecord};
use crate::stats::WriterStats;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The annotation of a Lease that names the revision of its holder.
const HOLDER_KEY: &str = "leader.istio.io/holder-key";
/// The annotation of a ConfigMap that is a lock.
const RECORD_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// How long releasing a lock may take when the process stops.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The object that is the lock.
pub enum Lock {
    /// A `Lease` of this name.
    Lease(Api<Lease>, String),
    /// A `ConfigMap` of this name.
    ConfigMap(Api<ConfigMap>, String),
}

/// The object as it was read.
enum StoredLock {
    Lease(Lease),
    ConfigMap(ConfigMap),
}

/// The form of a record in a ConfigMap.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AnnotationRecord {
    holder_identity: String,
    holder_key: String,
    lease_duration_seconds: i32,
    acquire_time: Option<Timestamp>,
    renew_time: Option<Timestamp>,
    leader_transitions: i32,
}

impl Lock {
    /// A `Lease` of this name.
    pub fn lease(client: Client, namespace: &str, name: &str) -> Self {
        Self::Lease(Api::namespaced(client, namespace), name.to_owned())
    }

    /// A `ConfigMap` of this name.
    pub fn config_map(client: Client, namespace: &str, name: &str) -> Self {
        Self::ConfigMap(Api::namespaced(client, namespace), name.to_owned())
    }

    fn name(&self) -> &str {
        match self {
            Self::Lease(_, name) | Self::ConfigMap(_, name) => name,
        }
    }

    fn resource(&self) -> &'static str {
        match self {
            Self::Lease(..) => "leases.coordination.k8s.io",
            Self::ConfigMap(..) => "configmaps",
        }
    }

    async fn read(&self) -> Result<Option<(LeaderRecord, StoredLock)>, kube::Error> {
        Ok(match self {
            Self::Lease(api, name) => {
                api.get_opt(name).await?.map(|l| (from_lease(&l), StoredLock::Lease(l)))
            }
            Self::ConfigMap(api, name) => {
                api.get_opt(name).await?.map(|m| (from_config_map(&m), StoredLock::ConfigMap(m)))
            }
        })
    }

    async fn write(&self, record: &LeaderRecord, held: Option<StoredLock>) -> Result<(), kube::Error> {
        let params =
            PostParams { field_manager: Some("pilothouse-leader".to_owned()), ..PostParams::default() };
        match self {
            Self::Lease(api, name) => {
                let (mut lease, is_new) = match held {
                    Some(StoredLock::Lease(lease)) => (lease, false),
                    _ => (Lease { metadata: named(name), ..Lease::default() }, true),
                };
                to_lease(record, &mut lease);
                if is_new {
                    api.create(&params, &lease).await
                } else {
                    api.replace(name, &params, &lease).await
                }
                .map(drop)
            }
            Self::ConfigMap(api, name) => {
                let (mut map, is_new) = match held {
                    Some(StoredLock::ConfigMap(map)) => (map, false),
                    _ => (ConfigMap { metadata: named(name), ..ConfigMap::default() }, true),
                };
                to_config_map(record, &mut map);
                if is_new { api.create(&params, &map).await } else { api.replace(name, &params, &map).await }
                    .map(drop)
            }
        }
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn annotate(metadata: &mut ObjectMeta, name: &str, value: String) {
    metadata.annotations.get_or_insert_with(BTreeMap::new).insert(name.to_owned(), value);
}

fn from_lease(lease: &Lease) -> LeaderRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    LeaderRecord {
        holder: spec.holder_identity.unwrap_or_default(),
        key: annotation(&lease.metadata, HOLDER_KEY).unwrap_or_default().to_owned(),
        seconds: spec.lease_duration_seconds.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn to_lease(record: &LeaderRecord, lease: &mut Lease) {
    annotate(&mut lease.metadata, HOLDER_KEY, record.key.clone());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(record.holder.clone());
    spec.lease_duration_seconds = Some(record.seconds);
    spec.acquire_time = record.acquired.map(MicroTime);
    spec.renew_time = record.renewed.map(MicroTime);
    spec.lease_transitions = Some(record.transitions);
}

fn from_config_map(map: &ConfigMap) -> LeaderRecord {
    // A record that cannot be parsed is a lock that nobody holds.
    let found = annotation(&map.metadata, RECORD_ANNOTATION)
        .and_then(|text| serde_json::from_str::<AnnotationRecord>(text).ok());
    let found = found.unwrap_or_default();
    LeaderRecord {
        holder: found.holder_identity,
        key: found.holder_key,
        seconds: found.lease_duration_seconds,
        acquired: found.acquire_time,
        renewed: found.renew_time,
        transitions: found.leader_transitions,
    }
}

fn to_config_map(record: &LeaderRecord, map: &mut ConfigMap) {
    // istiod reads whole seconds here.
    let whole = |time: Option<Timestamp>| time.and_then(|t| Timestamp::from_second(t.as_second()).ok());
    let annotated = AnnotationRecord {
        holder_identity: record.holder.clone(),
        holder_key: record.key.clone(),
        lease_duration_seconds: record.seconds,
        acquire_time: whole(record.acquired),
        renew_time: whole(record.renewed),
        leader_transitions: record.transitions,
    };
    // A struct of strings and numbers has a JSON form.
    let text = serde_json::to_string(&annotated).unwrap_or_default();
    annotate(&mut map.metadata, RECORD_ANNOTATION, text);
}

/// Takes part in the election for one lock.
pub struct Candidate {
    /// The lock.
    pub lock: Lock,
    /// Its namespace.
    pub namespace: String,
    /// Decides from what is read.
    pub election: Election,
    /// How often the lock is renewed, or read.
    pub retry_period: Duration,
    /// What the leader does, for the log: a verb and its object.
    pub task: &'static str,
    /// Whether this candidate leads.
    pub is_leader: watch::Sender<bool>,
}

impl Candidate {
    /// Acquires or renews the lock until `stop`, then releases it.
    pub async fn run(mut self, stats: &WriterStats, stop: CancellationToken) {
        loop {
            let begin = Instant::now();
            // A leader whose request hangs must stop leading in time.
            let limit = self.election.deadline().map_or(self.retry_period, |at| {
                at.saturating_duration_since(begin).clamp(Duration::from_millis(100), self.retry_period)
            });
            let attempt = tokio::select! {
                attempt = timeout(limit, try_acquire_or_renew(&self.lock, &mut self.election)) => attempt,
                () = stop.cancelled() => break,
            };
            let found = match attempt {
                Ok(Ok(())) => None,
                Ok(Err(error)) => self.problem(&error),
                Err(_) => Some("the API server does not answer".to_owned()),
            };
            let sentence = found
                .map(|cause| format!("cannot take part in the election for {}: {cause}", self.lock.name()));
            if stats.set_problem(self.lock.name(), sentence.clone())
                && let Some(sentence) = sentence
            {
                tracing::warn!("{sentence}; trying again");
            }
            self.publish(Instant::now());
            let mut next = self.election.next_attempt(begin);
            if let Some(deadline) = self.election.deadline() {
                next = next.min(deadline);
            }
            // Never a busy loop, whatever the lock holds.
            let next = next.max(Instant::now() + Duration::from_millis(50));
            tokio::select! {
                () = sleep_until(next.into()) => {}
                () = stop.cancelled() => break,
            }
            self.publish(Instant::now());
        }
        self.is_leader.send_replace(false);
        self.release().await;
    }

    fn publish(&self, now: Instant) {
        let is_leader = self.election.is_leader(now);
        let has_changed =
            self.is_leader.send_if_modified(|was| std::mem::replace(was, is_leader) != is_leader);
        if has_changed && is_leader {
            tracing::info!(lock = self.lock.name(), "this replica now {}", self.task);
        } else if has_changed {
            let lock = self.lock.name();
            match self.election.holder() {
                // The record is still there: it could not be renewed, and another may acquire it when it ends.
                own if own == self.election.identity() => {
                    tracing::info!(
                        lock,
                        "this replica no longer {}: the lock was not renewed in time",
                        self.task
                    );
                }
                "" => tracing::info!(lock, "this replica no longer {}: nobody holds the lock", self.task),
                holder => tracing::info!(lock, holder, "this replica no longer {}", self.task),
            }
        }
    }

    async fn release(&mut self) {
        let Some(record) = self.election.release(Timestamp::now()) else { return };
        let release = async {
            if let Some((found, held)) = self.lock.read().await?
                && found.holder == self.election.identity()
            {
                self.lock.write(&record, Some(held)).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(())) => tracing::info!(lock = self.lock.name(), "released the lock"),
            // It expires by itself.
            _ => tracing::debug!(lock = self.lock.name(), "could not release the lock"),
        }
    }

    /// Describes what is wrong; `None` for a write that lost against another candidate.
    fn problem(&self, error: &kube::Error) -> Option<String> {
        let (resource, name, namespace) = (self.lock.resource(), self.lock.name(), &self.namespace);
        match error {
            kube::Error::Api(status) if status.code == 409 => None,
            kube::Error::Api(status) if status.code == 403 => Some(format!(
                "{}; grant create on {resource}, and get and update on {name}, in the namespace {namespace}, as the chart's Role does; the mesh is served all the same",
                status.message.trim_end_matches('.')
            )),
            kube::Error::Api(status) if status.code == 404 => Some(format!(
                "{}; the namespace {namespace} is the one of --system-namespace: create it, or name another",
                status.message.trim_end_matches('.')
            )),
            other => Some(crate::error::root_cause(other)),
        }
    }
}

/// Reads the lock, and writes it if it is ours or free.
async fn try_acquire_or_renew(lock: &Lock, election: &mut Election) -> Result<(), kube::Error> {
    let (found, held) = lock.read().await?.unzip();
    let sent = Instant::now();
    if let Some(record) = election.observe(found.as_ref(), sent, Timestamp::now()) {
        lock.write(&record, held).await?;
        election.written(record, sent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record() -> LeaderRecord {
        LeaderRecord {
            holder: "istiod-1".to_owned(),
            key: "default".to_owned(),
            seconds: 30,
            acquired: Some(Timestamp::from_second(1_000_000_000).unwrap()),
            renewed: Some(Timestamp::from_second(1_000_000_007).unwrap()),
            transitions: 3,
        }
    }

    #[test]
    fn a_record_comes_back_from_a_lease_and_from_a_config_map() {
        let (mut lease, mut map) = (Lease::default(), ConfigMap::default());
        to_lease(&record(), &mut lease);
        assert_eq!(from_lease(&lease), record());
        to_config_map(&record(), &mut map);
        assert_eq!(from_config_map(&map), record());
        assert_eq!(
            annotation(&map.metadata, RECORD_ANNOTATION).unwrap(),
            "{\"holderIdentity\":\"istiod-1\",\"holderKey\":\"default\",\"leaseDurationSeconds\":30,\
             \"acquireTime\":\"2001-09-09T01:46:40Z\",\"renewTime\":\"2001-09-09T01:46:47Z\",\"leaderTransitions\":3}"
        );
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_held_by_nobody() {
        let mut map = ConfigMap::default();
        assert_eq!(from_config_map(&map), LeaderRecord::default());
        annotate(&mut map.metadata, RECORD_ANNOTATION, "{".to_owned());
        assert_eq!(from_config_map(&map), LeaderRecord::default());
        assert_eq!(from_lease(&Lease::default()), LeaderRecord::default());
    }
}
