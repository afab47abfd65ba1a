//! The controller that deploys gateways: everything once when this replica becomes the leader, then what
//! changes, of what is to be and of what is there.
//!
//! ```text
//! engine ──names──▶ deployments ──┐
//!                                 ├─▶ State: what differs ──▶ ObjectWriter ──apply, delete──▶ API server
//! watches of labelled objects ────┘                                 └──what it holds now──▶ State
//! ```
//!
//! An object without our label is never touched, and neither is anything of a gateway of which it cannot be
//! said what is to be deployed.

mod compare;
mod state;

use super::changes::{Changed, ChangedObjects};
use super::settings::StatusSettings;
use super::stats::StatusStats;
use crate::engine_thread::EngineHandle;
use cluster::{Ended, Lane, ObjectClient, ObjectWriter, WrittenKind, WrittenObject, root_cause};
use compare::{Desired, written_kind};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, stream};
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Client, ResourceExt};
use model::{Name, Str};
use plane::{MANAGED_LABEL, ManifestKind, Plane};
use state::{State, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

type WatchEvent = (WrittenKind, Result<Event<DynamicObject>, Error>);

/// Deploys gateways until the future is dropped, which is when this replica no longer leads, or the engine
/// has ended.
pub(super) async fn run(
    client: &Client,
    engine: &EngineHandle,
    changes: &ChangedObjects,
    stats: &StatusStats,
    settings: &StatusSettings,
) {
    let mut deployer = Deployer {
        state: State::default(),
        writer: ObjectWriter::new(ObjectClient::new(client.clone()), &stats.deployments),
        stats,
        again: BTreeSet::new(),
        told: BTreeMap::new(),
    };
    // Changes are recorded from here on, so none is missed between the first query and them.
    let _recording = changes.record_deployments();
    let Some(all) = engine.query(Plane::deployments).await else { return };
    for (gateway, deployment) in all {
        // Nothing is listed yet: what is there is compared when it is shown.
        deployer.state.set(&gateway, Some(deployment));
    }
    let mut events = watches(client);
    let mut retry = None;
    loop {
        if retry.is_none() && !deployer.again.is_empty() {
            retry = Some(Instant::now() + settings.resync_delay);
        }
        let due = async {
            match retry {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {
                retry = None;
                deployer.retry();
            }
            changed = changes.next_deployments() => {
                let gateways: BTreeSet<Name> = match changed {
                    Changed::Keys(gateways) => gateways.into_iter().map(|(gateway, _)| gateway).collect(),
                    Changed::All => deployer.state.gateways(),
                };
                let query = move |mesh: &Plane| {
                    let each = gateways.into_iter().map(|name| (mesh.deployment(&name), name));
                    each.collect::<Vec<_>>()
                };
                let Some(rows) = engine.query(query).await else { return };
                let work = rows.into_iter().flat_map(|(new, gateway)| deployer.state.set(&gateway, new));
                let work: Vec<Work> = work.collect();
                deployer.add(work);
            }
            Some((kind, event)) = events.next() => deployer.event(kind, event),
            ended = deployer.writer.process() => {
                if let Some((object, ended)) = ended {
                    deployer.ended(object, ended);
                }
            }
        }
    }
}

/// Watches the objects that were deployed, of every kind.
fn watches(client: &Client) -> SelectAll<BoxStream<'static, WatchEvent>> {
    let of_kind = |kind: ManifestKind| {
        let kind = written_kind(kind);
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind.resource());
        let events = watcher(api, Config::default().labels(MANAGED_LABEL)).default_backoff();
        events.map(move |event| (kind, event)).boxed()
    };
    stream::select_all(ManifestKind::ALL.map(of_kind))
}

struct Deployer<'a> {
    state: State,
    writer: ObjectWriter<'a, Desired>,
    stats: &'a StatusStats,
    /// What is to be tried again later.
    again: BTreeSet<WrittenObject>,
    /// What was last said of an object.
    told: BTreeMap<WrittenObject, String>,
}

impl Deployer<'_> {
    fn add(&mut self, work: Vec<Work>) {
        let lane = Lane::of(work.len());
        for (object, desired, stored) in work {
            self.again.remove(&object);
            self.writer.add(object, desired, stored, lane);
        }
    }

    fn retry(&mut self) {
        let again = std::mem::take(&mut self.again);
        let work = again.iter().filter_map(|object| self.state.wanted(object, None)).collect();
        self.add(work);
    }

    fn event(&mut self, kind: WrittenKind, event: Result<Event<DynamicObject>, Error>) {
        match event {
            Ok(Event::Init) => self.state.begin_listing(kind),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let of = written(kind, &object);
                match serde_json::to_value(&object) {
                    Ok(stored) => {
                        let work = self.state.observe(of, Arc::new(stored));
                        self.add(work.into_iter().collect());
                    }
                    Err(error) => tracing::warn!(object = %of, %error, "cannot compare it"),
                }
            }
            Ok(Event::InitDone) => {
                self.stats.deployments.set_problem(kind.plural, None);
                let work = self.state.end_listing(kind);
                self.add(work);
            }
            Ok(Event::Delete(object)) => {
                let work = self.state.removed(&written(kind, &object));
                self.add(work.into_iter().collect());
            }
            Err(error) => self.watch_failed(kind, &error),
        }
    }

    fn watch_failed(&self, kind: WrittenKind, error: &Error) {
        let is_forbidden = match error {
            Error::InitialListFailed(kube::Error::Api(status))
            | Error::WatchStartFailed(kube::Error::Api(status))
            | Error::WatchFailed(kube::Error::Api(status)) => status.code == 403,
            Error::WatchError(status) => status.code == 403,
            _ => false,
        };
        if !is_forbidden {
            tracing::debug!(kind = kind.name, %error, "the watch was interrupted");
            return;
        }
        let what = match kind.group {
            "" => kind.plural.to_owned(),
            group => format!("{}.{group}", kind.plural),
        };
        let sentence = format!(
            "not allowed to list and watch {what}; grant list and watch on {what} to this user, as the chart's ClusterRole does; no gateway is deployed until then"
        );
        if self.stats.deployments.set_problem(kind.plural, Some(sentence.clone())) {
            tracing::error!(cause = root_cause(error), "{sentence}");
        }
    }

    fn ended(&mut self, object: WrittenObject, ended: Ended) {
        let (sentence, is_tried_again) = match ended {
            Ended::Applied(now) => {
                tracing::info!("applied {object}");
                self.state.applied(&object, &now);
                (None, false)
            }
            Ended::Deleted => {
                tracing::info!("deleted {object}, since its Gateway no longer has it");
                (None, false)
            }
            Ended::Unchanged => (None, false),
            Ended::Foreign => {
                let sentence = format!(
                    "{object} is there and is not what Gateway {} deploys: it lacks the label {MANAGED_LABEL}, or another Gateway owns it; it is left alone: remove it, or choose another name by the annotation gateway.istio.io/name-override",
                    self.state.claimants(&object)
                );
                (Some(sentence), true)
            }
            Ended::Refused(why) => {
                (Some(format!("{why}; it stays as it is until its Gateway changes")), false)
            }
            Ended::GivenUp(why) => (Some(format!("{why}; trying again later")), true),
        };
        if is_tried_again {
            self.again.insert(object.clone());
        }
        match sentence {
            None => {
                self.told.remove(&object);
            }
            Some(sentence) => {
                if self.told.get(&object) != Some(&sentence) {
                    tracing::warn!("{sentence}");
                    self.told.insert(object, sentence);
                }
            }
        }
    }
}

fn written(kind: WrittenKind, object: &DynamicObject) -> WrittenObject {
    WrittenObject {
        kind,
        namespace: Str::from(object.namespace().unwrap_or_default()),
        name: Str::from(object.name_any()),
    }
}
