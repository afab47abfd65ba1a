//! Facts: what the mesh depends on, of one object, one file per kind; and of objects that are read by reference.

mod access_log;
mod authorization_policy;
mod authorizer;
mod backend_policy;
mod destination_rule;
mod endpoint_slice;
mod extension;
mod filter;
mod gateway;
mod key;
mod key_set;
mod listener;
mod locality;
mod material;
mod mesh_settings;
mod meta;
mod namespace;
mod node;
mod peer_authentication;
mod pod;
mod policy;
mod reference;
mod reference_grant;
mod referent;
mod request_authentication;
mod route;
mod service;
mod service_entry;
mod telemetry;
mod telemetry_provider;
mod virtual_service;
mod with_meta;
mod workload_entry;

pub use access_log::{AccessLog, LogFormat};
pub use authorization_policy::{
    Action, AuthorizationPolicy, AuthorizationSpec, Condition, Operation, Rule, Source,
};
pub use authorizer::{Authorizer, AuthorizerProtocol, ExtensionProvider, HttpAuthorizer, RequestBody};
pub use backend_policy::{
    BackendTarget, BackendTlsPolicy, BackendTrafficPolicy, Rate, RetryConstraint, SubjectAltName,
};
pub use destination_rule::{
    Algorithm, ClientTls, ConnectionPool, DestinationRule, HashKey, HashTable, LoadBalancer,
    OutlierDetection, PortPolicy, RetryBudget, Subset, TcpKeepalive, TlsMode, TrafficPolicy, Warmup,
};
pub use endpoint_slice::{AddressType, Endpoint, EndpointPort, EndpointSlice, EndpointTarget};
pub use extension::{
    BodyMode, Extension, ExtensionCode, ExtensionPhase, Processor, TrafficSelector, WasmModule,
};
pub use filter::{
    Abort, BackendReference, Cors, DirectResponse, Fault, Filter, HeaderChanges, Mirror, PathChange,
    Redirect, Rewrite, Share,
};
pub use gateway::{
    FrontendTls, FrontendValidation, Gateway, GatewayAddress, GatewayClass, Infrastructure, RequestedAddress,
};
pub use key::{Facts, ObjectKey};
pub use key_set::{FetchedKeys, KeySet, KeySetSource, KeySource};
pub use listener::{AllowedNamespaces, Listener, ListenerSet, ListenerTls, RouteGroupKind};
pub use locality::{Distribution, FailoverLabel, LocalityPattern, LocalitySetting, topology};
pub use material::{Digest, KeyPair, Roots};
pub use mesh_settings::{
    CaCertificate, ForwardedCertificates, GatewayTopology, MatchingRule, MeshSettings, PathNormalization,
    RefusedPart, ServiceScope, SettingsPart, Visibility, VisibilityPolicy,
};
pub use meta::Meta;
pub use namespace::Namespace;
pub use node::Node;
pub use peer_authentication::{MtlsMode, PeerAuthentication, PeerAuthenticationSpec};
pub use pod::{Phase, Pod};
pub use policy::{PolicyTargetRef, Refused};
pub use reference::ObjectReference;
pub use reference_grant::{GrantFrom, GrantTo, ReferenceGrant};
pub use referent::{Answer, CLASS_DEFAULTS, ConfigMap, Referent, Secret};
pub use request_authentication::{JwtRule, RequestAuthentication, RequestAuthenticationSpec, TokenHeader};
pub use route::{
    ParentReference, PathMatch, RequestMatch, Retry, Route, RouteFault, RouteProtocol, RouteRule,
    RouteTimeouts, SessionPersistence, ValueMatch,
};
pub use service::{IpFamily, Protocol, Service, ServicePort, ServiceType, TargetPort};
pub use service_entry::{Resolution, ServiceEntry, ServiceEntryAddress, ServiceEntryPort};
pub use telemetry::{
    AccessLogging, Metric, Metrics, MetricsOverride, SpanTag, Telemetry, Tracing, TrafficMode,
};
pub use telemetry_provider::{
    DefaultProviders, HttpExport, LogServer, OtelLog, OtelTracer, Sink, SinkService, TelemetryProvider,
    TracingDefaults, ZipkinTracer,
};
pub use virtual_service::{Ignored, VirtualService};
pub use workload_entry::{EntryAddress, WorkloadEntry, WorkloadEntrySpec};

use crate::{Diagnostic, Kind, Name, ObjectRef};
use std::sync::Arc;

macro_rules! objects {
    ($($(#[$doc:meta])* $kind:ident($facts:ident, $plural:ident, $parse:path) $api:tt)*) => {
        /// The facts of one object of any kind.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Object {
            $(
                #[doc = concat!("See [`", stringify!($facts), "`].")]
                $kind(Arc<$facts>),
            )*
        }

        impl Object {
            /// Returns the kind of the object.
            pub fn kind(&self) -> Kind {
                match self { $(Object::$kind(_) => Kind::$kind,)* }
            }

            /// Returns the object's namespace and name.
            pub fn name(&self) -> Name {
                match self { $(Object::$kind(facts) => facts.key().name(),)* }
            }

            /// Tells whether labels and annotations of objects of a kind are judged: of a pod with its like, of others
            /// by themselves.
            pub fn judges_metadata(kind: Kind) -> bool {
                match kind { $(Kind::$kind => kind == Kind::Pod || <$facts as Facts>::IS_TOLD,)* }
            }

            /// Returns what is told of the object by itself ([`Facts::unsupported`]).
            pub fn unsupported(&self) -> &[Diagnostic] {
                match self { $(Object::$kind(facts) => facts.unsupported(),)* }
            }

            /// Returns the same, to be completed before the facts are shared.
            pub fn unsupported_mut(&mut self) -> Option<&mut Vec<Diagnostic>> {
                match self { $(Object::$kind(facts) => Arc::get_mut(facts).and_then(Facts::unsupported_mut),)* }
            }
        }
    };
}

crate::for_each_kind!(objects);

impl Object {
    /// Returns the reference that names this object.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.name() }
    }
}
