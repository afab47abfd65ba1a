use super::{Ignored, LocalitySetting, Meta};
use crate::{Labels, Str};
use std::time::Duration;

/// Facts of Istio's `DestinationRule`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DestinationRule {
    /// Metadata.
    pub meta: Meta,
    /// `spec.host` in lower case. One without a dot is a Service of the namespace.
    pub host: Str,
    /// `spec.exportTo`, in order.
    pub export_to: Vec<Str>,
    /// `spec.trafficPolicy`.
    pub policy: TrafficPolicy,
    /// `spec.subsets`, in order, of which the first of each name counts.
    pub subsets: Vec<Subset>,
    /// Values that are not valid, which count as unset.
    pub ignored: Vec<Ignored>,
}

/// An entry of `spec.subsets`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subset {
    /// `name`.
    pub name: Str,
    /// `labels` that its workloads have.
    pub labels: Labels,
    /// `trafficPolicy`: what it sets goes before what the rule sets for all.
    pub policy: TrafficPolicy,
}

/// A `trafficPolicy`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrafficPolicy {
    /// What holds for all ports that have nothing of their own.
    pub common: PortPolicy,
    /// `portLevelSettings`, by port: these hold in place of what is common.
    pub ports: Vec<(u16, PortPolicy)>,
    /// `retryBudget`.
    pub retries: Option<RetryBudget>,
}

/// What a policy says of a port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortPolicy {
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`.
    pub connections: Option<ConnectionPool>,
    /// `outlierDetection`.
    pub outliers: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTls>,
}

/// `loadBalancer`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoadBalancer {
    /// `simple` or `consistentHash`.
    pub algorithm: Algorithm,
    /// `warmup`, or `warmupDurationSecs`.
    pub warmup: Option<Warmup>,
    /// `localityLbSetting`.
    pub locality: Option<LocalitySetting>,
}

/// How an endpoint is chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// `LEAST_REQUEST`, also when nothing is written.
    #[default]
    LeastRequest,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
    /// `consistentHash`.
    Hash(HashKey, HashTable),
}

/// What of a request is hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashKey {
    /// `httpHeaderName`.
    Header(Str),
    /// `httpCookie`.
    Cookie {
        /// `name`.
        name: Str,
        /// `path`; empty for none.
        path: Str,
        /// `ttl`: with one, a cookie is made where there is none; zero for one of the browser's session.
        ttl: Option<Duration>,
        /// `attributes`, names and values in order.
        attributes: Vec<(Str, Str)>,
    },
    /// `useSourceIp`.
    SourceIp,
    /// `httpQueryParameterName`.
    Query(Str),
}

/// The table that hashes are looked up in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashTable {
    /// `ringHash`, with its least size; 1024 when unset.
    Ring(u64),
    /// `maglev`, with its size; 65537 when unset.
    Maglev(u64),
}

/// `warmup`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Warmup {
    /// `duration`.
    pub duration: Duration,
    /// `minimumPercent` in thousandths of a percent, 10 % when unset.
    pub minimum: u32,
    /// `aggression` in thousandths, 1 when unset.
    pub aggression: u32,
}

/// `connectionPool`; what is `None` is unset, as is a number that is zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`; zero for never.
    pub tcp_idle_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`.
    pub http_idle_timeout: Option<Duration>,
    /// `http.h2UpgradePolicy` is `UPGRADE`, or is not; `None` for the default.
    pub upgrades: Option<bool>,
    /// `http.useClientProtocol`.
    pub uses_client_protocol: bool,
    /// `http.maxConcurrentStreams`.
    pub max_concurrent_streams: Option<u32>,
    /// `http.http2KeepAlive`: interval and timeout.
    pub http2_keepalive: Option<(Option<Duration>, Option<Duration>)>,
}

/// `tcpKeepalive`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpKeepalive {
    /// `probes`.
    pub probes: Option<u32>,
    /// `time`.
    pub time: Option<Duration>,
    /// `interval`.
    pub interval: Option<Duration>,
}

/// `outlierDetection`; what is `None` is unset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`; 0 for never.
    pub consecutive_5xx: Option<u32>,
    /// `consecutiveGatewayErrors`; 0 for never.
    pub consecutive_gateway: Option<u32>,
    /// `consecutiveLocalOriginFailures`.
    pub consecutive_local: Option<u32>,
    /// `splitExternalLocalOriginErrors`.
    pub splits_local: bool,
    /// `interval`.
    pub interval: Option<Duration>,
    /// `baseEjectionTime`.
    pub base_ejection_time: Option<Duration>,
    /// `maxEjectionPercent`, from 1 to 100.
    pub max_ejection_percent: Option<u32>,
    /// `minHealthPercent`, from 1 to 100.
    pub min_health_percent: Option<u32>,
}

/// `tls.mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsMode {
    /// `DISABLE`.
    #[default]
    Disable,
    /// `SIMPLE`.
    Simple,
    /// `MUTUAL`.
    Mutual,
    /// `ISTIO_MUTUAL`.
    IstioMutual,
}

/// `tls`: of the application's own, inside of what the mesh does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientTls {
    /// `mode`.
    pub mode: TlsMode,
    /// `credentialName`: a Secret; empty for none.
    pub credential: Str,
    /// `sni`; empty for that of the request.
    pub sni: Str,
    /// `subjectAltNames`, in order.
    pub subject_alt_names: Vec<Str>,
    /// `insecureSkipVerify`.
    pub is_insecure: bool,
    /// Whether it can be done. If not, nobody is to be trusted: nothing is sent.
    pub is_valid: bool,
}

/// `retryBudget`; what is `None` is unset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RetryBudget {
    /// `percent`, in thousandths of a percent.
    pub percent: Option<u32>,
    /// `minRetryConcurrency`.
    pub min_concurrency: Option<u32>,
    /// `budgetInterval`.
    pub interval: Option<Duration>,
}
