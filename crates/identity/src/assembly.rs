//! Wires the parts of identity together.

use crate::authentication::{Authenticator, Authorizer, AuthorizerSettings};
use crate::authority::{Authority, Events, Notice};
use crate::clock::Clock;
use crate::external::{CsrClient, CsrSettings};
use crate::identity_index::IdentityIndex;
use crate::roots::{
    DEVELOPMENT_ISSUER, ExternalSignerSource, KeyLocation, RootManager, RootSettings, StateDir, StateError,
};
use crate::serving::{ServingCertificate, ServingNames, ServingTls};
use crate::settings::Settings;
use crate::stats::IdentityStats;
use crate::tokens::{PrimaryIssuer, Reach, RootsError, TokenReviewer, TokenVerifier, WebClient};
use ::ca::token::KeySetError;
use ::ca::{
    ExternalRefusal, MIN_EXTERNAL_LIFE, RotationError, RotationPolicy, SignerNames, TrustedAccountsError,
    TtlError, TtlPolicy,
};
use kube::Client;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The value of `EXTERNAL_CA` for signers of the API `certificates.k8s.io`.
const EXTERNAL_BY_KUBERNETES: &str = "ISTIOD_RA_KUBERNETES_API";

/// A self-signed root is renewed when less than this percentage of its lifetime is left.
const RENEW_BELOW_PERCENT: u8 = 20;

/// Why identity cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The list of trusted accounts cannot be read.
    #[error("{0}; correct --trusted-node-accounts")]
    TrustedAccounts(#[from] TrustedAccountsError),
    /// The certificate lifetimes contradict each other.
    #[error("{0}; correct --default-cert-ttl and --max-cert-ttl")]
    Ttl(#[from] TtlError),
    /// The overlap of roots is too short for the certificate lifetimes.
    #[error("{0}; raise --root-overlap, or lower --default-cert-ttl")]
    Overlap(#[from] RotationError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key of development tokens cannot be used.
    #[error("cannot use the key of development tokens: {0}")]
    TokenKey(#[from] KeySetError),
    /// The roots of the servers that publish keys cannot be used.
    #[error("{0}; give the roots (PEM) of the servers that --jwt-rules names by --jwt-roots")]
    JwtRoots(#[from] RootsError),
    /// The external signer is invalid.
    #[error("{0}; correct --external-signer (K8S_SIGNER) and --external-signer-domain (CERT_SIGNER_DOMAIN)")]
    External(#[from] ExternalRefusal),
    /// The default lifetime is below the minimum of external signers.
    #[error("certificates of external signers live for at least {} s; raise --default-cert-ttl", MIN_EXTERNAL_LIFE.as_secs())]
    ExternalTtl,
    /// The kind of external authority is unknown.
    #[error(
        "external authority {0:?} is not known; set it to ISTIOD_RA_KUBERNETES_API, or leave --external-ca (EXTERNAL_CA) empty"
    )]
    ExternalKind(String),
    /// External signers need an API server.
    #[error(
        "an external signer needs an API server, and there is none; leave --external-ca (EXTERNAL_CA) empty"
    )]
    ExternalWithoutCluster,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Where key material is stored, and whose tokens are accepted.
pub enum KeyStore {
    /// The cluster that is served.
    Cluster(Client),
    /// A state folder.
    StateDir(StateDir),
}

/// The source of the active key material.
enum Source {
    /// Key material of this control plane.
    Own(RootManager),
    /// External signers.
    External(ExternalSignerSource),
}

impl Source {
    async fn run(self, stop: CancellationToken) {
        match self {
            Self::Own(manager) => manager.run(stop).await,
            Self::External(source) => source.run(stop).await,
        }
    }
}

/// The identity subsystem, ready to run.
pub struct Identity {
    authorizer: Arc<Authorizer>,
    index: Arc<IdentityIndex>,
    authority: Authority,
    source: Source,
    events: Option<Events>,
    serving: ServingCertificate,
    serving_names: ServingNames,
    opened: CancellationToken,
}

/// A read-only view of identity for other parts of the process.
#[derive(Clone, Default)]
pub struct IdentityView {
    /// The authority: the active signer, and its status.
    pub authority: Authority,
    /// The counters.
    pub stats: Arc<IdentityStats>,
    /// Cancelled once the secure port is open; `None` if there is none.
    opened: Option<CancellationToken>,
    index: Option<Arc<IdentityIndex>>,
}

impl IdentityView {
    /// Returns the index of pods and namespaces; `None` if identity is off.
    pub fn index(&self) -> Option<&Arc<IdentityIndex>> {
        self.index.as_ref()
    }

    /// Returns the UID of a live pod that is known.
    pub fn uid_of(&self, namespace: &str, pod: &str) -> Option<String> {
        self.index.as_ref()?.uid_of(namespace, pod)
    }

    /// Returns whether there is a secure port that is not open yet.
    pub fn is_awaited(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| !opened.is_cancelled())
    }
}

impl Identity {
    /// Wires the parts together; nothing is read or written yet. `secure` is the address of the secure port.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        settings: &Settings,
        store: KeyStore,
        secure: SocketAddr,
    ) -> Result<(Self, IdentityView), IdentityError> {
        let index = IdentityIndex::new(&trusted_accounts(settings), Arc::clone(&settings.clock))?;
        let (authority, notices) = Authority::with_notices();
        let parts = Parts {
            settings,
            signers: external_signers(settings)?,
            ttl: TtlPolicy::new(settings.default_cert_ttl, settings.max_cert_ttl)?
                .with_longest_for_others(settings.max_impersonated_cert_ttl),
            authority,
            index,
            clock: Arc::clone(&settings.clock),
            stats: Arc::new(IdentityStats::default()),
        };
        if parts.signers.is_some() && settings.default_cert_ttl < MIN_EXTERNAL_LIFE {
            return Err(IdentityError::ExternalTtl);
        }
        let is_cluster = matches!(store, KeyStore::Cluster(_));
        let serving_names = serving_names(settings, is_cluster, secure);
        let (source, issuer, events) = match store {
            KeyStore::Cluster(client) => {
                let events = (!settings.shadow).then(|| parts.events(client.clone(), notices));
                let issuer = parts.api_server_issuer(client.clone());
                let source = match parts.signers.clone() {
                    Some(names) => Source::External(parts.external_source(client, names, &serving_names)),
                    None => Source::Own(parts.root_manager(parts.cluster_location(client))),
                };
                (source, issuer, events)
            }
            KeyStore::StateDir(_) if parts.signers.is_some() => {
                return Err(IdentityError::ExternalWithoutCluster);
            }
            KeyStore::StateDir(dir) => {
                let issuer = dir.development_issuer()?;
                let issuer = PrimaryIssuer::Development {
                    keys: issuer.keys()?,
                    issuer: DEVELOPMENT_ISSUER.to_owned(),
                };
                (Source::Own(parts.root_manager(KeyLocation::StateDir(dir))), issuer, None)
            }
        };
        parts.rotation().check(&parts.ttl)?;
        let tls = ServingTls::new(Arc::clone(&parts.clock))?;
        let authorizer = parts.authorizer(issuer, &tls)?;
        let Parts { authority, index, clock, stats, .. } = parts;
        let identity = Self {
            authorizer: Arc::new(authorizer),
            index: Arc::clone(&index),
            authority: authority.clone(),
            source,
            events,
            serving: ServingCertificate::new(tls, clock, Arc::clone(&stats)),
            serving_names: ServingNames { fixed: serving_names, discovery_host: index.discovery_host() },
            opened: CancellationToken::new(),
        };
        // A shadow does not wait for a root, which is managed by the other control plane.
        let opened = (!settings.shadow).then(|| identity.opened.clone());
        Ok((identity, IdentityView { authority, stats, opened, index: Some(index) }))
    }

    /// Returns the authorizer of the secure port's calls.
    pub fn authorizer(&self) -> Arc<Authorizer> {
        Arc::clone(&self.authorizer)
    }

    /// Returns the acceptor of TLS connections; handshakes fail until there is a serving certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.serving.tls().acceptor()
    }

    /// Returns the acceptor of connections for webhooks, by HTTP/1 and with the same certificate.
    pub fn web_acceptor(&self) -> TlsAcceptor {
        self.serving.tls().web_acceptor()
    }

    /// Returns the token to cancel once the secure port is open.
    pub fn opened(&self) -> CancellationToken {
        self.opened.clone()
    }

    /// Runs until `stop` is cancelled. Waits for the first snapshot of the mesh (`published`; `false` if
    /// there will be none), then for key material and for the first attempt to fetch token keys, and cancels
    /// `prepared`: from then on the secure port may be opened.
    pub async fn run(
        self,
        published: impl Future<Output = bool>,
        prepared: CancellationToken,
        stop: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        let keys_attempted = CancellationToken::new();
        {
            let (authorizer, attempted, stop) =
                (Arc::clone(&self.authorizer), keys_attempted.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = authorizer.authenticator().fetch_keys(&attempted) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        tokio::select! {
            // Nothing is signed before the trust domain and the pods are known.
            published = published => if !published { return },
            () = stop.cancelled() => return,
        }
        let authority = self.authority;
        tasks.spawn(self.source.run(stop.clone()));
        {
            let (index, stop) = (self.index, stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = index.follow_deletions() => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        if let Some(events) = self.events {
            tasks.spawn(events.run(stop.clone()));
        }
        let ready = CancellationToken::new();
        {
            let (serving, names) = (self.serving, self.serving_names);
            let (ready, stop) = (ready.clone(), stop.clone());
            tasks.spawn(async move { serving.run(&authority, names, ready, stop).await });
        }
        // Once the port is open the API server may become unavailable, so its keys should be fetched by then.
        // The attempt takes a bounded time.
        tokio::select! {
            ((), ()) = async { tokio::join!(ready.cancelled(), keys_attempted.cancelled()) } => {
                prepared.cancel();
            }
            () = stop.cancelled() => {}
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// What several parts of [`Identity`] are built from.
struct Parts<'s> {
    settings: &'s Settings,
    /// The external signers; `None` to sign with a key of this control plane.
    signers: Option<SignerNames>,
    ttl: TtlPolicy,
    authority: Authority,
    index: Arc<IdentityIndex>,
    clock: Arc<dyn Clock>,
    stats: Arc<IdentityStats>,
}

impl Parts<'_> {
    fn rotation(&self) -> RotationPolicy {
        RotationPolicy {
            renew_below_percent: RENEW_BELOW_PERCENT,
            overlap: self.settings.root_overlap.unwrap_or(self.settings.default_cert_ttl),
            life: self.settings.root_ttl,
        }
    }

    fn cluster_location(&self, client: Client) -> KeyLocation {
        KeyLocation::Cluster {
            client,
            namespace: self.settings.system_namespace.clone(),
            ca_dir: self.settings.ca_dir.clone(),
            shadow: self.settings.shadow,
            root_config_map: self.settings.root_config_map.clone(),
            trust_bundle: self.settings.trust_bundle,
        }
    }

    fn root_manager(&self, location: KeyLocation) -> RootManager {
        RootManager {
            location,
            settings: RootSettings {
                ttl: self.ttl,
                allow_multiple_roots: self.settings.allow_multiple_roots,
                reads_revocations: self.settings.revocation_lists,
                rotation: self.rotation(),
                signing_intermediate: self.settings.signing_intermediate,
            },
            authority: self.authority.clone(),
            index: Arc::clone(&self.index),
            clock: Arc::clone(&self.clock),
        }
    }

    fn external_source(
        &self,
        client: Client,
        names: SignerNames,
        serving_names: &[String],
    ) -> ExternalSignerSource {
        let settings = CsrSettings {
            timeout: self.settings.external_signer_timeout,
            max_pending: self.settings.external_signer_requests,
            namespace: self.settings.system_namespace.clone(),
            revision: self.settings.revision.clone(),
        };
        ExternalSignerSource {
            csr_client: CsrClient::new(client, settings, Arc::clone(&self.clock)),
            names,
            ttl: self.ttl,
            root_file: self.settings.external_root.clone(),
            allow_multiple_roots: self.settings.allow_multiple_roots,
            serving_names: serving_names.to_vec(),
            shadow: self.settings.shadow,
            authority: self.authority.clone(),
            index: Arc::clone(&self.index),
            clock: Arc::clone(&self.clock),
        }
    }

    fn events(&self, client: Client, notices: mpsc::Receiver<Notice>) -> Events {
        Events {
            client,
            namespace: self.settings.system_namespace.clone(),
            replica: self.settings.replica.clone(),
            notices,
            index: Arc::clone(&self.index),
            stats: Arc::clone(&self.stats),
            clock: Arc::clone(&self.clock),
        }
    }

    fn api_server_issuer(&self, client: Client) -> PrimaryIssuer {
        PrimaryIssuer::ApiServer {
            keys: (!self.settings.always_review_tokens).then(|| client.clone()),
            reviewer: Box::new(TokenReviewer::new(client, Arc::clone(&self.stats))),
        }
    }

    fn authorizer(&self, issuer: PrimaryIssuer, tls: &ServingTls) -> Result<Authorizer, IdentityError> {
        let rules = self.settings.jwt_rules.0.clone();
        let additional = match rules.is_empty() {
            true => None,
            false => {
                let roots = self.settings.jwt_roots.as_deref().filter(|roots| !roots.is_empty());
                Some((rules, WebClient::new(roots, Reach::CONFIGURED)?))
            }
        };
        let audiences = self.settings.token_audiences.clone();
        let tokens = TokenVerifier::new(
            issuer,
            audiences,
            additional,
            Arc::clone(&self.clock),
            Arc::clone(&self.stats),
        );
        let authenticator = Authenticator::new(
            self.settings.cluster_id.clone(),
            Arc::clone(&self.index),
            tokens,
            tls.client_verifier(),
            self.settings.certificate_renewal,
            Arc::clone(&self.clock),
            Arc::clone(&self.stats),
        );
        let settings = AuthorizerSettings {
            certificates_per_second: self.settings.certificates_per_second,
            streams_per_client: self.settings.streams_per_client,
            ttl: self.ttl,
        };
        let (index, authority) = (Arc::clone(&self.index), self.authority.clone());
        let (clock, stats) = (Arc::clone(&self.clock), Arc::clone(&self.stats));
        Ok(Authorizer::new(settings, authenticator, index, authority, clock, stats))
    }
}

/// Returns the configured external signers; `None` to sign with a key of this control plane.
fn external_signers(settings: &Settings) -> Result<Option<SignerNames>, IdentityError> {
    match settings.external_ca.as_str() {
        "" => Ok(None),
        EXTERNAL_BY_KUBERNETES => {
            Ok(Some(SignerNames::new(&settings.external_signer, &settings.external_signer_domain)?))
        }
        other => Err(IdentityError::ExternalKind(other.to_owned())),
    }
}

/// Returns the accounts that may request certificates of the pods on their node: the configured ones, or
/// else `ztunnel` in the namespace of the control plane.
fn trusted_accounts(settings: &Settings) -> String {
    let default = || format!("{}/ztunnel", settings.system_namespace);
    settings.trusted_node_accounts.clone().unwrap_or_else(default)
}

/// Returns the fixed names of the serving certificate: the service names of istiod, the configured ones, and
/// loopback where clients are on this machine.
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

/// Issues a development token with the key of a state folder, bound to a pod; returns its text.
///
/// # Errors
/// [`IdentityError`] when the key cannot be loaded or created, or the token cannot be signed.
pub fn development_token(
    dir: &StateDir,
    token: &::ca::token::DevelopmentToken,
) -> Result<String, IdentityError> {
    let issuer = dir.existing_development_issuer()?;
    let now = rustls::pki_types::UnixTime::now();
    issuer.issue(token, now, &::ca::SystemEntropy).map_err(|source| {
        StateError::TokenKey { path: dir.root_folder().with_file_name("token-key.pem"), source }.into()
    })
}

/// The UID of a pod without a UID, such as one from a manifest.
pub const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// Default lifetime of a development token.
pub const DEVELOPMENT_TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);
