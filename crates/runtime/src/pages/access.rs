//! Who may see debug pages.
//!
//! ```text
//!  from this machine ───────────────────────────────────────────────▶ everything
//!  bearer token ─▶ verified as on the secure port ─▶ namespace of the mesh, or allowed ─▶ everything
//!                                                └─▶ any other ─▶ single proxies of its namespace
//!  anybody else ─▶ 401
//! ```

use super::asked::Viewer;
use crate::config::DebugArgs;
use crate::engine_thread::EngineHandle;
use axum::http::{HeaderMap, StatusCode};
use identity::{Authorizer, Connection, Tokens};
use server::http::PeerAddress;
use std::sync::Arc;

/// Who may see debug pages, and how others show who they are.
#[derive(Clone)]
pub struct Access {
    authorizer: Option<Arc<Authorizer>>,
    /// Namespaces that see everything, besides that of the mesh.
    allowed: Vec<String>,
    over_http: bool,
}

impl Access {
    /// Lets callers in whom this authenticates; without it, only those of this machine.
    pub fn new(authorizer: Option<Arc<Authorizer>>, settings: &DebugArgs) -> Self {
        let allowed = settings.debug_namespaces.iter().filter(|of| !of.is_empty()).cloned().collect();
        Self { authorizer, allowed, over_http: settings.debug_on_http }
    }

    /// Tells whether there are debug pages on the monitoring port at all.
    pub(super) fn is_over_http(&self) -> bool {
        self.over_http
    }

    /// Returns what the caller of a request over HTTP may see.
    ///
    /// # Errors
    /// The status for whoever is not known; it is told no reason.
    pub(super) async fn viewer(
        &self,
        peer: Option<PeerAddress>,
        headers: &HeaderMap,
        engine: &EngineHandle,
    ) -> Result<Viewer, StatusCode> {
        if peer.is_some_and(|PeerAddress(peer)| peer.ip().to_canonical().is_loopback()) {
            return Ok(Viewer::Everything);
        }
        let authorizer = self.authorizer.as_ref().ok_or(StatusCode::UNAUTHORIZED)?;
        let connection = Connection { address: peer.map(|PeerAddress(peer)| peer), certificate: None };
        let caller = authorizer.authenticate(headers, &connection, Tokens::Any).await;
        let caller = caller.map_err(|refused| {
            tracing::info!(
                peer = connection.address.map(tracing::field::display),
                reason = refused.reason,
                "refused a debug page",
            );
            StatusCode::UNAUTHORIZED
        })?;
        Ok(self.viewer_of(caller.identity().namespace(), engine).await)
    }

    /// Returns what an authenticated caller of a namespace may see.
    pub(super) async fn viewer_of(&self, namespace: &str, engine: &EngineHandle) -> Viewer {
        let own = namespace.to_owned();
        let is_root =
            engine.query(move |plane| plane.root_namespace().is_some_and(|root| *root == *own)).await;
        let is_allowed = self.allowed.iter().any(|allowed| allowed == namespace);
        if is_allowed || is_root == Some(true) {
            Viewer::Everything
        } else {
            Viewer::Namespace(namespace.to_owned())
        }
    }
}
