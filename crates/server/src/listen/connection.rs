//! One connection of HTTP/2, and why it ends.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::control_frames::ControlFrameLimit;
use super::stall::StallDetector;
use crate::limits::{CloseReason, ConnectionState};
use crate::service::Service;

/// Most calls at once on a connection.
const MAX_STREAMS: u32 = 64;
/// Longest header list, in bytes; a service account token is about 1 KiB.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// What a client may send ahead on one call, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What a client may send ahead on a connection, in bytes.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What the transport buffers of a response that its client does not read yet, in bytes for each call.
const SEND_BUFFER: usize = 256 * 1024;
/// How long calls go on after GOAWAY on a connection that has become old: when they end, the client already knows that the
/// next ones are for another connection.
const NOTICE: Duration = Duration::from_millis(500);
/// Streams that a client resets before they are taken: more end the connection.
const MAX_PENDING_RESETS: usize = 32;
/// Streams that are reset for errors of the client: more end the connection.
const MAX_ERROR_RESETS: usize = 256;

impl Service {
    /// Serves one connection until it ends; new calls are refused once `drain` is cancelled.
    pub(super) async fn serve_connection<I>(
        &self,
        io: I,
        state: Arc<ConnectionState>,
        drain: CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = state.connection.address;
        let timeouts = self.timeouts;
        let drain = drain.child_token();
        let (stalls, too_many_frames) = (Arc::new(StallDetector::default()), CancellationToken::new());
        let calls = {
            let (service, drain) = (self.clone(), drain.clone());
            let (stalls, state) = (Arc::clone(&stalls), Arc::clone(&state));
            service_fn(move |request: Request<Incoming>| {
                let (service, drain) = (service.clone(), drain.clone());
                let (stalls, state) = (Arc::clone(&stalls), Arc::clone(&state));
                let call = state.begin_call();
                async move {
                    let response = service.answer(request, &state, &drain).await;
                    Ok::<_, Infallible>(response.map(|body| stalls.monitor(body, call)))
                }
            })
        };
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(timeouts.keepalive_interval)
            .keep_alive_timeout(timeouts.keepalive_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .serve_connection(TokioIo::new(ControlFrameLimit::new(io, too_many_frames.clone())), calls);
        tokio::pin!(connection);
        let closed = self.closed();
        // GOAWAY follows: what is open may end in order.
        let reason = tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    if too_many_frames.is_cancelled() || is_protocol_error(&error) {
                        closed.add(CloseReason::Http2);
                    }
                    debug!(?peer, %error, "connection broke");
                }
                return;
            }
            // It may never have been set up; its slot is not kept any longer.
            () = state.unauthenticated_for(timeouts.first_call) => {
                closed.add(CloseReason::NoCall);
                return debug!(?peer, "connection made no call whose caller is authenticated");
            }
            () = state.evicted() => {
                closed.add(CloseReason::Evicted);
                return debug!(?peer, "connection was evicted in favour of another");
            }
            () = stalls.stalled(timeouts.read) => {
                // Its streams end with it, and with them what they hold of the log.
                closed.add(CloseReason::Unread);
                let limit = timeouts.read.as_secs();
                return info!(?peer, "ended a connection: its client did not read for {limit} s");
            }
            () = state.too_many_refused() => Some(CloseReason::Refused),
            () = state.idle_for(timeouts.idle) => Some(CloseReason::Idle),
            () = aged(timeouts.age) => Some(CloseReason::Aged),
            // The streams see the same token and end by themselves.
            () = drain.cancelled() => None,
        };
        if let Some(reason) = reason {
            closed.add(reason);
        }
        connection.as_mut().graceful_shutdown();
        if reason == Some(CloseReason::Aged) {
            if timeout(NOTICE, connection.as_mut()).await.is_ok() {
                return debug!(?peer, "connection ended at its age");
            }
            // Its streams end in order, as when the server stops.
            drain.cancel();
        }
        tokio::select! {
            ended = timeout(timeouts.drain, connection) => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(?peer, %error, "connection broke"),
                Err(_) => debug!(?peer, "connection did not end in time"),
            },
            () = state.evicted() => debug!(?peer, "connection was evicted before it ended"),
            () = state.refused_at_end() => debug!(?peer, "connection was cut: its client goes on with calls"),
        }
    }
}

/// Waits until a connection has become old: connections that began together do not end together.
async fn aged(age: Option<Duration>) {
    let age = age.map(|age| age.mul_f64(rand::random_range(0.9..1.1)));
    match age {
        Some(age) => sleep(age).await,
        None => std::future::pending().await,
    }
}

/// Tells whether a connection ended since its client violates HTTP/2, or the transport's own bounds on
/// resets and headers.
fn is_protocol_error(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_library();
        }
        source = error.source();
    }
    false
}
