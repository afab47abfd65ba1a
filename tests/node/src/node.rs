//! The node: runs the pods that there are.

use crate::cluster::Cluster;
use crate::control_plane::NAME;
use crate::load_balancer::{self, Frontend};
use crate::names::{self, Hosts};
use crate::pod::{Programs, RunningPod, grace, is_in_mesh, key};
use crate::proxy::{InMesh, Proxy, Range, Ztunnel};
use anyhow::Context;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use pilothouse_tests::certificates::CertificateTarget;
use pilothouse_tests::client::{Node as NodeMessage, Options, Tls};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

/// The address of the node, where pods reach the control plane and the name server.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 29, 0, 1);
/// How long a pod that could not be started is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// The namespace of the ConfigMap with the roots, which all have.
const SYSTEM: &str = "istio-system";
const ROOTS: &str = "istio-ca-root-cert";

/// The pods of all nodes of a cluster, and the proxy of each node.
pub struct Node {
    cluster: Arc<Cluster>,
    programs: Arc<Programs>,
    folder: PathBuf,
    services: Range,
    control_plane: SocketAddr,
    proxies: BTreeMap<String, Arc<Proxy>>,
    in_mesh: Arc<InMesh>,
    pods: BTreeMap<String, RunningPod>,
    /// Those that are being started, with their uids.
    starting: BTreeMap<String, (Option<String>, AbortHandle)>,
    starts: JoinSet<(String, anyhow::Result<RunningPod>)>,
    number: u32,
    /// What the name server knows besides services.
    hosts: Hosts,
    names: JoinSet<std::io::Result<()>>,
    frontends: Vec<Frontend>,
}

impl Node {
    /// Makes one without pods, whose files are in a folder, in a cluster whose services have addresses of a range.
    pub fn new(
        cluster: Cluster,
        programs: Programs,
        folder: PathBuf,
        services: Range,
        control_plane: SocketAddr,
    ) -> Self {
        Self {
            cluster: Arc::new(cluster),
            programs: Arc::new(programs),
            folder,
            services,
            control_plane,
            proxies: BTreeMap::new(),
            in_mesh: Arc::default(),
            pods: BTreeMap::new(),
            starting: BTreeMap::new(),
            starts: JoinSet::new(),
            number: 0,
            hosts: Hosts::from([(NAME.to_owned(), ADDRESS)]),
            names: JoinSet::new(),
            frontends: Vec::new(),
        }
    }

    /// Has its name server know further hosts; to be called before any pod is started.
    pub fn know(&mut self, hosts: Hosts) {
        self.hosts.extend(hosts);
    }

    /// Has the addresses of load balancers lead to the pods behind them. Ends what is no pod any more at once, and what is
    /// being deleted within its grace period; begins to start what is a new one, of which [`Node::started`] tells how that
    /// goes. Returns the uids of those that have ended.
    ///
    /// # Errors
    /// When it is not known which pods there are.
    pub async fn follow(&mut self) -> anyhow::Result<Vec<String>> {
        self.balance()?;
        let wanted: BTreeMap<String, Pod> =
            self.cluster.pods().await?.into_iter().map(|pod| (key(&pod), pod)).collect();
        // One of the same name and another uid is another one.
        let is_wanted =
            |key: &String, uid: &Option<String>| wanted.get(key).is_some_and(|pod| pod.metadata.uid == *uid);
        let mut ended = Vec::new();
        self.pods.retain(|key, running| {
            let stays = is_wanted(key, &running.pod().metadata.uid);
            ended.extend(running.pod().metadata.uid.clone().filter(|_| !stays));
            stays
        });
        self.starting.retain(|key, (uid, start)| {
            let stays = is_wanted(key, uid);
            if !stays {
                start.abort();
                ended.extend(uid.clone());
            }
            stays
        });
        for (key, pod) in wanted {
            if let Some(grace) = grace(&pod) {
                let running = self.pods.get(&key).inspect(|running| running.end(grace));
                if running.is_none_or(RunningPod::has_ended) {
                    self.pods.remove(&key);
                    if let Some((_, start)) = self.starting.remove(&key) {
                        start.abort();
                    }
                    ended.extend(pod.metadata.uid);
                }
            } else if let Some(running) = self.pods.get_mut(&key) {
                running.set_in_mesh(is_in_mesh(&pod)).await?;
            } else if !self.starting.contains_key(&key) {
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
                let proxy = self.proxy(&node).await?;
                self.begin(key, pod, proxy);
            }
        }
        Ok(ended)
    }

    fn balance(&mut self) -> anyhow::Result<()> {
        let frontends = self.cluster.frontends()?;
        if frontends != self.frontends {
            load_balancer::apply(&frontends)?;
            self.frontends = frontends;
        }
        Ok(())
    }

    /// Begins to start a pod.
    fn begin(&mut self, key: String, pod: Pod, proxy: Arc<Proxy>) {
        self.number += 1;
        let (number, uid, of) = (self.number, pod.metadata.uid.clone(), key.clone());
        let (cluster, programs, folder) =
            (Arc::clone(&self.cluster), Arc::clone(&self.programs), self.folder.clone());
        let start = self.starts.spawn(async move {
            let started = RunningPod::start(&pod, number, &cluster, &proxy, &programs, &folder).await;
            if started.is_err() {
                // What it needs may not be there yet.
                tokio::time::sleep(PAUSE).await;
            }
            let started = started.with_context(|| format!("pod {of}"));
            (of, started)
        });
        self.starting.insert(key, (uid, start));
    }

    /// Waits until one more pod is started; `None` when none is being started.
    ///
    /// # Errors
    /// When it could not be; [`Node::follow`] tries again.
    pub async fn started(&mut self) -> Option<anyhow::Result<()>> {
        loop {
            // One that failed was not wanted any more.
            let Ok((key, started)) = self.starts.join_next().await? else { continue };
            let wanted = self.starting.remove(&key).and_then(|(uid, _)| uid);
            return Some(started.map(|pod| {
                // Unless another one of this name is wanted meanwhile.
                if pod.pod().metadata.uid == wanted {
                    self.pods.insert(key, pod);
                }
            }));
        }
    }

    /// Runs the pods that there are now, and no others.
    ///
    /// # Errors
    /// When one of them cannot be run.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        self.follow().await?;
        while let Some(started) = self.started().await {
            started?;
        }
        Ok(())
    }

    /// Waits until all pods are ready.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        try_join_all(self.pods.values().map(RunningPod::until_ready)).await.map(drop)
    }

    /// The pods that run.
    pub fn pods(&self) -> impl Iterator<Item = &RunningPod> {
        self.pods.values()
    }

    /// A pod by the begin of its name, as `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, name: &str) -> anyhow::Result<&RunningPod> {
        let found = self.pods.range(name.to_owned()..).next().filter(|(key, _)| key.starts_with(name));
        found.map(|(_, pod)| pod).with_context(|| format!("no pod {name} runs"))
    }

    /// The proxies of the nodes.
    pub fn proxies(&self) -> impl Iterator<Item = &Arc<Proxy>> {
        self.proxies.values()
    }

    /// Brings what pods and proxies have of ConfigMaps up to date.
    ///
    /// # Errors
    /// When the cluster does not tell.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        if self.proxies.is_empty() {
            return Ok(());
        }
        let roots = self.roots().await?;
        self.proxies.values().for_each(|proxy| proxy.use_roots(&roots));
        for pod in self.pods.values() {
            pod.refresh(&self.cluster).await?;
        }
        Ok(())
    }

    async fn roots(&self) -> anyhow::Result<Vec<u8>> {
        let mut roots = self.cluster.config_map(SYSTEM, ROOTS).await?;
        roots.remove("root-cert.pem").map(String::into_bytes).context("there is no root")
    }

    /// The proxy of a node, started when its first pod is.
    async fn proxy(&mut self, node: &str) -> anyhow::Result<Arc<Proxy>> {
        if let Some(proxy) = self.proxies.get(node) {
            return Ok(Arc::clone(proxy));
        }
        let token = self.cluster.proxy_token(node).await?;
        let (roots_pem, server_name) = (self.roots().await?, NAME.to_owned());
        let address = self.control_plane.to_string();
        let state = Options {
            tls: Some(Tls { roots_pem: roots_pem.clone(), server_name: Some(server_name.clone()) }),
            token: Some(token.clone()),
            node: NodeMessage::ztunnel(node),
            ..Options::to(address.clone())
        };
        let certificates =
            CertificateTarget { address, server_name, roots_pem, token, client: None, time: None };
        fs::create_dir_all(&self.folder)?;
        let log = self.folder.join(format!("{node}.log"));
        let ztunnel = self.programs.ztunnel.is_some().then(|| Ztunnel::of(node)).transpose()?;
        let in_mesh = Arc::clone(&self.in_mesh);
        let proxy = Proxy::start(state, certificates, self.services, ztunnel, in_mesh, &log).await;
        let proxy = proxy.with_context(|| format!("the proxy of {node}"))?;
        if self.proxies.is_empty() {
            let hosts = self.hosts.clone();
            let socket = UdpSocket::bind((IpAddr::V4(ADDRESS), 53)).await.context("no name server")?;
            self.names.spawn(names::serve(socket, Arc::clone(&proxy), Arc::clone(&self.in_mesh), hosts));
        }
        self.proxies.insert(node.to_owned(), Arc::clone(&proxy));
        Ok(proxy)
    }
}
