//! A reference client: behaves on the wire as a ztunnel does, refuses what it would refuse, and
//! keeps what it would keep.
//!
//! [`State`] is the ztunnel without sockets: responses in, ACKs and NACKs out. [`Client`] gives it
//! a stream of its own and lets a test wait for what it should come to hold. It knows nothing of
//! this control plane, so any can be asked the same questions.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use pilothouse_tests::client::{Client, Options};
//!
//! let client = Client::connect(Options::to("127.0.0.1:15010")).await?;
//! client.until("both types answered", |state| state.is_ready()).await?;
//! let mark = client.mark();
//! // … a pod changes …
//! client.until("pod b", |state| state.workload("Kubernetes//Pod/a/b").is_some()).await?;
//! assert_eq!(client.since(mark)[0].names(), ["Kubernetes//Pod/a/b"]);
//! assert_eq!(client.violations(), []);
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod node;
pub mod rbac;
pub mod record;
pub mod scripted;
pub mod state;
pub mod transport;
pub mod upstream;
pub mod yaml;

mod lookup;
mod stream;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{mpsc, oneshot, watch};

pub use node::Node;
pub use rbac::{Connection, Decision};
pub use record::{Received, ReceivedResource, Reject, Violation};
pub use state::{Held, State};
pub use transport::{OpenError, Target, Tls, Wire};
pub use upstream::{Unreachable, Upstream};

use stream::Command;

/// The address that these bytes are; none unless there are 4 or 16 of them.
pub fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What a client does when its stream ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconnect {
    /// As a ztunnel: at once after a clean end, else after a pause of 10 ms, doubled up to 15 s.
    #[default]
    Automatic,
    /// Only when told to.
    Manual,
}

/// How a client connects and how long it waits.
#[derive(Clone)]
pub struct Options {
    /// `host:port` of the control plane.
    pub address: String,
    /// Absent: clear text.
    pub tls: Option<Tls>,
    /// A certificate to show (chain and private key, PEM).
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// The bearer token.
    pub token: Option<String>,
    /// Further metadata of the call, such as `clusterid`.
    pub metadata: Vec<(String, String)>,
    /// Who the client says it is.
    pub node: Node,
    /// Whether addresses are asked for one by one (ztunnel's `XDS_ON_DEMAND`).
    pub on_demand: bool,
    /// What happens when the stream ends.
    pub reconnect: Reconnect,
    /// The longest that [`Client::until`] and connecting wait.
    pub limit: Duration,
}

impl Options {
    /// A wildcard client in clear text that reconnects by itself and waits up to 30 s.
    pub fn to(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: None,
            certificate: None,
            token: None,
            metadata: Vec::new(),
            node: Node::default(),
            on_demand: false,
            reconnect: Reconnect::default(),
            limit: Duration::from_secs(30),
        }
    }
}

/// A client with its own stream; dropping it ends the stream.
pub struct Client {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    limit: Duration,
}

impl Client {
    /// Opens a stream; returns once the server accepted the call.
    ///
    /// # Errors
    /// [`OpenError`] (to be had by `downcast_ref`) if the first attempt fails; an error too if the
    /// server says nothing within the limit.
    pub async fn connect(options: Options) -> anyhow::Result<Self> {
        let client = Self::start(options);
        client.connect_to(None).await?;
        Ok(client)
    }

    /// A client with a task but without a stream: see [`Client::reconnect`].
    fn start(options: Options) -> Self {
        let Options { address, tls, certificate, token, metadata, node, on_demand, reconnect, limit } =
            options;
        let (changed, _) = watch::channel(());
        let target =
            Mutex::new(Target { address, tls, certificate, token, metadata, from: None, time: None });
        let state = Mutex::new(State::new(on_demand));
        let shared = Arc::new(Shared { target, state, node, reconnect, changed });
        let (commands, inbox) = mpsc::unbounded_channel();
        tokio::spawn(stream::drive(Arc::clone(&shared), inbox));
        Self { shared, commands, limit }
    }

    /// Shows another token from the next stream on, as a ztunnel does whose token file was renewed.
    pub fn use_token(&self, token: &str) {
        let mut target = self.shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        target.token = Some(token.to_owned());
    }

    /// Trusts other roots (PEM) from the next stream on, as a ztunnel does whose file of roots was replaced.
    pub fn use_roots(&self, roots_pem: &[u8]) {
        let mut target = self.shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = &mut target.tls {
            tls.roots_pem = roots_pem.to_owned();
        }
    }

    /// Asks about the state as it is now.
    pub fn with<T>(&self, ask: impl FnOnce(&State) -> T) -> T {
        ask(&self.shared.state())
    }

    /// A copy of the state as it is now.
    pub fn state(&self) -> State {
        self.shared.state().clone()
    }

    /// Waits until the state is as asked: looked at once now and after every response and every
    /// change of the stream. `what` names the awaited in the error.
    ///
    /// # Errors
    /// After the limit: what was awaited, and what came instead.
    pub async fn until(&self, what: &str, mut as_asked: impl FnMut(&State) -> bool) -> anyhow::Result<()> {
        self.until_some(what, |state| as_asked(state).then_some(())).await
    }

    /// As [`Client::until`], for a question that has an answer.
    ///
    /// # Errors
    /// After the limit: what was awaited, and what came instead.
    pub async fn until_some<T>(
        &self,
        what: &str,
        mut ask: impl FnMut(&State) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            loop {
                changed.mark_unchanged();
                if let Some(answer) = ask(&self.shared.state()) {
                    return answer;
                }
                // the sender lives in `shared`, which this borrows
                let _ = changed.changed().await;
            }
        };
        match tokio::time::timeout(self.limit, wait).await {
            Ok(answer) => Ok(answer),
            Err(_) => bail!("waited {:?} in vain for {what}\n{}", self.limit, describe(&self.shared.state())),
        }
    }

    /// Asks for addresses by name (on demand).
    ///
    /// # Errors
    /// If the client's task is gone.
    pub fn demand(&self, names: &[&str]) -> anyhow::Result<()> {
        self.send(Command::Subscribe(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    /// Ends the stream and keeps the state; returns once it is down.
    ///
    /// # Errors
    /// If the client's task is gone.
    pub async fn disconnect(&self) -> anyhow::Result<()> {
        let (done, outcome) = oneshot::channel();
        self.send(Command::Disconnect(done))?;
        outcome.await.context("the client's task is gone")
    }

    /// Opens a new stream to the same address, offering what is held.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn reconnect(&self) -> anyhow::Result<()> {
        self.connect_to(None).await
    }

    /// Opens a new stream to another address, as to another replica, offering what is held.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn reconnect_to(&self, address: impl Into<String>) -> anyhow::Result<()> {
        self.connect_to(Some(address.into())).await
    }

    /// Stops reading responses, so that the server meets a client that is slow.
    ///
    /// # Errors
    /// If the client's task is gone.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.set_paused(true).await
    }

    /// Goes on reading responses.
    ///
    /// # Errors
    /// If the client's task is gone.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.set_paused(false).await
    }

    /// How many responses came so far: a place to ask [`Client::since`] about.
    pub fn mark(&self) -> usize {
        self.with(|state| state.received().len())
    }

    /// The responses that came since a [`Client::mark`], oldest first.
    pub fn since(&self, mark: usize) -> Vec<Received> {
        self.with(|state| state.received().get(mark..).unwrap_or_default().to_vec())
    }

    /// What a correct server would not have done, so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.with(|state| state.violations().to_vec())
    }

    async fn connect_to(&self, address: Option<String>) -> anyhow::Result<()> {
        let (done, outcome) = oneshot::channel();
        self.send(Command::Connect { address, done })?;
        match tokio::time::timeout(self.limit, outcome).await {
            Err(_) => bail!("no answer from {} in {:?}", self.shared.target().address, self.limit),
            Ok(outcome) => Ok(outcome.context("the client's task is gone")??),
        }
    }

    async fn set_paused(&self, paused: bool) -> anyhow::Result<()> {
        let (done, outcome) = oneshot::channel();
        self.send(Command::Pause { paused, done })?;
        outcome.await.context("the client's task is gone")
    }

    fn send(&self, command: Command) -> anyhow::Result<()> {
        self.commands.send(command).ok().context("the client's task is gone")
    }
}

/// What the client and its task share.
struct Shared {
    target: Mutex<Target>,
    state: Mutex<State>,
    node: Node,
    reconnect: Reconnect,
    changed: watch::Sender<()>,
}

impl Shared {
    /// A test that panicked while asking leaves the state as it was: go on with it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> Target {
        self.target.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn move_to(&self, address: Option<String>) {
        if let Some(address) = address {
            self.target.lock().unwrap_or_else(PoisonError::into_inner).address = address;
        }
    }

    fn initial_requests(&self) -> Vec<DeltaDiscoveryRequest> {
        self.state().initial_requests(&self.node)
    }

    fn demand(&self, names: &[String]) -> DeltaDiscoveryRequest {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.state().demand(&names)
    }

    fn apply(&self, response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let reply = self.state().apply(response);
        self.changed.send_replace(());
        reply
    }

    fn opened(&self) {
        let mut state = self.state();
        state.streams += 1;
        state.connected = true;
        drop(state);
        self.changed.send_replace(());
    }

    fn closed(&self, error: Option<String>) {
        let mut state = self.state();
        state.connected = false;
        state.last_error = error.or(state.last_error.take());
        drop(state);
        self.changed.send_replace(());
    }
}

/// What a failed wait tells of the state: the stream, what is held, the last responses.
fn describe(state: &State) -> String {
    use std::fmt::Write as _;
    const LAST: usize = 5;
    const NAMES: usize = 5;
    let mut text = format!(
        "stream {} is {}; held: {} workloads, {} services, {} policies; {} responses, {} violations\n",
        state.streams(),
        if state.is_connected() { "open" } else { "closed" },
        state.workloads().count(),
        state.services().count(),
        state.authorizations().len(),
        state.received().len(),
        state.violations().len(),
    );
    if let Some(error) = state.last_error() {
        let _ = writeln!(text, "last error: {error}");
    }
    for received in state.received().iter().rev().take(LAST).rev() {
        let kind = received.type_url.rsplit('.').next().unwrap_or_default();
        let names: Vec<&str> = received.resources.iter().take(NAMES).map(|one| one.name.as_str()).collect();
        let removed = &received.removed[..received.removed.len().min(NAMES)];
        let (sent, gone) = (received.resources.len(), received.removed.len());
        let _ =
            writeln!(text, "{kind} {}: {sent} sent {names:?}, {gone} removed {removed:?}", received.nonce);
        for reject in received.rejects.iter().take(NAMES) {
            let _ = writeln!(text, "  refused {reject}");
        }
    }
    for violation in state.violations().iter().take(NAMES) {
        let _ = writeln!(text, "violation: {violation}");
    }
    text
}
