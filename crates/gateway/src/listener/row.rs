//! One listener as others read it.

use model::facts::{AllowedNamespaces, ListenerTls};
use model::{Kind, Str};

use super::conflict::Conflict;
use super::protocol::{Protocol, Unserved};
use crate::class::Class;

/// TLS of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// Whether TLS ends here, and not at the backend.
    pub is_terminated: bool,
    /// What the author wrote.
    pub facts: ListenerTls,
}

/// A listener of a gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// What its gateway is.
    pub class: Class,
    /// The port.
    pub port: u16,
    /// What it speaks.
    ///
    /// # Errors
    /// Why it takes no traffic.
    pub protocol: Result<Protocol, Unserved>,
    /// Its hostname; `*` for every one.
    pub hostname: Str,
    /// TLS; `None` without.
    pub tls: Option<Tls>,
    /// The kinds of routes that it takes.
    pub kinds: Vec<Kind>,
    /// Whether its author asks for kinds that it cannot take.
    pub has_invalid_kinds: bool,
    /// The namespaces whose routes it takes.
    pub allowed: AllowedNamespaces,
    /// Why it gives way to another listener.
    pub conflict: Option<Conflict>,
    /// The hostnames of other listeners of its port that are more specific than its own: what they cover is
    /// theirs, even where they have no route for it.
    pub narrower: Vec<Str>,
}

/// The option of a listener of HTTPS that has it speak HTTP/3, too.
pub const HTTP3: &str = "gateway.pilothouse.io/http3";

impl Listener {
    /// Tells whether its author asks for HTTP/3, too.
    pub fn asks_for_http3(&self) -> bool {
        let options = self.tls.as_ref().filter(|tls| tls.is_terminated).map(|tls| &tls.facts.options);
        self.protocol == Ok(Protocol::Https)
            && options.and_then(|all| all.get(HTTP3)).is_some_and(|value| value == "true")
    }

    /// Tells whether it takes traffic, as far as it alone is concerned.
    pub fn is_active(&self) -> bool {
        self.protocol.is_ok() && self.conflict.is_none()
    }
}
