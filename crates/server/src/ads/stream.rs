//! Aggregated discovery over gRPC: a session as the body of an HTTP/2 response.
//!
//! The body *is* the stream's task: when the transport has room it asks for the next frame, and
//! the body then reads what the client sent, looks at the newest snapshot and hands out the next
//! stretch of the log. Nothing is queued in between: a client that does not read holds a cursor into
//! the log and at most a few frames.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use limits::{Rate, TokenBucket, truncated};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::info;
use xds::{Capabilities, Node, Response, Snapshot};

use super::clients::{Clients, Registration};
use super::fanout::{AffectedNodes, Fanout, Subscription};
use super::guard::{StreamGuard, check_subscription};
use crate::grpc::{PREFIX_BYTES, Status, prefix};
use crate::limits::{Bound, Request, RequestReader};

/// How long a returning ztunnel's answer waits for its other subscription.
///
/// It sends both at once; the limit only frees a client that wants one of them.
const HOLD: Duration = Duration::from_secs(3);

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
        // It ends with whoever publishes.
        tokio::spawn(fanout.clone().run(snapshots.clone(), affected));
        Self { snapshots, clients, fanout, capabilities: |_| 0 }
    }

    /// Derives by this what a client supports beyond what all do.
    #[must_use]
    pub fn with_capabilities(self, capabilities: fn(&Node) -> Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// The connected clients.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Opens a stream of these requests; ends when `drain` is cancelled, or when its `guard` says so.
    pub(crate) fn open<B>(
        &self,
        requests: RequestReader<B>,
        peer: Option<SocketAddr>,
        drain: &CancellationToken,
        guard: Option<StreamGuard>,
    ) -> Result<AdsStream<B>, Status> {
        // A new stream lacks everything, and so begins with the newest.
        let Some(latest) = self.snapshots.borrow().clone() else {
            let message = "not ready: the cluster has not been read yet";
            return Err(Status::new(Status::UNAVAILABLE, message));
        };
        Ok(AdsStream {
            requests,
            subscription: self.fanout.subscribe(),
            latest,
            registration: self.clients.register(peer, self.capabilities),
            sending: None,
            hold: None,
            drain: Box::pin(drain.clone().cancelled_owned()),
            guard,
            opened: Instant::now(),
            rate: TokenBucket::new(REQUESTS, Duration::ZERO),
            types_checked: 0,
            ended: false,
        })
    }
}

/// One stream, as the body of its response.
pub(crate) struct AdsStream<B> {
    requests: RequestReader<B>,
    subscription: Subscription,
    latest: Arc<Snapshot>,
    registration: Registration,
    sending: Option<Response>,
    hold: Option<Pin<Box<Sleep>>>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    /// None where callers are not authenticated.
    guard: Option<StreamGuard>,
    opened: Instant,
    rate: TokenBucket,
    /// How many of its types have been checked to be for a client of its kind.
    types_checked: usize,
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
            match self.requests.poll_next(cx) {
                Poll::Ready(Ok(Some(request))) => self.take_request(&request)?,
                Poll::Ready(Err(status)) => return Err(status),
                Poll::Ready(Ok(None)) | Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
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
            return Err(Status::new(Status::RESOURCE_EXHAUSTED, message));
        }
        let mut session = self.registration.client.session.lock();
        session.request(request.message.clone())?;
        for type_url in session.types().skip(self.types_checked) {
            let refusals = self.registration.clients().refusals();
            check_subscription(session.node(), type_url, self.guard.as_ref(), refusals)?;
            self.types_checked += 1;
        }
        Ok(())
    }

    /// Takes the newest snapshot that it may see.
    fn follow_snapshots(&mut self, cx: &Context<'_>) {
        if let Some(newest) = self.subscription.latest(cx)
            && newest.step() > self.latest.step()
        {
            self.latest = newest;
        }
    }

    /// Subscribes as the ztunnel of its node, once the client is found to be one.
    fn set_node(&mut self) {
        let session = self.registration.client.session.lock();
        if let Some(node) = session.node().filter(|node| node.role() == "ztunnel") {
            self.subscription.set_node(node.property("NODE_NAME"));
        }
    }

    /// Runs the time limit of a session that waits for its client.
    fn limit_hold(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.registration.client.session.lock().is_holding() {
            self.hold = None;
            return false;
        }
        let timer = self.hold.get_or_insert_with(|| Box::pin(sleep(HOLD)));
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.registration.client.session.lock().release();
        self.hold = None;
        true
    }

    /// The next piece of the stream; an error is the status that ends it.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        loop {
            if let Some(guard) = &mut self.guard {
                guard.check_pod(cx)?;
            }
            if let Some(response) = &mut self.sending {
                if let Some(chunk) = response.next() {
                    return Poll::Ready(Ok(chunk));
                }
                self.sending = None;
            }
            if self.drain.as_mut().poll(cx).is_ready() {
                // A clean end: the client connects again at once, elsewhere.
                return Poll::Ready(Err(Status::new(Status::OK, "")));
            }
            let more = self.take_requests(cx)?;
            if let Some(guard) = &mut self.guard {
                guard.check_credential(cx)?;
                guard.check_node(self.registration.client.session.lock().node())?;
            }
            self.set_node();
            self.follow_snapshots(cx);
            let next = self.registration.client.session.lock().poll(&self.latest)?;
            if let Some(mut response) = next {
                let Some(prefix) = prefix(response.message_len()) else {
                    let message = format!("response of {} bytes fits no message", response.message_len());
                    return Poll::Ready(Err(Status::new(Status::RESOURCE_EXHAUSTED, message)));
                };
                // The first piece is the small header, with what was gathered behind it.
                let first = response.next().unwrap_or_default();
                let mut data = BytesMut::with_capacity(PREFIX_BYTES + first.len());
                data.put_slice(&prefix);
                data.put_slice(&first);
                self.sending = Some(response);
                return Poll::Ready(Ok(data.freeze()));
            }
            if more {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.requests.has_ended() {
                return Poll::Ready(Err(Status::new(Status::OK, "")));
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
                if status.code != Status::OK {
                    let session = this.registration.client.session.lock();
                    let node = session.node().map_or("", |node| node.id.as_str());
                    let (node, error) = (truncated(node), truncated(&status.message));
                    if let Some(times) = this.registration.clients().refusals().log_due(node, "ended") {
                        info!(node, times, code = status.code, error, "ended a discovery stream");
                    }
                }
                Frame::trailers(status.headers())
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }
}
