//! What identity depends on of the mesh: live pods, accounts, namespaces, the trust domain.
//!
//! ```text
//!  engine ──IdentitySnapshot──▶ IdentityIndex ──▶ pods by name, accounts by node   (who may ask for whom)
//!         (each commit)              ├──────────▶ accounts in all                   (whose certificates are renewed)
//!                                    ├──────────▶ bindings: streams end with their pod
//!                                    └──────────▶ namespaces, trust domain
//! ```
//!
//! Every question is a look-up in the snapshot that the engine published last. Nothing is asked of the API
//! server: while it is away, the pods that were known last stay known.

use crate::bindings::{Binding, Bindings, BoundPod};
use ca::{Caller, Denial, NodeAuthorizer, Pods, RunningPod, TrustDomain, TrustedAccountsError};
use model::facts::CaCertificate;
use model::{Name, Str};
use plane::{IdentityDelta, IdentitySnapshot, TrustSettings};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// How long a request may wait for the news that its pod is there: it commonly races the event.
const WAIT: Duration = Duration::from_secs(1);

/// How many questions may wait at once.
const WAITS: usize = 4096;

/// The mesh as far as identities depend on its settings.
#[derive(Debug)]
pub struct MeshIdentity {
    /// The trust domain of all identities.
    pub trust_domain: TrustDomain,
    /// Who may ask for the certificates of others.
    pub authorizer: NodeAuthorizer,
}

/// The live pods of a snapshot.
#[derive(Clone, Copy)]
pub struct LivePods<'s>(&'s IdentitySnapshot);

impl Pods for LivePods<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>> {
        let pod = self.0.pod(namespace, name)?;
        Some(RunningPod { uid: pod.uid.to_string().into(), service_account: &pod.account, node: &pod.node })
    }

    fn runs_on(&self, node: &str, namespace: &str, account: &str) -> bool {
        self.0.runs_on(node, namespace, account)
    }

    fn has_account(&self, namespace: &str, account: &str) -> bool {
        self.0.has_account(namespace, account)
    }
}

/// Pods, namespaces and the trust domain, as the engine published them.
pub struct IdentityIndex {
    trusted_accounts: String,
    snapshot: watch::Sender<Arc<IdentitySnapshot>>,
    bindings: Bindings,
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
    /// domain is the default one until the settings come.
    ///
    /// # Errors
    /// When the list has another form.
    pub fn new(trusted_accounts: &str) -> Result<Arc<Self>, TrustedAccountsError> {
        let trust_domain = TrustDomain::default();
        let authorizer = NodeAuthorizer::new(trusted_accounts, [trust_domain.clone()])?;
        Ok(Arc::new(Self {
            trusted_accounts: trusted_accounts.to_owned(),
            snapshot: watch::Sender::new(Arc::default()),
            bindings: Bindings::default(),
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
            let live = |pod: &Name| {
                let uid = snapshot.pod(&pod.ns, &pod.name)?.uid.to_string();
                Some(BoundPod { uid, instance: snapshot.instance(&pod.ns, &pod.name).cloned() })
            };
            self.bindings.release(&delta.gone, live);
        }
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
            // Not under the lock of the channel: the engine would wait for the answer.
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            match question(LivePods(&snapshot)) {
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
        self.bindings.bind(Name::new(namespace, pod), || {
            let snapshot = Arc::clone(&self.snapshot.borrow());
            let pods = LivePods(&snapshot);
            let live = caller.live_pod(&pods)?;
            let instance = snapshot.instance(namespace, pod).cloned();
            Ok((BoundPod { uid: live.uid.into_owned(), instance }, live.node.to_owned()))
        })
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
    use ca::token::BoundObject;
    use model::facts::Pod;
    use model::{Event, Kind, Object};
    use plane::Plane;
    use std::task::Poll;

    fn put(uid: u128, node: &str) -> Event {
        Event::Put(Object::Pod(Arc::new(Pod {
            name: Name::new("shop", "web-0"),
            uid,
            service_account: "web".into(),
            node: node.into(),
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
    struct Site(Plane, Arc<IdentityIndex>);

    impl Site {
        fn new() -> Self {
            let mut site = Self(Plane::new(&plane::Options::default()), IdentityIndex::new("").unwrap());
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
}
