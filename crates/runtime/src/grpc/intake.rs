//! Requests of a stream, as they arrive: how long one may be, and how long it may take.
//!
//! A ztunnel that returns lists all that it holds in its first request, some MiB in a large mesh; hardly
//! any other client says much. So short requests are read at once, and long ones within a budget of
//! bytes that all clients of a kind share: who wants to send one waits for room, and the transport's
//! windows make the client wait too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;
use tracing::debug;

use super::message::{Inbox, MAX_REQUEST_BYTES, Status};
use crate::tally::{Place, Tally};

/// Longest request that needs no room, in bytes.
const SHORT: usize = 256 * 1024;

/// Longest request of a client that is no ztunnel, in bytes: a waypoint lists what it holds, too.
const MAX_OF_OTHERS: usize = 16 * 1024 * 1024;

/// What long requests of ztunnels may hold together, in bytes.
const ROOM: usize = 512 * 1024 * 1024;

/// What those of all others may hold together, in bytes.
const ROOM_OF_OTHERS: usize = 64 * 1024 * 1024;

/// Long requests of one client at once: it has one stream, and one more while it comes anew.
const LONG_OF_CLIENT: usize = 2;

/// A permit of the budgets stands for so many bytes.
const UNIT: usize = 1024;

/// The rooms of one port.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    ztunnels: Room,
    others: Room,
}

/// What clients of a kind may send.
#[derive(Debug, Clone)]
struct Room {
    longest: usize,
    budget: Arc<Semaphore>,
    clients: Arc<Tally<String>>,
}

impl Room {
    fn new(longest: usize, bytes: usize) -> Self {
        let budget = Arc::new(Semaphore::new(bytes / UNIT));
        Self { longest, budget, clients: Arc::new(Tally::new(LONG_OF_CLIENT)) }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            ztunnels: Room::new(MAX_REQUEST_BYTES, ROOM),
            others: Room::new(MAX_OF_OTHERS, ROOM_OF_OTHERS),
        }
    }
}

impl Rooms {
    /// Returns what may be sent by a client that is a ztunnel or not; by anybody whom nobody asks who
    /// it is.
    pub fn of(&self, client: Option<(String, bool)>) -> Allowance {
        let (client, room) = match client {
            None => (None, &self.ztunnels),
            Some((client, true)) => (Some(client), &self.ztunnels),
            Some((client, false)) => (Some(client), &self.others),
        };
        Allowance {
            client,
            room: room.clone(),
            queue: PollSemaphore::new(Arc::clone(&room.budget)),
            place: None,
        }
    }
}

/// What one stream may send.
pub(super) struct Allowance {
    client: Option<String>,
    room: Room,
    queue: PollSemaphore,
    place: Option<Place<String>>,
}

/// Room for one long request, until it is dropped.
#[derive(Default)]
pub(super) struct Taken {
    _bytes: Option<OwnedSemaphorePermit>,
    _place: Option<Place<String>>,
}

impl Allowance {
    /// Waits for room for a long request.
    fn poll_room(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<Result<Taken, Status>> {
        let exhausted = |message: String| Poll::Ready(Err(Status::new(Status::RESOURCE_EXHAUSTED, message)));
        if bytes > self.room.longest {
            return exhausted(format!("request has {bytes} bytes, more than {}", self.room.longest));
        }
        if self.place.is_none()
            && let Some(client) = &self.client
        {
            self.place = self.room.clients.take(client.clone());
            if self.place.is_none() {
                return exhausted(format!("more than {LONG_OF_CLIENT} long requests of one client at once"));
            }
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        // Nobody closes the budget.
        let bytes = ready!(self.queue.poll_acquire_many(cx, units));
        Poll::Ready(Ok(Taken { _bytes: bytes, _place: self.place.take() }))
    }
}

/// The requests of one stream.
pub(super) struct Intake<B> {
    /// None once the client has said all it will.
    body: Option<B>,
    inbox: Inbox,
    allowance: Allowance,
    /// Room for the request that is arriving.
    taken: Option<Taken>,
    patience: Duration,
    /// When the request that has begun must be whole.
    due: Option<Pin<Box<Sleep>>>,
}

/// A request, and the room that it has until it is dealt with.
pub(super) struct Arrived {
    pub message: Bytes,
    _taken: Taken,
}

impl<B> Intake<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// Reads requests from a body; each may take so long once it has begun.
    pub fn new(body: B, allowance: Allowance, patience: Duration) -> Self {
        Self { body: Some(body), inbox: Inbox::default(), allowance, taken: None, patience, due: None }
    }

    /// Tells whether the client has said all it will.
    pub fn has_ended(&self) -> bool {
        self.body.is_none()
    }

    /// Returns the next request; `None` after the last.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Arrived>, Status>> {
        loop {
            if let Some(length) = self.inbox.announced()?
                && length > SHORT
                && self.taken.is_none()
            {
                let taken = ready!(self.allowance.poll_room(cx, length))?;
                self.inbox.reserve(length);
                self.taken = Some(taken);
                // Waiting for room was not the client's doing.
                self.due = None;
            }
            if let Some(message) = self.inbox.next()? {
                self.due = None;
                let taken = self.taken.take().unwrap_or_default();
                return Poll::Ready(Ok(Some(Arrived { message, _taken: taken })));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    if self.inbox.is_partial() {
                        let patience = self.patience;
                        let due = self.due.get_or_insert_with(|| Box::pin(sleep(patience)));
                        ready!(due.as_mut().poll(cx));
                        let limit = patience.as_secs();
                        let message = format!("request did not arrive whole within {limit} s");
                        return Poll::Ready(Err(Status::new(Status::RESOURCE_EXHAUSTED, message)));
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.inbox.push(data);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    debug!(%error, "client broke off");
                    self.body = None;
                }
                Poll::Ready(None) => {
                    self.body = None;
                    if self.inbox.is_partial() {
                        return Poll::Ready(Err(Status::new(Status::INTERNAL, "request ends in the middle")));
                    }
                }
            }
        }
    }
}
