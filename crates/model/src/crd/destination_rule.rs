use super::PolicySelector;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// What holds of the way to a host.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// The host, perhaps with a wildcard for its first label; a name without a dot is a Service of the namespace.
    pub host: String,
    /// What holds for all of it.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Parts of it that routes may name.
    pub subsets: Option<Vec<DestinationSubset>>,
    /// The namespaces that it is for.
    pub export_to: Option<Vec<String>>,
    /// Which workloads it is for.
    pub workload_selector: Option<PolicySelector>,
}

/// A part of a host.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct DestinationSubset {
    /// The name.
    pub name: String,
    /// Labels that its workloads have.
    pub labels: Option<BTreeMap<String, String>>,
    /// What holds for it alone.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// What holds of traffic.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// How a workload is chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// How much there may be at once.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When a workload is left out.
    pub outlier_detection: Option<OutlierDetectionSettings>,
    /// TLS of the application's own.
    pub tls: Option<ClientTlsSettings>,
    /// What holds for ports instead.
    #[schemars(length(max = 4096))]
    pub port_level_settings: Option<Vec<PortTrafficPolicy>>,
    /// Not supported.
    pub tunnel: Option<TunnelSettings>,
    /// Whether the address of the client is sent first.
    pub proxy_protocol: Option<ProxyProtocolSettings>,
    /// How many requests may be retries.
    pub retry_budget: Option<RetryBudgetSettings>,
}

/// What holds for a port.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct PortTrafficPolicy {
    /// The port.
    pub port: Option<super::DestinationPort>,
    /// How a workload is chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// How much there may be at once.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When a workload is left out.
    pub outlier_detection: Option<OutlierDetectionSettings>,
    /// TLS of the application's own.
    pub tls: Option<ClientTlsSettings>,
}

/// How a workload is chosen.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct LoadBalancerSettings {
    /// By a simple rule.
    pub simple: Option<SimpleLoadBalancer>,
    /// By a hash of the request.
    pub consistent_hash: Option<ConsistentHash>,
    /// By where it is.
    pub locality_lb_setting: Option<LocalityLoadBalancer>,
    /// Use `warmup`.
    pub warmup_duration_secs: Option<String>,
    /// New workloads get more by and by.
    pub warmup: Option<WarmupSettings>,
    /// Not supported.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancer>,
}

/// A simple rule.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLoadBalancer {
    /// the default, `LEAST_REQUEST`
    Unspecified,
    /// use `LEAST_REQUEST`
    LeastConn,
    /// any
    Random,
    /// the one that the client connected to
    Passthrough,
    /// one after another
    RoundRobin,
    /// the one with fewer requests of two
    LeastRequest,
}

/// A hash of the request: of one of these.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct ConsistentHash {
    /// A header.
    pub http_header_name: Option<String>,
    /// A cookie.
    pub http_cookie: Option<HashCookie>,
    /// The address of the client.
    pub use_source_ip: Option<bool>,
    /// A query parameter.
    pub http_query_parameter_name: Option<String>,
    /// Use `ringHash`.
    pub minimum_ring_size: Option<u64>,
    /// Looked up in a ring.
    pub ring_hash: Option<HashRing>,
    /// Looked up in a table.
    pub maglev: Option<HashMaglev>,
}

/// A cookie, which is made where there is none.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct HashCookie {
    /// The name.
    pub name: String,
    /// The path.
    pub path: Option<String>,
    /// How long it lives.
    pub ttl: Option<String>,
    /// Further attributes.
    pub attributes: Option<Vec<CookieAttribute>>,
}

/// An attribute of a cookie.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct CookieAttribute {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Option<String>,
}

/// A ring.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HashRing {
    /// Its least size.
    pub minimum_ring_size: Option<u64>,
}

/// A table.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HashMaglev {
    /// Its size, a prime number.
    pub table_size: Option<u64>,
}

/// By where workloads are.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct LocalityLoadBalancer {
    /// Shares by locality.
    pub distribute: Option<Vec<LocalityDistribute>>,
    /// Which region stands in for which.
    pub failover: Option<Vec<LocalityFailover>>,
    /// Labels by which workloads are preferred.
    pub failover_priority: Option<Vec<String>>,
    /// Whether this is done.
    #[schemars(extend("nullable" = true))]
    pub enabled: Option<bool>,
}

/// Shares of what comes from somewhere.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct LocalityDistribute {
    /// From where.
    pub from: Option<String>,
    /// Weights by where to.
    pub to: Option<BTreeMap<String, Weight>>,
}

/// A weight.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct Weight(#[schemars(extend("maximum" = 4_294_967_295_u32))] pub u32);

/// A region that stands in for another.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct LocalityFailover {
    /// From where.
    pub from: Option<String>,
    /// Where to.
    pub to: Option<String>,
}

/// By zones.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct ZoneAwareLoadBalancer {
    /// Which region stands in for which.
    pub failover: Option<Vec<LocalityFailover>>,
    /// Labels by which workloads are preferred.
    pub failover_priority: Option<Vec<String>>,
    /// Whether this is done.
    #[schemars(extend("nullable" = true))]
    pub enabled: Option<bool>,
    /// From how many workloads on.
    #[schemars(range(min = 1), extend("maximum" = 4_294_967_295_u32, "nullable" = true))]
    pub min_cluster_size: Option<u32>,
}

/// New workloads get more by and by.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct WarmupSettings {
    /// For how long.
    pub duration: String,
    /// What they begin with, of a hundred.
    #[schemars(range(min = 0, max = 100), extend("nullable" = true))]
    pub minimum_percent: Option<f64>,
    /// How fast.
    #[schemars(range(min = 0), extend("nullable" = true))]
    pub aggression: Option<f64>,
}

/// How much there may be at once.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct ConnectionPoolSettings {
    /// Of connections.
    pub tcp: Option<TcpSettings>,
    /// Of requests.
    pub http: Option<HttpSettings>,
}

/// Limits of connections.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TcpSettings {
    /// How many at once.
    pub max_connections: Option<i32>,
    /// How long to connect may take.
    pub connect_timeout: Option<String>,
    /// Whether and how the other side is asked if it is still there.
    pub tcp_keepalive: Option<TcpKeepaliveSettings>,
    /// How long one may be.
    pub max_connection_duration: Option<String>,
    /// How long one may be idle.
    pub idle_timeout: Option<String>,
}

/// How the other side is asked if it is still there.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TcpKeepaliveSettings {
    /// How often before it counts as gone.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub probes: Option<u32>,
    /// After how long.
    pub time: Option<String>,
    /// How long between two.
    pub interval: Option<String>,
}

/// Limits of requests.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HttpSettings {
    /// How many may wait.
    pub http1_max_pending_requests: Option<i32>,
    /// How many at once.
    pub http2_max_requests: Option<i32>,
    /// How many on a connection.
    pub max_requests_per_connection: Option<i32>,
    /// How many retries at once.
    pub max_retries: Option<i32>,
    /// How long a connection may be idle.
    pub idle_timeout: Option<String>,
    /// Whether HTTP/2 is spoken.
    pub h2_upgrade_policy: Option<UpgradePolicy>,
    /// Whether what the client speaks is spoken.
    pub use_client_protocol: Option<bool>,
    /// How many streams on a connection.
    pub max_concurrent_streams: Option<i32>,
    /// How the other side is asked if it is still there.
    #[schemars(rename = "http2KeepAlive")]
    pub http2_keepalive: Option<Http2KeepaliveSettings>,
}

/// Whether HTTP/2 is spoken.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpgradePolicy {
    /// as the mesh has it
    Default,
    /// no
    DoNotUpgrade,
    /// yes
    Upgrade,
}

/// How the other side is asked if it is still there.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct Http2KeepaliveSettings {
    /// How long between two.
    pub interval: Option<String>,
    /// How long to wait for the answer.
    pub timeout: Option<String>,
}

/// When a workload is left out.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct OutlierDetectionSettings {
    /// Not supported.
    pub consecutive_errors: Option<i32>,
    /// Whether failures to connect count by themselves.
    pub split_external_local_origin_errors: Option<bool>,
    /// After how many of them.
    #[schemars(extend("maximum" = 4_294_967_295_u32, "nullable" = true))]
    pub consecutive_local_origin_failures: Option<u32>,
    /// After how many answers 502 to 504.
    #[schemars(extend("maximum" = 4_294_967_295_u32, "nullable" = true))]
    pub consecutive_gateway_errors: Option<u32>,
    /// After how many answers from 500 on.
    #[schemars(rename = "consecutive5xxErrors", extend("maximum" = 4_294_967_295_u32, "nullable" = true))]
    pub consecutive_5xx_errors: Option<u32>,
    /// How often this is looked at.
    pub interval: Option<String>,
    /// For how long, times how often it was before.
    pub base_ejection_time: Option<String>,
    /// How many of a hundred at most.
    pub max_ejection_percent: Option<i32>,
    /// As long as how many of a hundred are well.
    pub min_health_percent: Option<i32>,
    /// Not supported.
    pub outlier_detection_http_error_codes: Option<Vec<ErrorCode>>,
}

/// A status of HTTP.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct ErrorCode(#[schemars(range(min = 100, max = 599))] pub u16);

/// TLS of the application's own.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct ClientTlsSettings {
    /// Whether, and with what.
    pub mode: Option<ClientTlsMode>,
    /// Not supported: use `credentialName`.
    pub client_certificate: Option<String>,
    /// Not supported: use `credentialName`.
    pub private_key: Option<String>,
    /// Not supported: use `credentialName`.
    pub ca_certificates: Option<String>,
    /// Not supported: use `credentialName`.
    pub ca_crl: Option<String>,
    /// A Secret with a certificate and its key, with roots, or with both.
    pub credential_name: Option<String>,
    /// Names that the certificate of the other side may have.
    pub subject_alt_names: Option<Vec<String>>,
    /// The name that is asked for.
    pub sni: Option<String>,
    /// Whether any certificate will do.
    #[schemars(extend("nullable" = true))]
    pub insecure_skip_verify: Option<bool>,
}

/// Whether TLS is used, and with what.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// not
    Disable,
    /// without a certificate of the client
    Simple,
    /// with one
    Mutual,
    /// with that of the mesh
    IstioMutual,
}

/// A tunnel.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct TunnelSettings {
    /// `CONNECT` or `POST`.
    pub protocol: Option<String>,
    /// The host behind it.
    pub target_host: String,
    /// The port behind it.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub target_port: u32,
}

/// The address of the client is sent first.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct ProxyProtocolSettings {
    /// In which version.
    pub version: Option<ProxyProtocolVersion>,
}

/// A version of the PROXY protocol.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyProtocolVersion {
    /// text
    V1,
    /// binary
    V2,
}

/// How many requests may be retries.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct RetryBudgetSettings {
    /// Of a hundred.
    #[schemars(range(min = 0, max = 100), extend("nullable" = true))]
    pub percent: Option<f64>,
    /// As many always.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub min_retry_concurrency: Option<u32>,
    /// Counted over how long.
    pub budget_interval: Option<String>,
}
