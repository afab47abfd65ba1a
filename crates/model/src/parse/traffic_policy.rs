//! `trafficPolicy` of a DestinationRule.

use super::fault::join;
use super::istio_route::PortSelector;
use super::locality::LocalityManifest;
use super::number::{Bounded, ProtoNumber, ProtoPort};
use super::route_match::header_name;
use super::text::{Text, or_empty, shared_list};
use super::unset::Unset;
use crate::facts::{
    Algorithm, ClientTls, ConnectionPool, HashKey, HashTable, LoadBalancer, OutlierDetection, PortPolicy,
    RetryBudget, TcpKeepalive, TlsMode, TrafficPolicy, Warmup,
};
use crate::{Str, shared};
use serde::Deserialize;

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
    warmup_duration_secs: Option<Text<'a>>,
    #[serde(borrow)]
    warmup: Option<WarmupManifest<'a>>,
    #[serde(borrow)]
    locality_lb_setting: Option<LocalityManifest<'a>>,
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
                percent: unset.percent(&at, "percent", of.percent),
                min_concurrency: of.min_retry_concurrency.map(ProtoNumber::get),
                interval: unset.span(&at, "budgetInterval", &of.budget_interval),
            }
        });
        TrafficPolicy { common, ports, retries }
    }
}

impl BalancerManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> LoadBalancer {
        let hash = self.consistent_hash.and_then(|hash| hash.lower(&join(at, "consistentHash"), unset));
        let algorithm = hash.unwrap_or_else(|| match or_empty(&self.simple) {
            "" | "UNSPECIFIED" | "LEAST_CONN" | "LEAST_REQUEST" => Algorithm::LeastRequest,
            "ROUND_ROBIN" => Algorithm::RoundRobin,
            "RANDOM" => Algorithm::Random,
            "PASSTHROUGH" => {
                let message =
                    "\"PASSTHROUGH\" counts as unset: what is called at a waypoint is a service".to_owned();
                let help = "leave it out, or use one of LEAST_REQUEST, ROUND_ROBIN, RANDOM";
                unset.push(join(at, "simple"), message, help);
                Algorithm::LeastRequest
            }
            other => {
                let choices = "use one of LEAST_REQUEST, ROUND_ROBIN, RANDOM";
                unset.word(at, "simple", other, choices);
                Algorithm::LeastRequest
            }
        });
        let warmup = match (self.warmup, &self.warmup_duration_secs) {
            (Some(of), _) => {
                let at = join(at, "warmup");
                let minimum = unset.percent(&at, "minimumPercent", of.minimum_percent);
                let aggression = unset.thousandths(&at, "aggression", of.aggression);
                let duration = unset.span(&at, "duration", &of.duration);
                duration.map(|duration| Warmup {
                    duration,
                    minimum: minimum.unwrap_or(MINIMUM),
                    aggression: aggression.unwrap_or(AGGRESSION),
                })
            }
            (None, text) => {
                let duration = unset.span(at, "warmupDurationSecs", text);
                duration.map(|duration| Warmup { duration, minimum: MINIMUM, aggression: AGGRESSION })
            }
        };
        let is_gradual = matches!(algorithm, Algorithm::LeastRequest | Algorithm::RoundRobin);
        if warmup.is_some() && !is_gradual {
            let message =
                "has no effect: only LEAST_REQUEST and ROUND_ROBIN have weights that may grow".to_owned();
            unset.push(join(at, "warmup"), message, "use one of these, or leave it out");
        }
        let locality = self.locality_lb_setting.map(|of| of.lower(&join(at, "localityLbSetting"), unset));
        LoadBalancer { algorithm, warmup: warmup.filter(|_| is_gradual), locality }
    }
}

/// The defaults of a warmup, in thousandths.
const MINIMUM: u32 = 10_000;
const AGGRESSION: u32 = 1_000;

impl HashManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Option<Algorithm> {
        let set = |text: &Option<Text<'_>>| text.as_ref().map(Text::shared).filter(|text| !text.is_empty());
        let table = self.table(at, unset);
        let key = if let Some(name) = set(&self.http_header_name) {
            let valid = header_name(&name).map(HashKey::Header);
            if valid.is_none() {
                let message = format!("{:?} is no name of a header, and counts as unset", name.as_str());
                unset.push(join(at, "httpHeaderName"), message, "write one such as x-user");
            }
            valid
        } else if let Some(cookie) = self.http_cookie {
            cookie.lower(&join(at, "httpCookie"), unset)
        } else if self.use_source_ip == Some(true) {
            Some(HashKey::SourceIp)
        } else if let Some(name) = set(&self.http_query_parameter_name) {
            Some(HashKey::Query(name))
        } else {
            let help = "write one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName";
            unset.push(at.to_owned(), "says not what is hashed, and counts as unset".to_owned(), help);
            None
        };
        Some(Algorithm::Hash(key?, table))
    }

    fn table(&self, at: &str, unset: &mut Unset) -> HashTable {
        let size = |number: Option<ProtoNumber>| number.map(|number| u64::from(number.get()));
        if let Some(maglev) = &self.maglev {
            let size = size(maglev.table_size).unwrap_or(MAGLEV);
            if size <= LARGEST_MAGLEV && is_prime(size) {
                return HashTable::Maglev(size);
            }
            let message = format!("{size} counts as unset");
            unset.push(join(at, "maglev.tableSize"), message, "write a prime up to 5000011");
            return HashTable::Maglev(MAGLEV);
        }
        let of_ring = self.ring_hash.as_ref().and_then(|ring| size(ring.minimum_ring_size));
        let least = of_ring.or(size(self.minimum_ring_size)).unwrap_or(RING);
        if least <= LARGEST_RING {
            return HashTable::Ring(least);
        }
        let field = if of_ring.is_some() { "ringHash.minimumRingSize" } else { "minimumRingSize" };
        unset.push(join(at, field), format!("{least} counts as unset"), "write a number up to 8388608");
        HashTable::Ring(RING)
    }
}

/// What tables of hashes have by default, and at most.
const RING: u64 = 1_024;
const LARGEST_RING: u64 = 8_388_608;
const MAGLEV: u64 = 65_537;
const LARGEST_MAGLEV: u64 = 5_000_011;

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number > 1 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

impl Cookie<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> Option<HashKey> {
        let name = shared(or_empty(&self.name));
        if name.is_empty() {
            let message = "is empty, so the cookie counts as unset".to_owned();
            unset.push(join(at, "name"), message, "write the name of the cookie");
            return None;
        }
        let mut attributes = Vec::new();
        for (i, of) in self.attributes.iter().flatten().enumerate() {
            let (name, value) = (shared(or_empty(&of.name)), shared(or_empty(&of.value)));
            let is_text = |text: &Str| !text.bytes().any(|byte| byte.is_ascii_control() || byte == b';');
            if name.is_empty() || !is_text(&name) || !is_text(&value) {
                let message = "is no attribute of a cookie, and counts as unset".to_owned();
                unset.push(
                    format!("{at}.attributes[{i}]"),
                    message,
                    "write a name, and a value without semicolon",
                );
                continue;
            }
            attributes.push((name, value));
        }
        let ttl = unset.duration(at, "ttl", &self.ttl);
        Some(HashKey::Cookie { name, path: shared(or_empty(&self.path)), ttl, attributes })
    }
}

impl PoolManifest<'_> {
    fn lower(self, at: &str, unset: &mut Unset) -> ConnectionPool {
        let mut pool = ConnectionPool::default();
        // Zero is what protobuf has for what is not written.
        let count = |count: Option<Count>| count.map(Count::get).filter(|count| *count > 0);
        if let Some(tcp) = self.tcp {
            let at = join(at, "tcp");
            pool.max_connections = count(tcp.max_connections);
            pool.connect_timeout = unset.span(&at, "connectTimeout", &tcp.connect_timeout);
            pool.max_connection_duration =
                unset.span(&at, "maxConnectionDuration", &tcp.max_connection_duration);
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
                (unset.span(&at, "interval", &of.interval), unset.span(&at, "timeout", &of.timeout))
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
            interval: unset.span(at, "interval", &self.interval),
            base_ejection_time: unset.span(at, "baseEjectionTime", &self.base_ejection_time),
            max_ejection_percent: unset.share(
                at,
                "maxEjectionPercent",
                self.max_ejection_percent.map(Count::get),
            ),
            min_health_percent: unset.share(at, "minHealthPercent", self.min_health_percent.map(Count::get)),
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
