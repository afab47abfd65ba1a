//! The types of resources that are served, and the scopes they are served in.

use std::fmt;
use std::sync::Arc;

use crate::type_url;

/// A type of resources that a proxy subscribes to.
///
/// The order of the variants is the order in which a proxy is sent what was added or changed: what is
/// named by others comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// Policies a ztunnel enforces: [`Authorization`](crate::security::Authorization).
    Authorization,
    /// Workloads and services for ztunnels: [`Address`](crate::workload::Address).
    Address,
    /// Key material for Envoy (SDS).
    Secret,
    /// Upstream clusters for Envoy (CDS).
    Cluster,
    /// Endpoints of clusters for Envoy (EDS).
    Endpoint,
    /// Configuration of single filters for Envoy (ECDS).
    ExtensionConfig,
    /// Listeners for Envoy (LDS).
    Listener,
    /// Route tables for Envoy (RDS).
    Route,
    /// Routes with the scope that they are found by, for Envoy (SRDS).
    ScopedRoute,
}

impl ResourceType {
    /// All types, in their order.
    pub const ALL: [Self; 9] = [
        Self::Authorization,
        Self::Address,
        Self::Secret,
        Self::Cluster,
        Self::Endpoint,
        Self::ExtensionConfig,
        Self::Listener,
        Self::Route,
        Self::ScopedRoute,
    ];

    /// Returns the type URL on the wire.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Authorization => type_url::AUTHORIZATION,
            Self::Address => type_url::ADDRESS,
            Self::Secret => type_url::SECRET,
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::ExtensionConfig => type_url::EXTENSION_CONFIG,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
            Self::ScopedRoute => type_url::SCOPED_ROUTE,
        }
    }

    /// Returns the type of a URL; `None` for a type without resources of its own.
    ///
    /// [`type_url::WORKLOAD`] is such a one: it is another form of addresses.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.type_url() == type_url)
    }
}

/// Whom a resource is served to.
///
/// ```
/// use pilothouse_proto::Scope;
///
/// assert_eq!(Scope::proxy("shop/waypoint").to_string(), "shop/waypoint");
/// assert_eq!(Scope::Mesh.to_string(), "mesh");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The ztunnels of all nodes.
    Mesh,
    /// The replicas of one gateway or waypoint, by its name `<namespace>/<gateway>`.
    Proxy(Arc<str>),
}

impl Scope {
    /// Returns the scope of a gateway or waypoint, by its name `<namespace>/<gateway>`.
    pub fn proxy(name: &str) -> Self {
        Self::Proxy(name.into())
    }
}

impl fmt::Display for Scope {
    /// Writes `mesh`, or the name of the proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Proxy(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_url_and_stands_in_order() {
        for of in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(of.type_url()), Some(of));
        }
        assert!(ResourceType::ALL.is_sorted());
        assert_eq!(ResourceType::from_type_url(type_url::WORKLOAD), None);
        assert_eq!(ResourceType::from_type_url(""), None);
    }
}
