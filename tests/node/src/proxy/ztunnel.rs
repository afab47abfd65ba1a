//! A real ztunnel in the place of the node's own proxy: is told of the pods of its node, as by the agent that captures
//! them.
//!
//! ```text
//!  node ──SEQPACKET: a message, its namespace as a file──▶ ztunnel
//!       ◀──────────────────── acknowledged ───────────────
//! ```
//!
//! (Protocol: ztunnel's `proto/zds.proto`.)

use super::PodNetwork;
use anyhow::{Context, bail, ensure};
use prost::Message;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, recv, sendmsg, socket_with,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long it may take until a ztunnel has a pod: its own pod starts beside the others.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Eq, Message)]
struct WorkloadInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    service_account: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct AddWorkload {
    #[prost(string, tag = "1")]
    uid: String,
    #[prost(message, optional, tag = "2")]
    workload_info: Option<WorkloadInfo>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct DelWorkload {
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SnapshotSent {}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
enum Payload {
    #[prost(message, tag = "1")]
    Add(AddWorkload),
    #[prost(message, tag = "2")]
    Del(DelWorkload),
    #[prost(message, tag = "3")]
    SnapshotSent(SnapshotSent),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct WorkloadRequest {
    #[prost(oneof = "Payload", tags = "1, 2, 3")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Ack {
    #[prost(string, tag = "1")]
    error: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct WorkloadResponse {
    #[prost(message, optional, tag = "1")]
    ack: Option<Ack>,
}

/// Whose a network is.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The uid of the pod.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
}

/// A pod that a ztunnel has.
struct Captured {
    owner: Owner,
    network: File,
}

enum Change {
    Add(Captured, oneshot::Sender<()>),
    Remove(String, oneshot::Sender<()>),
}

/// The ztunnel of a node, which is told what pods are in the mesh.
pub struct Ztunnel {
    changes: Sender<Change>,
}

impl Ztunnel {
    /// The socket of the ztunnel of a node.
    pub fn socket(node: &str) -> PathBuf {
        Path::new("/run/ztunnel").join(node)
    }

    /// Waits at its socket for the ztunnel of a node.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn of(node: &str) -> anyhow::Result<Self> {
        let path = Self::socket(node);
        fs::create_dir_all(path.parent().context("a socket is in a folder")?)?;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        bind(&listener, &SocketAddrUnix::new(&path)?)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        listen(&listener, 4)?;
        let (changes, changed) = mpsc::channel();
        // It ends with the process: nobody waits for it.
        thread::spawn(move || serve(&listener, &changed));
        Ok(Self { changes })
    }

    /// Gives it a pod, and waits until it has it.
    ///
    /// # Errors
    /// When no ztunnel takes it.
    pub async fn add(&self, owner: &Owner, pod: &PodNetwork) -> anyhow::Result<()> {
        let network = File::open(pod.namespace.path())?;
        let (tell, told) = oneshot::channel();
        self.send(Change::Add(Captured { owner: owner.clone(), network }, tell))?;
        until(told).await.with_context(|| format!("no ztunnel takes {}/{}", owner.namespace, owner.name))
    }

    /// Takes a pod from it, and waits until it has none of it.
    ///
    /// # Errors
    /// When no ztunnel answers.
    pub async fn remove(&self, owner: &Owner) -> anyhow::Result<()> {
        let told = self.forget(owner)?;
        until(told).await.with_context(|| format!("no ztunnel gives {}/{} up", owner.namespace, owner.name))
    }

    /// Takes a pod from it that is gone.
    ///
    /// # Errors
    /// When nothing serves ztunnels any more.
    pub fn forget(&self, owner: &Owner) -> anyhow::Result<oneshot::Receiver<()>> {
        let (tell, told) = oneshot::channel();
        self.send(Change::Remove(owner.uid.clone(), tell))?;
        Ok(told)
    }

    fn send(&self, change: Change) -> anyhow::Result<()> {
        self.changes.send(change).ok().context("nothing serves the ztunnel any more")
    }
}

async fn until(told: oneshot::Receiver<()>) -> anyhow::Result<()> {
    Ok(tokio::time::timeout(LIMIT, told).await??)
}

/// Serves one ztunnel after the other.
fn serve(listener: &OwnedFd, changes: &Receiver<Change>) {
    let mut pods = BTreeMap::new();
    while let Ok(connection) = accept(listener) {
        match follow(&connection, &mut pods, changes) {
            Ok(()) => return,
            Err(why) => eprintln!("the connection of a ztunnel is closed: {why:#}"),
        }
    }
}

/// Tells one ztunnel of all pods, and of what changes.
fn follow(
    connection: &OwnedFd,
    pods: &mut BTreeMap<String, Captured>,
    changes: &Receiver<Change>,
) -> anyhow::Result<()> {
    // Its version.
    receive(connection)?;
    for pod in pods.values() {
        add(connection, pod)?;
    }
    exchange(connection, Payload::SnapshotSent(SnapshotSent {}), None)?;
    for change in changes {
        // It is kept before it is sent: whoever comes next is told of it too.
        let tell = match change {
            Change::Add(pod, tell) => {
                let uid = pod.owner.uid.clone();
                pods.insert(uid.clone(), pod);
                pods.get(&uid).map_or(Ok(()), |pod| add(connection, pod))?;
                tell
            }
            Change::Remove(uid, tell) => {
                if pods.remove(&uid).is_some() {
                    exchange(connection, Payload::Del(DelWorkload { uid }), None)?;
                }
                tell
            }
        };
        // Who has gone does not wait.
        let _ = tell.send(());
    }
    Ok(())
}

fn add(connection: &OwnedFd, pod: &Captured) -> anyhow::Result<()> {
    let Owner { uid, name, namespace, service_account } = pod.owner.clone();
    let info = WorkloadInfo { name, namespace, service_account };
    let add = AddWorkload { uid, workload_info: Some(info) };
    exchange(connection, Payload::Add(add), Some(pod.network.as_fd()))
}

/// Sends a message and waits until it is acknowledged.
fn exchange(connection: &OwnedFd, payload: Payload, file: Option<BorrowedFd<'_>>) -> anyhow::Result<()> {
    let message = WorkloadRequest { payload: Some(payload) }.encode_to_vec();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = file.as_slice();
    if !files.is_empty() {
        ensure!(control.push(SendAncillaryMessage::ScmRights(files)), "no room for a file");
    }
    sendmsg(connection, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    let answer = WorkloadResponse::decode(receive(connection)?.as_slice())?;
    match answer.ack.map(|ack| ack.error).filter(|error| !error.is_empty()) {
        None => Ok(()),
        Some(error) => bail!("it refuses: {error}"),
    }
}

fn receive(connection: &OwnedFd) -> anyhow::Result<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    let (read, _) = recv(connection, buffer.as_mut_slice(), RecvFlags::empty())?;
    ensure!(read > 0, "it went");
    buffer.truncate(read);
    Ok(buffer)
}
