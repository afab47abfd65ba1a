//! The daemon: source, engine and servers put together.

use crate::config::{DebugArgs, ServeArgs, SourceArgs};
use crate::controllers::roots::{PublishedText, RootsPublisher};
use crate::controllers::webhooks::WebhookConfigurations;
use crate::controllers::{
    ChangedObjects, Controllers, RELIST_INTERVAL, RESYNC_DELAY, ReportIntervals, StatusSettings, StatusStats,
};
use crate::engine_thread::{EngineHandle, Subscriber};
use crate::keys::KeyFetcher;
use crate::log::MeshLog;
use crate::metrics::Metrics;
use crate::pages::{self, Monitoring};
use crate::refusals::Refusals;
use crate::secure::{SecureServer, WebhookServer};
use crate::source::SourceView;
use crate::source::folder::{FolderSettings, FolderSource};
use crate::subscribers::{WantedKeys, WantedReferents};
use crate::webhook::{Webhook, WebhookStats};
use admission::Judge;
use cluster::{
    Access, ConnectError, Connection, KindsWithoutEffect, KubeSettings, KubeSource, LeaseTimings, connect,
};
use identity::{
    Clock, Identity, IdentityError, IdentityView, KeyStore, Reach, RootsError, StateDir, SystemClock,
    WebClient,
};
use model::Diagnostic;
use plane::Findings;
use server::http::{self, HttpBounds};
use server::{Ads, AffectedNodes, Bounds, Clients, SecurePort, Service, Timeouts};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {addr} for {what}: {source}; {}", advice(source, flag))]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What it is for.
        what: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// There is no way to a cluster.
    #[error(transparent)]
    Connect(#[from] Box<ConnectError>),
    /// A folder does not exist.
    #[error("cannot read {path}: {source}; name a folder of manifests by --from")]
    Folder {
        /// The path.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Certificates cannot be served.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The servers of keys cannot be verified.
    #[error("{0}; name a file of certificates by --jwks-roots")]
    KeyRoots(RootsError),
    /// No thread can be started.
    #[error("cannot start the engine: {0}")]
    Thread(io::Error),
}

fn advice(source: &io::Error, flag: &str) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another process uses it: stop that one or choose another by {flag}")
        }
        io::ErrorKind::PermissionDenied => format!("choose a port above 1023 by {flag}"),
        _ => format!("choose an address of this machine by {flag}"),
    }
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A daemon that has bound its ports and is ready to run.
pub struct Daemon {
    source: Running,
    source_view: SourceView,
    engine: EngineHandle,
    feeds: Feeds,
    secure: Option<SecureServer>,
    view: IdentityView,
    about: pages::About,
    objects: pages::Objects,
    debug: DebugArgs,
    /// Where statuses are written; nowhere beside another control plane and without a cluster.
    status: Option<(kube::Client, StatusSettings)>,
    keys: KeyFetcher,
    bounds: Bounds,
    timeouts: Timeouts,
    configures_waypoints: bool,
    xds: TcpListener,
    health: TcpListener,
    monitoring: TcpListener,
}

/// What the engine thread writes for the server and the controllers to read.
#[derive(Default)]
struct Feeds {
    nodes: Arc<AffectedNodes>,
    clients: Clients,
    changes: Arc<ChangedObjects>,
    status_stats: Arc<StatusStats>,
    webhook_stats: Arc<WebhookStats>,
    wanted: WantedReferents,
    wanted_keys: WantedKeys,
}

impl Feeds {
    fn subscribers(&self) -> Vec<Box<dyn Subscriber>> {
        vec![
            Box::new(Arc::clone(&self.changes)),
            Box::new(Arc::clone(&self.nodes)),
            Box::new(Arc::clone(self.clients.latencies())),
            Box::new(self.wanted.clone()),
            Box::new(self.wanted_keys.clone()),
        ]
    }
}

impl Daemon {
    /// Binds the ports and finds the source; nothing is read yet.
    ///
    /// # Errors
    /// When a port cannot be bound, or there is nothing to read from.
    pub async fn prepare(args: &ServeArgs) -> Result<Self, StartError> {
        Self::prepare_with_clock(args, Arc::new(SystemClock::default())).await
    }

    /// As [`Daemon::prepare`]; certificates, tokens and key material follow this clock.
    ///
    /// # Errors
    /// As [`Daemon::prepare`].
    pub async fn prepare_with_clock(args: &ServeArgs, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let xds = listen(args.xds_addr, "xDS", "--xds-addr").await?;
        let health = listen(args.http_addr, "health", "--http-addr").await?;
        let monitoring = listen(args.monitoring_addr, "monitoring", "--monitoring-addr").await?;
        let connection = connection(&args.source).await?;
        let feeds = Feeds::default();
        let (mut secure, view, engine) = identity(args, connection.as_ref(), &feeds, clock)?;
        if let (Some(secure), Some(connection)) = (&mut secure, &connection) {
            let port = listen(args.webhook_addr, "the webhook", "--webhook-addr").await?;
            secure.webhook = Some(webhook(args, connection, port, &view, &feeds.webhook_stats));
        }
        let objects = match &connection {
            Some(connection) => pages::Objects::of_cluster(connection),
            None => pages::Objects::Folder(Arc::clone(engine.log())),
        };
        let status = status(args, connection.as_ref());
        let (source, source_view, from) = source(&args.source, args, connection, &engine, &feeds.wanted)?;
        let (bounds, timeouts) = (args.bounds.bounds(), args.bounds.timeouts());
        let reach = Reach { plain: true, networks: Some(args.keys.jwks_networks.clone()) };
        let client = match (WebClient::new(args.keys.jwks_roots.as_deref(), reach), &args.keys.jwks_roots) {
            (Err(error), Some(_)) => return Err(StartError::KeyRoots(error)),
            // A machine may have no roots at all: then nothing is fetched, and policies say so.
            (client, _) => client.map_err(|error| error.to_string()),
        };
        let keys = KeyFetcher {
            client,
            refresh: args.keys.jwks_refresh_interval,
            wanted: feeds.wanted_keys.subscribe(),
            out: engine.batches(),
        };
        let about = pages::About {
            replica: args.replica(),
            cluster_id: args.mesh.cluster_id.clone(),
            config_namespace: args.mesh.system_namespace.clone(),
            config_name: mesh::config_map(&args.mesh.revision),
            naming: pages::Naming { domain: args.mesh.domain.clone() },
        };
        let daemon = Self {
            source,
            source_view,
            engine,
            feeds,
            secure,
            view,
            about,
            objects,
            debug: args.debug.clone(),
            status,
            keys,
            bounds,
            timeouts,
            configures_waypoints: args.mesh_options().configures_waypoints,
            xds,
            health,
            monitoring,
        };
        tracing::info!(
            xds = %daemon.xds_addr(),
            secure = daemon.secure_addr().map_or_else(|| "off: no --state-dir".to_owned(), |a| a.to_string()),
            webhook = daemon.webhook_addr().map_or_else(|| "off: no cluster".to_owned(), |a| a.to_string()),
            health = %daemon.health_addr(),
            monitoring = %daemon.monitoring_addr(),
            cluster = args.mesh.cluster_id,
            shadow = args.shadow,
            "pilothouse {} serves {from}",
            env!("CARGO_PKG_VERSION"),
        );
        Ok(daemon)
    }

    /// Waits for clients this long, instead of what its settings say.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Returns the address of plaintext xDS.
    pub fn xds_addr(&self) -> SocketAddr {
        local(&self.xds)
    }

    /// Returns the address of xDS and certificates over TLS, which opens later; nothing without a
    /// place to keep a root.
    pub fn secure_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|secure| secure.port.address())
    }

    /// Returns the address of the webhook; nothing without a cluster.
    pub fn webhook_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref()?.webhook.as_ref().map(|webhook| local(&webhook.port))
    }

    /// Returns what certificates are signed with.
    pub fn identity(&self) -> &IdentityView {
        &self.view
    }

    /// Returns the address of `/ready` and `/healthz`.
    pub fn health_addr(&self) -> SocketAddr {
        local(&self.health)
    }

    /// Returns the address of `/metrics` and `/debug`.
    pub fn monitoring_addr(&self) -> SocketAddr {
        local(&self.monitoring)
    }

    /// Returns the handle of the engine.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Returns the counters of the controllers.
    pub fn status_stats(&self) -> &Arc<StatusStats> {
        &self.feeds.status_stats
    }

    /// Returns the connected clients.
    pub fn clients(&self) -> &Clients {
        &self.feeds.clients
    }

    /// Serves until `stop` is cancelled; streams are then ended in order.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let Feeds { nodes, clients, changes, status_stats, webhook_stats, .. } = self.feeds;
        let ads = Ads::with_affected_nodes(nodes, self.engine.snapshots(), clients.clone())
            .with_capabilities(|node| mesh::understood_by(node.property("ISTIO_VERSION")));
        let ads = if self.configures_waypoints { ads.with_gateways() } else { ads };
        let refusals = Refusals::new(self.engine.clone(), clients.clone());
        let refused = refusals.active();
        let metrics = Metrics::new(self.engine.clone(), clients.clone())
            .with_source(self.source_view.clone())
            .with_identity(self.view.clone())
            .with_refusals(refused.clone())
            .with_status(Arc::clone(&status_stats))
            .with_webhook(webhook_stats);
        let authorizer = self.secure.as_ref().map(|secure| secure.identity.authorizer());
        let monitoring = Arc::new(Monitoring {
            engine: self.engine.clone(),
            clients: clients.clone(),
            source: self.source_view.clone(),
            identity: self.view.clone(),
            metrics,
            objects: self.objects,
            access: pages::Access::new(authorizer, &self.debug),
            about: self.about,
            turns: pages::Turns::default(),
        });
        let ads = ads.with_debug(Arc::new(pages::Discovery::new(Arc::clone(&monitoring))));
        let service = Service::new(ads).with_bounds(self.bounds).with_timeouts(self.timeouts);
        if let Some(secure) = self.secure {
            tasks.spawn(secure.run(service.clone(), self.engine.snapshots(), stop.clone()));
        }
        if let Some((client, settings)) = self.status {
            let controllers = Controllers {
                client,
                engine: self.engine.clone(),
                clients: clients.clone(),
                refusals: refused.clone(),
                changes,
                stats: Arc::clone(&status_stats),
                settings,
            };
            tasks.spawn(controllers.run(stop.clone()));
        }
        let (keys, until) = (self.keys, stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = keys.run() => {}
                () = until.cancelled() => {}
            }
        });
        let until = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = refusals.run() => {}
                () = until.cancelled() => {}
            }
        });
        let xds = self.xds;
        let drain = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = service.serve(xds, drain).await {
                tracing::error!(%error, "the xDS listener is lost");
            }
        });
        let (log, until) = (Arc::clone(self.engine.log()), stop.clone());
        tasks.spawn(async move { log.run(until).await });
        let bounds = HttpBounds::default();
        let health = pages::health(&self.engine, self.source_view, self.view);
        tasks.spawn(http::serve(self.health, health, bounds, stop.clone()));
        let monitoring = pages::monitoring(monitoring);
        tasks.spawn(http::serve(self.monitoring, monitoring, bounds, stop.clone()));
        tokio::select! {
            () = self.source => {
                // A source ends when the engine is gone; the last published mesh is still served.
                tracing::error!("the source has ended; what was published stays served");
                stop.cancelled().await;
            }
            () = stop.cancelled() => {}
        }
        tracing::info!("stopping");
        tasks.close();
        tasks.wait().await;
    }
}

fn local(listener: &TcpListener) -> SocketAddr {
    // A bound socket has an address; the unspecified one is never returned.
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

async fn listen(addr: SocketAddr, what: &'static str, flag: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).await.map_err(|source| StartError::Listen { addr, what, flag, source })
}

/// Finds the cluster, unless folders are served.
async fn connection(from: &SourceArgs) -> Result<Option<Connection>, StartError> {
    if !from.from.is_empty() {
        return Ok(None);
    }
    let access = Access { kubeconfig: from.kubeconfig.clone(), context: from.context.clone() };
    Ok(Some(connect(&access).await.map_err(Box::new)?))
}

type Prepared = (Option<SecureServer>, IdentityView, EngineHandle);

/// Prepares certificates, where there is a place for a root, and starts the engine that feeds them.
fn identity(
    args: &ServeArgs,
    connection: Option<&Connection>,
    feeds: &Feeds,
    clock: Arc<dyn Clock>,
) -> Result<Prepared, StartError> {
    let mut subscribers = feeds.subscribers();
    let store = match (connection, &args.state_dir) {
        (Some(connection), _) => KeyStore::Cluster(connection.client.clone()),
        (None, Some(dir)) => KeyStore::StateDir(StateDir::open(dir).map_err(IdentityError::from)?),
        (None, None) => {
            let engine = EngineHandle::start_with(args.mesh_options(), subscribers);
            return Ok((None, IdentityView::default(), engine.map_err(StartError::Thread)?));
        }
    };
    let (addr, flag) = (args.secure_addr, "--secure-addr");
    let port = SecurePort::bind(addr).map_err(|source| StartError::Listen {
        addr,
        what: "secure xDS",
        flag,
        source,
    })?;
    let settings = identity::Settings { clock, ..args.identity_settings() };
    let (identity, view) = Identity::new(&settings, store, port.address())?;
    let index = view.index().map(|index| Box::new(Arc::clone(index)) as Box<dyn Subscriber>);
    subscribers.splice(0..0, index);
    let engine = EngineHandle::start_with(args.mesh_options(), subscribers).map_err(StartError::Thread)?;
    let roots = roots(args, connection, &view);
    Ok((Some(SecureServer { identity, port, roots, webhook: None }), view, engine))
}

/// Returns the webhook at a port, and what keeps its configurations.
fn webhook(
    args: &ServeArgs,
    connection: &Connection,
    port: TcpListener,
    view: &IdentityView,
    stats: &Arc<WebhookStats>,
) -> WebhookServer {
    let of = &args.webhooks;
    let keeps = !args.shadow && !of.validation_webhooks.is_empty();
    WebhookServer {
        port,
        webhook: Webhook::new(Judge::new(args.mesh_options()), Arc::clone(stats), of.admit_without_sidecar),
        configurations: keeps.then(|| WebhookConfigurations {
            client: connection.client.clone(),
            revision: args.mesh.revision.clone(),
            namespace: args.mesh.system_namespace.clone(),
            authority: view.authority.clone(),
            stats: Arc::clone(stats),
        }),
    }
}

/// Returns what publishes the roots and the revocation lists.
fn roots(args: &ServeArgs, connection: Option<&Connection>, view: &IdentityView) -> Option<RootsPublisher> {
    let connection = connection.filter(|_| !args.shadow)?;
    let of = &args.identity;
    let roots = PublishedText::roots(&of.root_config_map, of.trust_bundle);
    let lists = of.revocation_lists.then(|| PublishedText::revocation_lists(&of.crl_config_map));
    Some(RootsPublisher {
        client: connection.client.clone(),
        texts: std::iter::once(roots).chain(lists).collect(),
        authority: view.authority.clone(),
        index: Arc::clone(view.index()?),
        stats: Arc::clone(&view.stats),
    })
}

/// Returns where statuses are written, and under which name.
fn status(args: &ServeArgs, connection: Option<&Connection>) -> Option<(kube::Client, StatusSettings)> {
    let connection = connection.filter(|_| !args.shadow)?;
    let settings = StatusSettings {
        identity: args.replica(),
        revision: args.mesh.revision.clone(),
        namespace: args.mesh.system_namespace.clone(),
        allocates_addresses: args.mesh.allocate_addresses,
        deploys_gateways: args.mesh.deploys_gateways(false),
        pools: args.mesh.pools(),
        timings: LeaseTimings::default(),
        resync_delay: RESYNC_DELAY,
        relist_interval: RELIST_INTERVAL,
        report_intervals: ReportIntervals::default(),
    };
    Some((connection.client.clone(), settings))
}

/// Tells the log of what begins and ends among these findings.
async fn tell(mut found: watch::Receiver<Arc<[Diagnostic]>>, log: Arc<MeshLog>) {
    let mut before = Arc::clone(&found.borrow_and_update());
    while found.changed().await.is_ok() {
        let now = Arc::clone(&found.borrow_and_update());
        log.found(&Findings::between(&before, &now));
        before = now;
    }
}

/// Prepares the source; returns it, its problems, and in words what it is.
fn source(
    from: &SourceArgs,
    args: &ServeArgs,
    connection: Option<Connection>,
    engine: &EngineHandle,
    wanted: &WantedReferents,
) -> Result<(Running, SourceView, String), StartError> {
    let config_name = mesh::config_map(&args.mesh.revision);
    if let Some(connection) = connection {
        let words = format!("the cluster at {}", connection.url);
        let settings = KubeSettings {
            config_namespace: args.mesh.system_namespace.clone(),
            config_name,
            ..KubeSettings::default()
        };
        let kinds = KindsWithoutEffect::new(connection.client.clone());
        let source = KubeSource::new(connection, settings).with_wanted(wanted.subscribe());
        let view = SourceView::Cluster(source.problems(), kinds.found());
        let (told, batches) = (tell(kinds.found(), Arc::clone(engine.log())), engine.batches());
        let running = async move {
            tokio::select! {
                () = source.run(batches) => {}
                () = kinds.run() => {}
                () = told => {}
            }
        };
        return Ok((Box::pin(running), view, words));
    }
    for path in &from.from {
        if let Err(source) = std::fs::metadata(path) {
            return Err(StartError::Folder { path: path.display().to_string(), source });
        }
    }
    let words: Vec<String> = from.from.iter().map(|p| p.display().to_string()).collect();
    let settings = FolderSettings {
        folders: from.from.clone(),
        config_namespace: args.mesh.system_namespace.clone(),
        config_name,
        domain: args.mesh.domain.clone(),
        pools: args.mesh.allocate_addresses.then(|| args.mesh.pools()),
        gateways: args.mesh.deploys_gateways(true).then(|| args.mesh_options()),
    };
    let source = FolderSource::new(settings).with_log(Arc::clone(engine.log()));
    let view = SourceView::Folder(source.problems());
    Ok((Box::pin(source.run(engine.batches())), view, words.join(", ")))
}
