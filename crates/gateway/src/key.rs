//! Keys under which rows find each other.

use model::{Kind, Name, Str};
use std::fmt;

/// What has listeners.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Owner {
    /// A Gateway.
    Gateway(Name),
    /// A ListenerSet.
    Set(Name),
}

impl Owner {
    /// Returns the name of the object.
    pub fn name(&self) -> &Name {
        match self {
            Self::Gateway(name) | Self::Set(name) => name,
        }
    }

    /// Returns the kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::Set(_) => Kind::ListenerSet,
        }
    }
}

/// A listener of a gateway.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ListenerKey {
    /// The gateway, also that of a ListenerSet.
    pub gateway: Name,
    /// The object in which the listener is written.
    pub owner: Owner,
    /// Its name there.
    pub name: Str,
}

impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}#{}", self.owner.kind(), self.owner.name(), self.name)
    }
}

/// What routes attach to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Target {
    /// A listener.
    Listener(ListenerKey),
    /// A service of the mesh.
    Service(ServiceTarget),
}

impl Target {
    /// Returns the listener, if it is one.
    pub fn listener(&self) -> Option<&ListenerKey> {
        match self {
            Self::Listener(listener) => Some(listener),
            Self::Service(_) => None,
        }
    }
}

/// A service as a parent of routes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ServiceTarget {
    /// `Service` or `ServiceEntry`.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(listener) => listener.fmt(f),
            Self::Service(service) => write!(f, "{} {}", service.kind, service.name),
        }
    }
}

/// A route: routes of every kind are in one order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A hostname for which rules of requests are looked up at a target.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HostKey {
    /// Where.
    pub target: Target,
    /// The hostname, which may begin with `*.`, or be `*` for every one.
    pub hostname: Str,
}
