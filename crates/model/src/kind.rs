//! The kinds of the APIs that Pilothouse reads, each in one line, with what becomes of its objects.

use std::fmt;

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One set for the whole cluster.
    Cluster,
    /// One set per namespace.
    Namespaced,
}

/// The table of kinds that are read: everything that is to be known of a kind, besides its facts and its parser,
/// is its line here. Watches, loaders, roles, objects, parsing and the input tables of the mesh are made of it.
///
/// `for_each_kind!(callback)` hands all lines to the macro `callback!`; each line is
///
/// ```text
/// Kind(type of its facts, plural in API paths, parser) { "group" "version" Scope }
/// ```
///
/// Older versions that clusters may serve instead follow the version: `"v1" | "v1alpha2"`. A kind that configures no
/// proxy in this version has that after its scope: `Resolved("what to use instead")`. Kinds that are known and not
/// read are in `unread_kinds!` below.
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
            ListenerSet(ListenerSet, listenersets, listener::parse_set) { "gateway.networking.k8s.io" "v1" Namespaced Resolved(LISTENERS) }
            /// Gateway API `HTTPRoute`.
            HTTPRoute(Route, httproutes, route::parse_http) { "gateway.networking.k8s.io" "v1" Namespaced }
            /// Gateway API `GRPCRoute`.
            GRPCRoute(Route, grpcroutes, route::parse_grpc) { "gateway.networking.k8s.io" "v1" Namespaced }
            /// Gateway API `TLSRoute`.
            TLSRoute(Route, tlsroutes, route::parse_tls) { "gateway.networking.k8s.io" "v1" | "v1alpha3" | "v1alpha2" Namespaced }
            /// Gateway API `TCPRoute`.
            TCPRoute(Route, tcproutes, route::parse_tcp) { "gateway.networking.k8s.io" "v1" | "v1alpha2" Namespaced }
            /// Gateway API `UDPRoute`.
            UDPRoute(Route, udproutes, route::parse_udp) { "gateway.networking.k8s.io" "v1" | "v1alpha2" Namespaced Resolved(UDP) }
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
            /// `RequestAuthentication`.
            RequestAuthentication(RequestAuthentication, requestauthentications, request_authentication::parse) { "security.istio.io" "v1" Namespaced }
            /// `Telemetry`.
            Telemetry(Telemetry, telemetries, telemetry::parse) { "telemetry.istio.io" "v1" | "v1alpha1" Namespaced }
            /// `WasmPlugin`.
            WasmPlugin(Extension, wasmplugins, extension::parse_plugin) { "extensions.istio.io" "v1alpha1" Namespaced }
            /// `TrafficExtension`.
            TrafficExtension(Extension, trafficextensions, extension::parse) { "extensions.istio.io" "v1alpha1" Namespaced }
            /// `ServiceEntry`.
            ServiceEntry(ServiceEntry, serviceentries, service_entry::parse) { "networking.istio.io" "v1" Namespaced }
            /// `WorkloadEntry`.
            WorkloadEntry(WorkloadEntry, workloadentries, workload_entry::parse) { "networking.istio.io" "v1" Namespaced }
            /// `VirtualService`.
            VirtualService(VirtualService, virtualservices, virtual_service::parse) { "networking.istio.io" "v1" | "v1beta1" | "v1alpha3" Namespaced }
            /// `DestinationRule`.
            DestinationRule(DestinationRule, destinationrules, destination_rule::parse) { "networking.istio.io" "v1" | "v1beta1" | "v1alpha3" Namespaced }
        }
    };
}

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $kind:ident($facts:ident, $plural:ident, $parse:path) {
            $group:literal $version:literal $(| $older:literal)* $scope:ident $($state:ident($instead:expr))?
        }
    )*) => {
        /// A kind of object that is read; the order is the order of declaration.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// Returns what is known of the kind.
            pub fn known(self) -> &'static KnownKind {
                match self {
                    $(Kind::$kind => &KnownKind {
                        name: stringify!($kind),
                        plural: stringify!($plural),
                        group: $group,
                        versions: &[$version, $($older,)*],
                        state: kind_state!($($state($instead))?),
                    },)*
                }
            }

            /// Returns whether objects of this kind live in a namespace.
            pub fn scope(self) -> Scope {
                match self { $(Kind::$kind => Scope::$scope,)* }
            }
        }
    };
}

macro_rules! kind_state {
    () => {
        KindState::Active
    };
    ($state:ident($instead:expr)) => {
        KindState::$state($instead)
    };
}

for_each_kind!(kinds);

impl Kind {
    /// Returns the name of the kind as written in manifests, such as `Pod`.
    pub fn name(self) -> &'static str {
        self.known().name
    }

    /// Returns the API group; empty for the core group.
    pub fn group(self) -> &'static str {
        self.known().group
    }

    /// Returns the version that is watched where it is served, and in which the kind is written.
    pub fn version(self) -> &'static str {
        self.known().versions[0]
    }

    /// Returns the versions that are watched, the first of them that is served.
    pub fn versions(self) -> &'static [&'static str] {
        self.known().versions
    }

    /// Returns the plural resource name used in API paths.
    pub fn plural(self) -> &'static str {
        self.known().plural
    }

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

/// What this version makes of objects of a kind; what it has no use for comes with what to use instead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KindState {
    /// They are read, and what they say is active.
    Active,
    /// They are read and resolved, so that their status says what they come to; no proxy is configured by them.
    Resolved(&'static str),
    /// They are known and not read.
    Unread(&'static str),
}

impl KindState {
    /// Returns what is to be told of objects without effect, as what a kind does; `None` for one that is active.
    pub fn told(self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::Resolved(_) => Some("is read and resolved, and configures no proxy in this version"),
            Self::Unread(_) => Some("is known and not read, so nothing of it is active"),
        }
    }

    /// Returns what to use instead of objects without effect, in words; empty for a kind that is active.
    pub fn instead(self) -> &'static str {
        match self {
            Self::Active => "",
            Self::Resolved(instead) | Self::Unread(instead) => instead,
        }
    }
}

/// A kind of the APIs that are read, whether or not it is read itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KnownKind {
    /// Its name as written in manifests.
    pub name: &'static str,
    /// Its plural resource name, as used in API paths.
    pub plural: &'static str,
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// The versions that may be served, the preferred one first.
    pub versions: &'static [&'static str],
    /// What becomes of its objects.
    pub state: KindState,
}

impl KnownKind {
    /// Tells whether the status of its objects has a list of conditions for whoever has something to say, as that of
    /// all kinds of Istio has. Those of the Gateway API have conditions of fixed meaning.
    pub fn has_open_conditions(&self) -> bool {
        self.group.ends_with(".istio.io")
    }
}

/// The kinds that are known and not read: nothing of them is active, and whoever writes one is told so. A kind that
/// comes to be read moves to `for_each_kind!` above.
///
/// ```text
/// Kind(plural in API paths) { "group" "version" } "what to use instead"
/// ```
macro_rules! unread_kinds {
    ($($kind:ident($plural:ident) { $group:literal $version:literal $(| $older:literal)* } $instead:literal)*) => {
        const UNREAD: &[KnownKind] = &[$(KnownKind {
            name: stringify!($kind),
            plural: stringify!($plural),
            group: $group,
            versions: &[$version, $($older,)*],
            state: KindState::Unread($instead),
        },)*];
    };
}

unread_kinds! {
    XBackend(xbackends) { "gateway.networking.x-k8s.io" "v1alpha1" }
        "write a ServiceEntry for hosts outside of the cluster"
    XMesh(xmeshes) { "gateway.networking.x-k8s.io" "v1alpha1" }
        "write the mesh settings: the ConfigMap istio"
    Gateway(gateways) { "networking.istio.io" "v1" | "v1beta1" | "v1alpha3" }
        "write a Gateway of gateway.networking.k8s.io"
    EnvoyFilter(envoyfilters) { "networking.istio.io" "v1alpha3" }
        "nothing is patched into what is sent: use routes, policies, Telemetry and TrafficExtension"
    Sidecar(sidecars) { "networking.istio.io" "v1" | "v1beta1" | "v1alpha3" }
        "there are no sidecars: hide entries by serviceEntryVisibility of the mesh settings, and restrict traffic by AuthorizationPolicies"
    WorkloadGroup(workloadgroups) { "networking.istio.io" "v1" | "v1beta1" | "v1alpha3" }
        "write a WorkloadEntry for each machine"
    ProxyConfig(proxyconfigs) { "networking.istio.io" "v1beta1" }
        "there are no Envoys to set: ztunnels are set by their chart"
}

const UDP: &str = "no proxy of the mesh carries UDP: it goes from pod to pod as it is";
const LISTENERS: &str =
    "sets of listeners are for gateways of class istio, and this version configures waypoints only";

/// Returns every kind of the APIs that are read: first those that are read, in order, then the others.
pub fn known_kinds() -> impl Iterator<Item = &'static KnownKind> {
    Kind::ALL.iter().map(|kind| kind.known()).chain(UNREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_in_the_table_once() {
        let mut seen = std::collections::BTreeSet::new();
        for of in known_kinds() {
            assert!(seen.insert((of.group, of.name)), "{} of {} is there twice", of.name, of.group);
            assert!(!of.versions.is_empty(), "{}", of.name);
            let instead = of.state.instead();
            assert_eq!(instead.is_empty(), of.state.told().is_none(), "{}", of.name);
            assert!(!instead.ends_with('.'), "{}", of.name);
        }
    }
}
