//! One connection of HTTP/2, and why it ends.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Service;
use super::arrival::Arrival;
use super::frames::Metered;
use super::reading::Reading;

/// Most calls at once on a connection.
const MAX_STREAMS: u32 = 64;
/// Longest header list, in bytes; a service account token is about 1 KiB.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// What a client may send ahead on one call, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What a client may send ahead on a connection, in bytes.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What the transport takes ahead of a client's reading, in bytes for each call.
const SEND_BUFFER: usize = 256 * 1024;
/// Streams that a client resets before they are taken: more end the connection.
const MAX_PENDING_RESETS: usize = 32;
/// Streams that are reset for errors of the client: more end the connection.
const MAX_ERROR_RESETS: usize = 256;

/// How long a client may take for what keeps a place occupied.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For the first call of a connection whose caller is known.
    pub first_call: Duration,
    /// Between two calls of a connection.
    pub idle: Duration,
    /// For the rest of a request that has begun.
    pub request: Duration,
    /// How long it may be silent before it is asked for a sign of life.
    pub silence: Duration,
    /// For that sign.
    pub sign_of_life: Duration,
    /// For reading a piece of a response.
    pub reading: Duration,
    /// For the end of its calls, when the server stops.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_call: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            sign_of_life: Duration::from_secs(10),
            reading: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Another newcomer came, and its peer had most of their places.
    Displaced,
    /// It broke rules of HTTP/2, or did what floods do.
    Http2,
    /// It had no call for long.
    Idle,
    /// Nobody on it was known in time.
    NoCall,
    /// Too many of its calls were refused.
    Refused,
    /// Its client did not read.
    Unread,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Displaced, Self::Http2, Self::Idle, Self::NoCall, Self::Refused, Self::Unread];

    /// Returns its name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Displaced => "displaced",
            Self::Http2 => "http2",
            Self::Idle => "idle",
            Self::NoCall => "no_call",
            Self::Refused => "refused",
            Self::Unread => "unread",
        }
    }
}

/// Connections that the server ended, since the start.
#[derive(Debug, Default)]
pub struct Ends([AtomicU64; End::ALL.len()]);

impl Ends {
    pub(super) fn add(&self, end: End) {
        if let Some(count) = self.0.get(end as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many ended for this.
    pub fn count(&self, end: End) -> u64 {
        self.0.get(end as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Returns the counts, by name.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        End::ALL.into_iter().map(|end| (end.name(), self.count(end))).collect()
    }
}

impl Service {
    /// Serves one connection until it ends; new calls are refused once `drain` is cancelled.
    pub(super) async fn serve_connection<I>(&self, io: I, arrival: Arc<Arrival>, drain: CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = arrival.connection.address;
        let patience = self.patience;
        let (reading, overdone) = (Arc::new(Reading::default()), CancellationToken::new());
        let calls = {
            let (service, drain) = (self.clone(), drain.clone());
            let (reading, arrival) = (Arc::clone(&reading), Arc::clone(&arrival));
            service_fn(move |request: Request<Incoming>| {
                let (service, drain) = (service.clone(), drain.clone());
                let (reading, arrival) = (Arc::clone(&reading), Arc::clone(&arrival));
                let open = arrival.begin();
                async move {
                    let response = service.answer(request, &arrival, &drain).await;
                    Ok::<_, Infallible>(response.map(|body| reading.watch(body, open)))
                }
            })
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(patience.silence)
            .keep_alive_timeout(patience.sign_of_life)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .serve_connection(TokioIo::new(Metered::new(io, overdone.clone())), calls);
        tokio::pin!(connection);
        let ends = self.ends();
        // GOAWAY follows: what is open may end in order.
        let goes = tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    if overdone.is_cancelled() || breaks_rules(&error) {
                        ends.add(End::Http2);
                    }
                    debug!(?peer, %error, "connection broke");
                }
                return;
            }
            // It may never have been set up; a place is not kept for it any longer.
            () = arrival.unknown_for(patience.first_call) => {
                ends.add(End::NoCall);
                return debug!(?peer, "connection made no call whose caller is known");
            }
            () = arrival.displaced() => {
                ends.add(End::Displaced);
                return debug!(?peer, "connection made room for a newcomer");
            }
            () = reading.stalled(patience.reading) => {
                // Its streams end with it, and with them what they hold of the log.
                ends.add(End::Unread);
                let limit = patience.reading.as_secs();
                return info!(?peer, "ended a connection: its client did not read for {limit} s");
            }
            () = arrival.refused_enough() => Some(End::Refused),
            () = arrival.idle_for(patience.idle) => Some(End::Idle),
            // The streams see the same token and end by themselves.
            () = drain.cancelled() => None,
        };
        if let Some(end) = goes {
            ends.add(end);
        }
        connection.as_mut().graceful_shutdown();
        match timeout(patience.drain, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(?peer, %error, "connection broke"),
            Err(_) => debug!(?peer, "connection did not end in time"),
        }
    }
}

/// Tells whether a connection ended since its client does not keep to HTTP/2, or to the transport's own
/// bounds on resets and headers.
fn breaks_rules(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_library();
        }
        source = error.source();
    }
    false
}
