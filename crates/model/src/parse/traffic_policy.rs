//! `trafficPolicy` of a DestinationRule.

use super::duration;
use super::fault::join;
use super::istio_route::PortSelector;
use super::number::{Bounded, ProtoNumber, ProtoPort};
use super::text::{Text, or_empty, shared_list};
use crate::facts::{
    Algorithm, ClientTls, ConnectionPool, HashKey, HashTable, Ignored, LoadBalancer, LocalitySetting,
    OutlierDetection, PortPolicy, RetryBudget, TcpKeepalive, TlsMode, TrafficPolicy, Warmup,
};
use crate::{Str, shared};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A number that is not negative.
type Count = Bounded<{ i32::MAX as u32 }, true>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct PolicyManifest<'a> {
    #[serde(borrow)]
    load_balancer: Option<BalancerManifest<'a>>,
    #[serde(borrow)]
    connection_pool: Option<PoolManifest<'a>>,
    #[serde(borrow)]
    outlier_detection: Option<OutlierManifest<'a>>,
    #[serde(borrow)]
    tls: Option<TlsManifest<'a>>,
    #[serde(borrow)]
    port_level_settings: Option<Vec<PortManifest<'a>>>,
    #[serde(borrow)]
    retry_budget: Option<BudgetManifest<'a>>,
    #[serde(borrow)]
    proxy_protocol: Option<ProxyProtocol<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct PortManifest<'a> {
    port: Option<PortSelector>,
    #[serde(borrow)]
    load_balancer: Option<BalancerManifest<'a>>,
    #[serde(borrow)]
    connection_pool: Option<PoolManifest<'a>>,
    #[serde(borrow)]
    outlier_detection: Option<OutlierManifest<'a>>,
    #[serde(borrow)]
    tls: Option<TlsManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct BalancerManifest<'a> {
    #[serde(borrow)]
    simple: Option<Text<'a>>,
    #[serde(borrow)]
    consistent_hash: Option<HashManifest<'a>>,
    #[serde(borrow)]
    locality_lb_setting: Option<LocalityManifest<'a>>,
    #[serde(borrow)]
    warmup_duration_secs: Option<Text<'a>>,
    #[serde(borrow)]
    warmup: Option<WarmupManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct HashManifest<'a> {
    #[serde(borrow)]
    http_header_name: Option<Text<'a>>,
    #[serde(borrow)]
    http_cookie: Option<Cookie<'a>>,
    use_source_ip: Option<bool>,
    #[serde(borrow)]
    http_query_parameter_name: Option<Text<'a>>,
    minimum_ring_size: Option<ProtoNumber>,
    ring_hash: Option<Ring>,
    maglev: Option<Maglev>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Cookie<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    path: Option<Text<'a>>,
    #[serde(borrow)]
    ttl: Option<Text<'a>>,
    #[serde(borrow)]
    attributes: Option<Vec<Attribute<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Attribute<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Ring {
    minimum_ring_size: Option<ProtoNumber>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Maglev {
    table_size: Option<ProtoNumber>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct LocalityManifest<'a> {
    enabled: Option<bool>,
    #[serde(borrow)]
    distribute: Option<Vec<Distribute<'a>>>,
    #[serde(borrow)]
    failover: Option<Vec<Failover<'a>>>,
    #[serde(borrow)]
    failover_priority: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Distribute<'a> {
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    to: Option<BTreeMap<Text<'a>, ProtoNumber>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Failover<'a> {
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    to: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct WarmupManifest<'a> {
    #[serde(borrow)]
    duration: Option<Text<'a>>,
    minimum_percent: Option<f64>,
    aggression: Option<f64>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PoolManifest<'a> {
    #[serde(borrow)]
    tcp: Option<TcpPool<'a>>,
    #[serde(borrow)]
    http: Option<HttpPool<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct TcpPool<'a> {
    max_connections: Option<Count>,
    #[serde(borrow)]
    connect_timeout: Option<Text<'a>>,
    #[serde(borrow)]
    tcp_keepalive: Option<Keepalive<'a>>,
    #[serde(borrow)]
    max_connection_duration: Option<Text<'a>>,
    #[serde(borrow)]
    idle_timeout: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Keepalive<'a> {
    probes: Option<ProtoNumber>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
    #[serde(borrow)]
    interval: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct HttpPool<'a> {
    http1_max_pending_requests: Option<Count>,
    http2_max_requests: Option<Count>,
    max_requests_per_connection: Option<Count>,
    max_retries: Option<Count>,
    #[serde(borrow)]
    idle_timeout: Option<Text<'a>>,
    #[serde(borrow)]
    h2_upgrade_policy: Option<Text<'a>>,
    use_client_protocol: Option<bool>,
    max_concurrent_streams: Option<Count>,
    #[serde(borrow, rename = "http2KeepAlive")]
    http2_keepalive: Option<Http2Keepalive<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Http2Keepalive<'a> {
    #[serde(borrow)]
    interval: Option<Text<'a>>,
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct OutlierManifest<'a> {
    consecutive5xx_errors: Option<ProtoNumber>,
    consecutive_gateway_errors: Option<ProtoNumber>,
    consecutive_local_origin_failures: Option<ProtoNumber>,
    split_external_local_origin_errors: Option<bool>,
    #[serde(borrow)]
    interval: Option<Text<'a>>,
    #[serde(borrow)]
    base_ejection_time: Option<Text<'a>>,
    max_ejection_percent: Option<Count>,
    min_health_percent: Option<Count>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct TlsManifest<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(borrow)]
    client_certificate: Option<Text<'a>>,
    #[serde(borrow)]
    private_key: Option<Text<'a>>,
    #[serde(borrow)]
    ca_certificates: Option<Text<'a>>,
    #[serde(borrow)]
    ca_crl: Option<Text<'a>>,
    #[serde(borrow)]
    credential_name: Option<Text<'a>>,
    #[serde(borrow)]
    subject_alt_names: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    sni: Option<Text<'a>>,
    insecure_skip_verify: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct BudgetManifest<'a> {
    percent: Option<f64>,
    min_retry_concurrency: Option<ProtoNumber>,
    #[serde(borrow)]
    budget_interval: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ProxyProtocol<'a> {
    #[serde(borrow)]
    version: Option<Text<'a>>,
}

/// Values that are not valid, and count as unset.
#[derive(Default)]
pub(super) struct Unset(Vec<Ignored>);

impl Unset {
    /// Returns all, in the order in which they were found.
    pub(super) fn into_list(self) -> Vec<Ignored> {
        self.0
    }

    pub(super) fn push(&mut self, field: String, message: String, help: &'static str) {
        self.0.push(Ignored { field, message, help });
    }

    fn duration(&mut self, at: &str, field: &str, text: &Option<Text<'_>>) -> Option<Duration> {
        let text = text.as_ref()?.as_str();
        let found = duration::of_istio(text);
        if found.is_none() {
            let message = format!("{text:?} is no duration, and counts as unset");
            self.push(join(at, field), message, "write a duration such as 1.5s or 500ms");
        }
        found
    }

    /// Returns a number in thousandths.
    fn thousandths(&mut self, at: &str, field: &str, value: Option<f64>) -> Option<u32> {
        let value = value?;
        if (0.0..=1_000_000.0).contains(&value) {
            // Within the range that was checked.
            return Some((value * 1_000.0).round() as u32);
        }
        self.push(join(at, field), format!("{value} counts as unset"), "write a number that is not negative");
        None
    }

    fn word(&mut self, at: &str, field: &str, word: &str, choices: &'static str) {
        self.push(join(at, field), format!("{word:?} is not known, and counts as unset"), choices);
    }
}

impl PolicyManifest<'_> {
    /// Lowers what stands at the field `at`.
    pub(super) fn lower(self, at: &str, unset: &mut Unset) -> TrafficPolicy {
        let common = PortPolicy {
            load_balancer: self.load_balancer.map(|of| of.lower(&join(at, "loadBalancer"), unset)),
            connections: self.connection_pool.map(|of| of.lower(&join(at, "connectionPool"), unset)),
            outliers: self.outlier_detection.map(|of| of.lower(&join(at, "outlierDetection"), unset)),
            tls: self.tls.map(|of| of.lower(&join(at, "tls"), unset)),
        };
        let mut ports: Vec<(u16, PortPolicy)> = Vec::new();
        for (i, of) in self.port_level_settings.unwrap_or_default().into_iter().enumerate() {
            let at = format!("{at}.portLevelSettings[{i}]");
            let port = of.port.as_ref().and_then(|port| port.number).map_or(0, ProtoPort::port);
            if port == 0 || ports.iter().any(|(other, _)| *other == port) {
                let message = if port == 0 {
                    "names no port, and has no effect".to_owned()
                } else {
                    format!("port {port} is there before, and this has no effect")
                };
                unset.push(join(&at, "port.number"), message, "write one entry for each port");
                continue;
            }
            ports.push((
                port,
                PortPolicy {
                    load_balancer: of.load_balancer.map(|of| of.lower(&join(&at, "loadBalancer"), unset)),
                    connections: of.connection_pool.map(|of| of.lower(&join(&at, "connectionPool"), unset)),
                    outliers: of.outlier_detection.map(|of| of.lower(&join(&at, "outlierDetection"), unset)),
                    tls: of.tls.map(|of| of.lower(&join(&at, "tls"), unset)),
                },
            ));
        }
        let retries = self.retry_budget.map(|of| {
            let at = join(at, "retryBudget");
            RetryBudget {
                percent: unset.thousandths(&at, "percent", of.percent),
                min_concurrency: of.min_retry_concurrency.map(ProtoNumber::get),
                interval: unset.duration(&at, "budgetInterval", &of.budget_interval),
            }
        });
        let proxy_protocol = self.proxy_protocol.and_then(|of| match or_empty(&of.version) {
            "" | "V1" => Some(1),
            "V2" => Some(2),
            other => {
                unset.word(&join(at, "proxyProtocol"), "version", other, "use V1 or V2");
                None
            }
        });
        TrafficPolicy { common, ports, retries, proxy_protocol }
    }
}

impl BalancerManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> LoadBalancer {
        let hash = self.consistent_hash.and_then(|hash| hash.lower(&join(at, "consistentHash"), unset));
        let algorithm = hash.unwrap_or_else(|| match or_empty(&self.simple) {
            "" | "UNSPECIFIED" | "LEAST_CONN" | "LEAST_REQUEST" => Algorithm::LeastRequest,
            "ROUND_ROBIN" => Algorithm::RoundRobin,
            "RANDOM" => Algorithm::Random,
            "PASSTHROUGH" => Algorithm::Passthrough,
            other => {
                let choices = "use one of LEAST_REQUEST, ROUND_ROBIN, RANDOM, PASSTHROUGH";
                unset.word(at, "simple", other, choices);
                Algorithm::LeastRequest
            }
        });
        let locality = self.locality_lb_setting.map(|of| LocalitySetting {
            is_enabled: of.enabled,
            distribute: of.distribute.iter().flatten().map(Distribute::lower).collect(),
            failover: of
                .failover
                .iter()
                .flatten()
                .map(|of| (shared(or_empty(&of.from)), shared(or_empty(&of.to))))
                .collect(),
            failover_priority: shared_list(of.failover_priority),
        });
        let warmup = match (self.warmup, &self.warmup_duration_secs) {
            (Some(of), _) => {
                let at = join(at, "warmup");
                let minimum = unset.thousandths(&at, "minimumPercent", of.minimum_percent);
                let aggression = unset.thousandths(&at, "aggression", of.aggression);
                let duration = unset.duration(&at, "duration", &of.duration);
                duration.map(|duration| Warmup {
                    duration,
                    minimum: minimum.unwrap_or(MINIMUM),
                    aggression: aggression.unwrap_or(AGGRESSION),
                })
            }
            (None, text) => {
                let duration = unset.duration(at, "warmupDurationSecs", text);
                duration.map(|duration| Warmup { duration, minimum: MINIMUM, aggression: AGGRESSION })
            }
        };
        LoadBalancer { algorithm, locality, warmup }
    }
}

/// The defaults of a warmup, in thousandths.
const MINIMUM: u32 = 10_000;
const AGGRESSION: u32 = 1_000;

impl Distribute<'_> {
    fn lower(&self) -> (Str, Vec<(Str, u32)>) {
        let to = self.to.iter().flatten().map(|(to, weight)| (to.shared(), weight.get()));
        (shared(or_empty(&self.from)), to.collect())
    }
}

impl HashManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Option<Algorithm> {
        let set = |text: &Option<Text<'_>>| text.as_ref().map(Text::shared).filter(|text| !text.is_empty());
        let cookie = self.http_cookie.map(|of| HashKey::Cookie {
            name: shared(or_empty(&of.name)),
            path: shared(or_empty(&of.path)),
            ttl: unset.duration(&join(at, "httpCookie"), "ttl", &of.ttl),
            attributes: of
                .attributes
                .iter()
                .flatten()
                .map(|of| (shared(or_empty(&of.name)), shared(or_empty(&of.value))))
                .collect(),
        });
        let key = set(&self.http_header_name)
            .map(HashKey::Header)
            .or(cookie)
            .or(self.use_source_ip.filter(|uses| *uses).map(|_| HashKey::SourceIp))
            .or(set(&self.http_query_parameter_name).map(HashKey::Query));
        if key.is_none() {
            let help = "write one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName";
            unset.push(at.to_owned(), "says not what is hashed, and counts as unset".to_owned(), help);
        }
        let size = |number: Option<ProtoNumber>| number.map(|number| u64::from(number.get()));
        let ring =
            size(self.ring_hash.and_then(|ring| ring.minimum_ring_size)).or(size(self.minimum_ring_size));
        let table = match self.maglev {
            Some(maglev) => HashTable::Maglev(size(maglev.table_size).unwrap_or(65_537)),
            None => HashTable::Ring(ring.unwrap_or(1_024)),
        };
        Some(Algorithm::Hash(key?, table))
    }
}

impl PoolManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> ConnectionPool {
        let mut pool = ConnectionPool::default();
        let count = |count: Option<Count>| count.map(Count::get);
        if let Some(tcp) = self.tcp {
            let at = join(at, "tcp");
            pool.max_connections = count(tcp.max_connections);
            pool.connect_timeout = unset.duration(&at, "connectTimeout", &tcp.connect_timeout);
            pool.max_connection_duration =
                unset.duration(&at, "maxConnectionDuration", &tcp.max_connection_duration);
            pool.tcp_idle_timeout = unset.duration(&at, "idleTimeout", &tcp.idle_timeout);
            pool.keepalive = tcp.tcp_keepalive.map(|of| {
                let at = join(&at, "tcpKeepalive");
                TcpKeepalive {
                    probes: of.probes.map(ProtoNumber::get),
                    time: unset.duration(&at, "time", &of.time),
                    interval: unset.duration(&at, "interval", &of.interval),
                }
            });
        }
        if let Some(http) = self.http {
            let at = join(at, "http");
            pool.max_pending_requests = count(http.http1_max_pending_requests);
            pool.max_requests = count(http.http2_max_requests);
            pool.max_requests_per_connection = count(http.max_requests_per_connection);
            pool.max_retries = count(http.max_retries);
            pool.http_idle_timeout = unset.duration(&at, "idleTimeout", &http.idle_timeout);
            pool.uses_client_protocol = http.use_client_protocol.unwrap_or(false);
            pool.max_concurrent_streams = count(http.max_concurrent_streams);
            pool.upgrades = match or_empty(&http.h2_upgrade_policy) {
                "" | "DEFAULT" => None,
                "UPGRADE" => Some(true),
                "DO_NOT_UPGRADE" => Some(false),
                other => {
                    unset.word(&at, "h2UpgradePolicy", other, "use one of DEFAULT, UPGRADE, DO_NOT_UPGRADE");
                    None
                }
            };
            pool.http2_keepalive = http.http2_keepalive.map(|of| {
                let at = join(&at, "http2KeepAlive");
                (unset.duration(&at, "interval", &of.interval), unset.duration(&at, "timeout", &of.timeout))
            });
        }
        pool
    }
}

impl OutlierManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> OutlierDetection {
        let number = |number: Option<ProtoNumber>| number.map(ProtoNumber::get);
        OutlierDetection {
            consecutive_5xx: number(self.consecutive5xx_errors),
            consecutive_gateway: number(self.consecutive_gateway_errors),
            consecutive_local: number(self.consecutive_local_origin_failures),
            splits_local: self.split_external_local_origin_errors.unwrap_or(false),
            interval: unset.duration(at, "interval", &self.interval),
            base_ejection_time: unset.duration(at, "baseEjectionTime", &self.base_ejection_time),
            max_ejection_percent: self.max_ejection_percent.map(Count::get),
            min_health_percent: self.min_health_percent.map(Count::get),
        }
    }
}

impl TlsManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> ClientTls {
        let mut is_valid = true;
        let mode = match or_empty(&self.mode) {
            "" | "DISABLE" => TlsMode::Disable,
            "SIMPLE" => TlsMode::Simple,
            "MUTUAL" => TlsMode::Mutual,
            "ISTIO_MUTUAL" => TlsMode::IstioMutual,
            other => {
                let message = format!("{other:?} is not known: nothing is sent");
                let help = "use one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL";
                unset.push(join(at, "mode"), message, help);
                is_valid = false;
                TlsMode::Disable
            }
        };
        let credential = shared(or_empty(&self.credential_name));
        let files = [
            ("clientCertificate", &self.client_certificate),
            ("privateKey", &self.private_key),
            ("caCertificates", &self.ca_certificates),
            ("caCrl", &self.ca_crl),
        ];
        let is_used = matches!(mode, TlsMode::Simple | TlsMode::Mutual);
        for (field, file) in files.into_iter().filter(|(_, file)| is_used && !or_empty(file).is_empty()) {
            let message = format!("file {:?} is not read by a waypoint: nothing is sent", or_empty(file));
            unset.push(join(at, field), message, "put it into a Secret, and name that in credentialName");
            is_valid = false;
        }
        if is_valid && mode == TlsMode::Mutual && credential.is_empty() {
            let message = "a certificate is needed for MUTUAL: nothing is sent".to_owned();
            unset.push(join(at, "credentialName"), message, "name a Secret with a certificate and its key");
            is_valid = false;
        }
        ClientTls {
            mode,
            credential,
            sni: shared(or_empty(&self.sni)),
            subject_alt_names: shared_list(self.subject_alt_names),
            is_insecure: self.insecure_skip_verify.unwrap_or(false),
            is_valid,
        }
    }
}
