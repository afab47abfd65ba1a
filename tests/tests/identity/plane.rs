//! A control plane in this process, and pods to request certificates for.

use crate::clock::FakeClock;
use crate::token::bound_token;
use anyhow::{Context, bail};
use clap::{CommandFactory, Parser};
use identity::{IdentityStats, IdentityView};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::certificates::{CertificateTarget, NewCertificate, RequestError, request_certificate};
use pilothouse_tests::client::{Options, Tls};
use runtime::config::{ServeArgs, SourceArgs};
use runtime::serve::Daemon;
use rustls::time_provider::TimeProvider;
use serde_json::json;
use server::{Clients, CloseReason, Timeouts};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The status codes that matter here.
pub const INVALID_ARGUMENT: u8 = 3;
pub const RESOURCE_EXHAUSTED: u8 = 8;
pub const UNAUTHENTICATED: u8 = 16;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Settings with free ports, for the mesh whose control plane is in `system`.
pub fn settings(source: SourceArgs, system: &str) -> anyhow::Result<ServeArgs> {
    let command = Command::command();
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let ports = flags.filter(|flag| flag.ends_with("-addr")).map(|flag| format!("--{flag}=127.0.0.1:0"));
    let mut args = Command::try_parse_from(std::iter::once("serve".to_owned()).chain(ports))?.serve;
    args.source = source;
    args.mesh.system_namespace = system.to_owned();
    // The control planes of these tests share a cluster: each would write its roots and lists into every namespace.
    args.identity.root_config_map = String::new();
    args.identity.crl_config_map = String::new();
    Ok(args)
}

/// Returns settings with which certificates of pods renew themselves.
pub fn with_renewals(mut args: ServeArgs) -> ServeArgs {
    args.identity.renewal_by_certificate = ca::CertificateRenewal::All;
    args
}

/// Settings for the cluster of a test server.
pub fn of_cluster(server: &ApiServer, system: &str) -> anyhow::Result<ServeArgs> {
    settings(SourceArgs { kubeconfig: Some(server.kubeconfig()), ..SourceArgs::default() }, system)
}

/// The control planes that were started: namespace, view, and whether it still runs.
static STARTED: Mutex<Vec<(String, IdentityView, AbortHandle)>> = Mutex::new(Vec::new());

/// Waits until the control planes of a namespace have seen a pod. A request waits for an unknown pod for a
/// second only, and on a busy machine the event may come later.
async fn is_known(system: &str, pod: &Pod) -> anyhow::Result<()> {
    let of = &pod.metadata;
    let (namespace, name) = (of.namespace.as_deref().context("no namespace")?, of.name.as_deref());
    let name = name.context("no name")?;
    let know_it = async || {
        let mut all = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, _, running)| !running.is_finished());
        let mut own = all.iter().filter(|(of, _, _)| of == system);
        Ok(own.all(|(_, view, _)| view.uid_of(namespace, name) == of.uid).then_some(()))
    };
    until(LIMIT, know_it).await.with_context(|| format!("not known: pod {namespace}/{name}"))
}

/// A running control plane; dropping it ends it.
pub struct Plane {
    pub secure: SocketAddr,
    pub xds: SocketAddr,
    pub monitoring: SocketAddr,
    health: SocketAddr,
    pub identity: IdentityView,
    clients: Clients,
    clock: Option<FakeClock>,
    running: JoinHandle<()>,
    _stop: DropGuard,
}

impl Plane {
    /// Starts one without waiting until it serves.
    pub async fn start(args: &ServeArgs) -> anyhow::Result<Self> {
        Self::run(Daemon::prepare(args).await?, args, None)
    }

    /// Starts one with these client timeouts, and waits until its secure port is open.
    pub async fn open_with(args: &ServeArgs, timeouts: Timeouts) -> anyhow::Result<Self> {
        let plane = Self::run(Daemon::prepare(args).await?.with_timeouts(timeouts), args, None)?;
        plane.opened().await?;
        Ok(plane)
    }

    /// Starts one with this clock, without waiting until it serves.
    pub async fn start_at(args: &ServeArgs, clock: &FakeClock) -> anyhow::Result<Self> {
        let daemon = Daemon::prepare_with_clock(args, clock.shared()).await?;
        Self::run(daemon, args, Some(clock.clone()))
    }

    /// Starts one with this clock, and waits until its secure port is open.
    pub async fn open_at(args: &ServeArgs, clock: &FakeClock) -> anyhow::Result<Self> {
        let plane = Self::start_at(args, clock).await?;
        plane.opened().await?;
        Ok(plane)
    }

    fn run(daemon: Daemon, args: &ServeArgs, clock: Option<FakeClock>) -> anyhow::Result<Self> {
        let secure = daemon.secure_addr().context("there is no secure port")?;
        let (identity, clients, health) =
            (daemon.identity().clone(), daemon.clients().clone(), daemon.health_addr());
        let (xds, monitoring) = (daemon.xds_addr(), daemon.monitoring_addr());
        let stop = CancellationToken::new();
        let running = tokio::spawn(daemon.run(stop.clone()));
        let started = (args.mesh.system_namespace.clone(), identity.clone(), running.abort_handle());
        STARTED.lock().unwrap_or_else(PoisonError::into_inner).push(started);
        Ok(Self {
            secure,
            xds,
            monitoring,
            health,
            identity,
            clients,
            clock,
            running,
            _stop: stop.drop_guard(),
        })
    }

    /// Starts one and waits until its secure port is open.
    pub async fn open(args: &ServeArgs) -> anyhow::Result<Self> {
        let plane = Self::start(args).await?;
        plane.opened().await?;
        Ok(plane)
    }

    /// Waits until the secure port is open.
    pub async fn opened(&self) -> anyhow::Result<()> {
        let opened = until(LIMIT, async || {
            anyhow::ensure!(!self.running.is_finished(), "the control plane ended");
            Ok(tokio::net::TcpStream::connect(self.secure).await.ok())
        });
        opened.await.map(drop).with_context(|| format!("not open: {:?}", self.identity.authority.status()))
    }

    /// Returns the response of `/ready`.
    pub async fn ready(&self) -> anyhow::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(self.health).await?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until the current problem with key material contains `part`.
    pub async fn problem(&self, part: &str) -> anyhow::Result<String> {
        let found = until(LIMIT, async || {
            let text = self.identity.authority.status().problem.map(|problem| problem.text);
            Ok(text.filter(|text| text.contains(part)))
        });
        found.await.with_context(|| format!("no problem {part:?}: {:?}", self.identity.authority.status()))
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Arc<IdentityStats> {
        &self.identity.stats
    }

    /// Returns the roots that peers are told to trust, PEM.
    pub fn roots(&self) -> anyhow::Result<String> {
        let issuer = self.identity.authority.current().context("no key material")?;
        Ok(issuer.trust().to_pem())
    }

    /// Returns the time at which its certificates are verified.
    pub fn time(&self) -> Option<Arc<dyn TimeProvider>> {
        self.clock.as_ref().map(FakeClock::time)
    }

    /// Returns the target of certificate requests.
    pub fn target(&self, token: &str) -> anyhow::Result<CertificateTarget> {
        Ok(CertificateTarget {
            address: self.secure.to_string(),
            server_name: "localhost".to_owned(),
            roots_pem: self.roots()?.into_bytes(),
            token: token.to_owned(),
            client: None,
            time: self.time(),
        })
    }

    /// Requests a certificate: of an identity, or else of the caller.
    pub async fn certificate(&self, token: &str, identity: Option<&str>) -> anyhow::Result<NewCertificate> {
        Ok(request_certificate(&self.target(token)?, identity, 0).await?)
    }

    /// Requests a certificate and returns the status code of the refusal.
    pub async fn refusal(&self, token: &str, identity: Option<&str>) -> anyhow::Result<u8> {
        match request_certificate(&self.target(token)?, identity, 0).await {
            Err(RequestError::Refused { code, .. }) => Ok(code),
            Err(other) => Err(other.into()),
            Ok(_) => bail!("a certificate was issued"),
        }
    }

    /// Returns the number of requests refused for a reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.stats().refused.list().iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count)
    }

    /// Returns the number of clients refused at a bound.
    pub fn bounded(&self, bound: &str) -> u64 {
        self.clients.refusals().list().iter().find(|(name, _)| *name == bound).map_or(0, |(_, count)| *count)
    }

    /// Returns the number of calls that were refused for what they asked for.
    pub fn refused_calls(&self) -> u64 {
        self.clients.refusals().calls().iter().map(|(_, count)| count).sum()
    }

    /// Returns how many bytes are held for what clients of a kind follow.
    pub fn followed(&self, kind: &str) -> u64 {
        self.clients.followed_bytes().iter().find(|(name, _)| *name == kind).map_or(0, |(_, bytes)| *bytes)
    }

    /// Returns the number of connections closed for a reason.
    pub fn ended(&self, reason: CloseReason) -> u64 {
        self.clients.closed().count(reason)
    }

    /// Returns the number of handshakes with an outcome.
    pub fn handshakes(&self, outcome: &str) -> u64 {
        self.stats()
            .handshakes
            .list()
            .iter()
            .find(|(name, _)| *name == outcome)
            .map_or(0, |(_, count)| *count)
    }

    /// Returns the connection options of the test client.
    pub fn client_options(&self, token: &str) -> anyhow::Result<Options> {
        let tls = Tls { roots_pem: self.roots()?.into_bytes(), server_name: Some("localhost".to_owned()) };
        Ok(Options {
            tls: Some(tls),
            token: Some(token.to_owned()),
            limit: LIMIT,
            ..Options::to(self.secure.to_string())
        })
    }

    /// Shuts it down gracefully.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { running, _stop, .. } = self;
        drop(_stop);
        timeout(LIMIT, running).await.context("it does not stop")??;
        Ok(())
    }
}

/// A mesh in a shared cluster: its control plane's namespace, and one for workloads.
pub struct Site {
    pub server: &'static ApiServer,
    pub system: String,
    pub shop: String,
}

impl Site {
    /// Creates both namespaces, in the shared cluster.
    pub async fn new() -> anyhow::Result<Self> {
        let server = ApiServer::shared().await?;
        let (system, shop) = (server.namespace("system").await?, server.namespace("shop").await?);
        Ok(Self { server, system, shop })
    }

    /// Returns the settings of its control plane.
    pub fn settings(&self) -> anyhow::Result<ServeArgs> {
        of_cluster(self.server, &self.system)
    }

    /// Returns an identity in the namespace for workloads.
    pub fn identity(&self, account: &str) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{account}", self.shop)
    }

    /// Creates a pod of an account on a node, and waits until the control planes have seen it.
    pub async fn pod(&self, namespace: &str, name: &str, account: &str, node: &str) -> anyhow::Result<Pod> {
        let pod = pod(self.server, namespace, name, account, node).await?;
        is_known(&self.system, &pod).await?;
        Ok(pod)
    }

    /// Creates the ztunnel of a node, and returns its token.
    pub async fn ztunnel(&self, node: &str) -> anyhow::Result<String> {
        let name = format!("ztunnel-{node}");
        let pod = self.pod(&self.system, &name, "ztunnel", node).await?;
        bound_token(self.server, &pod, &["istio-ca"]).await
    }

    /// Asks for the end of a pod within some seconds. No kubelet confirms it here: the pod stays, and has the time of its
    /// deletion.
    pub async fn begin_to_delete(&self, namespace: &str, name: &str, seconds: u32) -> anyhow::Result<()> {
        let pods = Api::<Pod>::namespaced(self.server.client().await?, namespace);
        let params = DeleteParams { grace_period_seconds: Some(seconds), ..DeleteParams::default() };
        pods.delete(name, &params).await?;
        let stays = pods.get_opt(name).await?.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
        anyhow::ensure!(stays, "pod {namespace}/{name} is gone already");
        Ok(())
    }

    /// Deletes a pod at once and waits until it is gone.
    pub async fn delete(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let pods = Api::<Pod>::namespaced(self.server.client().await?, namespace);
        pods.delete(name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
        until(LIMIT, async || Ok(pods.get_opt(name).await?.is_none().then_some(()))).await
    }
}

/// Creates a pod of an account on a node, and the account.
pub async fn pod(
    server: &ApiServer,
    namespace: &str,
    name: &str,
    account: &str,
    node: &str,
) -> anyhow::Result<Pod> {
    server
        .apply(&format!(
            "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {account}, namespace: {namespace}}}}}"
        ))
        .await?;
    let pods = Api::<Pod>::namespaced(server.client().await?, namespace);
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "serviceAccountName": account,
            "nodeName": node,
            "containers": [{"name": "main", "image": "main"}],
        },
    }))?;
    Ok(pods.create(&PostParams::default(), &pod).await?)
}

/// Creates a namespace of exactly this name.
pub async fn namespace(server: &ApiServer, name: &str) -> anyhow::Result<()> {
    let namespaces = Api::<Namespace>::all(server.client().await?);
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// Runs openssl and returns its output.
pub fn openssl(args: &[&str], dir: &Path) -> anyhow::Result<Vec<u8>> {
    let output = std::process::Command::new("openssl").args(args).current_dir(dir).output();
    let output = output.context("cannot run openssl; install it")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "openssl {args:?}: {errors}{said}");
    Ok(output.stdout)
}
