//! What identity depends on of the cluster: live pods, workloads outside, namespaces, the trust domain.
//!
//! ```text
//!  batches of the source ──take──▶ World ──▶ pods by name, accounts by node   (who may ask for whom)
//!       (same as the mesh)           ├─────▶ accounts in all                   (whose certificates are renewed)
//!                                    ├─────▶ bindings: streams end with their pod
//!                                    └─────▶ namespaces, trust domain
//! ```
//!
//! Every question is a look-up. Nothing is asked of the API server: while it is away, the pods that
//! were known last stay known.

use super::pods::{Binding, PodTable};
use ca::{
    Caller, Denial, IdentityError, NodeAuthorizer, Pods, RunningPod, TrustDomain, TrustedAccountsError,
};
use hashbrown::{HashMap, HashSet};
use model::Event;
use model::facts::{CaCertificate, MeshSettings, Namespace, Object};
use model::{Kind, Name, Ns, ObjectRef, Selector, Str, shared};
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// How long a request may wait for the news that its pod is there: it commonly races the event.
const WAIT: Duration = Duration::from_secs(1);

/// How many questions may wait at once.
const WAITS: usize = 4096;

/// How many events are taken at a time, so that no question waits for a whole listing.
const TURN: usize = 1024;

/// A setting that identities cannot be made from.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The list of trusted accounts cannot be read.
    #[error("{0}; correct --trusted-node-accounts")]
    Accounts(#[from] TrustedAccountsError),
    /// The trust domain cannot stand in an identity.
    #[error("trust domain: {0}")]
    TrustDomain(#[from] IdentityError),
}

/// The mesh as far as identities depend on its settings.
#[derive(Debug)]
pub struct MeshIdentity {
    /// The trust domain of all identities.
    pub trust_domain: TrustDomain,
    /// Who may ask for the certificates of others.
    pub authorizer: NodeAuthorizer,
}

/// Pods, namespaces and the trust domain, as the source tells them.
pub struct World {
    trusted_accounts: String,
    table: RwLock<PodTable>,
    pods_changed: watch::Sender<()>,
    /// Places of questions that wait for news of a pod.
    waits: Semaphore,
    mesh: RwLock<Arc<MeshIdentity>>,
    namespaces: watch::Sender<Arc<BTreeSet<Str>>>,
    /// The host that proxies are told to find their control plane at.
    discovery_host: watch::Sender<Option<String>>,
    ca_certificates: watch::Sender<Arc<Vec<CaCertificate>>>,
}

impl World {
    /// Makes an empty world and what fills it. `trusted_accounts` is a comma list of
    /// `namespace/serviceaccount`; the trust domain is the default one until the settings come.
    ///
    /// # Errors
    /// When the list has another form.
    pub fn new(trusted_accounts: &str) -> Result<(Arc<Self>, WorldWriter), WorldError> {
        let trust_domain = TrustDomain::parse(&MeshSettings::default().trust_domain)?;
        let authorizer = NodeAuthorizer::new(trusted_accounts, [trust_domain.clone()])?;
        let world = Arc::new(Self {
            trusted_accounts: trusted_accounts.to_owned(),
            table: RwLock::default(),
            pods_changed: watch::Sender::new(()),
            waits: Semaphore::new(WAITS),
            mesh: RwLock::new(Arc::new(MeshIdentity { trust_domain, authorizer })),
            namespaces: watch::Sender::new(Arc::default()),
            discovery_host: watch::Sender::new(None),
            ca_certificates: watch::Sender::new(Arc::default()),
        });
        let writer = WorldWriter {
            world: Arc::clone(&world),
            listing: HashMap::new(),
            namespaces: HashMap::new(),
            selectors: Vec::new(),
        };
        Ok((world, writer))
    }

    /// Returns the trust domain and the rule of impersonation in force.
    pub fn mesh(&self) -> Arc<MeshIdentity> {
        Arc::clone(&self.mesh.read())
    }

    /// Returns the UID of a live pod.
    pub fn uid_of(&self, namespace: &str, pod: &str) -> Option<String> {
        self.table.read().pod(namespace, pod).map(|pod| pod.uid.to_owned())
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

    /// Asks about the pods, and asks again as they change, for at most a second, while the answer is
    /// one that news of a pod may change. When too many wait already, the first answer counts.
    ///
    /// # Errors
    /// The last [`Denial`].
    pub async fn ask<T>(
        &self,
        mut question: impl FnMut(&PodTable) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let mut changed = self.pods_changed.subscribe();
        let deadline = Instant::now() + WAIT;
        let mut place = None;
        loop {
            changed.mark_unchanged();
            let answer = question(&self.table.read());
            match answer {
                Err(denial) if denial.may_pass_soon() => {
                    if place.is_none() {
                        let Ok(taken) = self.waits.try_acquire() else { return Err(denial) };
                        place = Some(taken);
                    }
                    if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                        return Err(denial);
                    }
                }
                decided => return decided,
            }
        }
    }

    /// Binds a stream to the pod of its caller: the binding tells when that pod is gone.
    ///
    /// # Errors
    /// [`Denial`] when the pod is gone already.
    pub fn bind(self: &Arc<Self>, caller: &Caller) -> Result<Binding, Denial> {
        let mut table = self.table.write();
        // Under the one lock, so that no removal falls between the look and the binding.
        let node = caller.live_pod(&*table).map(|RunningPod { node, .. }| node.to_owned())?;
        Ok(table.bind(Arc::clone(self), caller, node))
    }

    pub(super) fn unbind(&self, pod: &Name, id: u64) {
        self.table.write().unbind(pod, id);
    }

    fn set_discovery_address(&self, setting: &str) {
        let host = ca::host_of(setting).map(str::to_owned);
        if host.is_none() && !setting.is_empty() {
            tracing::warn!(
                setting,
                "the mesh setting defaultConfig.discoveryAddress is refused: write host:port; the serving \
                 certificate goes without it",
            );
        }
        self.discovery_host.send_if_modified(|known| {
            let is_new = *known != host;
            *known = host;
            is_new
        });
    }

    fn set_trust_domain(&self, setting: &str) {
        let trust_domain = match TrustDomain::from_mesh_setting(setting) {
            Ok(domain) => domain,
            Err(error) => {
                return tracing::warn!(setting, %error, "the mesh setting trustDomain is refused; the last one stays");
            }
        };
        if self.mesh().trust_domain == trust_domain {
            return;
        }
        // The list was read at the start; it does not change.
        if let Ok(authorizer) = NodeAuthorizer::new(&self.trusted_accounts, [trust_domain.clone()]) {
            tracing::info!(%trust_domain, "identities are of another trust domain from now on");
            *self.mesh.write() = Arc::new(MeshIdentity { trust_domain, authorizer });
        }
    }
}

/// Takes the events of a source into a [`World`].
pub struct WorldWriter {
    world: Arc<World>,
    /// Names met in a listing that goes on.
    listing: HashMap<Kind, HashSet<Name>>,
    namespaces: HashMap<Ns, Arc<Namespace>>,
    /// `discoverySelectors`; none means every namespace.
    selectors: Vec<Selector>,
}

impl WorldWriter {
    /// Takes events, in their order.
    pub fn take(&mut self, events: &[Event]) {
        let world = Arc::clone(&self.world);
        let mut news = News::default();
        for turn in events.chunks(TURN) {
            let mut table = world.table.write();
            for event in turn {
                self.take_one(event, &mut table, &mut news);
            }
        }
        if news.pods {
            world.pods_changed.send_replace(());
        }
        if news.namespaces {
            self.publish_namespaces();
        }
    }

    fn take_one(&mut self, event: &Event, pods: &mut PodTable, news: &mut News) {
        match event {
            Event::Begin(kind) => {
                if matches!(kind, Kind::Pod | Kind::WorkloadEntry | Kind::Namespace | Kind::ConfigMap) {
                    self.listing.insert(*kind, HashSet::new());
                }
            }
            Event::Put(object) => {
                if let Some(met) = self.listing.get_mut(&object.kind()) {
                    met.insert(object.name());
                }
                match object {
                    Object::Pod(pod) => {
                        pods.put(pod);
                        news.pods = true;
                    }
                    Object::WorkloadEntry(entry) => {
                        pods.put_outside(entry.meta.name.clone(), entry.spec.service_account.clone());
                        news.pods = true;
                    }
                    Object::Namespace(namespace) => {
                        self.namespaces.insert(namespace.name.clone(), Arc::clone(namespace));
                        news.namespaces = true;
                    }
                    Object::ConfigMap(settings) => self.take_settings(settings, news),
                    _ => {}
                }
            }
            // What cannot be understood leaves in force what was understood last.
            Event::Reject(of, _) => {
                if let Some(met) = self.listing.get_mut(&of.kind) {
                    met.insert(of.name.clone());
                }
            }
            Event::Remove(ObjectRef { kind: Kind::Pod, name }) => {
                pods.remove(name);
                news.pods = true;
            }
            Event::Remove(ObjectRef { kind: Kind::WorkloadEntry, name }) => pods.remove_outside(name),
            Event::Remove(ObjectRef { kind: Kind::Namespace, name }) => {
                news.namespaces |= self.namespaces.remove(&name.ns.beside(&name.name)).is_some();
            }
            Event::Remove(ObjectRef { kind: Kind::ConfigMap, .. }) => {
                self.take_settings(&MeshSettings::default(), news);
            }
            Event::Remove(_) => {}
            Event::Synced(kind) => {
                let Some(met) = self.listing.remove(kind) else { return };
                match kind {
                    Kind::Pod => {
                        pods.keep_only(&met);
                        news.pods = true;
                    }
                    Kind::WorkloadEntry => pods.keep_only_outside(&met),
                    Kind::Namespace => {
                        self.namespaces.retain(|ns, _| met.contains(&ns.object()));
                        news.namespaces = true;
                    }
                    _ if met.is_empty() => self.take_settings(&MeshSettings::default(), news),
                    _ => {}
                }
            }
        }
    }

    fn take_settings(&mut self, settings: &MeshSettings, news: &mut News) {
        self.world.set_trust_domain(&settings.trust_domain);
        self.world.set_discovery_address(&settings.discovery_address);
        news.namespaces |= self.selectors != settings.discovery_selectors;
        self.selectors.clone_from(&settings.discovery_selectors);
        self.world.ca_certificates.send_if_modified(|known| {
            let is_new = **known != settings.ca_certificates;
            if is_new {
                *known = Arc::new(settings.ca_certificates.clone());
            }
            is_new
        });
    }

    fn publish_namespaces(&self) {
        // Another cluster is told by its own control plane.
        let takes_part = |of: &Namespace| {
            of.name.cluster().is_none()
                && (self.selectors.is_empty() || self.selectors.iter().any(|s| s.matches(&of.labels)))
        };
        let all = self.namespaces.values().filter(|of| takes_part(of)).map(|of| shared(&of.name)).collect();
        self.world.namespaces.send_if_modified(|known: &mut Arc<BTreeSet<Str>>| {
            let is_new = **known != all;
            if is_new {
                *known = Arc::new(all);
            }
            is_new
        });
    }
}

#[derive(Default)]
struct News {
    pods: bool,
    namespaces: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ca::token::BoundObject;
    use model::facts::Pod;
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

    #[tokio::test]
    async fn question_waits_for_the_pod_that_follows_another_of_its_name() {
        let (world, mut writer) = World::new("").unwrap();
        let newer = "00000000-0000-0000-0000-000000000002".to_owned();
        let caller = Caller {
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            pod: Some(BoundObject { name: "web-0".to_owned(), uid: newer.clone() }),
            node: Some("n1".to_owned()),
        };
        let question = |pods: &PodTable| caller.live_pod(pods).map(|pod| pod.uid.to_owned());
        let mut asking = std::pin::pin!(world.ask(question));
        // The watch is behind the token, by one step after another.
        for behind in [put(1, "n1"), put(2, "")] {
            writer.take(&[behind]);
            assert!(matches!(futures::poll!(asking.as_mut()), Poll::Pending));
        }
        writer.take(&[put(2, "n1")]);
        assert_eq!(asking.await.unwrap(), newer);
    }
}
