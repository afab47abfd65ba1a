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

/// The table of kinds: everything that is to be known of a kind, besides its facts and its parser, is its
/// line here. Watches, loaders, roles, objects, parsing and the input tables of the mesh are made of it.
///
/// `for_each_kind!(callback)` hands all lines to the macro `callback!`; each line is
///
/// ```text
/// Kind(type of its facts, plural in API paths, parser) { "group" "version" Scope }
/// ```
///
/// Older versions that clusters may serve instead follow the version: `"v1" | "v1alpha2"`.
#[macro_export]
macro_rules! for_each_kind {
    ($callback:ident) => {
        $callback! {
            /// Core `Namespace`.
            Namespace(Namespace, namespaces, namespace::parse) { "" "v1" Cluster }
            /// Core `Node`.
            Node(Node, nodes, node::parse) { "" "v1" Cluster }
            /// Core `ConfigMap`; only the mesh settings (`istio`) are read.
            ConfigMap(MeshSettings, configmaps, mesh_settings::parse) { "" "v1" Namespaced }
            /// Core `Pod`.
            Pod(Pod, pods, pod::parse) { "" "v1" Namespaced }
            /// Core `Service`.
            Service(Service, services, service::parse) { "" "v1" Namespaced }
            /// `EndpointSlice`.
            EndpointSlice(EndpointSlice, endpointslices, endpoint_slice::parse) { "discovery.k8s.io" "v1" Namespaced }
            /// Gateway API `GatewayClass`.
            GatewayClass(GatewayClass, gatewayclasses, gateway::parse_class) { "gateway.networking.k8s.io" "v1" Cluster }
            /// Gateway API `Gateway`.
            Gateway(Gateway, gateways, gateway::parse) { "gateway.networking.k8s.io" "v1" Namespaced }
            /// Gateway API `ListenerSet`.
            ListenerSet(ListenerSet, listenersets, listener::parse_set) { "gateway.networking.k8s.io" "v1" Namespaced }
            /// Gateway API `HTTPRoute`.
            HTTPRoute(Route, httproutes, route::parse_http) { "gateway.networking.k8s.io" "v1" Namespaced }
            /// Gateway API `GRPCRoute`.
            GRPCRoute(Route, grpcroutes, route::parse_grpc) { "gateway.networking.k8s.io" "v1" Namespaced }
            /// Gateway API `TLSRoute`.
            TLSRoute(Route, tlsroutes, route::parse_tls) { "gateway.networking.k8s.io" "v1" | "v1alpha3" | "v1alpha2" Namespaced }
            /// Gateway API `TCPRoute`.
            TCPRoute(Route, tcproutes, route::parse_tcp) { "gateway.networking.k8s.io" "v1" | "v1alpha2" Namespaced }
            /// Gateway API `UDPRoute`.
            UDPRoute(Route, udproutes, route::parse_udp) { "gateway.networking.k8s.io" "v1" | "v1alpha2" Namespaced }
            /// Gateway API `ReferenceGrant`.
            ReferenceGrant(ReferenceGrant, referencegrants, reference_grant::parse) { "gateway.networking.k8s.io" "v1" | "v1beta1" Namespaced }
            /// Gateway API `BackendTLSPolicy`.
            BackendTLSPolicy(BackendTlsPolicy, backendtlspolicies, backend_policy::parse_tls) { "gateway.networking.k8s.io" "v1" | "v1alpha3" Namespaced }
            /// Gateway API `XBackendTrafficPolicy`, which only the experimental channel has.
            XBackendTrafficPolicy(BackendTrafficPolicy, xbackendtrafficpolicies, backend_policy::parse_traffic) { "gateway.networking.x-k8s.io" "v1alpha1" Namespaced }
            /// `AuthorizationPolicy`.
            AuthorizationPolicy(AuthorizationPolicy, authorizationpolicies, authorization_policy::parse) { "security.istio.io" "v1" Namespaced }
            /// `PeerAuthentication`.
            PeerAuthentication(PeerAuthentication, peerauthentications, peer_authentication::parse) { "security.istio.io" "v1" Namespaced }
            /// `ServiceEntry`.
            ServiceEntry(ServiceEntry, serviceentries, service_entry::parse) { "networking.istio.io" "v1" Namespaced }
            /// `WorkloadEntry`.
            WorkloadEntry(WorkloadEntry, workloadentries, workload_entry::parse) { "networking.istio.io" "v1" Namespaced }
        }
    };
}

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $kind:ident($facts:ident, $plural:ident, $parse:path) {
            $group:literal $version:literal $(| $older:literal)* $scope:ident
        }
    )*) => {
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

            /// Returns the version that is watched where it is served, and in which the kind is written.
            pub fn version(self) -> &'static str {
                match self { $(Kind::$kind => $version,)* }
            }

            /// Returns the versions that are watched, the first of them that is served.
            pub fn versions(self) -> &'static [&'static str] {
                match self { $(Kind::$kind => &[$version, $($older,)*],)* }
            }

            /// Returns the plural resource name used in API paths.
            pub fn plural(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($plural),)* }
            }

            /// Returns whether objects of this kind live in a namespace.
            pub fn scope(self) -> Scope {
                match self { $(Kind::$kind => Scope::$scope,)* }
            }
        }
    };
}

for_each_kind!(kinds);

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
