use schemars::JsonSchema;
use std::collections::BTreeMap;

/// Rules for requests and streams to hosts.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// The hosts that the rules are for, perhaps with a wildcard for the first label; a name without a dot is a
    /// Service of the namespace.
    pub hosts: Option<Vec<String>>,
    /// `mesh`, which is meant if nothing is given, and names of gateways.
    pub gateways: Option<Vec<String>>,
    /// Rules for requests; the first that matches counts.
    pub http: Option<Vec<HttpRule>>,
    /// Rules for streams of TLS.
    pub tls: Option<Vec<TlsRule>>,
    /// Rules for all other streams.
    pub tcp: Option<Vec<TcpRule>>,
    /// The namespaces that the rules are for.
    pub export_to: Option<Vec<String>>,
}

/// A rule for requests.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HttpRule {
    /// The name of the rule.
    pub name: Option<String>,
    /// What it is for, one of these; everything if nothing is given.
    #[schemars(rename = "match")]
    pub matches: Option<Vec<HttpRuleMatch>>,
    /// Where requests are sent, by weight.
    pub route: Option<Vec<HttpDestination>>,
    /// Requests are answered with a redirect.
    pub redirect: Option<HttpRedirect>,
    /// Requests are answered with this.
    pub direct_response: Option<DirectResponse>,
    /// Another object that has the rules.
    pub delegate: Option<Delegate>,
    /// What of a request is changed before it is sent on.
    pub rewrite: Option<HttpRewrite>,
    /// How long a request may take.
    pub timeout: Option<String>,
    /// What is tried again.
    pub retries: Option<HttpRetry>,
    /// What goes wrong on purpose.
    pub fault: Option<FaultInjection>,
    /// Where copies of requests are sent.
    pub mirror: Option<Destination>,
    /// Where further copies are sent.
    pub mirrors: Option<Vec<HttpMirror>>,
    /// Use `mirrorPercentage`.
    #[schemars(extend("maximum" = 4_294_967_295_u32, "nullable" = true))]
    pub mirror_percent: Option<u32>,
    /// Use `mirrorPercentage`.
    #[schemars(rename = "mirror_percent", extend("maximum" = 4_294_967_295_u32, "nullable" = true))]
    pub mirror_percent_in_snake_case: Option<u32>,
    /// How many requests are copied; all if nothing is given.
    pub mirror_percentage: Option<Percentage>,
    /// Which origins may ask.
    pub cors_policy: Option<CorsPolicy>,
    /// Changes of headers.
    pub headers: Option<HeaderRules>,
}

/// A comparison with a text: one of these.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TextMatch {
    /// The whole text.
    pub exact: Option<String>,
    /// What it begins with.
    pub prefix: Option<String>,
    /// A regular expression (RE2) of the whole text.
    pub regex: Option<String>,
}

/// What a rule for requests is for: all of this.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HttpRuleMatch {
    /// The name of the match.
    pub name: Option<String>,
    /// The path.
    pub uri: Option<TextMatch>,
    /// The scheme.
    pub scheme: Option<TextMatch>,
    /// The method.
    pub method: Option<TextMatch>,
    /// The host, with the port if there is one.
    pub authority: Option<TextMatch>,
    /// Headers by name in lower case; one without a comparison is there.
    pub headers: Option<BTreeMap<String, TextMatch>>,
    /// The port of the host.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub port: Option<u32>,
    /// Labels of the workload that asks.
    pub source_labels: Option<BTreeMap<String, String>>,
    /// `mesh`, and names of gateways.
    pub gateways: Option<Vec<String>>,
    /// Query parameters by name.
    pub query_params: Option<BTreeMap<String, TextMatch>>,
    /// Whether the path is compared without regard to case.
    pub ignore_uri_case: Option<bool>,
    /// Headers that are not so.
    pub without_headers: Option<BTreeMap<String, TextMatch>>,
    /// The namespace of the workload that asks.
    pub source_namespace: Option<String>,
    /// What names of statistics begin with.
    pub stat_prefix: Option<String>,
}

/// A service, or some of its workloads.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct Destination {
    /// The host; a name without a dot is a Service of the namespace.
    pub host: String,
    /// The name of a subset.
    pub subset: Option<String>,
    /// The port; not needed where there is one.
    pub port: Option<DestinationPort>,
}

/// A port of a host.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct DestinationPort {
    /// The number.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub number: Option<u32>,
}

/// A share of requests.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct HttpDestination {
    /// Where it is sent.
    pub destination: Destination,
    /// The weight; all of it for one destination alone.
    pub weight: Option<i32>,
    /// Changes of headers.
    pub headers: Option<HeaderRules>,
}

/// A share of streams.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct StreamDestination {
    /// Where it is sent.
    pub destination: Destination,
    /// The weight; all of it for one destination alone.
    pub weight: Option<i32>,
}

/// A redirect; what is not given stays as in the request.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HttpRedirect {
    /// The path.
    pub uri: Option<String>,
    /// What replaces the prefix that was matched.
    pub prefix_rewrite: Option<String>,
    /// The host.
    pub authority: Option<String>,
    /// The port.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub port: Option<u32>,
    /// How the port follows.
    pub derive_port: Option<DerivedPort>,
    /// The scheme.
    pub scheme: Option<String>,
    /// The status; 301 if not given.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub redirect_code: Option<u32>,
}

/// How the port of a redirect follows.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DerivedPort {
    /// from the scheme
    FromProtocolDefault,
    /// from the request
    FromRequestPort,
}

/// A response.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct DirectResponse {
    /// The status.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub status: u32,
    /// The body.
    pub body: Option<ResponseBody>,
}

/// The body of a response: one of these.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct ResponseBody {
    /// As text.
    pub string: Option<String>,
    /// In base64.
    pub bytes: Option<String>,
}

/// Another VirtualService, without hosts.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct Delegate {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace; that of this object if not given.
    pub namespace: Option<String>,
}

/// What of a request is changed.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HttpRewrite {
    /// What replaces the path that was matched, or the prefix.
    pub uri: Option<String>,
    /// What replaces the host.
    pub authority: Option<String>,
    /// What replaces parts of the path.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// What replaces parts of a path.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct RegexRewrite {
    /// A regular expression (RE2) that finds them.
    #[schemars(rename = "match")]
    pub pattern: Option<String>,
    /// What is put in their place.
    pub rewrite: Option<String>,
}

/// What is tried again.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct HttpRetry {
    /// How often; 0 for never.
    pub attempts: Option<i32>,
    /// How long each try may take.
    pub per_try_timeout: Option<String>,
    /// After what: conditions of Envoy, and statuses, separated by commas.
    pub retry_on: Option<String>,
    /// Whether in other localities.
    #[schemars(extend("nullable" = true))]
    pub retry_remote_localities: Option<bool>,
    /// Whether not at hosts that were tried before.
    #[schemars(extend("nullable" = true))]
    pub retry_ignore_previous_hosts: Option<bool>,
    /// How long to wait at least.
    pub backoff: Option<String>,
}

/// What goes wrong on purpose.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct FaultInjection {
    /// Requests wait.
    pub delay: Option<FaultDelay>,
    /// Requests are refused.
    pub abort: Option<FaultAbort>,
}

/// How long requests wait.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct FaultDelay {
    /// Use `percentage`.
    pub percent: Option<i32>,
    /// How many of them; all if nothing is given.
    pub percentage: Option<Percentage>,
    /// How long.
    pub fixed_delay: Option<String>,
    /// Not supported.
    pub exponential_delay: Option<String>,
}

/// What requests are refused with: one of these.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct FaultAbort {
    /// How many of them; all if nothing is given.
    pub percentage: Option<Percentage>,
    /// A status of HTTP.
    pub http_status: Option<i32>,
    /// A status of gRPC.
    pub grpc_status: Option<String>,
    /// Not supported.
    #[schemars(rename = "http2Error")]
    pub http2_error: Option<String>,
}

/// Where copies of requests are sent.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
pub struct HttpMirror {
    /// Where.
    pub destination: Destination,
    /// How many of them; all if nothing is given.
    pub percentage: Option<Percentage>,
}

/// A part of a hundred.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct Percentage {
    /// From 0 to 100.
    pub value: Option<f64>,
}

/// Which origins may ask.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct CorsPolicy {
    /// Use `allowOrigins`.
    pub allow_origin: Option<Vec<String>>,
    /// The origins.
    pub allow_origins: Option<Vec<TextMatch>>,
    /// The methods that they may use.
    pub allow_methods: Option<Vec<String>>,
    /// The headers that they may send.
    pub allow_headers: Option<Vec<String>>,
    /// The headers that they may see.
    pub expose_headers: Option<Vec<String>>,
    /// How long an answer holds.
    pub max_age: Option<String>,
    /// Whether they may send credentials.
    #[schemars(extend("nullable" = true))]
    pub allow_credentials: Option<bool>,
    /// What becomes of preflights of other origins.
    pub unmatched_preflights: Option<UnmatchedPreflights>,
}

/// What becomes of preflights of other origins.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// they are sent on
    Unspecified,
    /// they are sent on
    Forward,
    /// they are not sent on
    Ignore,
}

/// Changes of headers.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct HeaderRules {
    /// Of requests.
    pub request: Option<HeaderOperations>,
    /// Of responses.
    pub response: Option<HeaderOperations>,
}

/// What is done to headers.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct HeaderOperations {
    /// They have this value.
    pub set: Option<BTreeMap<String, String>>,
    /// They have this value besides.
    pub add: Option<BTreeMap<String, String>>,
    /// They are removed.
    pub remove: Option<Vec<String>>,
}

/// A rule for streams of TLS.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TlsRule {
    /// What it is for, one of these.
    #[schemars(rename = "match")]
    pub matches: Vec<TlsRuleMatch>,
    /// Where streams are sent, by weight.
    pub route: Option<Vec<StreamDestination>>,
}

/// What a rule for streams of TLS is for: all of this.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TlsRuleMatch {
    /// Hosts that a client asks for, perhaps with a wildcard for the first label.
    pub sni_hosts: Vec<String>,
    /// Networks of the address that a client connects to.
    pub destination_subnets: Option<Vec<String>>,
    /// The port of the host.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub port: Option<u32>,
    /// Labels of the workload that connects.
    pub source_labels: Option<BTreeMap<String, String>>,
    /// `mesh`, and names of gateways.
    pub gateways: Option<Vec<String>>,
    /// The namespace of the workload that connects.
    pub source_namespace: Option<String>,
}

/// A rule for streams.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct TcpRule {
    /// What it is for, one of these; everything if nothing is given.
    #[schemars(rename = "match")]
    pub matches: Option<Vec<TcpRuleMatch>>,
    /// Where streams are sent, by weight.
    pub route: Option<Vec<StreamDestination>>,
}

/// What a rule for streams is for: all of this.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct TcpRuleMatch {
    /// Networks of the address that a client connects to.
    pub destination_subnets: Option<Vec<String>>,
    /// The port of the host.
    #[schemars(extend("maximum" = 4_294_967_295_u32))]
    pub port: Option<u32>,
    /// A network of the client's address.
    pub source_subnet: Option<String>,
    /// Labels of the workload that connects.
    pub source_labels: Option<BTreeMap<String, String>>,
    /// `mesh`, and names of gateways.
    pub gateways: Option<Vec<String>>,
    /// The namespace of the workload that connects.
    pub source_namespace: Option<String>,
}
