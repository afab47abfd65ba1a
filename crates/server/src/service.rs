//! The gRPC services of a port, and which of them a call is for.

use proto::Code;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use identity::{Authorizer, Connection, Refused};
use tokio_util::sync::CancellationToken;
use xds::Variant;

use crate::ads::{Ads, StreamGuard};
use crate::certificates::create_certificate;
use crate::grpc::Status;
use crate::limits::{
    Bounds, CloseCounts, ConnectionState, Refusals, RefusedCall, RequestBudgets, RequestReader, Timeouts,
};

/// The body of a response.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The gRPC services of one port.
#[derive(Clone)]
pub struct Service {
    pub(crate) ads: Ads,
    pub(crate) authorizer: Option<Arc<Authorizer>>,
    pub(crate) bounds: Bounds,
    pub(crate) timeouts: Timeouts,
    budgets: RequestBudgets,
}

impl Service {
    /// Serves discovery to any caller.
    pub fn new(ads: Ads) -> Self {
        Self {
            ads,
            authorizer: None,
            bounds: Bounds::default(),
            timeouts: Timeouts::default(),
            budgets: RequestBudgets::default(),
        }
    }

    /// Serves discovery and certificates to callers that `authorizer` permits.
    #[must_use]
    pub fn guarded(self, authorizer: Arc<Authorizer>) -> Self {
        // Another port than the unauthenticated one: neither uses up the other's budgets.
        Self { authorizer: Some(authorizer), budgets: RequestBudgets::default(), ..self }
    }

    /// Lets one client take up to these bounds.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Waits for clients this long.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Answers one call; `drain` ends it when it is long-lived.
    pub async fn call<B>(
        &self,
        request: Request<B>,
        from: &Connection,
        drain: &CancellationToken,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        self.answer(request, &ConnectionState::new(from.clone(), None), drain).await
    }

    /// Answers one call of a connection.
    pub(crate) async fn answer<B>(
        &self,
        request: Request<B>,
        from: &ConnectionState,
        drain: &CancellationToken,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if request.method() != Method::POST || !grpc {
            self.refuse_call(RefusedCall::NotGrpc, from, request.uri().path());
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let (body, headers) = match self.open(request, from, drain).await {
            Ok(body) => (body, None),
            Err(status) => (Empty::new().boxed_unsync(), Some(status.headers())),
        };
        let mut response = Response::new(body);
        response.headers_mut().extend(headers.unwrap_or_default());
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }

    async fn open<B>(
        &self,
        request: Request<B>,
        from: &ConnectionState,
        drain: &CancellationToken,
    ) -> Result<ResponseBody, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        let variant = match head.uri.path() {
            proto::rpc_path::DELTA_AGGREGATED_RESOURCES => Some(Variant::Delta),
            proto::rpc_path::STREAM_AGGREGATED_RESOURCES => Some(Variant::StateOfTheWorld),
            _ => None,
        };
        match (head.uri.path(), &self.authorizer, variant.filter(|&variant| self.ads.serves(variant))) {
            (_, authorizer, Some(variant)) => {
                let guard = match authorizer {
                    Some(authorizer) => {
                        let tokens = self.ads.tokens(variant);
                        let opened =
                            StreamGuard::open(authorizer, self.refusals(), &head.headers, from, tokens);
                        Some(opened.await?)
                    }
                    None => {
                        from.admit_anybody(self.refusals()).map_err(Refused::no_place)?;
                        None
                    }
                };
                let quota = self.budgets.quota(guard.as_ref().map(StreamGuard::client));
                let requests = RequestReader::new(body, quota, self.timeouts.request);
                let stream = self.ads.open(variant, requests, from.connection.address, drain, guard)?;
                Ok(stream.boxed_unsync())
            }
            (proto::rpc_path::CREATE_CERTIFICATE, Some(authorizer), _) => {
                let requested = Instant::now();
                let message =
                    create_certificate(authorizer, self.refusals(), &head.headers, body, from).await?;
                self.ads.clients().latencies().issued(requested);
                let trailers = Status::new(Code::Ok, "").headers();
                let end = async move { Some(Ok(trailers)) };
                Ok(Full::new(message).with_trailers(end).boxed_unsync())
            }
            (path, ..) => {
                self.refuse_call(RefusedCall::UnknownMethod, from, path);
                Err(Status::new(Code::Unimplemented, format!("no such method: {path}")))
            }
        }
    }

    /// Counts a call that is not served: whoever makes many loses the connection.
    fn refuse_call(&self, call: RefusedCall, from: &ConnectionState, path: &str) {
        self.refusals().add_call(call, &from.connection.client(), path);
        from.refuse_call();
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        self.ads.clients().refusals()
    }

    pub(crate) fn closed(&self) -> &CloseCounts {
        self.ads.clients().closed()
    }
}
