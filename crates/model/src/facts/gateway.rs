use super::{Facts, Meta};
use crate::{Name, Selector, Str};
use std::net::IpAddr;

/// Facts of a Gateway API `GatewayClass`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GatewayClass {
    /// Metadata (cluster-scoped).
    pub meta: Meta,
    /// `spec.controllerName`.
    pub controller: Str,
}

impl Facts for GatewayClass {
    type Key = Name;

    fn key(&self) -> Name {
        self.meta.name.clone()
    }
}

/// `allowedRoutes.namespaces` of a listener.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AllowedNamespaces {
    /// `from: All`.
    All,
    /// `from: Same`, the default, and anything unknown.
    #[default]
    Same,
    /// `from: Selector`.
    Selector(Selector),
}

/// An entry of `spec.listeners`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listener {
    /// `name`.
    pub name: Str,
    /// `port`.
    pub port: u16,
    /// `protocol`, as written (`HBONE`, `HTTPS`, `istio.io/PROXY`).
    pub protocol: Str,
    /// `tls.mode`, as written; empty when unset.
    pub tls_mode: Str,
    /// `allowedRoutes.namespaces`.
    pub allowed: AllowedNamespaces,
}

/// An entry of `status.addresses`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayAddress {
    /// Type `IPAddress` (the default) that parses.
    Ip(IpAddr),
    /// Type `Hostname`, in lower case.
    Hostname(Str),
    /// Another type, or an address that does not parse; it still makes the gateway ready.
    Other,
}

/// Facts of a Gateway API `Gateway`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gateway {
    /// Metadata.
    pub meta: Meta,
    /// `spec.gatewayClassName`.
    pub class: Str,
    /// `spec.listeners`, in order.
    pub listeners: Vec<Listener>,
    /// `status.addresses`, in order.
    pub addresses: Vec<GatewayAddress>,
}

impl Facts for Gateway {
    type Key = Name;

    fn key(&self) -> Name {
        self.meta.name.clone()
    }
}
