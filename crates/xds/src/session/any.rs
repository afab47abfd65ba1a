//! A session of whatever kind of proxy.

use std::sync::Arc;

use bytes::Bytes;
use proto::{ResourceType, Scope};

use crate::error::SessionError;
use crate::session::envoy::EnvoySession;
use crate::session::node::Node;
use crate::session::response::Response;
use crate::session::stats::{AckState, RefusedResource, SessionStats};
use crate::session::ztunnel::ZtunnelSession;
use crate::snapshot::Snapshot;

/// The state of one stream, of whatever proxy it is.
#[derive(Debug)]
pub enum Session {
    /// A ztunnel's, and of whoever has no scope of its own.
    Ztunnel(Box<ZtunnelSession>),
    /// An Envoy's.
    Envoy(Box<EnvoySession>),
}

impl From<ZtunnelSession> for Session {
    fn from(session: ZtunnelSession) -> Self {
        Self::Ztunnel(Box::new(session))
    }
}

impl From<EnvoySession> for Session {
    fn from(session: EnvoySession) -> Self {
        Self::Envoy(Box::new(session))
    }
}

/// Calls the same method of either session.
macro_rules! of_either {
    ($self:ident, $session:ident => $call:expr) => {
        match $self {
            Self::Ztunnel($session) => $call,
            Self::Envoy($session) => $call,
        }
    };
}

impl Session {
    /// The scope that the client is served.
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Ztunnel(_) => &Scope::Mesh,
            Self::Envoy(session) => session.scope(),
        }
    }

    /// Who the client is; none before the first request.
    pub fn node(&self) -> Option<&Node> {
        of_either!(self, session => session.node())
    }

    /// The types that the client subscribed to, in the order in which it did.
    pub fn types(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        of_either!(self, session => Box::new(session.types()))
    }

    /// State for debug views and metrics.
    pub fn stats(&self) -> SessionStats {
        of_either!(self, session => session.stats())
    }

    /// What the session keeps for its client, in bytes: names, what it listed as held until that is
    /// compared, its node and its errors. Estimated from above.
    pub fn held_bytes(&self) -> usize {
        of_either!(self, session => session.held_bytes())
    }

    /// That part of it which goes once what the client listed is compared.
    pub fn listed_bytes(&self) -> usize {
        of_either!(self, session => session.listed_bytes())
    }

    /// Lets go of the names that the client follows and lists: its stream is about to end.
    pub fn forget_names(&mut self) {
        of_either!(self, session => session.forget_names());
    }

    /// How far the client has come with a type; nothing before it asked for it.
    pub fn ack_state(&self, of: ResourceType) -> Option<AckState> {
        of_either!(self, session => session.ack_state(of))
    }

    /// What an Envoy has refused and not taken in another version since; nothing of a ztunnel, whose policies have
    /// an [`AckState`] instead.
    pub fn refused(&self) -> Vec<RefusedResource> {
        match self {
            Self::Ztunnel(_) => Vec::new(),
            Self::Envoy(session) => session.refused(),
        }
    }

    /// Takes an encoded request of the stream's variant. Returns the type URL of the response that it
    /// acknowledges, if that is the last one of its type.
    ///
    /// # Errors
    /// When the client breaks the protocol or a bound; the stream ends with that status.
    pub fn request(&mut self, message: Bytes) -> Result<Option<&str>, SessionError> {
        of_either!(self, session => session.request(message))
    }

    /// The session of an Envoy; nothing for a ztunnel's.
    pub fn envoy(&mut self) -> Option<&mut EnvoySession> {
        match self {
            Self::Ztunnel(_) => None,
            Self::Envoy(session) => Some(session),
        }
    }

    /// Tells for what something waits that the client is to say; another number is another wait. The caller
    /// sets a time limit for each and then calls [`release`](Self::release).
    pub fn wait(&self) -> Option<u64> {
        match self {
            Self::Ztunnel(session) => session.is_holding().then_some(0),
            Self::Envoy(session) => session.wait(),
        }
    }

    /// Stops waiting for what did not come in time.
    pub fn release(&mut self) {
        of_either!(self, session => session.release())
    }

    /// The next response for the client, if there is anything to say: to be called with the newest
    /// snapshot after each request and each change of the scope, until there is none.
    ///
    /// # Errors
    /// When the stream has to end.
    pub fn poll(&mut self, latest: &Arc<Snapshot>) -> Result<Option<Response>, SessionError> {
        of_either!(self, session => session.poll(latest))
    }
}
