//! The parts of identity put together.

use crate::authority::Authority;
use crate::events::Events;
use crate::external::{Desk, DeskSettings, Supply};
use crate::gate::{Gate, GateSettings};
use crate::keeper::{Keeper, KeyPlace, KeySettings};
use crate::review::Reviewer;
use crate::serving::{Serving, ServingNames};
use crate::settings::Settings;
use crate::state_dir::{DEVELOPMENT_ISSUER, StateDir, StateError};
use crate::stats::IdentityStats;
use crate::tokens::{Tokens, Verifier};
use crate::web::{RootsError, Web};
use crate::world::{World, WorldError, WorldWriter};
use ::ca::token::KeySetError;
use ::ca::{
    ExternalRefusal, MIN_EXTERNAL_LIFE, RotationError, RotationPolicy, SignerNames, TtlError, TtlPolicy,
};
use kube::Client;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The value of `EXTERNAL_CA` for signers of the API `certificates.k8s.io`.
const EXTERNAL_BY_KUBERNETES: &str = "ISTIOD_RA_KUBERNETES_API";

/// Below which share of its life a self-signed root is renewed, in percent.
const RENEW_BELOW_PERCENT: u8 = 20;

/// Why identities cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A setting cannot be used.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Lives of certificates contradict each other.
    #[error("{0}; correct --default-cert-ttl and --max-cert-ttl")]
    Ttl(#[from] TtlError),
    /// A rotation of the root would cut peers off.
    #[error("{0}; raise --root-overlap, or lower --default-cert-ttl")]
    Overlap(#[from] RotationError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key of development tokens cannot be used.
    #[error("cannot use the key of development tokens: {0}")]
    TokenKey(#[from] KeySetError),
    /// The roots that servers of keys are verified by cannot be used.
    #[error("{0}; give the roots (PEM) of the servers that --jwt-rules names by --jwt-roots")]
    Web(#[from] RootsError),
    /// The external signer is none that can be asked.
    #[error("{0}; correct --external-signer (K8S_SIGNER) and --external-signer-domain (CERT_SIGNER_DOMAIN)")]
    External(#[from] ExternalRefusal),
    /// Certificates would live for less than external signers can be asked for.
    #[error("certificates of external signers live for at least {} s; raise --default-cert-ttl", MIN_EXTERNAL_LIFE.as_secs())]
    ExternalTtl,
    /// Another kind of external authority is asked for.
    #[error(
        "external authority {0:?} is not known; write ISTIOD_RA_KUBERNETES_API, or leave --external-ca (EXTERNAL_CA) empty"
    )]
    ExternalKind(String),
    /// There is no API server to ask an external signer through.
    #[error(
        "an external signer is asked through the API server, and there is none here; leave --external-ca (EXTERNAL_CA) empty"
    )]
    ExternalWithoutCluster,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Where key material and tokens come from.
pub enum Home {
    /// The cluster that is served.
    Cluster(Client),
    /// The state folder of this process.
    StateDir(StateDir),
}

/// What supplies the authority.
enum Source {
    /// Key material of our own.
    Own(Keeper),
    /// Signers that are not ours.
    External(Supply),
}

impl Source {
    async fn run(self, stop: CancellationToken) {
        match self {
            Self::Own(keeper) => keeper.run(stop).await,
            Self::External(supply) => supply.run(stop).await,
        }
    }
}

/// What serves identities, ready to run.
pub struct Identity {
    gate: Arc<Gate>,
    authority: Authority,
    source: Source,
    events: Option<Events>,
    serving: Serving,
    serving_names: ServingNames,
    opened: CancellationToken,
}

/// What other parts of the process may know of it.
#[derive(Clone, Default)]
pub struct IdentityView {
    /// The authority: what signs, and its status.
    pub authority: Authority,
    /// The counters.
    pub stats: Arc<IdentityStats>,
    /// Cancelled once the secure port is open; nothing where there is none.
    opened: Option<CancellationToken>,
    world: Option<Arc<World>>,
}

impl IdentityView {
    /// Returns what is known of pods and namespaces; nothing where no identities are served.
    pub fn world(&self) -> Option<&Arc<World>> {
        self.world.as_ref()
    }

    /// Returns the UID of a live pod, as far as it was told of already.
    pub fn uid_of(&self, namespace: &str, pod: &str) -> Option<String> {
        self.world.as_ref()?.uid_of(namespace, pod)
    }

    /// Tells whether there will be a secure port that is not open yet.
    pub fn is_awaited(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| !opened.is_cancelled())
    }
}

impl Identity {
    /// Puts the parts together; nothing is asked or written yet. `secure` is the address of the port.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        settings: &Settings,
        home: Home,
        secure: SocketAddr,
    ) -> Result<(Self, WorldWriter, IdentityView), IdentityError> {
        let Settings { default_cert_ttl, max_cert_ttl, root_ttl, root_overlap, shadow, .. } = *settings;
        let (world, writer) = World::new(&trusted_accounts(settings))?;
        let ((authority, notices), stats) = (Authority::with_notices(), Arc::new(IdentityStats::default()));
        let is_cluster = matches!(home, Home::Cluster(_));
        let root_config_map = settings.root_config_map.clone();
        let names = external_names(settings)?;
        let ttl = TtlPolicy::new(default_cert_ttl, max_cert_ttl)?;
        if names.is_some() && default_cert_ttl < MIN_EXTERNAL_LIFE {
            return Err(IdentityError::ExternalTtl);
        }
        let serving_names = serving_names(settings, is_cluster, secure);
        let (place, supply, verifier, events) = match home {
            Home::Cluster(client) => {
                let supply = names.map(|names| Supply {
                    desk: Desk::new(client.clone(), desk_settings(settings)),
                    names,
                    ttl,
                    root_file: settings.external_root.clone(),
                    several_roots: settings.several_roots,
                    serving_names: serving_names.clone(),
                    shadow,
                    authority: authority.clone(),
                    world: Arc::clone(&world),
                });
                let events = (!shadow).then(|| Events {
                    client: client.clone(),
                    namespace: settings.system_namespace.clone(),
                    replica: settings.replica.clone(),
                    notices,
                    world: Arc::clone(&world),
                    stats: Arc::clone(&stats),
                });
                let verifier = Verifier::Cluster {
                    keys: (!settings.always_review_tokens).then(|| client.clone()),
                    reviewer: Box::new(Reviewer::new(client.clone(), Arc::clone(&stats))),
                };
                let place = KeyPlace::Cluster {
                    client,
                    namespace: settings.system_namespace.clone(),
                    ca_dir: settings.ca_dir.clone(),
                    shadow,
                    root_config_map,
                    trust_bundle: settings.trust_bundle,
                };
                (place, supply, verifier, events)
            }
            Home::StateDir(_) if names.is_some() => return Err(IdentityError::ExternalWithoutCluster),
            Home::StateDir(dir) => {
                let issuer = dir.development_issuer()?;
                let verifier =
                    Verifier::Development { keys: issuer.keys()?, issuer: DEVELOPMENT_ISSUER.to_owned() };
                (KeyPlace::StateDir(dir), None, verifier, None)
            }
        };
        let rules = settings.jwt_rules.0.clone();
        let further = match rules.is_empty() {
            true => None,
            false => Some((rules, Web::new(settings.jwt_roots.as_deref().filter(|r| !r.is_empty()))?)),
        };
        let audiences = settings.token_audiences.clone();
        let tokens = Tokens::new(verifier, audiences, further, Arc::clone(&stats));
        let gate_settings = GateSettings {
            cluster_id: settings.cluster_id.clone(),
            certificates_per_second: settings.certificates_per_second,
            streams_per_client: settings.streams_per_client,
            ttl,
        };
        let rotation = RotationPolicy {
            renew_below_percent: RENEW_BELOW_PERCENT,
            overlap: root_overlap.unwrap_or(default_cert_ttl),
            life: root_ttl,
        };
        rotation.check(&ttl)?;
        let several_roots = settings.several_roots;
        let keeper = Keeper {
            place,
            settings: KeySettings {
                ttl,
                several_roots,
                reads_revocations: settings.revocation_lists,
                rotation,
            },
            authority: authority.clone(),
            world: Arc::clone(&world),
        };
        let serving_names = ServingNames { set: serving_names, discovery_host: world.discovery_host() };
        let source = supply.map_or(Source::Own(keeper), Source::External);
        let serving = Serving::new(Arc::clone(&stats))?;
        let gate = Gate::new(
            gate_settings,
            Arc::clone(&world),
            tokens,
            serving.clients(),
            authority.clone(),
            Arc::clone(&stats),
        );
        let identity = Self {
            gate: Arc::new(gate),
            authority: authority.clone(),
            source,
            events,
            serving,
            serving_names,
            opened: CancellationToken::new(),
        };
        // A shadow serves what it can: whether there is a root is the other control plane's affair.
        let opened = (!shadow).then(|| identity.opened.clone());
        Ok((identity, writer, IdentityView { authority, stats, opened, world: Some(world) }))
    }

    /// Returns what authenticates the callers of the secure port.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Returns what makes TLS handshakes; they fail until there is a certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.serving.acceptor()
    }

    /// Returns what is to be cancelled when the secure port is open.
    pub fn opened(&self) -> CancellationToken {
        self.opened.clone()
    }

    /// Keeps everything up to date until `stop`. Waits until there is a mesh (`published`; `false` when
    /// there will be none), then for key material and for an answer about the keys of tokens, and cancels
    /// `prepared`: from then on the secure port may be open.
    pub async fn run(
        self,
        published: impl Future<Output = bool>,
        prepared: CancellationToken,
        stop: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        let keys_asked = CancellationToken::new();
        {
            let (gate, asked, stop) = (Arc::clone(&self.gate), keys_asked.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = gate.fetch_keys(&asked) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        tokio::select! {
            // Whose trust domain and pods are not known, for that nothing is signed.
            published = published => if !published { return },
            () = stop.cancelled() => return,
        }
        let authority = self.authority;
        tasks.spawn(self.source.run(stop.clone()));
        if let Some(events) = self.events {
            tasks.spawn(events.run(stop.clone()));
        }
        let ready = CancellationToken::new();
        {
            let (serving, names) = (self.serving, self.serving_names);
            let (ready, stop) = (ready.clone(), stop.clone());
            tasks.spawn(async move { serving.follow(&authority, names, ready, stop).await });
        }
        // Once the port is open, the API server may go away: the keys of its tokens should be here by
        // then. It is asked for a bounded time.
        tokio::select! {
            ((), ()) = async { tokio::join!(ready.cancelled(), keys_asked.cancelled()) } => prepared.cancel(),
            () = stop.cancelled() => {}
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// Returns the external signers that are to be asked; none where our own key signs.
fn external_names(settings: &Settings) -> Result<Option<SignerNames>, IdentityError> {
    match settings.external_ca.as_str() {
        "" => Ok(None),
        EXTERNAL_BY_KUBERNETES => {
            Ok(Some(SignerNames::new(&settings.external_signer, &settings.external_signer_domain)?))
        }
        other => Err(IdentityError::ExternalKind(other.to_owned())),
    }
}

fn desk_settings(settings: &Settings) -> DeskSettings {
    DeskSettings {
        limit: settings.external_signer_timeout,
        places: settings.external_signer_requests,
        namespace: settings.system_namespace.clone(),
        revision: settings.revision.clone(),
    }
}

/// Returns the accounts that may ask for the certificates of pods on their node: those set, else the
/// `ztunnel` of the control plane's namespace.
fn trusted_accounts(settings: &Settings) -> String {
    let default = || format!("{}/ztunnel", settings.system_namespace);
    settings.trusted_node_accounts.clone().unwrap_or_else(default)
}

/// Returns the names of the serving certificate that stay as long as the process: those under which
/// clients know istiod, those set, and loopback where clients are on this machine.
fn serving_names(settings: &Settings, is_cluster: bool, secure: SocketAddr) -> Vec<String> {
    let Settings { system_namespace, revision, domain, .. } = settings;
    let mut services = vec!["istiod".to_owned(), "istiod-remote".to_owned(), "istio-pilot".to_owned()];
    services.push("pilothouse".to_owned());
    if !revision.is_empty() && revision != "default" {
        services.push(format!("istiod-{revision}"));
    }
    let mut names: Vec<String> = settings.serving_names.clone();
    for service in services {
        names.push(format!("{service}.{system_namespace}.svc"));
        names.push(format!("{service}.{system_namespace}.svc.{domain}"));
    }
    if !is_cluster || secure.ip().is_loopback() {
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        if !secure.ip().is_unspecified() {
            names.push(secure.ip().to_string());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Issues a development token from the key of a state folder, bound to a pod.
///
/// # Errors
/// [`IdentityError`] when there is no key to be had; the text of the token else.
pub fn development_token(
    dir: &StateDir,
    token: &::ca::token::DevelopmentToken,
) -> Result<String, IdentityError> {
    let issuer = dir.kept_development_issuer()?;
    let now = rustls::pki_types::UnixTime::now();
    issuer.issue(token, now, &::ca::SystemEntropy).map_err(|source| {
        StateError::TokenKey { path: dir.root_folder().with_file_name("token-key.pem"), source }.into()
    })
}

/// The UID of a pod that has none, such as one in a folder of manifests.
pub const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// How long a development token is valid unless it is told otherwise.
pub const DEVELOPMENT_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
