//! A self-signed root in a Secret: adopted or created, renewed and rotated.
//!
//! A Secret that is there and empty is filled: the chart makes one, so that no right to create Secrets is needed. One that
//! is not there is created, and a deleted or emptied one restored from memory. While a root is active or published, no
//! other is created.
//!
//! Replicas do not communicate: each polls the Secret. Every write is conditional (create, or update of the
//! resourceVersion that was read), so of two concurrent writes one succeeds, and the other replica adopts it.

use super::material_files::{data_of, is_unavailable};
use super::trust_bundle::{TRUST_BUNDLE, TrustBundles};
use crate::authority::{Authority, OwnSigner, Problem, ProblemKind};
use crate::clock::Clock;
use crate::identity_index::IdentityIndex;
use crate::settings::SigningIntermediate;
use ca::{
    RevocationLists, Root, RootState, RotationPolicy, SECRET_TYPE, SystemEntropy, TrustBundle, TtlPolicy,
};
use cluster::error_message;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The annotation by which an operator requests a new root; removed once the new root is announced.
pub const ROTATE: &str = "pilothouse.io/rotate-root";

/// The key of the roots in the ConfigMap that workloads mount.
pub const ROOTS_KEY: &str = "root-cert.pem";

/// How often the Secret is polled. Watching it would need permission to list Secrets.
const POLL: Duration = Duration::from_secs(5);

/// The minimum and maximum backoff after a failure; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Reconciles the Secret, and activates the root that it holds.
pub(super) struct RootSecret {
    pub client: Client,
    pub namespace: String,
    pub name: &'static str,
    /// Whether the Secret carries the marker of generated key material.
    pub generated_marker: bool,
    pub shadow: bool,
    pub root_config_map: String,
    pub trust_bundle: bool,
    pub ttl: TtlPolicy,
    pub rotation: RotationPolicy,
    pub signing_intermediate: SigningIntermediate,
    pub authority: Authority,
    pub index: Arc<IdentityIndex>,
    pub clock: Arc<dyn Clock>,
}

/// The Secret that was read last, whose root is active.
struct Observed {
    secret: Secret,
    state: RootState,
    version: Option<String>,
}

/// The outcome of reconciling the Secret.
enum Outcome {
    /// Its root is active.
    Active,
    /// Another replica wrote at the same time: retry.
    Conflict,
    /// The API server is unavailable; the active root stays.
    Unavailable,
}

impl RootSecret {
    fn source(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.name)
    }

    fn problem(&self, kind: ProblemKind, text: String) -> Problem {
        Problem { kind, secret: Some(self.name), text }
    }

    fn refused(&self, error: &str) -> Problem {
        self.problem(ProblemKind::Refused, format!("{} is refused: {error}; restore it", self.source()))
    }

    /// Returns the problem that the Secret cannot be written; `action` is what failed.
    fn unwritable(&self, action: &str, error: impl std::fmt::Display) -> Problem {
        self.problem(ProblemKind::Unwritable, format!("cannot {action} {}: {error}", self.source()))
    }

    /// Reconciles the Secret continuously. Does not return.
    pub async fn follow(&self) {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let mut observed: Option<Observed> = None;
        let mut backoff = BACKOFF.0;
        loop {
            match self.reconcile(&secrets, &mut observed).await {
                Ok(Outcome::Conflict) => self.clock.sleep(BACKOFF.0).await,
                Ok(outcome) => {
                    backoff = BACKOFF.0;
                    if matches!(outcome, Outcome::Active) {
                        self.authority.resolve();
                    }
                    let wait = observed.as_ref().map_or(BACKOFF.0, |observed| self.next_step(observed));
                    self.clock.sleep(wait.min(POLL)).await;
                }
                Err(problem) => {
                    self.authority.report(problem);
                    self.clock.sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Reads the Secret, activates a changed root, and performs the rotation step that is due.
    async fn reconcile(
        &self,
        secrets: &Api<Secret>,
        observed: &mut Option<Observed>,
    ) -> Result<Outcome, Problem> {
        let found = match secrets.get_opt(self.name).await {
            Ok(found) => found,
            Err(error) if observed.is_some() && is_unavailable(&error) => {
                tracing::debug!(%error, "cannot read {}", self.source());
                return Ok(Outcome::Unavailable);
            }
            Err(error) => {
                let (source, answer) = (self.source(), error_message(&error));
                let text = format!("cannot read {source}: {answer}; grant get on secrets there");
                return Err(self.problem(ProblemKind::Unreadable, text));
            }
        };
        match (found, &observed) {
            (Some(secret), Some(observed)) if secret.metadata.resource_version == observed.version => {}
            (Some(secret), _) if !is_empty(&secret) => self.activate(secret, observed)?,
            (empty, current) => {
                let stored = match current {
                    Some(observed) => self.restore(secrets, empty, observed).await?,
                    None => self.create(secrets, empty).await?,
                };
                let Some(stored) = stored else { return Ok(Outcome::Conflict) };
                self.activate(stored, observed)?;
            }
        }
        if let Some(current) = &observed
            && let Some(written) = self.step(secrets, current).await?
        {
            self.activate(written, observed)?;
        }
        Ok(Outcome::Active)
    }

    /// Activates the root that the Secret holds, if it is valid and follows from the active one.
    fn activate(&self, secret: Secret, observed: &mut Option<Observed>) -> Result<(), Problem> {
        let state = RootState::from_secret(&data_of(&secret)).map_err(|e| self.refused(&e.to_string()))?;
        if let Some(old) = observed.as_ref().map(|observed| &observed.state)
            // With the same key and subject, certificates of either root verify with the other.
            && !state.active().same_key(old.active())
            && let (Ok(new_trust), Ok(old_trust)) = (state.trust(), old.trust())
            && let Err(error) = follows(&new_trust, &old_trust)
        {
            let error = format!("{error}; to replace the root at once, restart the control plane");
            return Err(self.refused(&error));
        }
        let issuer = state.issuer(self.ttl).map_err(|e| self.refused(&e.to_string()))?;
        let below = self.signing_intermediate.is_self_signed();
        let signer = OwnSigner::new(issuer, below.then(|| self.index.mesh().trust_domain.clone()));
        self.authority.activate(signer, RevocationLists::default(), &self.source());
        let version = secret.metadata.resource_version.clone();
        *observed = Some(Observed { secret, state, version });
        Ok(())
    }

    /// Creates a root and stores it, in the empty Secret if there is one; it becomes active only after it is stored.
    async fn create(&self, secrets: &Api<Secret>, empty: Option<Secret>) -> Result<Option<Secret>, Problem> {
        let source = self.source();
        if self.shadow {
            let text = format!("{source} has no root, and with --shadow none is created");
            return Err(self.problem(ProblemKind::Missing, text));
        }
        self.check_no_other_root().await?;
        let domain = self.index.mesh().trust_domain.clone();
        let root = Root::create(domain.as_str(), self.rotation.life, self.clock.now(), &SystemEntropy);
        let state = RootState::new(root.map_err(|e| self.unwritable("create a root for", e))?);
        let data = self.data(&state).map_err(|e| self.unwritable("create a root for", e))?;
        let created = match empty {
            Some(empty) => self.fill(secrets, empty, data).await?,
            None => self.store(secrets, ObjectMeta::default(), SECRET_TYPE.to_owned(), data).await?,
        };
        if created.is_some() {
            tracing::info!(secret = source, "created a new root");
        }
        Ok(created)
    }

    /// Restores a deleted or emptied Secret as it was read last: the active root stays, and a starting replica finds
    /// it. One of several replicas does so, and the others find the restored Secret.
    async fn restore(
        &self,
        secrets: &Api<Secret>,
        empty: Option<Secret>,
        observed: &Observed,
    ) -> Result<Option<Secret>, Problem> {
        let deleted = |action: &str| format!("{} was deleted; {action}", self.source());
        if self.shadow {
            return Err(self.problem(ProblemKind::Missing, deleted("with --shadow it is not restored")));
        }
        self.authority.report(self.problem(ProblemKind::Missing, deleted("it is restored from memory")));
        let old = observed.secret.clone();
        let data = old.data.unwrap_or_default();
        let restored = match empty {
            Some(empty) => self.fill(secrets, empty, data).await?,
            None => {
                let metadata = ObjectMeta {
                    labels: old.metadata.labels,
                    annotations: old.metadata.annotations,
                    ..ObjectMeta::default()
                };
                let kind = old.type_.unwrap_or_else(|| SECRET_TYPE.to_owned());
                self.store(secrets, metadata, kind, data).await?
            }
        };
        if restored.is_some() {
            tracing::info!(secret = self.source(), "restored the root from memory");
        }
        Ok(restored)
    }

    /// Creates the Secret; returns `None` when another replica has created it.
    async fn store(
        &self,
        secrets: &Api<Secret>,
        metadata: ObjectMeta,
        kind: String,
        data: BTreeMap<String, ByteString>,
    ) -> Result<Option<Secret>, Problem> {
        let metadata = ObjectMeta {
            name: Some(self.name.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..metadata
        };
        let secret = Secret { metadata, type_: Some(kind), data: Some(data), ..Secret::default() };
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(created) => Ok(Some(created)),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(None),
            Err(error) => {
                // Whoever may create Secrets here may have a token of any account: the chart gives no such right.
                let (namespace, name) = (&self.namespace, self.name);
                let fix = format!(
                    "create it empty, as the chart does: kubectl -n {namespace} create secret generic {name} --type={SECRET_TYPE}"
                );
                Err(self.unwritable("create", format!("{}; {fix}", error_message(&error))))
            }
        }
    }

    /// Writes data into the Secret that was found empty; returns `None` when another replica has written it.
    async fn fill(
        &self,
        secrets: &Api<Secret>,
        empty: Secret,
        data: BTreeMap<String, ByteString>,
    ) -> Result<Option<Secret>, Problem> {
        let secret = Secret { data: Some(data), ..empty };
        match secrets.replace(self.name, &PostParams::default(), &secret).await {
            Ok(written) => Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(None),
            Err(error) => {
                let text = format!("{}; grant update on it", error_message(&error));
                Err(self.unwritable("write a root into", text))
            }
        }
    }

    /// Refuses to create a root while another one is published: workloads would not trust the new one.
    async fn check_no_other_root(&self) -> Result<(), Problem> {
        for (place, roots) in self.published().await? {
            if roots.is_some_and(|text| TrustBundle::from_pem(text.as_bytes()).is_ok()) {
                let text = format!(
                    "{} has no root, but {place} holds the root of a mesh; restore the Secret, or delete that object to start a new mesh",
                    self.source()
                );
                return Err(self.problem(ProblemKind::Missing, text));
            }
        }
        Ok(())
    }

    /// Returns the objects in which roots may be published, and their contents.
    async fn published(&self) -> Result<Vec<(String, Option<String>)>, Problem> {
        let unreadable = |place: &str, error: &kube::Error| {
            let text = format!("cannot read {place}: {}; grant list on it", error_message(error));
            self.problem(ProblemKind::Unreadable, text)
        };
        let mut all = Vec::new();
        if !self.root_config_map.is_empty() {
            let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
            let place = format!("ConfigMap {}/{}", self.namespace, self.root_config_map);
            // A list by name, for which the permission to list that name suffices.
            let only = ListParams::default().fields(&format!("metadata.name={}", self.root_config_map));
            let found = maps.list(&only).await.map_err(|e| unreadable(&place, &e))?;
            let data = found.items.into_iter().find_map(|map| map.data);
            all.push((place, data.and_then(|data| data.get(ROOTS_KEY).cloned())));
        }
        if self.trust_bundle {
            let place = format!("ClusterTrustBundle {TRUST_BUNDLE}");
            let found = TrustBundles::find(&self.client).await.map_err(|e| unreadable(&place, &e))?;
            all.push((place, found.and_then(|(_, held)| held)));
        }
        Ok(all)
    }

    fn next_step(&self, observed: &Observed) -> Duration {
        if self.shadow {
            return POLL;
        }
        if wants_rotation(observed) {
            return Duration::ZERO;
        }
        let due = observed.state.next_due(&self.rotation).map_or(u64::MAX, |due| due.as_secs());
        Duration::from_secs(due.saturating_sub(self.clock.now().as_secs())).min(POLL)
    }

    /// Performs the rotation step that is due, if any; returns the Secret that was written.
    async fn step(&self, secrets: &Api<Secret>, observed: &Observed) -> Result<Option<Secret>, Problem> {
        let (now, policy) = (self.clock.now(), &self.rotation);
        if self.shadow {
            return Ok(None);
        }
        let failed = |error: String| self.unwritable("rotate the root of", error);
        let mut secret = observed.secret.clone();
        let next = if wants_rotation(observed) {
            let domain = self.index.mesh().trust_domain.clone();
            let root = Root::create(domain.as_str(), policy.life, now, &SystemEntropy);
            let root = root.map_err(|e| failed(e.to_string()))?;
            tracing::info!(secret = self.source(), "announcing a new root");
            if policy.cuts_off(&self.ttl) {
                let (overlap, longest) = (policy.overlap.as_secs(), self.ttl.max_life().as_secs());
                tracing::warn!(
                    "certificates may live for up to {longest} s, and the old root stays trusted for {overlap} s after it last signed: certificates that live longer must be renewed before; otherwise raise --root-overlap"
                );
            }
            observed.state.announce(root, policy, now).map_err(|e| failed(e.to_string()))?
        } else if let Some(step) = observed.state.due(policy, now) {
            tracing::info!(secret = self.source(), ?step, "performing a step of the root rotation");
            observed.state.advance(policy, now, &SystemEntropy).map_err(|e| failed(e.to_string()))?
        } else {
            return Ok(None);
        };
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove(ROTATE);
        }
        secret.data = Some(self.data(&next).map_err(failed)?);
        match secrets.replace(self.name, &PostParams::default(), &secret).await {
            Ok(written) => Ok(Some(written)),
            // Another replica performed the step: the next poll finds the result.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                self.clock.sleep(BACKOFF.0).await;
                Ok(None)
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn data(&self, state: &RootState) -> Result<BTreeMap<String, ByteString>, String> {
        let data = state.to_secret(self.generated_marker).map_err(|e| e.to_string())?;
        Ok(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect())
    }
}

/// Returns whether a Secret waits for a root: it is there, and holds nothing.
pub(super) fn is_empty(secret: &Secret) -> bool {
    secret.data.as_ref().is_none_or(BTreeMap::is_empty)
}

/// Returns whether an operator requests a new root and none is announced yet.
fn wants_rotation(observed: &Observed) -> bool {
    let requested = observed.secret.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(ROTATE));
    requested && observed.state.incoming().is_none()
}

fn follows(new: &TrustBundle, old: &TrustBundle) -> Result<(), ca::BundleError> {
    new.check_follows(old, true)
}
