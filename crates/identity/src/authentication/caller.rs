//! A connection, and the authenticated caller on it.

use super::client_certificates::ClientCertificate;
use ca::{Caller, Identity};
use limits::Peer;
use rustls::pki_types::UnixTime;
use std::net::SocketAddr;

/// What is known of a connection before its first call.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// The address of the client, if it connected over TCP.
    pub address: Option<SocketAddr>,
    /// The certificate that the client has presented.
    pub certificate: Option<ClientCertificate>,
}

impl Connection {
    /// Returns the name of the client for logs and limits: its address.
    pub fn client(&self) -> String {
        self.address.map_or_else(|| "no address".to_owned(), |address| Peer::of(address.ip()).to_string())
    }
}

/// A caller whose credential is verified.
#[derive(Debug, Clone)]
pub struct Authenticated {
    pub(super) identity: Identity,
    /// The caller as the node authorizer sees it; without a pod for a client certificate and for a token of
    /// an additional issuer.
    pub(super) caller: Caller,
    pub(super) credential: Credential,
    pub(super) expires: UnixTime,
    pub(super) address: Option<SocketAddr>,
}

/// The kind of credential that a caller has presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential {
    Certificate,
    Token,
    /// A token of the cluster that no pod holds.
    UnboundToken,
}

/// Which tokens of the cluster are accepted for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// Those of pods.
    OfPods,
    /// Those that no pod holds, too, as people and their tools ask for them: they may ask the debug API, and nothing
    /// else ([`Authorizer::authorize_node`](super::Authorizer::authorize_node)).
    Any,
}

impl Authenticated {
    /// Returns the identity of the caller itself.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns when the credential expires.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Returns the key by which limits tell clients apart: the pod, or else the identity.
    pub fn client(&self) -> String {
        match &self.caller.pod {
            Some(pod) => format!("{}/{} {}", self.caller.namespace, pod.name, pod.uid),
            None => self.identity.to_string(),
        }
    }
}
