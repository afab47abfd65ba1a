//! What identity depends on of the mesh: live pods, accounts, namespaces, the trust domain.
//!
//! ```text
//!  engine ──IdentitySnapshot──▶ IdentityIndex ──▶ pods by name, accounts by node   (who may ask for whom)
//!         (each commit)              ├──────────▶ accounts in all                   (whose certificates are renewed)
//!                                    ├──────────▶ bindings: streams end with their pod
//!                                    └──────────▶ namespaces, trust domain
//! ```
//!
//! Every question is a look-up in the snapshot that the engine published last, at the time of the clock: a pod that is
//! being deleted is gone a minute after its `deletionTimestamp`, whether it still runs or not, as Kubernetes refuses its
//! tokens then. Nothing is asked of the API server: while it is away, the pods that were known last stay known.

use crate::bindings::{Binding, Bindings, BoundPod, Found};
use crate::clock::Clock;
use ca::{Caller, Denial, NodeAuthorizer, Pods, RunningPod, TrustDomain, TrustedAccountsError};
use model::facts::CaCertificate;
use model::{Name, Str};
use plane::{IdentityDelta, IdentitySnapshot, TrustSettings};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// How long a request may wait for the news that its pod is there: it commonly races the event.
const WAIT: Duration = Duration::from_secs(1);

/// How many questions may wait at once.
const WAITS: usize = 4096;

/// How long streams of pods that are being deleted are left unlooked at: the clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The mesh as far as identities depend on its settings.
#[derive(Debug)]
pub struct MeshIdentity {
    /// The trust domain of all identities.
    pub trust_domain: TrustDomain,
    /// Who may ask for the certificates of others.
    pub authorizer: NodeAuthorizer,
}

/// The live pods of a snapshot, at a time.
#[derive(Clone, Copy)]
pub struct LivePods<'s> {
    snapshot: &'s IdentitySnapshot,
    /// In seconds since 1970.
    now: i64,
}

impl Pods for LivePods<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>> {
        let pod = self.snapshot.pod(namespace, name)?;
        Some(RunningPod {
            uid: pod.uid.to_string().into(),
            service_account: &pod.account,
            node: &pod.node,
            is_gone: pod.is_gone(self.now),
        })
    }

    fn runs_on(&self, node: &str, namespace: &str, account: &str) -> bool {
        self.snapshot.runs_on(node, namespace, account, self.now)
    }

    fn has_pod(&self, namespace: &str, account: &str) -> bool {
        self.snapshot.has_pod(namespace, account, self.now)
    }

    fn has_outside(&self, namespace: &str, account: &str) -> bool {
        self.snapshot.has_outside(namespace, account)
    }
}

/// Pods, namespaces and the trust domain, as the engine published them.
pub struct IdentityIndex {
    trusted_accounts: String,
    clock: Arc<dyn Clock>,
    snapshot: watch::Sender<Arc<IdentitySnapshot>>,
    bindings: Bindings,
    /// Tells that a stream is bound to a pod that is being deleted.
    leaving: Notify,
    /// Places of questions that wait for news of a pod.
    waits: Semaphore,
    mesh: watch::Sender<Arc<MeshIdentity>>,
    namespaces: watch::Sender<Arc<BTreeSet<Str>>>,
    /// The host that proxies are told to find their control plane at.
    discovery_host: watch::Sender<Option<String>>,
    ca_certificates: watch::Sender<Arc<Vec<CaCertificate>>>,
}

impl IdentityIndex {
    /// Makes an empty index. `trusted_accounts` is a comma list of `namespace/serviceaccount`; the trust
    /// domain is the default one until the settings come. Pods that are being deleted are gone by `clock`.
    ///
    /// # Errors
    /// When the list has another form.
    pub fn new(trusted_accounts: &str, clock: Arc<dyn Clock>) -> Result<Arc<Self>, TrustedAccountsError> {
        let trust_domain = TrustDomain::default();
        let authorizer = NodeAuthorizer::new(trusted_accounts, [trust_domain.clone()])?;
        Ok(Arc::new(Self {
            trusted_accounts: trusted_accounts.to_owned(),
            clock,
            snapshot: watch::Sender::new(Arc::default()),
            bindings: Bindings::default(),
            leaving: Notify::new(),
            waits: Semaphore::new(WAITS),
            mesh: watch::Sender::new(Arc::new(MeshIdentity { trust_domain, authorizer })),
            namespaces: watch::Sender::new(Arc::default()),
            discovery_host: watch::Sender::new(None),
            ca_certificates: watch::Sender::new(Arc::default()),
        }))
    }

    /// Returns the trust domain and the active rule of impersonation.
    pub fn mesh(&self) -> Arc<MeshIdentity> {
        Arc::clone(&self.mesh.borrow())
    }

    /// Returns the same, as it changes.
    pub fn mesh_changes(&self) -> watch::Receiver<Arc<MeshIdentity>> {
        self.mesh.subscribe()
    }

    /// Returns the UID of a live pod.
    pub fn uid_of(&self, namespace: &str, pod: &str) -> Option<String> {
        self.snapshot.borrow().pod(namespace, pod).map(|pod| pod.uid.to_string())
    }

    /// Returns the namespaces that take part in the mesh, as they change.
    pub fn namespaces(&self) -> watch::Receiver<Arc<BTreeSet<Str>>> {
        self.namespaces.subscribe()
    }

    /// Returns the host of `defaultConfig.discoveryAddress`, as it changes; nothing where none is set.
    pub fn discovery_host(&self) -> watch::Receiver<Option<String>> {
        self.discovery_host.subscribe()
    }

    /// Returns the roots of external signers that the mesh settings name, as they change.
    pub fn ca_certificates(&self) -> watch::Receiver<Arc<Vec<CaCertificate>>> {
        self.ca_certificates.subscribe()
    }

    /// Returns the time, in seconds since 1970.
    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_secs()).unwrap_or(i64::MAX)
    }

    /// Takes what a commit published, and ends the streams whose pods are gone.
    pub fn publish(&self, snapshot: &Arc<IdentitySnapshot>, delta: &IdentityDelta) {
        if delta.settings {
            self.set_settings(snapshot.settings());
        }
        if delta.namespaces {
            self.namespaces.send_replace(Arc::clone(snapshot.namespaces()));
        }
        if delta.pods {
            self.snapshot.send_replace(Arc::clone(snapshot));
            self.release(snapshot, &delta.gone);
            let leaving = delta
                .leaving
                .iter()
                .filter_map(|name| Some((name, snapshot.pod(&name.ns, &name.name)?.gone_at()?)));
            if self.bindings.leave(leaving) {
                self.leaving.notify_one();
            }
        }
    }

    /// Ends the streams that are bound to these pods, but for those of the pod that has the name now and is not gone.
    fn release(&self, snapshot: &IdentitySnapshot, pods: &[Name]) {
        let now = self.now();
        let live = |name: &Name| {
            let pod = snapshot.pod(&name.ns, &name.name).filter(|pod| !pod.is_gone(now))?;
            let instance = snapshot.instance(&name.ns, &name.name).cloned();
            Some(BoundPod { uid: pod.uid.to_string(), instance })
        };
        self.bindings.release(pods, live);
    }

    /// Ends the streams of pods that are gone by now, though they are still there; returns in what time the next one
    /// is, if any is being deleted.
    pub fn end_overdue(&self) -> Option<Duration> {
        let now = self.now();
        let overdue = self.bindings.overdue(now);
        if !overdue.is_empty() {
            let snapshot = Arc::clone(&self.snapshot.borrow());
            self.release(&snapshot, &overdue);
        }
        let left = self.bindings.next_overdue()?.saturating_sub(now);
        Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }

    /// Ends streams as their pods are gone by the clock. Does not return.
    pub(crate) async fn follow_deletions(&self) {
        loop {
            match self.end_overdue() {
                None => self.leaving.notified().await,
                Some(wait) => tokio::select! {
                    () = self.leaving.notified() => {}
                    () = self.clock.sleep(wait.min(LONGEST_WAIT)) => {}
                },
            }
        }
    }

    /// Answers a question about the pods as they are now.
    pub fn decide<T>(&self, question: impl FnOnce(LivePods<'_>) -> T) -> T {
        // Not under the lock of the channel: the engine would wait for the answer.
        let snapshot = Arc::clone(&self.snapshot.borrow());
        question(LivePods { snapshot: &snapshot, now: self.now() })
    }

    /// Asks about the pods, and asks again as they change, for at most a second, while the answer is
    /// one that news of a pod may change. When too many wait already, the first answer counts.
    ///
    /// # Errors
    /// The last [`Denial`].
    pub async fn ask<T>(
        &self,
        mut question: impl FnMut(LivePods<'_>) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let mut snapshots = self.snapshot.subscribe();
        let deadline = Instant::now() + WAIT;
        let mut place = None;
        loop {
            snapshots.mark_unchanged();
            match self.decide(&mut question) {
                Err(denial) if denial.may_pass_soon() => {
                    if place.is_none() {
                        let Ok(taken) = self.waits.try_acquire() else { return Err(denial) };
                        place = Some(taken);
                    }
                    if !matches!(timeout_at(deadline, snapshots.changed()).await, Ok(Ok(()))) {
                        return Err(denial);
                    }
                }
                decided => return decided,
            }
        }
    }

    /// Binds a stream to the pod of its caller: the binding tells when that pod is gone, or an instance of
    /// another gateway.
    ///
    /// # Errors
    /// [`Denial`] when the pod is gone already.
    pub fn bind(&self, caller: &Caller) -> Result<Binding, Denial> {
        let (namespace, pod) = (&caller.namespace, caller.pod.as_ref().map_or("", |pod| pod.name.as_str()));
        let mut is_leaving = false;
        let binding = self.bindings.bind(Name::new(namespace, pod), || {
            let snapshot = Arc::clone(&self.snapshot.borrow());
            let pods = LivePods { snapshot: &snapshot, now: self.now() };
            let live = caller.live_pod(&pods)?;
            let gone_at = snapshot.pod(namespace, pod).and_then(|pod| pod.gone_at());
            is_leaving = gone_at.is_some();
            Ok::<_, Denial>(Found {
                pod: BoundPod {
                    uid: live.uid.into_owned(),
                    instance: snapshot.instance(namespace, pod).cloned(),
                },
                node: live.node.to_owned(),
                gone_at,
            })
        })?;
        if is_leaving {
            self.leaving.notify_one();
        }
        Ok(binding)
    }

    fn set_settings(&self, settings: &TrustSettings) {
        let host = Some(settings.discovery_host.to_string()).filter(|host| !host.is_empty());
        self.discovery_host.send_if_modified(|known| std::mem::replace(known, host.clone()) != host);
        self.ca_certificates.send_if_modified(|known| {
            let is_new = **known != settings.ca_certificates;
            if is_new {
                *known = Arc::new(settings.ca_certificates.clone());
            }
            is_new
        });
        let trust_domain = settings.trust_domain.clone();
        if self.mesh().trust_domain == trust_domain {
            return;
        }
        // The list was read at the start; it does not change.
        if let Ok(authorizer) = NodeAuthorizer::new(&self.trusted_accounts, [trust_domain.clone()]) {
            tracing::info!(%trust_domain, "identities are of another trust domain from now on");
            self.mesh.send_replace(Arc::new(MeshIdentity { trust_domain, authorizer }));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::fake::FakeClock;
    use ca::Refusal;
    use ca::token::BoundObject;
    use model::facts::Pod;
    use model::{Event, Kind, Object};
    use plane::Plane;
    use std::task::Poll;

    fn put(uid: u128, node: &str) -> Event {
        deleted(uid, node, None)
    }

    fn deleted(uid: u128, node: &str, deletion: Option<u32>) -> Event {
        Event::Put(Object::Pod(Arc::new(Pod {
            name: Name::new("shop", "web-0"),
            uid,
            service_account: "web".into(),
            node: node.into(),
            deletion,
            ..Pod::default()
        })))
    }

    fn caller(uid: &str) -> Caller {
        Caller {
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            pod: Some(BoundObject { name: "web-0".to_owned(), uid: uid.to_owned() }),
            node: Some("n1".to_owned()),
        }
    }

    /// An index that a mesh publishes to.
    struct Site(Plane, Arc<IdentityIndex>, FakeClock);

    impl Site {
        fn new() -> Self {
            let clock = FakeClock::default();
            let index = IdentityIndex::new("", Arc::new(clock.clone())).unwrap();
            let mut site = Self(Plane::new(&plane::Options::default()), index, clock);
            Kind::ALL.iter().for_each(|kind| site.apply(Event::Synced(*kind)));
            site
        }

        fn apply(&mut self, event: Event) {
            let delta = self.0.apply([event]);
            self.1.publish(self.0.identity(), &delta.identity);
        }
    }

    #[tokio::test]
    async fn question_waits_for_the_pod_that_follows_another_of_its_name() {
        let mut site = Site::new();
        let newer = "00000000-0000-0000-0000-000000000002".to_owned();
        let (caller, index) = (caller(&newer), Arc::clone(&site.1));
        let question = |pods: LivePods<'_>| caller.live_pod(&pods).map(|pod| pod.uid.into_owned());
        let mut asking = std::pin::pin!(index.ask(question));
        // The watch is behind the token, by one step after another.
        for behind in [put(1, "n1"), put(2, "")] {
            site.apply(behind);
            assert!(matches!(futures::poll!(asking.as_mut()), Poll::Pending));
        }
        site.apply(put(2, "n1"));
        assert_eq!(asking.await.unwrap(), newer);
    }

    #[test]
    fn a_stream_ends_with_its_pod_and_not_with_news_of_it() {
        let mut site = Site::new();
        let caller = caller("00000000-0000-0000-0000-000000000001");
        assert!(site.1.bind(&caller).is_err());
        site.apply(put(1, "n1"));
        let binding = site.1.bind(&caller).unwrap();
        assert_eq!(binding.node, "n1");
        site.apply(put(1, "n1"));
        assert!(!binding.gone.is_cancelled());
        site.apply(put(2, "n1"));
        assert!(binding.gone.is_cancelled());
        assert!(site.1.bind(&caller).is_err());
    }

    #[test]
    fn a_pod_that_does_not_end_is_gone_a_minute_after_its_time_with_its_streams_and_nobody_is_asked_for() {
        let mut site = Site::new();
        let caller = caller("00000000-0000-0000-0000-000000000001");
        site.apply(put(1, "n1"));
        let before = site.1.bind(&caller).unwrap();
        site.apply(deleted(1, "n1", Some(30)));
        let since = site.1.bind(&caller).unwrap();
        let state = || {
            let streams = [&before, &since].map(|stream| stream.gone.is_cancelled());
            let asked_for =
                site.1.decide(|pods| pods.runs_on("n1", "shop", "web") && pods.has_pod("shop", "web"));
            (streams, asked_for, site.1.bind(&caller).map(drop).map_err(|denial| denial.reason()))
        };
        site.2.advance(Duration::from_secs(89));
        assert_eq!(site.1.end_overdue(), Some(Duration::from_secs(1)));
        assert_eq!(state(), ([false; 2], true, Ok(())));
        site.2.advance(Duration::from_secs(1));
        assert_eq!(site.1.end_overdue(), None);
        assert_eq!(state(), ([true; 2], false, Err("pod_deleted")));
    }

    #[tokio::test]
    async fn streams_of_pods_that_do_not_end_are_ended_by_the_clock() {
        let mut site = Site::new();
        let caller = caller("00000000-0000-0000-0000-000000000001");
        site.apply(put(1, "n1"));
        let (index, clock) = (Arc::clone(&site.1), site.2.clone());
        let following = tokio::spawn(async move { index.follow_deletions().await });
        let stream = site.1.bind(&caller).unwrap();
        site.apply(deleted(1, "n1", Some(0)));
        clock.advance(Duration::from_secs(60));
        stream.gone.cancelled().await;
        following.abort();
    }

    #[test]
    fn a_deletion_that_comes_sooner_or_a_pod_that_follows_counts() {
        let mut site = Site::new();
        let caller = caller("00000000-0000-0000-0000-000000000001");
        site.apply(deleted(1, "n1", Some(3600)));
        let stream = site.1.bind(&caller).unwrap();
        site.apply(deleted(1, "n1", Some(10)));
        assert_eq!(site.1.end_overdue(), Some(Duration::from_secs(70)));
        // A pod of the same name, which stays: the time of the one before is nothing to its streams.
        site.apply(put(2, "n1"));
        assert!(stream.gone.is_cancelled());
        let next = super::tests::caller("00000000-0000-0000-0000-000000000002");
        let stream = site.1.bind(&next).unwrap();
        site.2.advance(Duration::from_secs(70));
        site.1.end_overdue();
        assert!(!stream.gone.is_cancelled());
        drop(stream);
        assert!(site.1.bindings.is_empty());
    }
}
