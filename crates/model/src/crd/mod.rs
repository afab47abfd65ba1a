//! The custom resources as an API server is told of them.
//!
//! The types here are the shape of the API, field for field, and exist for their schema alone:
//! objects are read by [`crate::parse()`], which wants less and forgives more. Whatever the
//! well-known definitions of these kinds accept is accepted by these too, and what is stored under
//! the one is valid under the other; checks are repeated here where they tell a user of a mistake
//! early, and left out where they would only differ by taste.
//!
//! `cargo run -p pilothouse-model --example crds` writes the definitions to `charts/base/crds`; a
//! test keeps the files in step with the types.

mod authorization_policy;
mod definition;
mod destination_rule;
mod extension;
mod peer_authentication;
mod request_authentication;
mod schema;
mod selector;
mod service_entry;
mod status;
mod telemetry;
mod virtual_service;
mod workload_entry;

pub use authorization_policy::{
    AuthorizationPolicyCondition, AuthorizationPolicyFrom, AuthorizationPolicyOperation,
    AuthorizationPolicyProvider, AuthorizationPolicyRule, AuthorizationPolicySource, AuthorizationPolicySpec,
    AuthorizationPolicyTo, PolicyAction, PolicyTargetReference,
};
pub use definition::{File, files, schemas};
pub use destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHash, CookieAttribute,
    DestinationRuleSpec, DestinationSubset, ErrorCode, HashCookie, HashMaglev, HashRing,
    Http2KeepaliveSettings, HttpSettings, LoadBalancerSettings, LocalityDistribute, LocalityFailover,
    LocalityLoadBalancer, OutlierDetectionSettings, PortTrafficPolicy, ProxyProtocolSettings,
    ProxyProtocolVersion, RetryBudgetSettings, SimpleLoadBalancer, TcpKeepaliveSettings, TcpSettings,
    TrafficPolicy, TunnelSettings, UpgradePolicy, WarmupSettings, Weight, ZoneAwareLoadBalancer,
};
pub use extension::{
    AnyObject, BodyModeName, ExtensionMatch, ExtensionMode, ExtensionPhaseName, ExtensionPort, HeaderMode,
    LuaSpec, ModuleFailStrategy, ModuleSpec, ModuleType, ModuleVariable, ModuleVariableSource, ModuleVm,
    PluginPhase, ProcessorFailStrategy, ProcessorSpec, PullPolicy, TrafficExtensionSpec, WasmPluginSpec,
};
pub use peer_authentication::{MutualTls, MutualTlsMode, PeerAuthenticationSpec};
pub use request_authentication::{
    ClaimHeader, JwtHeader, JwtKeysUri, JwtRuleSpec, JwtText, JwtTimeout, RequestAuthenticationSpec,
};
pub use selector::{LabelValue, PolicySelector};
pub use service_entry::{
    EntryHost, EntryIp, EntryLocation, EntryPort, EntryResolution, EntrySelector, ServiceEntrySpec,
    ServiceEntryStatus, ServiceEntryStatusAddress,
};
pub use status::{Level, MessageType, Status, StatusCondition, ValidationMessage, WholeNumber};
pub use telemetry::{
    TelemetryFilter, TelemetryLogging, TelemetryMatch, TelemetryMetric, TelemetryMetricMatch,
    TelemetryMetrics, TelemetryMode, TelemetryNamed, TelemetryOverride, TelemetryProvider, TelemetrySpanTag,
    TelemetrySpec, TelemetryTag, TelemetryTagOperation, TelemetryText, TelemetryTracing,
};
pub use virtual_service::{
    CorsPolicy, Delegate, DerivedPort, Destination, DestinationPort, DirectResponse, FaultAbort, FaultDelay,
    FaultInjection, HeaderOperations, HeaderRules, HttpDestination, HttpMirror, HttpRedirect, HttpRetry,
    HttpRewrite, HttpRule, HttpRuleMatch, Percentage, RegexRewrite, ResponseBody, StreamDestination, TcpRule,
    TcpRuleMatch, TextMatch, TlsRule, TlsRuleMatch, UnmatchedPreflights, VirtualServiceSpec,
};
pub use workload_entry::{PortNumber, WorkloadEntrySpec};

#[cfg(test)]
mod tests;
