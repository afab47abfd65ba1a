//! A self-signed root in a Secret: adopted, made where there is none, renewed and rotated.
//!
//! One that is deleted is put back from memory; while a root is in force or published, no other is made.
//!
//! Replicas do not talk: each follows the Secret. Every write is conditional (create, or update of the
//! version that was read), so of two that write at once one does, and the other takes what it wrote.

use super::authority::Authority;
use super::keeper::{data_of, is_away};
use super::trouble::{Trouble, TroubleKind};
use super::trust_bundle::{TRUST_BUNDLE, TrustBundles};
use super::world::World;
use ca::{
    RevocationLists, Root, RootState, RotationPolicy, SECRET_TYPE, SystemEntropy, TrustBundle, TtlPolicy,
};
use cluster::error_message;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use rustls::pki_types::UnixTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The annotation by which an operator asks for a new root; it is taken away when that is announced.
pub const ROTATE: &str = "pilothouse.io/rotate-root";

/// The key of the roots in the ConfigMap that workloads read.
pub const ROOTS_KEY: &str = "root-cert.pem";

/// How often the Secret is read. Not watched: that would need the right to list Secrets.
const LOOK: Duration = Duration::from_secs(5);

/// The first and the longest pause after a failure; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The Secret, and what is needed to keep it right.
pub(super) struct RootSecret {
    pub client: Client,
    pub namespace: String,
    pub name: &'static str,
    /// Whether the Secret says that it was generated.
    pub generated_mark: bool,
    pub shadow: bool,
    pub root_config_map: String,
    pub trust_bundle: bool,
    pub ttl: TtlPolicy,
    pub rotation: RotationPolicy,
    pub authority: Authority,
    pub world: Arc<World>,
}

/// What was read last, and is in force.
struct Known {
    secret: Secret,
    state: RootState,
    version: Option<String>,
}

/// What a look at the Secret has found.
enum Looked {
    /// What is in force, or what is so from now on.
    Right,
    /// Somebody else was faster: look again.
    Again,
    /// Nothing, since the API server is away. With a root in force that changes nothing.
    Nothing,
}

impl RootSecret {
    fn source(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.name)
    }

    fn trouble(&self, kind: TroubleKind, text: String) -> Trouble {
        Trouble { kind, secret: Some(self.name), text }
    }

    fn refused(&self, error: &str) -> Trouble {
        self.trouble(TroubleKind::Refused, format!("{} is refused: {error}; restore it", self.source()))
    }

    /// Tells that the Secret cannot be written since this does not work.
    fn unwritable(&self, doing: &str, error: impl std::fmt::Display) -> Trouble {
        self.trouble(TroubleKind::Unwritable, format!("cannot {doing} {}: {error}", self.source()))
    }

    /// Follows the Secret for ever.
    pub async fn follow(&self) {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let mut known: Option<Known> = None;
        let mut pause = PAUSE.0;
        loop {
            match self.look(&secrets, &mut known).await {
                Ok(Looked::Again) => sleep(PAUSE.0).await,
                Ok(looked) => {
                    pause = PAUSE.0;
                    if matches!(looked, Looked::Right) {
                        self.authority.fine();
                    }
                    let wait = known.as_ref().map_or(PAUSE.0, |known| self.next_step(known));
                    sleep(wait.min(LOOK)).await;
                }
                Err(trouble) => {
                    self.authority.trouble(trouble);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Reads the Secret, takes what is new in it, and takes the step that is due.
    async fn look(&self, secrets: &Api<Secret>, known: &mut Option<Known>) -> Result<Looked, Trouble> {
        let found = match secrets.get_opt(self.name).await {
            Ok(found) => found,
            Err(error) if known.is_some() && is_away(&error) => {
                tracing::debug!(%error, "cannot read {}", self.source());
                return Ok(Looked::Nothing);
            }
            Err(error) => {
                let (source, answer) = (self.source(), error_message(&error));
                let text = format!("cannot read {source}: {answer}; grant get on secrets there");
                return Err(self.trouble(TroubleKind::Unreadable, text));
            }
        };
        match (found, &known) {
            (Some(secret), Some(known)) if secret.metadata.resource_version == known.version => {}
            (Some(secret), _) => self.take(secret, known)?,
            (None, current) => {
                let made = match current {
                    Some(known) => self.restore(secrets, known).await?,
                    None => self.create(secrets).await?,
                };
                let Some(made) = made else { return Ok(Looked::Again) };
                self.take(made, known)?;
            }
        }
        if let Some(current) = &known
            && let Some(written) = self.step(secrets, current).await?
        {
            self.take(written, known)?;
        }
        Ok(Looked::Right)
    }

    /// Takes what the Secret holds, if it is right and follows from what is in force.
    fn take(&self, secret: Secret, known: &mut Option<Known>) -> Result<(), Trouble> {
        let state = RootState::from_secret(&data_of(&secret)).map_err(|e| self.refused(&e.to_string()))?;
        if let Some(old) = known.as_ref().map(|known| &known.state)
            // The same key and subject: certificates of either verify with the other.
            && !state.active().same_key(old.active())
            && let (Ok(new_trust), Ok(old_trust)) = (state.trust(), old.trust())
            && let Err(error) = follows(&new_trust, &old_trust)
        {
            let error = format!("{error}; to replace the root at once, restart the control plane");
            return Err(self.refused(&error));
        }
        let issuer = state.issuer(self.ttl).map_err(|e| self.refused(&e.to_string()))?;
        self.authority.put(issuer, RevocationLists::default(), &self.source());
        let version = secret.metadata.resource_version.clone();
        *known = Some(Known { secret, state, version });
        Ok(())
    }

    /// Makes a root where there is none, and keeps it: it is used only after it is stored.
    async fn create(&self, secrets: &Api<Secret>) -> Result<Option<Secret>, Trouble> {
        let source = self.source();
        if self.shadow {
            let text = format!("{source} does not exist, and with --shadow no root is made");
            return Err(self.trouble(TroubleKind::Missing, text));
        }
        self.check_no_other_root().await?;
        let domain = self.world.mesh().trust_domain.clone();
        let root = Root::create(domain.as_str(), self.rotation.life, UnixTime::now(), &SystemEntropy);
        let state = RootState::new(root.map_err(|e| self.unwritable("make a root for", e))?);
        let data = self.data(&state).map_err(|e| self.unwritable("make a root for", e))?;
        let made = self.store(secrets, ObjectMeta::default(), SECRET_TYPE.to_owned(), data).await?;
        if made.is_some() {
            tracing::info!(secret = source, "made a new root");
        }
        Ok(made)
    }

    /// Puts a Secret that was deleted back as it was read last: what is in force goes on, and a replica
    /// that starts finds it. Of several replicas one does so, and the others find what it put there.
    async fn restore(&self, secrets: &Api<Secret>, known: &Known) -> Result<Option<Secret>, Trouble> {
        let deleted = |mend: &str| format!("{} was deleted; {mend}", self.source());
        if self.shadow {
            return Err(self.trouble(TroubleKind::Missing, deleted("with --shadow it is not put back")));
        }
        self.authority.trouble(self.trouble(TroubleKind::Missing, deleted("it is put back from memory")));
        let old = known.secret.clone();
        let metadata = ObjectMeta {
            labels: old.metadata.labels,
            annotations: old.metadata.annotations,
            ..ObjectMeta::default()
        };
        let kind = old.type_.unwrap_or_else(|| SECRET_TYPE.to_owned());
        let restored = self.store(secrets, metadata, kind, old.data.unwrap_or_default()).await?;
        if restored.is_some() {
            tracing::info!(secret = self.source(), "put the root back from memory");
        }
        Ok(restored)
    }

    /// Creates the Secret; gives nothing when another replica was first.
    async fn store(
        &self,
        secrets: &Api<Secret>,
        metadata: ObjectMeta,
        kind: String,
        data: BTreeMap<String, ByteString>,
    ) -> Result<Option<Secret>, Trouble> {
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
                let mend = "make the namespace, and grant create on secrets in it";
                Err(self.unwritable("create", format!("{}; {mend}", error_message(&error))))
            }
        }
    }

    /// Workloads that trust a root already would not trust a new one: the old must be restored.
    async fn check_no_other_root(&self) -> Result<(), Trouble> {
        for (place, roots) in self.published().await? {
            if roots.is_some_and(|text| TrustBundle::from_pem(text.as_bytes()).is_ok()) {
                let text = format!(
                    "{} does not exist, but {place} holds the root of a mesh; restore the Secret, or delete that object to begin a new mesh",
                    self.source()
                );
                return Err(self.trouble(TroubleKind::Missing, text));
            }
        }
        Ok(())
    }

    /// Returns where roots may be published, and what is there.
    async fn published(&self) -> Result<Vec<(String, Option<String>)>, Trouble> {
        let unreadable = |place: &str, error: &kube::Error| {
            let text = format!("cannot read {place}: {}; grant list on it", error_message(error));
            self.trouble(TroubleKind::Unreadable, text)
        };
        let mut all = Vec::new();
        if !self.root_config_map.is_empty() {
            let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
            let place = format!("ConfigMap {}/{}", self.namespace, self.root_config_map);
            // A list of one, for which the right to list by that name suffices.
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

    fn next_step(&self, known: &Known) -> Duration {
        if self.shadow {
            return LOOK;
        }
        if wants_rotation(known) {
            return Duration::ZERO;
        }
        let due = known.state.next_due(&self.rotation).map_or(u64::MAX, |due| due.as_secs());
        Duration::from_secs(due.saturating_sub(UnixTime::now().as_secs())).min(LOOK)
    }

    /// Takes the step of a rotation that is due, if one is.
    async fn step(&self, secrets: &Api<Secret>, known: &Known) -> Result<Option<Secret>, Trouble> {
        let (now, policy) = (UnixTime::now(), &self.rotation);
        if self.shadow {
            return Ok(None);
        }
        let failed = |error: String| self.unwritable("rotate the root of", error);
        let mut secret = known.secret.clone();
        let next = if wants_rotation(known) {
            let domain = self.world.mesh().trust_domain.clone();
            let root = Root::create(domain.as_str(), policy.life, now, &SystemEntropy);
            let root = root.map_err(|e| failed(e.to_string()))?;
            tracing::info!(secret = self.source(), "a new root is announced");
            if policy.cuts_off(&self.ttl) {
                let (overlap, longest) = (policy.overlap.as_secs(), self.ttl.max_life().as_secs());
                tracing::warn!(
                    "certificates may be asked for that live {longest} s, and the old root is trusted {overlap} s after it signed last: those that live longer must be renewed before; else raise --root-overlap"
                );
            }
            known.state.announce(root, policy, now).map_err(|e| failed(e.to_string()))?
        } else if let Some(step) = known.state.due(policy, now) {
            tracing::info!(secret = self.source(), ?step, "a step of the root's rotation is due");
            known.state.advance(policy, now, &SystemEntropy).map_err(|e| failed(e.to_string()))?
        } else {
            return Ok(None);
        };
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.remove(ROTATE);
        }
        secret.data = Some(self.data(&next).map_err(failed)?);
        match secrets.replace(self.name, &PostParams::default(), &secret).await {
            Ok(written) => Ok(Some(written)),
            // Another replica took the step: the next look finds what it wrote.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                sleep(PAUSE.0).await;
                Ok(None)
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn data(&self, state: &RootState) -> Result<BTreeMap<String, ByteString>, String> {
        let data = state.to_secret(self.generated_mark).map_err(|e| e.to_string())?;
        Ok(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect())
    }
}

/// Tells whether an operator asks for a new root and none is announced yet.
fn wants_rotation(known: &Known) -> bool {
    let asked = known.secret.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(ROTATE));
    asked && known.state.incoming().is_none()
}

fn follows(new: &TrustBundle, old: &TrustBundle) -> Result<(), ca::BundleError> {
    new.check_follows(old, true)
}
