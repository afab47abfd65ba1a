//! Chooses the source of key material, and follows it.
//!
//! ```text
//!  without a cluster:  folder under --state-dir
//!  with a cluster:     1. files of --ca-dir           ┐ plugged in: managed by the operator,
//!                      2. Secret cacerts              ┘ polled for changes
//!                      3. Secret istio-ca-secret        self-signed: adopted or created, and rotated
//! ```
//!
//! The first one that exists is used even if it is invalid: falling back to another root would split the
//! mesh. Until there is valid key material nothing is signed, and the source is retried.

use super::material_files::{data_of, has_material, read_files};
use super::plugged_in::{PLUGGED_IN_SECRET, PluggedIn, unreadable_files};
use super::root_secret::{RootSecret, is_empty};
use super::state_dir::{StateDir, StateError};
use crate::authority::{Authority, OwnSigner, Problem, ProblemKind};
use crate::clock::Clock;
use crate::identity_index::IdentityIndex;
use crate::settings::SigningIntermediate;
use ca::{KeyMaterial, RevocationLists, RotationPolicy, TtlPolicy};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The Secret of a self-signed root.
const ROOT_SECRET: &str = "istio-ca-secret";

/// Maximum interval between checks of the root in a state folder: the system clock may be set, and other
/// processes may share the folder.
const STATE_POLL: Duration = Duration::from_secs(60);

/// The minimum and maximum backoff after a failure; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Where key material may be stored.
pub(crate) enum KeyLocation {
    /// A folder of this process.
    StateDir(StateDir),
    /// A cluster.
    Cluster {
        /// The client of its API server.
        client: Client,
        /// The namespace of the control plane.
        namespace: String,
        /// A folder of plugged-in files, usually mounted from a Secret.
        ca_dir: Option<PathBuf>,
        /// Never write to the cluster.
        shadow: bool,
        /// The ConfigMap with the published roots. If it holds other roots, no new root is created.
        root_config_map: String,
        /// Whether the roots are also looked up in the ClusterTrustBundle.
        trust_bundle: bool,
    },
}

/// Settings of key material.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RootSettings {
    /// Certificate lifetimes.
    pub ttl: TtlPolicy,
    /// Whether the set of plugged-in roots may change.
    pub allow_multiple_roots: bool,
    /// Whether revocation lists of plugged-in key material are read.
    pub reads_revocations: bool,
    /// Lifetime and rotation of self-signed roots.
    pub rotation: RotationPolicy,
    /// Below which signing keys an intermediate of this process signs.
    pub signing_intermediate: SigningIntermediate,
}

/// Finds key material, keeps it valid, and activates it in the authority.
pub(crate) struct RootManager {
    /// Where to look.
    pub location: KeyLocation,
    /// How to treat it.
    pub settings: RootSettings,
    /// Receives the key material.
    pub authority: Authority,
    /// Knows the trust domain.
    pub index: Arc<IdentityIndex>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// The source of key material that is used.
enum Source {
    StateDir(StateDir),
    Files(PathBuf),
    PluggedInSecret { secrets: Api<Secret>, source: String },
    SelfSigned(Box<RootSecret>),
}

impl RootManager {
    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.find_and_follow() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn find_and_follow(self) {
        let mut backoff = BACKOFF.0;
        loop {
            match self.find().await {
                Ok(source) => return self.follow(source).await,
                Err(problem) => self.authority.report(problem),
            }
            self.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Decides which source to use.
    async fn find(&self) -> Result<Source, Problem> {
        let (client, namespace, ca_dir, shadow, root_config_map, trust_bundle) = match &self.location {
            KeyLocation::StateDir(dir) => return Ok(Source::StateDir(dir.clone())),
            KeyLocation::Cluster { client, namespace, ca_dir, shadow, root_config_map, trust_bundle } => {
                (client, namespace, ca_dir, *shadow, root_config_map, *trust_bundle)
            }
        };
        if let Some(dir) = ca_dir {
            let files = read_files(dir).map_err(|e| unreadable_files(dir, &e))?;
            if has_material(&files) && !KeyMaterial::is_generated(&files) {
                return Ok(Source::Files(dir.clone()));
            }
        }
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let get = async |name: &'static str| {
            let found = secrets.get_opt(name).await;
            let found = found.map_err(|e| Problem {
                kind: ProblemKind::Unreadable,
                secret: Some(name),
                text: format!("cannot read Secret {namespace}/{name}: {e}; grant get on secrets there"),
            })?;
            // An empty one waits for a root.
            Ok::<_, Problem>(found.filter(|secret| !is_empty(secret)))
        };
        let plugged_in = get(PLUGGED_IN_SECRET).await?.map(|secret| data_of(&secret)).filter(has_material);
        let is_generated = plugged_in.as_ref().is_some_and(KeyMaterial::is_generated);
        if plugged_in.is_some() && !is_generated {
            let source = format!("Secret {namespace}/{PLUGGED_IN_SECRET}");
            return Ok(Source::PluggedInSecret { secrets, source });
        }
        // A generated root is adopted from either Secret; a new one is stored in istio-ca-secret.
        let in_cacerts = is_generated && get(ROOT_SECRET).await?.is_none();
        let name = if in_cacerts { PLUGGED_IN_SECRET } else { ROOT_SECRET };
        Ok(Source::SelfSigned(Box::new(RootSecret {
            client: client.clone(),
            namespace: namespace.clone(),
            name,
            generated_marker: in_cacerts,
            shadow,
            root_config_map: root_config_map.clone(),
            trust_bundle,
            ttl: self.settings.ttl,
            rotation: self.settings.rotation,
            signing_intermediate: self.settings.signing_intermediate,
            authority: self.authority.clone(),
            index: Arc::clone(&self.index),
            clock: Arc::clone(&self.clock),
        })))
    }

    async fn follow(self, source: Source) {
        let plugged_in = || PluggedIn {
            ttl: self.settings.ttl,
            allow_multiple_roots: self.settings.allow_multiple_roots,
            reads_revocations: self.settings.reads_revocations,
            signing_intermediate: self.settings.signing_intermediate,
            authority: self.authority.clone(),
            index: Arc::clone(&self.index),
            clock: Arc::clone(&self.clock),
        };
        match source {
            Source::StateDir(dir) => self.follow_state_dir(&dir).await,
            Source::Files(dir) => plugged_in().follow_files(&dir).await,
            Source::PluggedInSecret { secrets, source } => {
                plugged_in().follow_secret(secrets, &source).await;
            }
            Source::SelfSigned(root) => root.follow().await,
        }
    }

    async fn follow_state_dir(&self, dir: &StateDir) {
        let mut backoff = BACKOFF.0;
        loop {
            match self.reconcile_state_dir(dir) {
                Ok(wait) => {
                    backoff = BACKOFF.0;
                    self.clock.sleep(wait.clamp(BACKOFF.0, STATE_POLL)).await;
                }
                Err(problem) => {
                    self.authority.report(problem);
                    self.clock.sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Activates the root of a state folder, renewed if that is due; returns the time until the next
    /// renewal.
    fn reconcile_state_dir(&self, dir: &StateDir) -> Result<Duration, Problem> {
        let problem = |kind, text| Problem { kind, secret: None, text };
        let unreadable = |text| problem(ProblemKind::Unreadable, text);
        let (domain, policy) = (self.index.mesh().trust_domain.clone(), &self.settings.rotation);
        let root = dir.root(domain.as_str(), policy.life, self.clock.now());
        let root = root.map_err(|e| unreadable(e.to_string()))?;
        let advanced = dir.advance(&root, policy, self.clock.now());
        let state = advanced.as_ref().unwrap_or(&root);
        // A root that cannot be renewed is still used.
        if advanced.is_ok() || self.authority.current().is_none() {
            let issuer = state.issuer(self.settings.ttl).map_err(|e| unreadable(e.to_string()))?;
            let source = dir.root_folder().display().to_string();
            let below = self.settings.signing_intermediate.is_self_signed().then_some(domain);
            let signer = OwnSigner::new(issuer, below);
            self.authority.activate(signer, RevocationLists::default(), &source);
        }
        let due = state.next_due(policy).map_or(u64::MAX, |due| due.as_secs());
        let wait = Duration::from_secs(due.saturating_sub(self.clock.now().as_secs()));
        let unwritable =
            |e: StateError| problem(ProblemKind::Unwritable, format!("the root is not renewed: {e}"));
        advanced.map(|_| wait).map_err(unwritable)
    }
}
