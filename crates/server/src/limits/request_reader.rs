//! Requests of a stream, as they arrive: how long one may be, and how long it may take.
//!
//! A ztunnel that returns lists all that it holds in its first request, some MiB in a large mesh; hardly
//! any other client sends much. So small requests are read at once, and large ones within a budget of
//! bytes that all clients of a kind share: a client waits for its reservation, and the transport's
//! windows make it wait too.

use proto::Code;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use limits::{KeyedSemaphore, Permit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;
use tracing::debug;

use crate::grpc::{MAX_REQUEST_BYTES, MessageBuffer, Status};

/// Largest request that needs no reservation, in bytes.
const SMALL: usize = 256 * 1024;

/// Largest request of a client that is no ztunnel, in bytes: a waypoint lists what it holds, too.
const MAX_OF_OTHERS: usize = 16 * 1024 * 1024;

/// What large requests of ztunnels may hold together, in bytes.
const BUDGET: usize = 512 * 1024 * 1024;

/// What those of all others may hold together, in bytes.
const BUDGET_OF_OTHERS: usize = 64 * 1024 * 1024;

/// Large requests of one client at once: it has one stream, and one more while it reconnects.
const LARGE_PER_CLIENT: usize = 2;

/// How many bytes a permit of a budget stands for.
const UNIT: usize = 1024;

/// The budgets of one port.
#[derive(Debug, Clone)]
pub(crate) struct RequestBudgets {
    ztunnels: RequestBudget,
    others: RequestBudget,
}

/// What clients of a kind may send.
#[derive(Debug, Clone)]
struct RequestBudget {
    largest: usize,
    bytes: Arc<Semaphore>,
    clients: Arc<KeyedSemaphore<String>>,
}

impl RequestBudget {
    fn new(largest: usize, bytes: usize) -> Self {
        let bytes = Arc::new(Semaphore::new(bytes / UNIT));
        Self { largest, bytes, clients: Arc::new(KeyedSemaphore::new(LARGE_PER_CLIENT)) }
    }
}

impl Default for RequestBudgets {
    fn default() -> Self {
        Self {
            ztunnels: RequestBudget::new(MAX_REQUEST_BYTES, BUDGET),
            others: RequestBudget::new(MAX_OF_OTHERS, BUDGET_OF_OTHERS),
        }
    }
}

impl RequestBudgets {
    /// Returns what a stream may send: that of a client (its name, and whether it is a ztunnel), or any
    /// stream where callers are not authenticated.
    pub fn quota(&self, client: Option<(String, bool)>) -> Quota {
        let (client, budget) = match client {
            None => (None, &self.ztunnels),
            Some((client, true)) => (Some(client), &self.ztunnels),
            Some((client, false)) => (Some(client), &self.others),
        };
        Quota {
            client,
            budget: budget.clone(),
            queue: PollSemaphore::new(Arc::clone(&budget.bytes)),
            permit: None,
        }
    }
}

/// What one stream may send.
pub(crate) struct Quota {
    client: Option<String>,
    budget: RequestBudget,
    queue: PollSemaphore,
    permit: Option<Permit<String>>,
}

/// Bytes of a budget for one large request, until it is dropped.
#[derive(Default)]
pub(crate) struct Reservation {
    _bytes: Option<OwnedSemaphorePermit>,
    _client: Option<Permit<String>>,
}

impl Quota {
    /// Waits for a reservation for a large request.
    fn poll_reserve(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<Result<Reservation, Status>> {
        let exhausted = |message: String| Poll::Ready(Err(Status::new(Code::ResourceExhausted, message)));
        if bytes > self.budget.largest {
            return exhausted(format!("request has {bytes} bytes, more than {}", self.budget.largest));
        }
        if self.permit.is_none()
            && let Some(client) = &self.client
        {
            self.permit = self.budget.clients.try_acquire(client.clone());
            if self.permit.is_none() {
                return exhausted(format!(
                    "more than {LARGE_PER_CLIENT} large requests of one client at once"
                ));
            }
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        // Nobody closes the budget.
        let bytes = ready!(self.queue.poll_acquire_many(cx, units));
        Poll::Ready(Ok(Reservation { _bytes: bytes, _client: self.permit.take() }))
    }
}

/// Reads the requests of one stream.
pub(crate) struct RequestReader<B> {
    /// None once the client has ended its side of the stream.
    body: Option<B>,
    buffer: MessageBuffer,
    quota: Quota,
    /// For the large request that is arriving.
    reservation: Option<Reservation>,
    timeout: Duration,
    /// When the request that has begun must be complete.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// A request, and its reservation until it is handled.
pub(crate) struct Request {
    pub message: Bytes,
    _reservation: Reservation,
}

impl<B> RequestReader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// Reads requests from a body; each may take up to `timeout` once it has begun.
    pub fn new(body: B, quota: Quota, timeout: Duration) -> Self {
        let buffer = MessageBuffer::default();
        Self { body: Some(body), buffer, quota, reservation: None, timeout, deadline: None }
    }

    /// Tells whether the client has ended its side of the stream.
    pub fn has_ended(&self) -> bool {
        self.body.is_none()
    }

    /// Returns the next request; `None` after the last.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Request>, Status>> {
        loop {
            if let Some(length) = self.buffer.next_len()?
                && length > SMALL
                && self.reservation.is_none()
            {
                let reservation = ready!(self.quota.poll_reserve(cx, length))?;
                self.buffer.reserve(length);
                self.reservation = Some(reservation);
                // Waiting for the reservation was not the client's doing.
                self.deadline = None;
            }
            if let Some(message) = self.buffer.next()? {
                self.deadline = None;
                let reservation = self.reservation.take().unwrap_or_default();
                return Poll::Ready(Ok(Some(Request { message, _reservation: reservation })));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    if self.buffer.is_partial() {
                        let timeout = self.timeout;
                        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
                        ready!(deadline.as_mut().poll(cx));
                        let limit = timeout.as_secs();
                        let message = format!("request did not arrive whole within {limit} s");
                        return Poll::Ready(Err(Status::new(Code::ResourceExhausted, message)));
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.push(data);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    debug!(%error, "client broke off");
                    self.body = None;
                }
                Poll::Ready(None) => {
                    self.body = None;
                    if self.buffer.is_partial() {
                        return Poll::Ready(Err(Status::new(Code::Internal, "request ends in the middle")));
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

    const LARGE: usize = 600 * 1024;
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// The start of a request of `announced` bytes, of which `sent` follow; then nothing more comes.
    fn body(announced: usize, sent: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let head = Bytes::copy_from_slice(&prefix(announced as u64).unwrap());
        let pieces = [head, Bytes::from(vec![0; sent])].map(|data| Ok::<_, Infallible>(Frame::data(data)));
        StreamBody::new(iter(pieces).chain(pending()))
    }

    /// Budgets for one large request at a time, of each kind of client.
    fn budgets() -> RequestBudgets {
        let budget = |largest| RequestBudget::new(largest, 1024 * 1024);
        RequestBudgets { ztunnels: budget(MAX_REQUEST_BYTES), others: budget(MAX_OF_OTHERS) }
    }

    fn client(name: &str) -> Option<(String, bool)> {
        Some((name.to_owned(), true))
    }

    fn poll<B: Body<Data = Bytes, Error = Infallible> + Unpin>(
        reader: &mut RequestReader<B>,
    ) -> Poll<Result<Option<Request>, Status>> {
        reader.poll_next(&mut Context::from_waker(&noop_waker()))
    }

    #[tokio::test]
    async fn a_large_request_waits_for_the_budget_and_a_small_one_does_not() {
        let budgets = budgets();
        let read = |announced, sent, client| {
            RequestReader::new(body(announced, sent), budgets.quota(client), TIMEOUT)
        };
        let mut first = read(LARGE, 1, client("a"));
        assert!(poll(&mut first).is_pending(), "it is not complete");
        let mut second = read(LARGE, LARGE, client("b"));
        assert!(poll(&mut second).is_pending(), "the budget is used up");
        let mut small = read(SMALL, SMALL, client("c"));
        assert!(matches!(poll(&mut small), Poll::Ready(Ok(Some(_)))));
        let mut other = read(LARGE, LARGE, Some(("d".to_owned(), false)));
        assert!(matches!(poll(&mut other), Poll::Ready(Ok(Some(_)))), "it has a budget of its own");
        drop(first);
        let Poll::Ready(Ok(Some(request))) = poll(&mut second) else { panic!("the budget is free now") };
        assert_eq!(request.message.len(), LARGE);
        let mut third = read(LARGE, LARGE, client("e"));
        assert!(poll(&mut third).is_pending(), "the second is not handled yet");
        drop(request);
        assert!(matches!(poll(&mut third), Poll::Ready(Ok(Some(_)))));
    }

    #[tokio::test]
    async fn one_client_sends_few_large_requests_at_once() {
        let budgets = budgets();
        let open = || RequestReader::new(body(LARGE, 1), budgets.quota(client("greedy")), TIMEOUT);
        let mut held: Vec<_> = (0..LARGE_PER_CLIENT).map(|_| open()).collect();
        assert!(held.iter_mut().all(|reader| poll(reader).is_pending()));
        let Poll::Ready(Err(status)) = poll(&mut open()) else { panic!("it may send as many as it likes") };
        assert_eq!(status.code, Code::ResourceExhausted);
        held.pop();
        assert!(poll(&mut open()).is_pending());
    }

    #[tokio::test]
    async fn only_a_ztunnel_sends_very_large_ones() {
        let budgets = RequestBudgets::default();
        let very_large = body(MAX_OF_OTHERS + 1, 0);
        let quota = budgets.quota(Some(("a".to_owned(), false)));
        let Poll::Ready(Err(status)) = poll(&mut RequestReader::new(very_large, quota, TIMEOUT)) else {
            panic!("it may")
        };
        assert_eq!(status.code, Code::ResourceExhausted);
        let very_large = body(MAX_OF_OTHERS + 1, 0);
        let mut ztunnel = RequestReader::new(very_large, budgets.quota(client("a")), TIMEOUT);
        assert!(poll(&mut ztunnel).is_pending());
    }
}
