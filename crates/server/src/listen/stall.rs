//! Whether the client of a connection reads what it asked for.
//!
//! The transport asks a body for its next frame only when the one before has left and the client has
//! opened its window for more. So a body that gave a frame and is not asked again has a client that
//! does not read, though it may answer every PING; a body that has nothing to give is idle.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The responses of one connection that wait for its client to read.
#[derive(Debug, Default)]
pub(super) struct StallDetector {
    waiting: Mutex<Waiting>,
    first_waits: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Since when each waits.
    since: HashMap<u64, Instant>,
}

impl StallDetector {
    /// Monitors a response from now on: it waits until it is asked for its first frame.
    /// It keeps `call` until it is dropped.
    pub fn monitor<B, C>(self: &Arc<Self>, body: B, call: C) -> MonitoredBody<B, C> {
        let id = {
            let mut waiting = self.waiting.lock();
            waiting.next += 1;
            waiting.next
        };
        self.set_waiting(id);
        MonitoredBody { body, stalls: Arc::clone(self), id, _call: call }
    }

    fn set_waiting(&self, id: u64) {
        let mut waiting = self.waiting.lock();
        let was_idle = waiting.since.is_empty();
        waiting.since.insert(id, Instant::now());
        drop(waiting);
        if was_idle {
            self.first_waits.notify_one();
        }
    }

    fn set_idle(&self, id: u64) {
        self.waiting.lock().since.remove(&id);
    }

    /// Returns once a response has waited for this time.
    pub async fn stalled(&self, limit: Duration) {
        loop {
            let oldest = self.waiting.lock().since.values().min().copied();
            match oldest {
                None => self.first_waits.notified().await,
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
            }
        }
    }
}

/// A response body that tells when it waits for its client.
pub(super) struct MonitoredBody<B, C> {
    body: B,
    stalls: Arc<StallDetector>,
    id: u64,
    _call: C,
}

impl<B: Body<Data = Bytes> + Unpin, C: Unpin> Body for MonitoredBody<B, C> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => this.stalls.set_waiting(this.id),
            _ => this.stalls.set_idle(this.id),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B, C> Drop for MonitoredBody<B, C> {
    fn drop(&mut self) {
        self.stalls.set_idle(self.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::task::noop_waker;
    use std::collections::VecDeque;
    use std::convert::Infallible;

    /// Gives its frames, pauses where there is none, and ends.
    struct Script(VecDeque<Option<&'static [u8]>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(Some(data)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn oldest(stalls: &StallDetector) -> Option<Instant> {
        stalls.waiting.lock().since.values().min().copied()
    }

    #[test]
    fn a_response_waits_for_its_client_until_it_has_nothing_to_give() {
        let stalls = Arc::new(StallDetector::default());
        let mut body = stalls.monitor(Script([Some(&b"a"[..]), Some(b"b"), None, Some(b"c")].into()), ());
        let waker = noop_waker();
        let mut poll = || drop(Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker)));
        let begun = oldest(&stalls).unwrap();
        poll();
        let first = oldest(&stalls).unwrap();
        poll();
        // Each piece that the client takes begins the wait anew.
        let second = oldest(&stalls).unwrap();
        assert!(begun < first && first < second);
        poll();
        assert_eq!(oldest(&stalls), None, "an idle stream waits for nobody");
        poll();
        assert!(oldest(&stalls).is_some());
        poll();
        assert_eq!(oldest(&stalls), None, "it has ended");
    }

    #[test]
    fn the_longest_wait_of_a_connection_counts() {
        let stalls = Arc::new(StallDetector::default());
        let one = stalls.monitor(Script([].into()), ());
        let begun = oldest(&stalls).unwrap();
        let two = stalls.monitor(Script([].into()), ());
        assert_eq!(oldest(&stalls), Some(begun));
        drop(one);
        assert!(oldest(&stalls).unwrap() > begun);
        drop(two);
        assert_eq!(oldest(&stalls), None);
    }
}
