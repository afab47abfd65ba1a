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

/// The other half of the table of kinds: those of the mesh's APIs that are known and not read, with what to use
/// instead. Nothing of them is active, and whoever writes one is told so. A kind that comes to be read moves
/// to the half above.
///
/// ```text
/// Kind(plural in API paths) { "group" "version" } "what to use instead"
/// ```
macro_rules! unsupported_kinds {
    ($($kind:ident($plural:ident) { $group:literal $version:literal } $instead:literal)*) => {
        /// The kinds of the mesh's APIs that are known and not read.
        pub const UNSUPPORTED_KINDS: &[UnsupportedKind] = &[$(UnsupportedKind {
            name: stringify!($kind),
            plural: stringify!($plural),
            group: $group,
            version: $version,
            instead: $instead,
        },)*];
    };
}

unsupported_kinds! {
    HTTPRoute(httproutes) { "gateway.networking.k8s.io" "v1" }
        "routes are for waypoints and gateways, and this version configures none"
    GRPCRoute(grpcroutes) { "gateway.networking.k8s.io" "v1" }
        "routes are for waypoints and gateways, and this version configures none"
    TLSRoute(tlsroutes) { "gateway.networking.k8s.io" "v1" }
        "routes are for waypoints and gateways, and this version configures none"
    TCPRoute(tcproutes) { "gateway.networking.k8s.io" "v1alpha2" }
        "routes are for waypoints and gateways, and this version configures none"
    UDPRoute(udproutes) { "gateway.networking.k8s.io" "v1alpha2" }
        "routes are for waypoints and gateways, and this version configures none"
    BackendTLSPolicy(backendtlspolicies) { "gateway.networking.k8s.io" "v1" }
        "ztunnels use mutual TLS between workloads of the mesh by themselves; to others the application speaks TLS"
    ListenerSet(listenersets) { "gateway.networking.k8s.io" "v1" }
        "write the listeners into the Gateway"
    VirtualService(virtualservices) { "networking.istio.io" "v1" }
        "write an HTTPRoute, for the time when waypoints are configured"
    DestinationRule(destinationrules) { "networking.istio.io" "v1" }
        "ztunnels use mutual TLS by themselves, and prefer endpoints by `trafficDistribution` of the Service"
    Gateway(gateways) { "networking.istio.io" "v1" }
        "write a Gateway of gateway.networking.k8s.io"
    EnvoyFilter(envoyfilters) { "networking.istio.io" "v1alpha3" }
        "a ztunnel is no Envoy: nothing can be patched into it"
    Sidecar(sidecars) { "networking.istio.io" "v1" }
        "there are no sidecars: hide entries by serviceEntryVisibility of the mesh settings, and restrict traffic by AuthorizationPolicies"
    WorkloadGroup(workloadgroups) { "networking.istio.io" "v1" }
        "write a WorkloadEntry for each machine"
    ProxyConfig(proxyconfigs) { "networking.istio.io" "v1beta1" }
        "there are no Envoys to set: ztunnels are set by their chart"
    RequestAuthentication(requestauthentications) { "security.istio.io" "v1" }
        "a ztunnel sees no requests: check tokens in the application, and who connects by principals of AuthorizationPolicies"
    Telemetry(telemetries) { "telemetry.istio.io" "v1" }
        "ztunnels have metrics and access logs of connections by themselves"
    WasmPlugin(wasmplugins) { "extensions.istio.io" "v1alpha1" }
        "a ztunnel runs no extensions"
    TrafficExtension(trafficextensions) { "extensions.istio.io" "v1alpha1" }
        "a ztunnel runs no extensions"
}

/// A kind that is known and not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsupportedKind {
    /// Its name as written in manifests.
    pub name: &'static str,
    /// Its plural resource name, as used in API paths.
    pub plural: &'static str,
    /// Its API group.
    pub group: &'static str,
    /// A version of it that is served.
    pub version: &'static str,
    /// What to use instead, in words.
    pub instead: &'static str,
}

/// Fields that are known and not read, of kinds that are: by kind and path, with what to use instead. Fields of
/// built-in kinds that are none of a mesh's business are not here.
pub const UNSUPPORTED_FIELDS: &[(Kind, &str, &str)] = &[
    (Kind::ServiceEntry, "spec.exportTo", VISIBILITY),
    (Kind::ConfigMap, "data.mesh.accessLogEncoding", ACCESS_LOG),
    (Kind::ConfigMap, "data.mesh.accessLogFile", ACCESS_LOG),
    (Kind::ConfigMap, "data.mesh.accessLogFormat", ACCESS_LOG),
    (Kind::ConfigMap, "data.mesh.ca", "use an external signer: K8S_SIGNER"),
    (
        Kind::ConfigMap,
        "data.mesh.certificates",
        "certificates for other servers are made by others, such as cert-manager",
    ),
    (
        Kind::ConfigMap,
        "data.mesh.configSources",
        "objects come from the API server, or from folders by --from",
    ),
    (Kind::ConfigMap, "data.mesh.connectTimeout", ENVOY),
    (Kind::ConfigMap, "data.mesh.defaultDestinationRuleExportTo", VISIBILITY),
    (Kind::ConfigMap, "data.mesh.defaultHttpRetryPolicy", ENVOY),
    (Kind::ConfigMap, "data.mesh.defaultProviders", ENVOY),
    (Kind::ConfigMap, "data.mesh.defaultServiceExportTo", VISIBILITY),
    (Kind::ConfigMap, "data.mesh.defaultVirtualServiceExportTo", VISIBILITY),
    (Kind::ConfigMap, "data.mesh.disableEnvoyListenerLog", ENVOY),
    (Kind::ConfigMap, "data.mesh.dnsRefreshRate", ENVOY),
    (Kind::ConfigMap, "data.mesh.enableAutoMtls", "ztunnels use mutual TLS by themselves"),
    (Kind::ConfigMap, "data.mesh.enableEnvoyAccessLogService", ACCESS_LOG),
    (
        Kind::ConfigMap,
        "data.mesh.enablePrometheusMerge",
        "let Prometheus read ztunnels and applications each for itself",
    ),
    (Kind::ConfigMap, "data.mesh.enableTracing", ENVOY),
    (Kind::ConfigMap, "data.mesh.extensionProviders", ENVOY),
    (Kind::ConfigMap, "data.mesh.h2UpgradePolicy", ENVOY),
    (Kind::ConfigMap, "data.mesh.inboundClusterStatName", ENVOY),
    (Kind::ConfigMap, "data.mesh.inboundTrafficPolicy", ENVOY),
    (Kind::ConfigMap, "data.mesh.ingressClass", INGRESS),
    (Kind::ConfigMap, "data.mesh.ingressControllerMode", INGRESS),
    (Kind::ConfigMap, "data.mesh.ingressSelector", INGRESS),
    (Kind::ConfigMap, "data.mesh.ingressService", INGRESS),
    (
        Kind::ConfigMap,
        "data.mesh.localityLbSetting",
        "use `trafficDistribution` of Services, or --traffic-distribution for all",
    ),
    (Kind::ConfigMap, "data.mesh.meshMTLS", "ztunnels have one profile of TLS"),
    (Kind::ConfigMap, "data.mesh.outboundClusterStatName", ENVOY),
    (
        Kind::ConfigMap,
        "data.mesh.outboundTrafficPolicy",
        "a ztunnel lets through what it does not know: restrict it by a NetworkPolicy",
    ),
    (Kind::ConfigMap, "data.mesh.pathNormalization", ENVOY),
    (Kind::ConfigMap, "data.mesh.proxyHttpPort", ENVOY),
    (Kind::ConfigMap, "data.mesh.proxyInboundListenPort", ENVOY),
    (Kind::ConfigMap, "data.mesh.proxyListenPort", ENVOY),
    (
        Kind::ConfigMap,
        "data.mesh.serviceSettings",
        "use `trafficDistribution` and `internalTrafficPolicy` of Services",
    ),
    (Kind::ConfigMap, "data.mesh.tcpKeepalive", ENVOY),
    (Kind::ConfigMap, "data.mesh.tlsDefaults", "ztunnels have one profile of TLS"),
    (Kind::ConfigMap, "data.mesh.verifyCertificateAtClient", ENVOY),
];

const ACCESS_LOG: &str = "ztunnels log connections by themselves";
const ENVOY: &str = "it is for Envoys, and this version configures none";
const INGRESS: &str = "there is no ingress controller here";
const VISIBILITY: &str = "use serviceEntryVisibility of the mesh settings";

/// Returns the line of a kind that is known and not read.
pub fn unsupported_kind(group: &str, kind: &str) -> Option<&'static UnsupportedKind> {
    UNSUPPORTED_KINDS.iter().find(|of| of.group == group && of.name == kind)
}

/// Returns what to use instead of a field that is known and not read.
pub fn unsupported_field(kind: Kind, field: &str) -> Option<&'static str> {
    UNSUPPORTED_FIELDS
        .iter()
        .find(|(of, path, _)| *of == kind && *path == field)
        .map(|(.., instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_in_one_half_of_the_table() {
        for (n, of) in UNSUPPORTED_KINDS.iter().enumerate() {
            let is_read = Kind::ALL.iter().any(|kind| kind.group() == of.group && kind.name() == of.name);
            // The Gateway API is read, and resolved into a model that configures nobody yet.
            let is_resolved = of.group == "gateway.networking.k8s.io";
            assert!(
                !is_read || is_resolved,
                "{} of {} is read: take it from the other half",
                of.name,
                of.group
            );
            let again = UNSUPPORTED_KINDS[n + 1..]
                .iter()
                .any(|other| (other.group, other.name) == (of.group, of.name));
            assert!(!again, "{} of {} is there twice", of.name, of.group);
            assert!(!of.instead.is_empty() && !of.instead.ends_with('.'), "{}", of.name);
        }
    }

    #[test]
    fn a_field_is_in_the_table_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (kind, path, instead) in UNSUPPORTED_FIELDS {
            assert!(seen.insert((kind, path)), "{kind} {path} is there twice");
            assert!(!instead.is_empty() && !instead.ends_with('.'), "{path}");
        }
    }
}
