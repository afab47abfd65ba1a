//! The kinds that Pilothouse reads.

use std::fmt;

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One set for the whole cluster.
    Cluster,
    /// One set per namespace.
    Namespaced,
}

/// Declares every kind once: watches, loaders, roles and messages are all driven by this table.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $group:literal, $version:literal, $plural:literal, $scope:ident;)*) => {
        /// A kind of object that is read; the order is the order of declaration.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// Returns the name of the kind as written in manifests, such as `Pod`.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($kind),)* }
            }

            /// Returns the API group; empty for the core group.
            pub fn group(self) -> &'static str {
                match self { $(Kind::$kind => $group,)* }
            }

            /// Returns the version that is watched.
            pub fn version(self) -> &'static str {
                match self { $(Kind::$kind => $version,)* }
            }

            /// Returns the plural resource name used in API paths.
            pub fn plural(self) -> &'static str {
                match self { $(Kind::$kind => $plural,)* }
            }

            /// Returns whether objects of this kind live in a namespace.
            pub fn scope(self) -> Scope {
                match self { $(Kind::$kind => Scope::$scope,)* }
            }
        }
    };
}

kinds! {
    /// Core `Namespace`.
    Namespace = "", "v1", "namespaces", Cluster;
    /// Core `Node`.
    Node = "", "v1", "nodes", Cluster;
    /// Core `ConfigMap`; only the mesh settings (`istio`) are read.
    ConfigMap = "", "v1", "configmaps", Namespaced;
    /// Core `Pod`.
    Pod = "", "v1", "pods", Namespaced;
    /// Core `Service`.
    Service = "", "v1", "services", Namespaced;
    /// `EndpointSlice`.
    EndpointSlice = "discovery.k8s.io", "v1", "endpointslices", Namespaced;
    /// Gateway API `GatewayClass`.
    GatewayClass = "gateway.networking.k8s.io", "v1", "gatewayclasses", Cluster;
    /// Gateway API `Gateway`.
    Gateway = "gateway.networking.k8s.io", "v1", "gateways", Namespaced;
    /// `AuthorizationPolicy`.
    AuthorizationPolicy = "security.istio.io", "v1", "authorizationpolicies", Namespaced;
    /// `PeerAuthentication`.
    PeerAuthentication = "security.istio.io", "v1", "peerauthentications", Namespaced;
    /// `ServiceEntry`.
    ServiceEntry = "networking.istio.io", "v1", "serviceentries", Namespaced;
    /// `WorkloadEntry`.
    WorkloadEntry = "networking.istio.io", "v1", "workloadentries", Namespaced;
}

impl Kind {
    /// Returns the kind of a manifest's `apiVersion` and `kind`, whatever the version, or `None` for
    /// a kind that is not read.
    pub fn from_manifest(api_version: &str, kind: &str) -> Option<Kind> {
        let group = api_version.split_once('/').map_or("", |(g, _)| g);
        Kind::ALL.iter().copied().find(|k| k.name() == kind && k.group() == group)
    }

    /// Tells whether the kind is always served by an API server (as opposed to coming from a CRD).
    pub fn is_built_in(self) -> bool {
        matches!(self.group(), "" | "discovery.k8s.io")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
