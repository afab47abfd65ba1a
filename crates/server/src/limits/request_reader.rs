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

use crate::grpc::{Inbox, MAX_REQUEST_BYTES, Status};
use limits::{KeyedSemaphore, Permit};

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
pub(crate) struct Rooms {
    ztunnels: Room,
    others: Room,
}

/// What clients of a kind may send.
#[derive(Debug, Clone)]
struct Room {
    longest: usize,
    budget: Arc<Semaphore>,
    clients: Arc<KeyedSemaphore<String>>,
}

impl Room {
    fn new(longest: usize, bytes: usize) -> Self {
        let budget = Arc::new(Semaphore::new(bytes / UNIT));
        Self { longest, budget, clients: Arc::new(KeyedSemaphore::new(LONG_OF_CLIENT)) }
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
pub(crate) struct Allowance {
    client: Option<String>,
    room: Room,
    queue: PollSemaphore,
    place: Option<Permit<String>>,
}

/// Room for one long request, until it is dropped.
#[derive(Default)]
pub(crate) struct Taken {
    _bytes: Option<OwnedSemaphorePermit>,
    _place: Option<Permit<String>>,
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
            self.place = self.room.clients.try_acquire(client.clone());
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
pub(crate) struct Intake<B> {
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
pub(crate) struct Arrived {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::grpc::prefix;
    use futures::StreamExt;
    use futures::stream::{iter, pending};
    use futures::task::noop_waker;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    const LONG: usize = 600 * 1024;
    const PATIENCE: Duration = Duration::from_secs(30);

    /// The start of a request of so many bytes, of which so many follow; then nothing more comes.
    fn body(announced: usize, sent: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let head = Bytes::copy_from_slice(&prefix(announced as u64).unwrap());
        let pieces = [head, Bytes::from(vec![0; sent])].map(|data| Ok::<_, Infallible>(Frame::data(data)));
        StreamBody::new(iter(pieces).chain(pending()))
    }

    /// Rooms in which one long request fits at a time, of each kind.
    fn rooms() -> Rooms {
        let room = |longest| Room::new(longest, 1024 * 1024);
        Rooms { ztunnels: room(MAX_REQUEST_BYTES), others: room(MAX_OF_OTHERS) }
    }

    fn client(name: &str) -> Option<(String, bool)> {
        Some((name.to_owned(), true))
    }

    fn poll<B: Body<Data = Bytes, Error = Infallible> + Unpin>(
        intake: &mut Intake<B>,
    ) -> Poll<Result<Option<Arrived>, Status>> {
        intake.poll_next(&mut Context::from_waker(&noop_waker()))
    }

    #[tokio::test]
    async fn a_long_request_waits_for_room_and_a_short_one_does_not() {
        let rooms = rooms();
        let mut first = Intake::new(body(LONG, 1), rooms.of(client("a")), PATIENCE);
        assert!(poll(&mut first).is_pending(), "it is not whole");
        let mut second = Intake::new(body(LONG, LONG), rooms.of(client("b")), PATIENCE);
        assert!(poll(&mut second).is_pending(), "there is no room");
        let mut short = Intake::new(body(SHORT, SHORT), rooms.of(client("c")), PATIENCE);
        assert!(matches!(poll(&mut short), Poll::Ready(Ok(Some(_)))));
        let mut other = Intake::new(body(LONG, LONG), rooms.of(Some(("d".to_owned(), false))), PATIENCE);
        assert!(matches!(poll(&mut other), Poll::Ready(Ok(Some(_)))), "it has room of its own");
        drop(first);
        let Poll::Ready(Ok(Some(arrived))) = poll(&mut second) else { panic!("there is room now") };
        assert_eq!(arrived.message.len(), LONG);
        let mut third = Intake::new(body(LONG, LONG), rooms.of(client("e")), PATIENCE);
        assert!(poll(&mut third).is_pending(), "the second is not dealt with");
        drop(arrived);
        assert!(matches!(poll(&mut third), Poll::Ready(Ok(Some(_)))));
    }

    #[tokio::test]
    async fn one_client_sends_few_long_requests_at_once() {
        let rooms = rooms();
        let open = || Intake::new(body(LONG, 1), rooms.of(client("greedy")), PATIENCE);
        let mut held: Vec<_> = (0..LONG_OF_CLIENT).map(|_| open()).collect();
        assert!(held.iter_mut().all(|intake| poll(intake).is_pending()));
        let Poll::Ready(Err(status)) = poll(&mut open()) else { panic!("it may send as many as it likes") };
        assert_eq!(status.code, Status::RESOURCE_EXHAUSTED);
        held.pop();
        assert!(poll(&mut open()).is_pending());
    }

    #[tokio::test]
    async fn only_a_ztunnel_sends_very_long_ones() {
        let rooms = Rooms::default();
        let very_long = MAX_OF_OTHERS + 1;
        let mut other = Intake::new(body(very_long, 0), rooms.of(Some(("a".to_owned(), false))), PATIENCE);
        let Poll::Ready(Err(status)) = poll(&mut other) else { panic!("it may") };
        assert_eq!(status.code, Status::RESOURCE_EXHAUSTED);
        let mut ztunnel = Intake::new(body(very_long, 0), rooms.of(client("a")), PATIENCE);
        assert!(poll(&mut ztunnel).is_pending());
    }
}
