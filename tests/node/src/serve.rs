//! A cluster whose pods are processes: an API server with controllers, a control plane, and the node.
//!
//! ```text
//!  outside        │ namespaces of this run
//!  kubectl ──▶ port ──▶ socket ──▶ API server ◀── control plane
//!                 │                   │ kubelet ──socket──▶ node ──▶ pods
//! ```

use crate::cluster::{ApiServerCluster, Cluster, Kubelet};
use crate::control_plane::{ControlPlane, NAME};
use crate::isolation::command;
use crate::node::{ADDRESS, Node};
use crate::pod::{Programs, RunningPod};
use crate::proxy::Ztunnel;
use anyhow::Context;
use pilothouse_tests::apiserver::{ApiServer, known_crds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::time::interval;

/// The addresses that the API server gives to services.
const SERVICES: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 16);
/// The addresses of the nodes, where the API server reaches their kubelet.
const NODES: [&str; 2] = ["172.31.0.1", "172.31.0.2"];
/// How often probes are asked.
const PERIOD: Duration = Duration::from_millis(100);
/// How often volumes are brought up to date.
const REFRESH: Duration = Duration::from_secs(1);
/// How long the node waits where it does not know which pods there are.
const PAUSE: Duration = Duration::from_secs(1);

/// What a control plane and its proxies need besides pods.
/// The pod of the control plane, which is a process of the node, is there for whoever looks for it.
const SYSTEM: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ztunnel, namespace: istio-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: istiod, namespace: istio-system}
---
apiVersion: v1
kind: Pod
metadata:
  name: istiod
  namespace: istio-system
  labels: {app: istiod, istio: pilot, istio.io/rev: default, istio.io/dataplane-mode: none}
spec:
  serviceAccountName: istiod
  hostNetwork: true
  nodeName: test-node-0
  containers: [{name: discovery, image: pilothouse}]
";

/// The proxy of a node, as its own chart runs it.
fn ztunnel(number: usize) -> String {
    let node = format!("test-node-{number}");
    let control_plane = format!("https://{NAME}:15012");
    let variables = [
        ("XDS_ADDRESS", control_plane.as_str()),
        ("CA_ADDRESS", &control_plane),
        ("XDS_ROOT_CA", "/var/run/secrets/istio/root-cert.pem"),
        ("CA_ROOT_CA", "/var/run/secrets/istio/root-cert.pem"),
        ("AUTH_TOKEN", "/var/run/secrets/tokens/istio-token"),
        ("INPOD_UDS", &Ztunnel::socket(&node).display().to_string()),
        ("NODE_NAME", &node),
        ("SERVICE_ACCOUNT", "ztunnel"),
        ("CLUSTER_ID", "Kubernetes"),
        ("ISTIO_META_DNS_CAPTURE", "false"),
        ("IPV6_ENABLED", "false"),
        ("RUST_LOG", "info"),
    ]
    .map(|(name, value)| json!({"name": name, "value": value}));
    let token = json!({"audience": "istio-ca", "path": "istio-token", "expirationSeconds": 43200});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("ztunnel-{node}"),
            "namespace": "istio-system",
            "labels": {"app": "ztunnel", "istio.io/dataplane-mode": "none"},
        },
        "spec": {
            "serviceAccountName": "ztunnel",
            "nodeName": node,
            "containers": [{
                "name": "ztunnel",
                "image": "ztunnel",
                "args": ["proxy", "ztunnel"],
                "env": variables,
                "volumeMounts": [
                    {"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"},
                    {"name": "istio-token", "mountPath": "/var/run/secrets/tokens"},
                ],
            }],
            "volumes": [
                {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
                {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
            ],
        },
    })
    .to_string()
}

/// The socket that leads to the API server, in the folder of a run.
fn socket_path(work: &Path) -> PathBuf {
    work.join("apiserver.sock")
}

/// Takes connections from outside to the API server of a run, for as long as this process lives; returns the port.
///
/// # Errors
/// When no port is free.
pub fn forward(work: &Path) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (port, socket) = (listener.local_addr()?.port(), socket_path(work));
    thread::spawn(move || {
        for outside in listener.incoming().map_while(Result::ok) {
            let Ok(inside) = UnixStream::connect(&socket) else { continue };
            thread::spawn(move || {
                let (Ok(mut from), Ok(mut to)) = (outside.try_clone(), inside.try_clone()) else { return };
                thread::spawn(move || {
                    // Who broke it knows.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let (mut from, mut to) = (inside, outside);
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    Ok(port)
}

/// Runs a cluster until something of it fails, with arguments for its control plane. What it writes goes below a folder:
/// `kubeconfig` last, which leads there from outside by a port of [`forward`], and from inside too: the API server has
/// the same port there.
///
/// # Errors
/// When something of it fails.
pub async fn run(programs: Programs, arguments: Vec<String>, work: &Path, port: u16) -> anyhow::Result<()> {
    let socket = work.join("kubelet.sock");
    // Of a run before.
    for file in [&socket, &socket_path(work), &work.join("kubeconfig")] {
        if file.symlink_metadata().is_ok() {
            fs::remove_file(file)?;
        }
    }
    for address in NODES {
        command("ip", &["address", "add", address, "dev", "lo"])?;
    }
    let kubelet = UnixListener::bind(&socket)?;
    let (server, kubelet) = tokio::try_join!(ApiServer::with_node(&socket, port), Kubelet::accept(kubelet))?;
    for definition in known_crds()?.gateway_experimental {
        server.apply(&serde_json::to_string(&definition)?).await?;
    }
    for definition in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/base/crds"))? {
        server.apply(&fs::read_to_string(definition?.path())?).await?;
    }
    server.apply(SYSTEM).await?;
    for number in 0..NODES.len() {
        server.apply(&ztunnel(number)).await?;
    }
    let kubeconfig = server.kubeconfig();
    let own = ["--kubeconfig".to_owned(), kubeconfig.display().to_string()];
    let arguments = own.into_iter().chain(arguments).collect();
    let log = work.join("control-plane.log");
    let control_plane = ControlPlane::start(programs.pilothouse.clone(), arguments, ADDRESS, log).await?;

    let cluster = ApiServerCluster::new(&kubeconfig, kubelet.wanted()).await?;
    let path = commands(&programs, work)?;
    let (cluster, files) = (Cluster::ApiServer(cluster), work.join("pods"));
    let node = Node::new(cluster, programs, files, SERVICES, control_plane.address());

    let inner = UnixListener::bind(socket_path(work))?;
    let at = (Ipv4Addr::LOCALHOST, port);
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = inner.accept().await {
            tokio::spawn(async move {
                if let Ok(mut inside) = TcpStream::connect(at).await {
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    let own = work.join("kubeconfig");
    fs::copy(&kubeconfig, work.join("kubeconfig.new"))?;
    fs::rename(work.join("kubeconfig.new"), &own)?;
    println!("export KUBECONFIG={}", own.display());
    follow(node, kubelet, &path).await
}

/// A folder with the commands that images have, as a search path with those of this machine.
fn commands(programs: &Programs, work: &Path) -> anyhow::Result<String> {
    let folder = work.join("bin");
    fs::create_dir_all(&folder)?;
    for (name, program) in [("client", &programs.node), ("pilothouse", &programs.pilothouse)] {
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(program, link)?;
        }
    }
    Ok(format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()))
}

/// Runs what the kubelet wants, and tells it what is ready.
async fn follow(mut node: Node, mut kubelet: Kubelet, path: &str) -> anyhow::Result<()> {
    let mut wanted = kubelet.wanted();
    let mut told = BTreeMap::<String, Value>::new();
    let mut refresh = interval(REFRESH);
    loop {
        match node.follow().await {
            Ok(ended) => {
                for uid in ended {
                    told.remove(&uid);
                    kubelet.report(&json!({ "uid": uid, "ended": true })).await?;
                }
            }
            Err(error) => {
                eprintln!("{error:#}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        for pod in node.pods() {
            let (uid, state) = state(pod, path).await;
            if told.get(&uid) != Some(&state) {
                kubelet.report(&state).await?;
                told.insert(uid, state);
            }
        }
        tokio::select! {
            changed = wanted.changed() => changed.context("the kubelet is gone")?,
            Some(started) = node.started() => if let Err(error) = started {
                eprintln!("{error:#}");
            },
            _ = refresh.tick() => if let Err(error) = node.refresh().await {
                eprintln!("{error:#}");
            },
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn state(pod: &RunningPod, path: &str) -> (String, Value) {
    let uid = pod.pod().metadata.uid.clone().unwrap_or_default();
    let state = json!({
        "uid": uid,
        "ready": pod.ready().await,
        "network": pod.network_file(),
        "logs": pod.logs(),
        "path": path,
    });
    (uid, state)
}
