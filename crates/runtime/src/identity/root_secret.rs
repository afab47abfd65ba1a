//! A self-signed root in a Secret: adopted, made where there is none, renewed and rotated.
//!
//! Replicas do not talk: each follows the Secret. Every write is conditional (create, or update of the
//! version that was read), so of two that write at once one does, and the other takes what it wrote.

use super::authority::Authority;
use super::keeper::data_of;
use super::world::World;
use crate::source::kube::answer;
use ca::{Root, RootState, RotationPolicy, SECRET_TYPE, SystemEntropy, TrustBundle, TtlPolicy};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The annotation by which an operator asks for a new root; it is taken away when that is announced.
pub const ROTATE: &str = "pilothouse.io/rotate-root";

/// The key of the roots in the ConfigMap that workloads read.
pub(super) const ROOTS_KEY: &str = "root-cert.pem";

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

impl RootSecret {
    fn source(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.name)
    }

    /// Follows the Secret for ever.
    pub async fn follow(&self) {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let mut known: Option<Known> = None;
        let mut pause = PAUSE.0;
        loop {
            match self.look(&secrets, &mut known).await {
                Ok(()) => {
                    pause = PAUSE.0;
                    self.authority.fine();
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
    async fn look(&self, secrets: &Api<Secret>, known: &mut Option<Known>) -> Result<(), String> {
        let found = match secrets.get_opt(self.name).await {
            Ok(found) => found,
            // With a root in force an API server that is away changes nothing.
            Err(error) if known.is_some() && !matches!(error, kube::Error::Api(_)) => {
                tracing::debug!(%error, "cannot read {}", self.source());
                return Ok(());
            }
            Err(error) => {
                return Err(format!(
                    "cannot read {}: {}; grant get on secrets there",
                    self.source(),
                    answer(&error)
                ));
            }
        };
        match (found, &known) {
            (Some(secret), Some(known)) if secret.metadata.resource_version == known.version => {}
            (Some(secret), _) => self.take(secret, known)?,
            (None, Some(_)) => return Err(format!("{} was deleted; restore it", self.source())),
            (None, None) => {
                if let Some(made) = self.create(secrets).await? {
                    self.take(made, known)?;
                }
            }
        }
        if let Some(current) = &known
            && let Some(written) = self.step(secrets, current).await?
        {
            self.take(written, known)?;
        }
        Ok(())
    }

    /// Takes what the Secret holds, if it is right and follows from what is in force.
    fn take(&self, secret: Secret, known: &mut Option<Known>) -> Result<(), String> {
        let refused = |error: String| format!("{} is refused: {error}; restore it", self.source());
        let state = RootState::from_secret(&data_of(&secret)).map_err(|e| refused(e.to_string()))?;
        if let Some(old) = known.as_ref().map(|known| &known.state)
            // The same key and subject: certificates of either verify with the other.
            && !state.active().same_key(old.active())
            && let (Ok(new_trust), Ok(old_trust)) = (state.trust(), old.trust())
            && let Err(error) = follows(&new_trust, &old_trust)
        {
            let error = format!("{error}; to replace the root at once, restart the control plane");
            return Err(refused(error));
        }
        let issuer = state.issuer(self.ttl).map_err(|e| refused(e.to_string()))?;
        self.authority.put(issuer, &self.source());
        let version = secret.metadata.resource_version.clone();
        *known = Some(Known { secret, state, version });
        Ok(())
    }

    /// Makes a root where there is none, and keeps it: it is used only after it is stored.
    async fn create(&self, secrets: &Api<Secret>) -> Result<Option<Secret>, String> {
        if self.shadow {
            return Err(format!("{} does not exist, and with --shadow no root is made", self.source()));
        }
        self.check_no_other_root().await?;
        let domain = self.world.mesh().trust_domain.clone();
        let root = Root::create(domain.as_str(), self.rotation.life, UnixTime::now(), &SystemEntropy);
        let state = RootState::new(root.map_err(|e| e.to_string())?);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            data: Some(self.data(&state)?),
            ..Secret::default()
        };
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(created) => {
                tracing::info!(secret = self.source(), "made a new root");
                Ok(Some(created))
            }
            // Another replica was first: the next look finds what it made.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(None),
            Err(error) => Err(format!(
                "cannot create {}: {}; make the namespace, and grant create on secrets in it",
                self.source(),
                answer(&error)
            )),
        }
    }

    /// Workloads that trust a root already would not trust a new one: the old must be restored.
    async fn check_no_other_root(&self) -> Result<(), String> {
        if self.root_config_map.is_empty() {
            return Ok(());
        }
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let place = format!("ConfigMap {}/{}", self.namespace, self.root_config_map);
        // A list of one, for which the right to list by that name suffices.
        let only = ListParams::default().fields(&format!("metadata.name={}", self.root_config_map));
        let found = maps.list(&only).await.map_err(|e| format!("cannot read {place}: {e}"))?;
        let data = found.items.into_iter().find_map(|map| map.data);
        let holds_root = data
            .and_then(|data| data.get(ROOTS_KEY).map(|text| TrustBundle::from_pem(text.as_bytes()).is_ok()));
        match holds_root {
            Some(true) => Err(format!(
                "{} does not exist, but {place} holds the root of a mesh; restore the Secret, or delete that ConfigMap to begin a new mesh",
                self.source()
            )),
            _ => Ok(()),
        }
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
    async fn step(&self, secrets: &Api<Secret>, known: &Known) -> Result<Option<Secret>, String> {
        let (now, policy) = (UnixTime::now(), &self.rotation);
        if self.shadow {
            return Ok(None);
        }
        let failed = |error: String| format!("cannot rotate the root of {}: {error}", self.source());
        let mut secret = known.secret.clone();
        let next = if wants_rotation(known) {
            let domain = self.world.mesh().trust_domain.clone();
            let root = Root::create(domain.as_str(), policy.life, now, &SystemEntropy);
            let root = root.map_err(|e| failed(e.to_string()))?;
            tracing::info!(secret = self.source(), "a new root is announced");
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
        secret.data = Some(self.data(&next)?);
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

    fn data(&self, state: &RootState) -> Result<std::collections::BTreeMap<String, ByteString>, String> {
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
