//! What Envoys refuse of their configuration, and whose doing it is.
//!
//! ```text
//! streams: refused, taken, gone ──▶ Clients ──wakes──▶ Refusals ──asks──▶ engine: made from which objects
//!                                                       │    └──▶ log
//!                                                       └─newest─▶ controllers (statuses), metrics
//! ```
//!
//! A refusal costs no walk: neither over clients nor over resources. Those who refuse are bounded in what they cause:
//! in refusals that are told apart, in questions to the engine, and in lines of the log.

mod active;

pub use active::Refusal;

use crate::engine_thread::EngineHandle;
use active::{Active, Key};
use limits::{LogThrottle, truncated};
use model::{Kind, ObjectRef};
use plane::MadeFrom;
use proto::Scope;
use server::Clients;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The least time between two looks at what is refused.
const PAUSE: Duration = Duration::from_millis(100);

/// How many resources the engine is asked about at one look; the others follow at the next.
const MAX_QUESTIONS: usize = 16;

/// The reason of lines of the log, for their throttle.
const REASON: &str = "configuration_refused";

/// What is refused now, ascending by gateway, type and name.
pub type ActiveRefusals = watch::Receiver<Arc<[Refusal]>>;

/// Follows what the Envoys of this replica refuse.
pub struct Refusals {
    engine: EngineHandle,
    clients: Clients,
    told: watch::Sender<Arc<[Refusal]>>,
    /// Whose doing those are that stand.
    made_from: BTreeMap<Key, Arc<MadeFrom>>,
    throttle: LogThrottle,
}

impl Refusals {
    /// Follows these clients, of which the engine knows what they are sent.
    pub fn new(engine: EngineHandle, clients: Clients) -> Self {
        let (told, _) = watch::channel(Arc::default());
        Self { engine, clients, told, made_from: BTreeMap::new(), throttle: LogThrottle::default() }
    }

    /// Returns what tells the newest.
    pub fn active(&self) -> ActiveRefusals {
        self.told.subscribe()
    }

    /// Follows them until the engine has ended or the future is dropped.
    pub async fn run(mut self) {
        let mut changes = self.clients.refusal_changes();
        changes.mark_changed();
        loop {
            // It never ends: this holds the other end, too.
            if changes.changed().await.is_err() {
                return;
            }
            match self.look().await {
                Some(true) => {}
                Some(false) => changes.mark_changed(),
                None => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at what is refused; tells whether all of it is known. `None` when the engine has ended.
    async fn look(&mut self) -> Option<bool> {
        let active = Active::of(self.clients.refusing());
        self.made_from.retain(|key, _| active.has(key));
        let unknown: Vec<Key> = active.keys().filter(|key| !self.made_from.contains_key(key)).collect();
        for key in unknown.iter().take(MAX_QUESTIONS) {
            let made_from = match key.name.clone() {
                None => MadeFrom::default(),
                Some(name) => {
                    let (of, scope) = (key.of, Scope::proxy(&key.gateway));
                    // One by one: changes must not wait for all of them.
                    self.engine.query(move |plane| plane.made_from(of, &scope, &name)).await?
                }
            };
            self.made_from.insert(key.clone(), Arc::new(made_from));
        }
        let now: Arc<[Refusal]> = active.refusals(&self.made_from).into();
        let before = Arc::clone(&self.told.borrow());
        if now != before {
            self.tell(&before, &now);
            self.told.send_replace(now);
        }
        Some(unknown.len() <= MAX_QUESTIONS)
    }

    /// Tells the log what began and what ended.
    fn tell(&mut self, before: &[Refusal], now: &[Refusal]) {
        for refusal in now.iter().filter(|refusal| !before.contains(refusal)) {
            for object in refusal.objects() {
                if let Some(times) = self.due(&object, refusal) {
                    let name = &object.name;
                    tracing::warn!(
                        kind = object.kind.name(), namespace = &*name.ns, name = name.name.as_str(),
                        gateway = %refusal.gateway, node = truncated(&refusal.node),
                        of = refusal.of.type_url(), resource = refusal.name.as_deref().unwrap_or_default(),
                        times, error = truncated(&refusal.message),
                        "an Envoy refuses what an object makes of its configuration, and goes on with what it had",
                    );
                }
            }
        }
        let is_same = |a: &Refusal, b: &Refusal| (&a.gateway, a.of, &a.name) == (&b.gateway, b.of, &b.name);
        for refusal in before.iter().filter(|of| !now.iter().any(|other| is_same(of, other))) {
            let gateway = ObjectRef { kind: Kind::Gateway, name: refusal.gateway.clone() };
            if let Some(times) = self.due(&gateway, refusal) {
                tracing::info!(
                    gateway = %refusal.gateway, of = refusal.of.type_url(),
                    resource = refusal.name.as_deref().unwrap_or_default(), times,
                    "no Envoy refuses this any more",
                );
            }
        }
    }

    fn due(&mut self, object: &ObjectRef, of: &Refusal) -> Option<u64> {
        let what = format!("{} {} {}", of.gateway, object, of.name.as_deref().unwrap_or_default());
        self.throttle.add(&what, REASON, Instant::now())
    }
}
