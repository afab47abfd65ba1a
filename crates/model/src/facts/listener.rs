use super::{Meta, ObjectReference};
use crate::{Labels, Selector, Str};

/// `allowedRoutes.namespaces` of a listener, or `allowedListeners.namespaces` of a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AllowedNamespaces {
    /// `from: All`.
    All,
    /// `from: Same`, the default of routes, and anything unknown there.
    #[default]
    Same,
    /// `from: Selector`.
    Selector(Selector),
}

/// A kind of route, as `allowedRoutes.kinds` and `supportedKinds` name it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct RouteGroupKind {
    /// `group`.
    pub group: Str,
    /// `kind`.
    pub kind: Str,
}

/// `tls` of a listener.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListenerTls {
    /// `mode`, as written; empty when unset, which is `Terminate`.
    pub mode: Str,
    /// `certificateRefs`, in order.
    pub certificates: Vec<ObjectReference>,
    /// `options`.
    pub options: Labels,
}

/// An entry of `spec.listeners` of a Gateway or a ListenerSet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listener {
    /// `name`.
    pub name: Str,
    /// `hostname`, in lower case; empty when unset, which is every host.
    pub hostname: Str,
    /// `port`; 0 when unset.
    pub port: u16,
    /// `protocol`, as written (`HBONE`, `HTTPS`, `istio.io/PROXY`).
    pub protocol: Str,
    /// `tls`.
    pub tls: Option<ListenerTls>,
    /// `allowedRoutes.namespaces`.
    pub allowed: AllowedNamespaces,
    /// `allowedRoutes.kinds`; empty for all that the protocol has.
    pub kinds: Vec<RouteGroupKind>,
}

/// Facts of a Gateway API `ListenerSet`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListenerSet {
    /// Metadata.
    pub meta: Meta,
    /// `spec.parentRef`.
    pub parent: ObjectReference,
    /// `spec.listeners`, in order.
    pub listeners: Vec<Listener>,
}
