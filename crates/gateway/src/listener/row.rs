//! One listener as others read it.

use engine::{Builder, Index, Table};
use model::facts::{AllowedNamespaces, ListenerTls};
use model::{Kind, Name, Str};

use super::conflict::Conflict;
use super::merge::GatewayListeners;
use super::protocol::Protocol;
use crate::class::Class;
use crate::key::{ListenerKey, Owner};

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
    /// Why it takes no traffic, as the message of a condition.
    pub protocol: Result<Protocol, String>,
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

impl Listener {
    /// Tells whether it takes traffic, as far as it alone is concerned.
    pub fn is_active(&self) -> bool {
        self.protocol.is_ok() && self.conflict.is_none()
    }
}

/// Listeners, one row each.
#[derive(Clone, Copy)]
pub(crate) struct Listeners {
    pub rows: Table<ListenerKey, Listener>,
    /// By the object that has them: those of ListenerSets are not the gateway's own.
    pub by_owner: Index<Owner, ListenerKey, Listener>,
}

/// Declares them.
pub(crate) fn declare(b: &mut Builder, gateways: Table<Name, GatewayListeners>) -> Listeners {
    let rows = b.expand("listeners", gateways, |_, _, gateway| gateway.listeners.clone());
    let by_owner = b.index(rows, "listener_by_owner", |key: &ListenerKey, _| [key.owner.clone()]);
    Listeners { rows, by_owner }
}
