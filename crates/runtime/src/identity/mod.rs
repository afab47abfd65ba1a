//! Identity: the certificate authority, the secure port, and who may ask for what.
//!
//! ```text
//!                 source ──events──▶ World (pods, namespaces, trust domain)
//!                                      │
//!  Secret, files, state folder          ▼                    ConfigMaps in every namespace
//!        └──▶ Keeper ──▶ Authority ──▶ Gate ◀── Tokens              ▲
//!                            │          ▲  (keys of the API server and of further issuers, TokenReview)
//!                            │          │                           │
//!                            ├──▶ Serving (TLS of port 15012)       │
//!                            ├──▶ Distribution ─────────────────────┘
//!                            └──▶ Events (what is wrong with key material)
//! ```
//!
//! [`Identity`] puts the parts together. The port opens once there is a mesh to serve and a root to
//! sign with; until then connections are refused, so that clients try another replica.

mod authority;
mod distribution;
mod events;
mod external;
mod gate;
mod keeper;
mod key_source;
mod new_tokens;
mod own_signer;
mod pods;
mod published_keys;
mod refused;
mod request;
mod review;
mod root_secret;
mod serving;
mod signer;
mod state_dir;
mod stats;
mod tokens;
mod trouble;
mod web;
mod world;

pub use authority::{Authority, AuthorityStatus, Changes, InForce};
pub use gate::{Admission, Authenticated, CertificateRequest, Connection, Gate, GateSettings};
pub use pods::{Binding, PodTable};
pub use refused::Refused;
pub use request::{CertificateTarget, NewCertificate, RequestError, request_certificate};
pub use root_secret::ROTATE;
pub use serving::{ShownCertificate, client_identity};
pub use signer::Signer;
pub use state_dir::{DEVELOPMENT_ISSUER, StateDir, StateError};
pub use stats::{Count, Counts, IdentityStats, LeafEnds, Moment};
pub use trouble::{Trouble, TroubleKind};
pub use world::{MeshIdentity, World, WorldError, WorldWriter};

use crate::config::{IdentityArgs, MeshArgs, ServeArgs};
use crate::grpc::Service;
use crate::pump::Snapshots;
use ::ca::token::KeySetError;
use ::ca::{
    ExternalRefusal, MIN_EXTERNAL_LIFE, RotationError, RotationPolicy, SignerNames, TtlError, TtlPolicy,
};
use distribution::{Distribution, Item};
use events::Events;
use external::{Desk, DeskSettings, Supply};
use keeper::{Keeper, KeyPlace, KeySettings};
use kube::Client;
use review::Reviewer;
use serving::{Serving, ServingNames};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokens::{Tokens, Verifier};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::{RootsError, Web};

/// The value of `EXTERNAL_CA` for signers of the API `certificates.k8s.io`.
const EXTERNAL_BY_KUBERNETES: &str = "ISTIOD_RA_KUBERNETES_API";

/// How many connections may wait to be taken.
const BACKLOG: u32 = 4096;

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
    distribution: Option<Distribution>,
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
        args: &ServeArgs,
        home: Home,
        secure: SocketAddr,
    ) -> Result<(Self, WorldWriter, IdentityView), IdentityError> {
        let IdentityArgs { default_cert_ttl, max_cert_ttl, root_ttl, root_overlap, .. } = args.identity;
        let (world, writer) = World::new(&trusted_accounts(&args.identity, &args.mesh))?;
        let ((authority, notices), stats) = (Authority::with_notices(), Arc::new(IdentityStats::default()));
        let is_cluster = matches!(home, Home::Cluster(_));
        let shadow = args.shadow;
        let root_config_map = args.identity.root_config_map.clone();
        let names = external_names(&args.identity)?;
        let ttl = TtlPolicy::new(default_cert_ttl, max_cert_ttl)?;
        if names.is_some() && default_cert_ttl < MIN_EXTERNAL_LIFE {
            return Err(IdentityError::ExternalTtl);
        }
        let serving_names = serving_names(args, is_cluster, secure);
        let (place, supply, verifier, distribution, events) = match home {
            Home::Cluster(client) => {
                let supply = names.map(|names| Supply {
                    desk: Desk::new(client.clone(), desk_settings(args)),
                    names,
                    ttl,
                    root_file: args.identity.external_root.clone(),
                    several_roots: args.identity.several_roots,
                    serving_names: serving_names.clone(),
                    shadow,
                    authority: authority.clone(),
                    world: Arc::clone(&world),
                });
                let distribution = (!shadow).then(|| Distribution {
                    client: client.clone(),
                    items: published(&args.identity),
                    authority: authority.clone(),
                    world: Arc::clone(&world),
                    stats: Arc::clone(&stats),
                });
                let events = (!shadow).then(|| Events {
                    client: client.clone(),
                    namespace: args.mesh.system_namespace.clone(),
                    replica: args.replica(),
                    notices,
                    world: Arc::clone(&world),
                    stats: Arc::clone(&stats),
                });
                let verifier = Verifier::Cluster {
                    keys: (!args.identity.always_review_tokens).then(|| client.clone()),
                    reviewer: Box::new(Reviewer::new(client.clone(), Arc::clone(&stats))),
                };
                let place = KeyPlace::Cluster {
                    client,
                    namespace: args.mesh.system_namespace.clone(),
                    ca_dir: args.identity.ca_dir.clone(),
                    shadow,
                    root_config_map,
                    trust_bundle: args.identity.trust_bundle,
                };
                (place, supply, verifier, distribution, events)
            }
            Home::StateDir(_) if names.is_some() => return Err(IdentityError::ExternalWithoutCluster),
            Home::StateDir(dir) => {
                let issuer = dir.development_issuer()?;
                let verifier =
                    Verifier::Development { keys: issuer.keys()?, issuer: DEVELOPMENT_ISSUER.to_owned() };
                (KeyPlace::StateDir(dir), None, verifier, None, None)
            }
        };
        let rules = args.identity.jwt_rules.0.clone();
        let further = match rules.is_empty() {
            true => None,
            false => Some((rules, Web::new(args.identity.jwt_roots.as_deref().filter(|r| !r.is_empty()))?)),
        };
        let audiences = args.identity.token_audiences.clone();
        let tokens = Tokens::new(verifier, audiences, further, Arc::clone(&stats));
        let settings = GateSettings {
            cluster_id: args.mesh.cluster_id.clone(),
            certificates_per_second: args.identity.certificates_per_second,
            streams_per_client: args.bounds.streams_per_client as usize,
            ttl,
        };
        let rotation = RotationPolicy {
            renew_below_percent: RENEW_BELOW_PERCENT,
            overlap: root_overlap.unwrap_or(default_cert_ttl),
            life: root_ttl,
        };
        rotation.check(&ttl)?;
        let several_roots = args.identity.several_roots;
        let keeper = Keeper {
            place,
            settings: KeySettings {
                ttl,
                several_roots,
                reads_revocations: args.identity.revocation_lists,
                rotation,
            },
            authority: authority.clone(),
            world: Arc::clone(&world),
        };
        let serving_names = ServingNames { set: serving_names, discovery_host: world.discovery_host() };
        let source = supply.map_or(Source::Own(keeper), Source::External);
        let serving = Serving::new(Arc::clone(&stats))?;
        let gate = Gate::new(
            settings,
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
            distribution,
            events,
            serving,
            serving_names,
            opened: CancellationToken::new(),
        };
        // A shadow serves what it can: whether there is a root is the other control plane's affair.
        let opened = (!shadow).then(|| identity.opened.clone());
        Ok((identity, writer, IdentityView { authority, stats, opened, world: Some(world) }))
    }

    /// Serves until `stop`: waits for the first snapshot, for key material and for an answer about the
    /// keys of tokens, then opens the port.
    pub async fn run(
        self,
        port: SecurePort,
        service: Service,
        mut snapshots: Snapshots,
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
            published = snapshots.wait_for(Option::is_some) => if published.is_err() { return },
            () = stop.cancelled() => return,
        }
        let authority = self.authority;
        tasks.spawn(self.source.run(stop.clone()));
        if let Some(distribution) = self.distribution {
            tasks.spawn(distribution.run(stop.clone()));
        }
        if let Some(events) = self.events {
            tasks.spawn(events.run(stop.clone()));
        }
        let ready = CancellationToken::new();
        let tls = self.serving.acceptor();
        {
            let (serving, names) = (self.serving, self.serving_names);
            let (ready, stop) = (ready.clone(), stop.clone());
            tasks.spawn(async move { serving.follow(&authority, names, ready, stop).await });
        }
        // Once the port is open, the API server may go away: the keys of its tokens should be here by
        // then. It is asked for a bounded time.
        let prepared = async { tokio::join!(ready.cancelled(), keys_asked.cancelled()) };
        tokio::select! {
            ((), ()) = prepared => {
                port.serve(service.guarded(self.gate), tls, &self.opened, stop.clone()).await;
            }
            () = stop.cancelled() => {}
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// The secure port: taken, and not open before there is something right to serve.
pub struct SecurePort {
    socket: TcpSocket,
    address: SocketAddr,
}

impl SecurePort {
    /// Takes the port without listening: who connects is refused.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn take(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    async fn serve(
        self,
        service: Service,
        tls: tokio_rustls::TlsAcceptor,
        opened: &CancellationToken,
        stop: CancellationToken,
    ) {
        let listener = match self.socket.listen(BACKLOG) {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::error!(
                    address = %self.address, %error,
                    "cannot open the secure port; choose another by --secure-addr",
                );
            }
        };
        opened.cancel();
        tracing::info!(address = %self.address, "the secure port is open");
        if let Err(error) = service.serve_tls(listener, tls, stop).await {
            tracing::error!(%error, "the secure port is lost");
        }
    }
}

/// Returns what is published.
fn published(args: &IdentityArgs) -> Vec<Item> {
    let lists = args.revocation_lists.then(|| Item::revocation_lists(&args.crl_config_map));
    std::iter::once(Item::roots(&args.root_config_map, args.trust_bundle)).chain(lists).collect()
}

/// Returns the external signers that are to be asked; none where our own key signs.
fn external_names(args: &IdentityArgs) -> Result<Option<SignerNames>, IdentityError> {
    match args.external_ca.as_str() {
        "" => Ok(None),
        EXTERNAL_BY_KUBERNETES => {
            Ok(Some(SignerNames::new(&args.external_signer, &args.external_signer_domain)?))
        }
        other => Err(IdentityError::ExternalKind(other.to_owned())),
    }
}

fn desk_settings(args: &ServeArgs) -> DeskSettings {
    DeskSettings {
        limit: args.identity.external_signer_timeout,
        places: usize::from(args.identity.external_signer_requests),
        namespace: args.mesh.system_namespace.clone(),
        revision: args.mesh.revision.clone(),
    }
}

/// Returns the accounts that may ask for the certificates of pods on their node: those set, else the
/// `ztunnel` of the control plane's namespace.
fn trusted_accounts(identity: &IdentityArgs, mesh: &MeshArgs) -> String {
    let default = || format!("{}/ztunnel", mesh.system_namespace);
    identity.trusted_node_accounts.clone().unwrap_or_else(default)
}

/// Returns the names of the serving certificate that stay as long as the process: those under which
/// clients know istiod, those set, and loopback where clients are on this machine.
fn serving_names(args: &ServeArgs, is_cluster: bool, secure: SocketAddr) -> Vec<String> {
    let MeshArgs { system_namespace, revision, domain, .. } = &args.mesh;
    let mut services = vec!["istiod".to_owned(), "istiod-remote".to_owned(), "istio-pilot".to_owned()];
    services.push("pilothouse".to_owned());
    if !revision.is_empty() && revision != "default" {
        services.push(format!("istiod-{revision}"));
    }
    let mut names: Vec<String> = args.identity.serving_names.clone();
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
    let issuer = dir.development_issuer()?;
    let now = rustls::pki_types::UnixTime::now();
    issuer.issue(token, now, &::ca::SystemEntropy).map_err(|source| {
        StateError::TokenKey { path: dir.root_folder().with_file_name("token-key.pem"), source }.into()
    })
}

/// The UID of a pod that has none, such as one in a folder of manifests.
pub const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// How long a development token is valid unless it is told otherwise.
pub const DEVELOPMENT_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
