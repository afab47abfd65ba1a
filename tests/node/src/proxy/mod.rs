//! The proxy of a node: does for its pods what a ztunnel does.
//!
//! ```text
//!  namespace of a pod                                                      namespace of another pod
//!  application ──redirected──▶ 15001 ──TLS, CONNECT, baggage──▶ 15008 ──policies──▶ application
//!                                 └─── through the waypoint, where the service has one ───┘
//! ```
//!
//! What it holds is what the reference client holds, and so are its decisions: which peer is dialled
//! (`client::upstream`), and who is let in (`client::rbac`). Pods out of the mesh are spoken to in plain text, and their
//! own connections to services are taken to an endpoint, as the rules of a node do.

mod certificates;
mod inbound;
mod outbound;
mod pool;
mod ztunnel;

pub use ztunnel::{Owner, Ztunnel};

use crate::namespace::{LINK, Namespace, RETURNED};
use crate::netfilter::{self, Action, Chain, Condition, Rule};
use anyhow::Context;
use certificates::Certificates;
use pilothouse_tests::certificates::CertificateTarget;
use pilothouse_tests::client::upstream::HBONE_PORT;
use pilothouse_tests::client::{Client, Options};
use pool::Pool;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Where what pods send is redirected to.
const OUTBOUND_PORT: u16 = 15001;
/// Where what pods that are not in the mesh send to services is redirected to beside a ztunnel, which has the other port.
const BESIDE_PORT: u16 = 15002;
/// Where what comes to pods in plain text is redirected to.
const PLAINTEXT_PORT: u16 = 15006;
/// The mark of the proxy's own connections, as of ztunnel's.
const MARK: u32 = 0x539;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The network of all pods.
const NETWORK: &str = "";

/// Addresses from and to a prefix length.
pub type Range = (Ipv4Addr, u8);

/// The network of a pod.
#[derive(Debug)]
pub struct PodNetwork {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its address.
    pub address: Ipv4Addr,
}

impl PodNetwork {
    /// Listens in it.
    fn listen(&self, port: u16) -> anyhow::Result<TcpListener> {
        let listen = || std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let listener = self.namespace.within(listen)?.with_context(|| format!("port {port} of a pod"))?;
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_std(listener)?)
    }

    /// Connects from it, past its rules; `as_from` shows the other end an address that is somebody else's.
    async fn dial(&self, to: SocketAddr, as_from: Option<IpAddr>) -> anyhow::Result<TcpStream> {
        let socket = self.namespace.within(|| Socket::new(Domain::IPV4, Type::STREAM, None))??;
        socket.set_nonblocking(true)?;
        socket.set_mark(MARK)?;
        if let Some(address) = as_from {
            socket.set_ip_transparent_v4(true)?;
            socket.bind(&SocketAddr::new(address, 0).into())?;
        }
        let socket = TcpSocket::from_std_stream(socket.into());
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(to)).await;
        let stream = connected.map_err(anyhow::Error::from).and_then(|stream| Ok(stream?));
        let stream = stream.with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip == IpAddr::V4(self.address) || ip.is_loopback()
    }
}

/// The addresses of the pods of all nodes that are in the mesh.
#[derive(Debug, Default)]
pub struct InMesh(Mutex<BTreeSet<Ipv4Addr>>);

impl InMesh {
    /// Tells whether the pod of an address is.
    pub fn has(&self, address: IpAddr) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(address, IpAddr::V4(address) if all.contains(&address))
    }

    fn note(&self, address: Ipv4Addr, in_mesh: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if in_mesh {
            all.insert(address);
        } else {
            all.remove(&address);
        }
    }
}

/// The proxy of one node.
pub struct Proxy {
    client: Client,
    certificates: Arc<Certificates>,
    services: Range,
    /// Who serves pods that are in the mesh instead.
    ztunnel: Option<Ztunnel>,
    in_mesh: Arc<InMesh>,
    log: Mutex<File>,
}

impl Proxy {
    /// Starts one that has its state and certificates from a control plane, writes its log to a file, and knows
    /// the addresses of services by their range.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn start(
        state: Options,
        certificates: CertificateTarget,
        services: Range,
        ztunnel: Option<Ztunnel>,
        in_mesh: Arc<InMesh>,
        log: &Path,
    ) -> anyhow::Result<Arc<Self>> {
        let log = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        let client = Client::connect(state).await?;
        client.until("the state of the mesh", |state| state.is_ready()).await?;
        let certificates = Arc::new(Certificates::new(certificates));
        Ok(Arc::new(Self { client, certificates, services, ztunnel, in_mesh, log: Mutex::new(log) }))
    }

    /// What it holds.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Trusts other roots (PEM) of its control plane, whose file was replaced.
    pub fn use_roots(&self, roots_pem: &[u8]) {
        self.client.use_roots(roots_pem);
        self.certificates.use_roots(roots_pem);
    }

    /// Serves a pod of its node.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn serve(
        self: &Arc<Self>,
        pod: &Arc<PodNetwork>,
        owner: Owner,
        in_mesh: bool,
    ) -> anyhow::Result<Capture> {
        let mut capture = Capture {
            proxy: Arc::clone(self),
            pod: Arc::clone(pod),
            owner,
            is_in_mesh: Arc::default(),
            inbound: JoinSet::new(),
            _outbound: JoinSet::new(),
        };
        let (proxy, pod, is_in_mesh) = (Arc::clone(self), Arc::clone(pod), Arc::clone(&capture.is_in_mesh));
        let (listener, pool) = (pod.listen(self.outbound_port())?, Arc::<Pool>::default());
        capture._outbound.spawn(accept(listener, move |stream| {
            let (proxy, pod, pool) = (Arc::clone(&proxy), Arc::clone(&pod), Arc::clone(&pool));
            let in_mesh = is_in_mesh.load(Ordering::Relaxed);
            async move { proxy.outbound(&pod, &pool, stream, in_mesh).await }
        }));
        capture.apply(in_mesh).await?;
        Ok(capture)
    }

    /// Where it takes what pods send.
    fn outbound_port(&self) -> u16 {
        if self.ztunnel.is_some() { BESIDE_PORT } else { OUTBOUND_PORT }
    }

    /// Writes a line to the log.
    fn log(&self, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(log, "{line}");
    }
}

/// A pod that is served; dropping it closes what there is.
pub struct Capture {
    proxy: Arc<Proxy>,
    pod: Arc<PodNetwork>,
    owner: Owner,
    is_in_mesh: Arc<AtomicBool>,
    inbound: JoinSet<()>,
    _outbound: JoinSet<()>,
}

impl Capture {
    /// Tells whether the pod is in the mesh.
    pub fn is_in_mesh(&self) -> bool {
        self.is_in_mesh.load(Ordering::Relaxed)
    }

    /// Takes the pod into the mesh or out of it; its processes do not notice.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn set_in_mesh(&mut self, in_mesh: bool) -> anyhow::Result<()> {
        if in_mesh == self.is_in_mesh() {
            return Ok(());
        }
        self.apply(in_mesh).await
    }

    async fn apply(&mut self, in_mesh: bool) -> anyhow::Result<()> {
        self.inbound.shutdown().await;
        if let Some(ztunnel) = &self.proxy.ztunnel {
            match in_mesh {
                true => ztunnel.add(&self.owner, &self.pod).await?,
                false if self.is_in_mesh() => ztunnel.remove(&self.owner).await?,
                false => {}
            }
        } else if in_mesh {
            for port in [HBONE_PORT, PLAINTEXT_PORT] {
                let (proxy, pod) = (Arc::clone(&self.proxy), Arc::clone(&self.pod));
                self.inbound.spawn(accept(self.pod.listen(port)?, move |stream| {
                    let (proxy, pod) = (Arc::clone(&proxy), Arc::clone(&pod));
                    async move {
                        match port {
                            HBONE_PORT => proxy.tunnels(pod, stream).await,
                            _ => proxy.plaintext(&pod, stream).await,
                        }
                    }
                }));
            }
        }
        self.is_in_mesh.store(in_mesh, Ordering::Relaxed);
        self.proxy.in_mesh.note(self.pod.address, in_mesh);
        let rules = rules(in_mesh, self.proxy.services, self.proxy.outbound_port());
        self.pod.namespace.within(|| netfilter::replace(&rules))?
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.proxy.in_mesh.note(self.pod.address, false);
        if let Some(ztunnel) = self.proxy.ztunnel.as_ref().filter(|_| self.is_in_mesh()) {
            // Nobody waits for a pod to be gone.
            let _ = ztunnel.forget(&self.owner);
        }
    }
}

/// The rules of a pod's namespace; `own` is where the proxy of this program takes what the pod sends.
fn rules(in_mesh: bool, (first, length): Range, own: u16) -> Vec<Rule> {
    let captured = |range, port| Rule {
        chain: Chain::Captured,
        conditions: vec![range, Condition::Mark(MARK, false), Condition::NotToLoopback],
        action: Action::Redirect(port),
    };
    if !in_mesh {
        return vec![captured(Condition::Destination(first, length, true), own)];
    }
    let incoming = Rule {
        chain: Chain::Redirected,
        conditions: vec![
            Condition::NotFromLoopback,
            Condition::Port(HBONE_PORT, false),
            // The probes of a kubelet are no business of the mesh.
            Condition::NotSource(LINK),
        ],
        action: Action::Redirect(PLAINTEXT_PORT),
    };
    // What an application answers to an address of somebody else comes back to the proxy: it is routed to `lo`.
    let remembered = Rule {
        chain: Chain::Incoming,
        conditions: vec![Condition::Mark(MARK, true)],
        action: Action::MarkConnection(RETURNED),
    };
    let returned = Rule {
        chain: Chain::Outgoing,
        conditions: vec![Condition::ConnectionMark(RETURNED)],
        action: Action::Mark(RETURNED),
    };
    let others = Condition::Destination(Ipv4Addr::LOCALHOST, 8, false);
    vec![captured(others, OUTBOUND_PORT), incoming, remembered, returned]
}

/// Takes connections until it is dropped, and they with it.
async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // One that broke before it was taken is no reason to end.
            taken = listener.accept() => if let Ok((stream, _)) = taken {
                connections.spawn(serve(stream));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
