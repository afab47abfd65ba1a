//! The conditions under which a stream of the secure port is opened and goes on.

use crate::grpc::Status;
use crate::limits::{Bound, ConnectionState, Refusals};
use futures::Stream;
use http::HeaderMap;
use identity::{
    Authenticated, Authorizer, NodeClaim, ProxySecret, Refused, StreamPermit, Timer, Tokens, proxy_secrets,
};
use limits::truncated;
use model::{Name, Str};
use proto::Code;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::WaitForCancellationFutureOwned;

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        Self::new(refused.code, refused.message())
    }
}

/// Checks that a client may subscribe to a type, guarded or not.
///
/// # Errors
/// The status that ends the stream.
pub(super) fn check_subscription(
    node: Option<&xds::Node>,
    type_url: &str,
    guard: Option<&StreamGuard>,
    refusals: &Refusals,
) -> Result<(), Status> {
    let id = node.map_or("", |node| node.id.as_str());
    let Err(denial) = ::ca::ProxyKind::check_subscription(id, type_url) else { return Ok(()) };
    let refused = Refused::from(denial);
    if let Some(times) = refusals.log_due(id, refused.reason) {
        tracing::warn!(
            node = truncated(id),
            times,
            reason = refused.reason,
            detail = truncated(&refused.detail),
            "refused a subscription",
        );
    }
    if let Some(guard) = guard {
        guard.authorizer.stats().streams_refused.add(refused.reason);
    }
    Err(refused.into())
}

/// The label of its pod by which an Envoy may name its gateway.
const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// What a node says of itself.
fn claim(node: &xds::Node) -> NodeClaim<'_> {
    NodeClaim {
        id: &node.id,
        namespace: node.property("NAMESPACE"),
        service_account: node.property("SERVICE_ACCOUNT"),
        node_name: node.property("NODE_NAME"),
        instance_ips: node.property("INSTANCE_IPS"),
        gateway: node.label(GATEWAY_LABEL),
    }
}

/// Watches over one stream of an authenticated caller.
pub(crate) struct StreamGuard {
    authorizer: Arc<Authorizer>,
    caller: Authenticated,
    permit: StreamPermit,
    /// The node that it claims to be has been found to be the caller's.
    authorized: bool,
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    expires: Timer,
}

impl StreamGuard {
    /// Authenticates a call and lets it open a stream.
    ///
    /// # Errors
    /// The status that ends the call.
    pub async fn open(
        authorizer: &Arc<Authorizer>,
        refusals: &Refusals,
        headers: &HeaderMap,
        from: &ConnectionState,
        tokens: Tokens,
    ) -> Result<Self, Status> {
        let address = from.connection.client();
        let refuse = |refused: &Refused, bound: Bound, caller: Option<&Authenticated>| {
            authorizer.stats().streams_refused.add(refused.reason);
            let named = caller.map(|caller| caller.identity().to_string());
            let client = named.as_ref().unwrap_or(&address);
            // A refusal at a bound has its own line.
            if !refusals.add_if_exhausted(refused, bound, client)
                && let Some(times) = refusals.log_due(client, refused.reason)
            {
                tracing::warn!(
                    caller = named,
                    peer = from.connection.address.map(tracing::field::display),
                    times,
                    reason = refused.reason,
                    detail = truncated(&refused.detail),
                    "refused a stream",
                );
            }
        };
        let caller = from
            .authenticate(authorizer, headers, tokens, refusals)
            .await
            .inspect_err(|refused| refuse(refused, Bound::TokensOfAddress, None))?;
        let permit = authorizer
            .permit_stream(&caller)
            .await
            .inspect_err(|refused| refuse(refused, Bound::StreamsOfClient, Some(&caller)))?;
        let left = permit.expires.as_secs().saturating_sub(authorizer.clock().now().as_secs());
        let gone = permit.binding.as_ref().map(|b| Box::pin(b.gone.clone().cancelled_owned()));
        let expires = authorizer.clock().sleep(Duration::from_secs(left));
        Ok(Self { authorizer: Arc::clone(authorizer), caller, permit, authorized: false, gone, expires })
    }

    /// Returns the secrets of the caller, which has a certificate of this version from an earlier stream.
    pub fn secrets(&self, held: Option<String>) -> impl Stream<Item = ProxySecret> + Send + use<> {
        proxy_secrets(Arc::clone(&self.authorizer), self.caller.clone(), held)
    }

    /// Returns the namespace of the caller's account.
    pub fn namespace(&self) -> &str {
        self.caller.identity().namespace()
    }

    /// Returns whose stream it is, by name, and whether that is a ztunnel's account.
    pub fn client(&self) -> (String, bool) {
        (self.caller.client(), self.authorizer.is_ztunnel(&self.caller))
    }

    /// Ends the stream when the caller's pod is gone.
    ///
    /// # Errors
    /// The status that ends it.
    pub fn check_pod(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        let is_gone = self.gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready());
        if !is_gone {
            return Ok(());
        }
        self.authorizer.stats().streams_ended.add("pod_gone");
        tracing::info!(caller = %self.caller.identity(), "ended a stream: the pod of its caller is gone");
        Err(Refused {
            code: Code::Unauthenticated,
            reason: "pod_gone",
            detail: "the pod of the caller is gone".to_owned(),
        }
        .into())
    }

    /// Ends the stream when its credential has ended: in order, so that the client comes back with
    /// a newer one.
    ///
    /// # Errors
    /// The status that ends it.
    pub fn check_credential(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        if self.expires.as_mut().poll(cx) == Poll::Pending {
            return Ok(());
        }
        self.authorizer.stats().streams_ended.add("credential_expired");
        Err(Status::new(Code::Ok, ""))
    }

    /// Decides, once the first request has come, whether the caller may be that node.
    ///
    /// # Errors
    /// The status that ends the stream.
    pub fn check_node(&mut self, node: Option<&xds::Node>) -> Result<(), Status> {
        if let Some(node) = node.filter(|_| !self.authorized) {
            self.authorizer.authorize_node(&self.caller, &self.permit, &claim(node))?;
            self.authorized = true;
        }
        Ok(())
    }

    /// Decides of which gateway the caller is an Envoy, that says it is this node, and at which places.
    ///
    /// # Errors
    /// The status that ends the stream.
    pub fn gateway(&mut self, node: &xds::Node) -> Result<(Name, [Str; 4]), Status> {
        let served = self.authorizer.authorize_gateway(&self.caller, &self.permit, &claim(node))?;
        self.authorized = true;
        Ok(served)
    }
}
