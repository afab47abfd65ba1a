//! One connection of HTTP/2, and why it ends.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::frames::Metered;
use super::reading::Reading;
use crate::limits::{Arrival, End};
use crate::service::Service;

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
