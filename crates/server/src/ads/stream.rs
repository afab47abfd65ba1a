//! Aggregated discovery over gRPC: a session as the body of an HTTP/2 response.
//!
//! The body *is* the stream's task: when the transport has room it asks for the next frame, and
//! the body then reads what the client sent, looks at the newest snapshot and hands out the next
//! stretch of the log. Nothing is queued in between: a client that does not read holds a cursor into
//! the log and at most a few frames.

use proto::Code;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use identity::Tokens;
use limits::{Exhausted, Rate, TokenBucket, truncated};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::info;
use xds::{
    Capabilities, EnvoySession, Node, Response, Scope, Session, Snapshot, Variant, ZtunnelSession,
    node_of_request,
};

use super::clients::{Clients, Registration};
use super::debug::{Debug, DebugApi};
use super::fanout::{AffectedNodes, Fanout, Subscription};
use super::guard::{StreamGuard, check_subscription};
use super::secrets::{self, Secrets};
use crate::grpc::{PREFIX_BYTES, Status, prefix};
use crate::latencies::StreamTimes;
use crate::limits::{Bound, Request, RequestReader, StreamMemory};

/// How long a returning ztunnel's answer waits for its other subscription.
///
/// It sends both at once; the limit only frees a client that wants one of them.
const HOLD: Duration = Duration::from_secs(3);

/// How long an Envoy's listeners wait for its clusters to be warm: as long as it waits by default for what
/// a cluster lacks.
const WARM: Duration = Duration::from_secs(15);

/// How often a client may send requests on a stream: one for each response, and one for each name it
/// comes to need, when it asks for names.
const REQUESTS: Rate = Rate { burst: 20_000, per_second: 2_000 };

/// Requests taken from one client before others get their turn.
const REQUESTS_PER_TURN: usize = 16;

/// The discovery service.
#[derive(Debug, Clone)]
pub struct Ads {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    clients: Clients,
    fanout: Fanout,
    capabilities: fn(&Node) -> Capabilities,
    scopes: Scopes,
    debug: Option<DebugApiRef>,
}

/// Who answers questions of the debug API.
#[derive(Clone)]
struct DebugApiRef(Arc<dyn DebugApi>);

impl std::fmt::Debug for DebugApiRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DebugApi")
    }
}

/// Tells the scopes that a proxy is served, by what it says of itself: that of all its replicas, then those of where it
/// is.
type ScopesFn = dyn Fn(&Node) -> Vec<Arc<str>> + Send + Sync;

/// Whose scope a client gets that is no ztunnel.
#[derive(Clone, Default)]
enum Scopes {
    /// Nobody's.
    #[default]
    None,
    /// That of the gateway which the pod of its token is an instance of.
    Proven,
    /// Whose it claims.
    Claimed(Arc<ScopesFn>),
}

impl std::fmt::Debug for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Proven => "Proven",
            Self::Claimed(_) => "Claimed",
        })
    }
}

impl Ads {
    /// Serves the newest of these snapshots; `None` refuses streams until there is one.
    ///
    /// To be called within a runtime, which gets a task that notifies the streams.
    pub fn new(snapshots: watch::Receiver<Option<Arc<Snapshot>>>, clients: Clients) -> Self {
        Self::with_affected_nodes(Arc::default(), snapshots, clients)
    }

    /// As [`new`](Self::new); streams of the nodes that a snapshot affects see it before all others.
    pub fn with_affected_nodes(
        affected: Arc<AffectedNodes>,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        clients: Clients,
    ) -> Self {
        let fanout = Fanout::default();
        // It ends with the publisher.
        tokio::spawn(fanout.clone().run(snapshots.clone(), affected));
        Self { snapshots, clients, fanout, capabilities: |_| 0, scopes: Scopes::None, debug: None }
    }

    /// Derives by this what a client supports beyond what all do.
    #[must_use]
    pub fn with_capabilities(self, capabilities: fn(&Node) -> Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// Serves gateways and waypoints, too. Each gets the scope of the gateway which the pod of its token is an
    /// instance of, also while that has nothing; whoever has shown no such token is refused, with the reason.
    #[must_use]
    pub fn with_gateways(self) -> Self {
        Self { scopes: Scopes::Proven, ..self }
    }

    /// As [`with_gateways`](Self::with_gateways) for a port on which nobody is authenticated, and whose clients
    /// are believed: this finds its scopes by what one says of itself. While there is none, or the first has nothing,
    /// a client is refused what only such proxies follow.
    #[must_use]
    pub fn with_claimed_scopes(self, of: impl Fn(&Node) -> Vec<Arc<str>> + Send + Sync + 'static) -> Self {
        Self { scopes: Scopes::Claimed(Arc::new(of)), ..self }
    }

    /// Answers questions of the debug API, in state of the world, to whoever is authenticated.
    #[must_use]
    pub fn with_debug(self, api: Arc<dyn DebugApi>) -> Self {
        Self { debug: Some(DebugApiRef(api)), ..self }
    }

    /// Tells whether streams of this variant are served.
    pub(crate) fn serves(&self, variant: Variant) -> bool {
        variant == Variant::Delta || !matches!(self.scopes, Scopes::None) || self.debug.is_some()
    }

    /// Tells whose tokens open a stream of this variant. Whether the caller is the node that it claims to be is decided
    /// by its first request of resources, which a token of no pod is not enough for.
    pub(crate) fn tokens(&self, variant: Variant) -> Tokens {
        match (variant, &self.debug) {
            (Variant::StateOfTheWorld, Some(_)) => Tokens::Any,
            _ => Tokens::OfPods,
        }
    }

    /// A session of one that follows the scopes of a proxy, or without any the mesh.
    fn session(&self, variant: Variant, scopes: Vec<Arc<str>>) -> Session {
        let mut scopes = scopes.into_iter();
        match scopes.next() {
            Some(name) => {
                let session = EnvoySession::new(SystemTime::now(), variant, Scope::Proxy(name));
                let session = session.with_further(scopes.collect());
                // Who is not authenticated has no certificate of its own.
                let own = if matches!(self.scopes, Scopes::Proven) { secrets::NAMES } else { &[] };
                session.with_own(own).into()
            }
            None => ZtunnelSession::new(SystemTime::now()).with_capabilities(self.capabilities).into(),
        }
    }

    /// The scopes of a client, if it is a gateway's or a waypoint's.
    ///
    /// # Errors
    /// Why it gets none.
    fn scopes(
        &self,
        node: &Node,
        guard: Option<&mut StreamGuard>,
        latest: &Snapshot,
    ) -> Result<Vec<Arc<str>>, Status> {
        if node.role() == "ztunnel" {
            return Ok(Vec::new());
        }
        match (&self.scopes, guard) {
            (Scopes::None, _) => Ok(Vec::new()),
            (Scopes::Proven, Some(guard)) => {
                let (gateway, places) = guard.gateway(node)?;
                let of_places = places.iter().map(|place| format!("{gateway}{place}").into());
                Ok(std::iter::once(gateway.to_string().into()).chain(of_places).collect())
            }
            (Scopes::Proven, None) => {
                let message =
                    "gateways and waypoints are served on the secure port, to the tokens of their pods";
                Err(Status::new(Code::PermissionDenied, message))
            }
            (Scopes::Claimed(of), _) => {
                let scopes = of(node);
                let has_any = |name: &Arc<str>| latest.changed(&Scope::Proxy(Arc::clone(name))) > 0;
                Ok(if scopes.first().is_some_and(has_any) { scopes } else { Vec::new() })
            }
        }
    }

    /// The connected clients.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Opens a stream of these requests; ends when `drain` is cancelled, or when its `guard` says so.
    pub(crate) fn open<B>(
        &self,
        variant: Variant,
        requests: RequestReader<B>,
        peer: Option<SocketAddr>,
        drain: &CancellationToken,
        guard: Option<StreamGuard>,
    ) -> Result<AdsStream<B>, Status> {
        // A new stream lacks everything, and so begins with the newest.
        let Some(latest) = self.snapshots.borrow().clone() else {
            let message = "not ready: the cluster has not been read yet";
            return Err(Status::new(Code::Unavailable, message));
        };
        let registration = self.clients.register(peer, self.session(variant, Vec::new()));
        let client = Arc::clone(&registration.client);
        let forget = move || client.session.lock().forget_names();
        let memory = self.clients.memory().open(guard.as_ref().map(StreamGuard::client), forget);
        Ok(AdsStream {
            requests,
            memory,
            subscription: self.fanout.subscribe(),
            latest,
            registration,
            ads: self.clone(),
            variant,
            sending: None,
            hold: None,
            drain: Box::pin(drain.clone().cancelled_owned()),
            guard,
            secrets: Secrets::default(),
            debug: self
                .debug
                .clone()
                .filter(|_| variant == Variant::StateOfTheWorld)
                .map(|of| Debug::new(of.0)),
            opened: Instant::now(),
            times: StreamTimes::default(),
            rate: TokenBucket::new(REQUESTS, Duration::ZERO),
            types_checked: 0,
            refusal_changes: 0,
            ended: false,
        })
    }
}

/// One stream, as the body of its response.
pub(crate) struct AdsStream<B> {
    ads: Ads,
    variant: Variant,
    requests: RequestReader<B>,
    subscription: Subscription,
    latest: Arc<Snapshot>,
    registration: Registration,
    sending: Option<Response>,
    /// What it waits for, and the time limit of that.
    hold: Option<(u64, Pin<Box<Sleep>>)>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    /// None where callers are not authenticated.
    guard: Option<StreamGuard>,
    memory: StreamMemory,
    secrets: Secrets,
    /// None where the debug API is not served.
    debug: Option<Debug>,
    opened: Instant,
    times: StreamTimes,
    rate: TokenBucket,
    /// How many of its types have been checked to be for a client of its kind.
    types_checked: usize,
    /// Those of its session that were noted.
    refusal_changes: u64,
    ended: bool,
}

impl<B> AdsStream<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// Takes requests that arrived; true when there may be more at once.
    fn take_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, Status> {
        for _ in 0..REQUESTS_PER_TURN {
            if self.debug.as_ref().is_some_and(Debug::is_asked) {
                // It is read on once that is answered.
                return Ok(false);
            }
            match self.requests.poll_next(cx) {
                Poll::Ready(Ok(Some(request))) => {
                    self.take_request(&request)?;
                    self.charge()?;
                }
                Poll::Ready(Err(status)) => return Err(status),
                Poll::Ready(Ok(None)) | Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Charges the client for what its session holds.
    fn charge(&mut self) -> Result<(), Status> {
        let (held, listed) = {
            let session = self.registration.client.session.lock();
            (session.held_bytes(), session.listed_bytes())
        };
        self.memory.charge(held, listed).map_err(|exhausted| self.exhausted(exhausted))
    }

    fn exhausted(&self, exhausted: Exhausted) -> Status {
        self.registration.clients().refusals().add(Bound::MemoryOfClient, &truncated(self.memory.client()));
        let message = format!(
            "what is followed here takes too much memory: {exhausted}; follow fewer names, or all of a type"
        );
        Status::new(Code::ResourceExhausted, message)
    }

    fn count_refused_request(&self) {
        let session = self.registration.client.session.lock();
        let node = session.node().map_or("", |node| node.id.as_str());
        self.registration.clients().refusals().add(Bound::RequestsOfStream, &truncated(node));
    }

    /// Takes one request, and checks that the client may have what it asks for.
    fn take_request(&mut self, request: &Request) -> Result<(), Status> {
        if self.rate.take(self.opened.elapsed()).is_err() {
            self.count_refused_request();
            let message = format!("more than {} requests a second on one stream", REQUESTS.per_second);
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        if let Some(debug) = &mut self.debug
            && let Some(question) = xds::question_of_request(&request.message)?
        {
            return debug.ask(question, self.guard.as_ref());
        }
        let mut session = self.registration.client.session.lock();
        if session.node().is_none()
            && let Some(node) = node_of_request(self.variant, &request.message)
        {
            let scopes = self.ads.scopes(&node, self.guard.as_mut(), &self.latest)?;
            if scopes.is_empty() && self.variant == Variant::StateOfTheWorld {
                let message = "state of the world is served to gateways and waypoints only";
                return Err(Status::new(Code::Unimplemented, message));
            }
            *session = self.ads.session(self.variant, scopes);
        }
        if let Some(type_url) = session.request(request.message.clone())? {
            self.times.acknowledged(type_url, self.registration.clients().latencies());
        }
        if let Some(envoy) = session.envoy().filter(|envoy| envoy.refusal_changes() > self.refusal_changes) {
            self.refusal_changes = envoy.refusal_changes();
            self.registration.refusals_changed(!envoy.refused().is_empty());
        }
        if *session.scope() != Scope::Mesh {
            // A session of a scope may subscribe to everything in it, and knows no other.
            return Ok(());
        }
        for type_url in session.types().skip(self.types_checked) {
            let refusals = self.registration.clients().refusals();
            check_subscription(session.node(), type_url, self.guard.as_ref(), refusals)?;
            self.types_checked += 1;
        }
        Ok(())
    }

    /// Gives an Envoy's session the secrets of its own that are due.
    fn take_secrets(&mut self, cx: &mut Context<'_>) {
        if let Some(guard) = &self.guard
            && let Some(session) = self.registration.client.session.lock().envoy()
        {
            self.secrets.poll(cx, guard, session);
        }
    }

    /// Takes the newest snapshot that it may see.
    fn follow_snapshots(&mut self, cx: &Context<'_>) {
        if let Some(newest) = self.subscription.latest(cx)
            && newest.step() > self.latest.step()
        {
            self.latest = newest;
        }
    }

    /// Subscribes as the ztunnel of its node, or to the scopes of its proxy, once the client is found to be
    /// one.
    fn set_audience(&mut self) {
        let mut session = self.registration.client.session.lock();
        if let Some(envoy) = session.envoy()
            && let Scope::Proxy(name) = envoy.scope()
        {
            self.subscription.set_scopes(std::iter::once(name).chain(envoy.further()));
        } else if let Some(node) = session.node().filter(|node| node.role() == "ztunnel") {
            self.subscription.set_node(node.property("NODE_NAME"));
        }
    }

    /// Runs the time limit of a session that waits for its client.
    fn limit_hold(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = {
            let session = self.registration.client.session.lock();
            let of_kind = if *session.scope() == Scope::Mesh { HOLD } else { WARM };
            session.wait().map(|wait| (wait, of_kind))
        };
        let Some((wait, limit)) = limit else {
            self.hold = None;
            return false;
        };
        self.hold.take_if(|(of, _)| *of != wait);
        let (_, timer) = self.hold.get_or_insert_with(|| (wait, Box::pin(sleep(limit))));
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.registration.client.session.lock().release();
        self.hold = None;
        true
    }

    /// Takes note of when all of the snapshot was sent, unless something waits for the client.
    fn note_caught_up(&mut self) {
        let mut session = self.registration.client.session.lock();
        if session.wait().is_none() && session.node().is_some() {
            let changed = session.envoy().map_or(0, |envoy| envoy.changed(&self.latest));
            let latencies = self.registration.clients().latencies();
            self.times.caught_up(session.scope(), changed, &self.latest, latencies);
        }
    }

    /// The next piece of the stream; an error is the status that ends it.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        loop {
            if let Some(guard) = &mut self.guard {
                guard.check_pod(cx)?;
            }
            if self.memory.is_evicted(cx) {
                return Poll::Ready(Err(self.exhausted(Exhausted::Evicted)));
            }
            if let Some(response) = &mut self.sending {
                if let Some(chunk) = response.next() {
                    return Poll::Ready(Ok(chunk));
                }
                self.sending = None;
                self.times.end(self.registration.clients().latencies());
            }
            if self.drain.as_mut().poll(cx).is_ready() {
                // A clean end: the client connects again at once, elsewhere.
                return Poll::Ready(Err(Status::new(Code::Ok, "")));
            }
            let more = self.take_requests(cx)?;
            if let Some(guard) = &mut self.guard {
                guard.check_credential(cx)?;
                guard.check_node(self.registration.client.session.lock().node())?;
            }
            if let Some(debug) = self.debug.as_mut().filter(|debug| debug.is_asked()) {
                return debug.poll(cx);
            }
            self.set_audience();
            self.take_secrets(cx);
            self.follow_snapshots(cx);
            let next = self.registration.client.session.lock().poll(&self.latest)?;
            // Names that were sent are followed, and what was listed is compared by now.
            self.charge()?;
            if let Some(mut response) = next {
                let Some(prefix) = prefix(response.message_len()) else {
                    let message = format!("response of {} bytes fits no message", response.message_len());
                    return Poll::Ready(Err(Status::new(Code::ResourceExhausted, message)));
                };
                self.times.begin(response.type_url());
                self.registration.client.note_sent(response.type_url());
                // The first piece is the small header, with what was gathered behind it.
                let first = response.next().unwrap_or_default();
                let mut data = BytesMut::with_capacity(PREFIX_BYTES + first.len());
                data.put_slice(&prefix);
                data.put_slice(&first);
                self.sending = Some(response);
                return Poll::Ready(Ok(data.freeze()));
            }
            self.note_caught_up();
            if more {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.requests.has_ended() {
                return Poll::Ready(Err(Status::new(Code::Ok, "")));
            }
            if !self.limit_hold(cx) {
                return Poll::Pending;
            }
        }
    }
}

impl<B> Body for AdsStream<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let polled = this.poll_data(cx);
        this.subscription.end_turn(matches!(polled, Poll::Ready(Ok(_))), this.latest.step());
        let frame = match ready!(polled) {
            Ok(data) => Frame::data(data),
            Err(status) => {
                this.ended = true;
                if status.code != Code::Ok {
                    let session = this.registration.client.session.lock();
                    let node = session.node().map_or("", |node| node.id.as_str());
                    let (node, error) = (truncated(node), truncated(&status.message));
                    if let Some(times) = this.registration.clients().refusals().log_due(node, "ended") {
                        info!(node, times, code = status.code.number(), error, "ended a discovery stream");
                    }
                }
                Frame::trailers(status.headers())
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }
}
