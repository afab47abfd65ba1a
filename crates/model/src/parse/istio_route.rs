//! Routes of a VirtualService: what becomes of what they match.

use super::duration;
use super::expression;
use super::fault::{Faults, Lowered, join};
use super::istio_match::{Matches, Notes, StringMatch};
use super::number::{Bounded, ProtoNumber, ProtoPort};
use super::pairs::StrictPairs;
use super::route_filter::{changed_header, header_value, new_path, redirect_code};
use super::text::{Text, or_empty, shared_host, shared_list};
use crate::facts::{
    Abort, BackendReference, Cors, DirectResponse, Fault, Filter, HeaderChanges, Ignored, Mirror,
    ObjectReference, PathChange, Redirect, RequestMatch, Retry, Rewrite, RouteRule, RouteTimeouts, Share,
};
use crate::{Kind, Str, shared};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// An entry of `spec.http`, `spec.tls` or `spec.tcp`, whose matches are `M`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object", bound(deserialize = "M: Deserialize<'de>"))]
pub(super) struct RouteManifest<'a, M> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(rename = "match")]
    matches: Option<Vec<M>>,
    #[serde(borrow)]
    route: Option<Vec<Weighted<'a>>>,
    #[serde(borrow)]
    redirect: Option<RedirectManifest<'a>>,
    #[serde(borrow)]
    direct_response: Option<Response<'a>>,
    #[serde(borrow)]
    rewrite: Option<RewriteManifest<'a>>,
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
    #[serde(borrow)]
    retries: Option<Retries<'a>>,
    #[serde(borrow)]
    fault: Option<FaultManifest<'a>>,
    #[serde(borrow)]
    mirror: Option<Destination<'a>>,
    #[serde(borrow)]
    mirrors: Option<Vec<MirrorManifest<'a>>>,
    #[serde(alias = "mirror_percent")]
    mirror_percent: Option<ProtoNumber>,
    mirror_percentage: Option<Percent>,
    #[serde(borrow)]
    cors_policy: Option<CorsManifest<'a>>,
    #[serde(borrow)]
    headers: Option<Headers<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Weighted<'a> {
    #[serde(borrow)]
    destination: Option<Destination<'a>>,
    weight: Option<Weight>,
    #[serde(borrow)]
    headers: Option<Headers<'a>>,
}

/// The most bytes of an answer that a proxy gives by itself.
const LARGEST_BODY: usize = 1 << 20;

/// A share of the traffic.
type Weight = Bounded<{ i32::MAX as u32 }, true>;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Destination<'a> {
    #[serde(borrow)]
    host: Option<Text<'a>>,
    #[serde(borrow)]
    subset: Option<Text<'a>>,
    port: Option<PortSelector>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct PortSelector {
    pub(super) number: Option<ProtoPort>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Percent {
    value: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct RedirectManifest<'a> {
    #[serde(borrow)]
    uri: Option<Text<'a>>,
    #[serde(borrow)]
    prefix_rewrite: Option<Text<'a>>,
    #[serde(borrow)]
    authority: Option<Text<'a>>,
    port: Option<ProtoPort>,
    #[serde(borrow)]
    derive_port: Option<Text<'a>>,
    #[serde(borrow)]
    scheme: Option<Text<'a>>,
    redirect_code: Option<ProtoNumber>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Response<'a> {
    status: Option<ProtoNumber>,
    #[serde(borrow)]
    body: Option<Body<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Body<'a> {
    #[serde(borrow)]
    string: Option<Text<'a>>,
    #[serde(borrow)]
    bytes: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct RewriteManifest<'a> {
    #[serde(borrow)]
    uri: Option<Text<'a>>,
    #[serde(borrow)]
    authority: Option<Text<'a>>,
    #[serde(borrow)]
    uri_regex_rewrite: Option<RegexRewrite<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RegexRewrite<'a> {
    #[serde(borrow, rename = "match")]
    pattern: Option<Text<'a>>,
    #[serde(borrow)]
    rewrite: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Retries<'a> {
    attempts: Option<i64>,
    #[serde(borrow)]
    per_try_timeout: Option<Text<'a>>,
    #[serde(borrow)]
    retry_on: Option<Text<'a>>,
    retry_remote_localities: Option<bool>,
    retry_ignore_previous_hosts: Option<bool>,
    #[serde(borrow)]
    backoff: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct FaultManifest<'a> {
    #[serde(borrow)]
    delay: Option<Delay<'a>>,
    #[serde(borrow)]
    abort: Option<AbortManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Delay<'a> {
    percent: Option<Bounded<100, true>>,
    percentage: Option<Percent>,
    #[serde(borrow)]
    fixed_delay: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct AbortManifest<'a> {
    percentage: Option<Percent>,
    http_status: Option<ProtoNumber>,
    #[serde(borrow)]
    grpc_status: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MirrorManifest<'a> {
    #[serde(borrow)]
    destination: Option<Destination<'a>>,
    percentage: Option<Percent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct CorsManifest<'a> {
    #[serde(borrow)]
    allow_origin: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    allow_origins: Option<Vec<StringMatch<'a>>>,
    #[serde(borrow)]
    allow_methods: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    allow_headers: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    expose_headers: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    max_age: Option<Text<'a>>,
    allow_credentials: Option<bool>,
    #[serde(borrow)]
    unmatched_preflights: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Headers<'a> {
    #[serde(borrow)]
    request: Option<Operations<'a>>,
    #[serde(borrow)]
    response: Option<Operations<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Operations<'a> {
    #[serde(borrow)]
    set: Option<StrictPairs<'a>>,
    #[serde(borrow)]
    add: Option<StrictPairs<'a>>,
    #[serde(borrow)]
    remove: Option<Vec<Text<'a>>>,
}

/// The group of references to hostnames.
const ISTIO_GROUP: &str = "networking.istio.io";

impl<M: Matches> RouteManifest<'_, M> {
    /// Lowers the route that stands at the field `at`.
    pub(super) fn lower(mut self, at: &str, is_http: bool, ignored: &mut Vec<Ignored>) -> RouteRule {
        let mut faults = Faults::default();
        let matches = match self.matches.take() {
            Some(all) if !all.is_empty() => {
                let mut notes = Notes { faults: &mut faults, ignored };
                let all = all.into_iter().enumerate();
                all.filter_map(|(i, one)| one.lower(&format!("{at}.match[{i}]"), &mut notes)).collect()
            }
            _ => vec![RequestMatch::default()],
        };
        let filters = [
            part("fault", self.fault.as_ref(), |fault| Ok(vec![Filter::Fault(fault.lower()?)])),
            part("corsPolicy", self.cors_policy.as_ref(), |cors| Ok(vec![Filter::Cors(cors.lower()?)])),
            part("headers", self.headers.as_ref(), Headers::lower),
            part("redirect", self.redirect.as_ref(), |of| Ok(vec![Filter::Redirect(of.lower()?)])),
            part("directResponse", self.direct_response.as_ref(), |of| {
                Ok(vec![Filter::Respond(of.lower()?)])
            }),
            part("rewrite", self.rewrite.as_ref(), |of| Ok(vec![Filter::Rewrite(of.lower()?)])),
            self.mirrors(),
        ];
        let filters: Vec<Filter> =
            filters.into_iter().filter_map(|filters| faults.take(at, filters)).flatten().collect();
        let weighted = self.route.take().unwrap_or_default();
        let is_one = weighted.len() == 1;
        let backends = weighted.into_iter().enumerate().filter_map(|(i, weighted)| {
            let lowered = weighted.lower(is_one);
            faults.take(&format!("{at}.route[{i}]"), lowered)
        });
        let backends: Vec<BackendReference> = backends.collect();
        let has_backends = !backends.is_empty();
        if has_backends && backends.iter().all(|backend| backend.weight == 0) {
            faults.take::<()>(at, Err(("route".to_owned(), "no destination has a weight".to_owned())));
        }
        // Envoy takes no route with more.
        if backends.iter().map(|backend| u64::from(backend.weight)).sum::<u64>() > u64::from(u32::MAX) {
            let message = format!("the weights add up to more than {}", u32::MAX);
            faults.take::<()>(at, Err(("route".to_owned(), message)));
        }
        let duration = |field: &'static str, text: &Option<Text<'_>>| {
            optional(text).map_err(|message| (field.to_owned(), message))
        };
        let timeout = faults.take(at, duration("timeout", &self.timeout)).flatten();
        let retries = self.retries.as_ref().map(Retries::lower).transpose();
        let retries = retries.map_err(|(field, message)| (join("retries", &field), message));
        let retries = faults.take(at, retries).flatten();
        let (retry, per_try) = match retries {
            Some((retry, per_try)) => (Some(retry), per_try),
            // Istio's default, where nothing is written.
            None => ((is_http && has_backends).then(|| Retry { attempts: 2, ..Retry::default() }), None),
        };
        RouteRule {
            name: shared(or_empty(&self.name)),
            matches,
            filters,
            backends,
            timeouts: RouteTimeouts { request: timeout, backend_request: per_try },
            retry,
            session: None,
            faults: faults.into_list(),
        }
    }

    fn mirrors(&self) -> Lowered<Vec<Filter>> {
        let all = self.mirrors.iter().flatten().enumerate();
        let mut mirrors = Vec::new();
        for (i, mirror) in all {
            let at = |(field, message): (String, String)| (join(&format!("mirrors[{i}]"), &field), message);
            let destination = mirror.destination.as_ref();
            let backend = destination.map_or_else(|| Err(missing("destination")), Destination::lower);
            let share = share("percentage", mirror.percentage.as_ref(), None).map_err(at)?;
            mirrors.push(Filter::Mirror(mirror_of(backend.map_err(at)?, share)));
        }
        if let Some(destination) = &self.mirror {
            let percent = self.mirror_percent.map(ProtoNumber::get);
            let share = share("mirrorPercentage", self.mirror_percentage.as_ref(), percent)?;
            let backend = destination.lower().map_err(|(field, message)| (join("mirror", &field), message));
            mirrors.push(Filter::Mirror(mirror_of(backend?, share)));
        }
        Ok(mirrors)
    }
}

/// Lowers a part of a route that stands in a field.
fn part<T>(
    field: &str,
    part: Option<&T>,
    lower: impl Fn(&T) -> Lowered<Vec<Filter>>,
) -> Lowered<Vec<Filter>> {
    let lowered = part.map_or(Ok(Vec::new()), lower);
    lowered.map_err(|(inner, message)| (join(field, &inner), message))
}

fn missing(field: &str) -> (String, String) {
    (field.to_owned(), "missing".to_owned())
}

fn mirror_of(backend: BackendReference, Share(share): Share) -> Mirror {
    Mirror { backend, share, of: Share::ALL.0 }
}

/// Returns a share that is written as a fraction of percents, else as percents; all without either.
fn share(field: &str, of: Option<&Percent>, percent: Option<u32>) -> Lowered<Share> {
    let value = match (of, percent) {
        (Some(of), _) => of.value.unwrap_or(0.0),
        (None, Some(percent)) => f64::from(percent),
        (None, None) => return Ok(Share::ALL),
    };
    if !(0.0..=100.0).contains(&value) {
        return Err((field.to_owned(), format!("{value} is no share of 100")));
    }
    // Within the range that was checked.
    Ok(Share((value * 10_000.0).round() as u32))
}

/// Returns a duration that is written; zero counts as unset.
fn optional(text: &Option<Text<'_>>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let found = duration::of_istio(text.as_str());
    let found = found.ok_or_else(|| format!("{:?} is no duration such as 1.5s or 500ms", text.as_str()))?;
    Ok(Some(found).filter(|duration| *duration != Duration::ZERO))
}

impl Weighted<'_> {
    /// Lowers it; a weight says nothing of one destination alone.
    fn lower(&self, is_one: bool) -> Lowered<BackendReference> {
        let destination = self.destination.as_ref().ok_or_else(|| missing("destination"))?;
        let weight = self.weight.map_or(0, Weight::get);
        Ok(BackendReference {
            weight: if is_one { 1 } else { weight },
            filters: part("headers", self.headers.as_ref(), Headers::lower)?,
            ..destination.lower().map_err(|(field, message)| (join("destination", &field), message))?
        })
    }
}

impl Destination<'_> {
    fn lower(&self) -> Lowered<BackendReference> {
        let host = shared_host(or_empty(&self.host));
        if host.is_empty() {
            return Err(missing("host"));
        }
        // A short name is that of a Service of the namespace.
        let (group, kind) = match host.contains('.') {
            true => (ISTIO_GROUP, "Hostname"),
            false => (Kind::Service.group(), Kind::Service.name()),
        };
        let port = self.port.as_ref().and_then(|port| port.number).map(ProtoPort::port);
        Ok(BackendReference {
            object: ObjectReference {
                group: shared(group),
                kind: shared(kind),
                namespace: Str::default(),
                name: host,
            },
            port: port.filter(|port| *port != 0),
            weight: 1,
            subset: shared(or_empty(&self.subset)),
            filters: Vec::new(),
        })
    }
}

impl RedirectManifest<'_> {
    fn lower(&self) -> Lowered<Redirect> {
        let code = redirect_code(self.redirect_code.map_or(301, ProtoNumber::get));
        let set = |text: &Option<Text<'_>>| text.as_ref().map(Text::shared).filter(|text| !text.is_empty());
        let path = match (set(&self.uri), set(&self.prefix_rewrite)) {
            (Some(_), Some(_)) => {
                return Err(("prefixRewrite".to_owned(), "is there beside uri".to_owned()));
            }
            (Some(uri), None) => Some(PathChange::Full(new_path(&uri, "uri")?)),
            (None, Some(prefix)) => Some(PathChange::Matched(new_path(&prefix, "prefixRewrite")?)),
            (None, None) => None,
        };
        let keeps_port = match or_empty(&self.derive_port) {
            "" | "FROM_PROTOCOL_DEFAULT" => false,
            "FROM_REQUEST_PORT" => true,
            other => return Err(("derivePort".to_owned(), format!("{other:?} is no way to derive a port"))),
        };
        Ok(Redirect {
            scheme: set(&self.scheme),
            hostname: set(&self.authority),
            path,
            port: self.port.map(ProtoPort::port).filter(|port| *port != 0),
            keeps_port,
            code: code.map_err(|message| ("redirectCode".to_owned(), message))?,
        })
    }
}

impl Response<'_> {
    fn lower(&self) -> Lowered<DirectResponse> {
        let status = self.status.map_or(0, ProtoNumber::get);
        let known = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        let status = known.ok_or_else(|| ("status".to_owned(), format!("{status} is no status")))?;
        let body: Arc<[u8]> = match &self.body {
            None => Arc::from([]),
            Some(Body { string: Some(_), bytes: Some(_) }) => {
                return Err(("body".to_owned(), "has both string and bytes".to_owned()));
            }
            Some(Body { bytes: Some(bytes), .. }) => {
                let decoded = STANDARD.decode(bytes.as_str());
                Arc::from(decoded.map_err(|_| ("body.bytes".to_owned(), "is no base64".to_owned()))?)
            }
            Some(Body { string, .. }) => Arc::from(or_empty(string).as_bytes()),
        };
        if body.len() > LARGEST_BODY {
            return Err(("body".to_owned(), format!("is longer than {LARGEST_BODY} bytes")));
        }
        Ok(DirectResponse { status, body })
    }
}

impl RewriteManifest<'_> {
    fn lower(&self) -> Lowered<Rewrite> {
        let uri = self.uri.as_ref().filter(|uri| !uri.as_str().is_empty());
        let path = match (uri, &self.uri_regex_rewrite) {
            (Some(_), Some(_)) => {
                return Err(("uriRegexRewrite".to_owned(), "is there beside uri".to_owned()));
            }
            (Some(uri), None) => Some(PathChange::Matched(new_path(uri.as_str(), "uri")?)),
            (None, Some(of)) => Some(PathChange::Regex {
                pattern: {
                    let at = |why: String| ("uriRegexRewrite.match".to_owned(), why);
                    let pattern = of.pattern.as_ref().map(Text::shared).filter(|text| !text.is_empty());
                    let pattern =
                        pattern.ok_or_else(|| at("an empty expression finds nothing".to_owned()))?;
                    expression::check(&pattern).map_err(at)?;
                    pattern
                },
                substitution: new_path(or_empty(&of.rewrite), "uriRegexRewrite.rewrite")?,
            }),
            (None, None) => None,
        };
        let hostname = self.authority.as_ref().map(Text::shared).filter(|host| !host.is_empty());
        Ok(Rewrite { hostname, path })
    }
}

impl Retries<'_> {
    /// Returns the retries, none without attempts, and the timeout of each try.
    fn lower(&self) -> Lowered<(Retry, Option<Duration>)> {
        let at = |field: &'static str| move |message: String| (field.to_owned(), message);
        let attempts = u32::try_from(self.attempts.unwrap_or(0).max(0)).unwrap_or(u32::MAX);
        let (mut codes, mut conditions) = (Vec::new(), Vec::new());
        for word in or_empty(&self.retry_on).split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.parse::<u16>() {
                Ok(code) if (100..600).contains(&code) => codes.push(code),
                Ok(_) => return Err(("retryOn".to_owned(), format!("{word} is no status"))),
                Err(_) if word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
                    conditions.push(shared(word));
                }
                Err(_) => return Err(("retryOn".to_owned(), format!("{word:?} is no condition"))),
            }
        }
        codes.sort_unstable();
        codes.dedup();
        let retry = Retry {
            attempts,
            codes,
            backoff: optional(&self.backoff).map_err(at("backoff"))?,
            conditions,
            in_other_localities: self.retry_remote_localities.unwrap_or(false),
            at_previous_hosts: !self.retry_ignore_previous_hosts.unwrap_or(true),
        };
        let per_try = optional(&self.per_try_timeout).map_err(at("perTryTimeout"))?;
        Ok((retry, per_try))
    }
}

impl FaultManifest<'_> {
    fn lower(&self) -> Lowered<Fault> {
        let delay = self.delay.as_ref().map(|delay| -> Lowered<(Share, Duration)> {
            let percent = delay.percent.map(Bounded::get);
            let share = share("delay.percentage", delay.percentage.as_ref(), percent)?;
            let fixed = optional(&delay.fixed_delay).map_err(|why| ("delay.fixedDelay".to_owned(), why))?;
            Ok((share, fixed.ok_or_else(|| missing("delay.fixedDelay"))?))
        });
        let abort = self.abort.as_ref().map(|abort| -> Lowered<(Share, Abort)> {
            let share = share("abort.percentage", abort.percentage.as_ref(), None)?;
            let what = match (abort.http_status.map(ProtoNumber::get), &abort.grpc_status) {
                (Some(status), None) => {
                    let known = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
                    let fault = || ("abort.httpStatus".to_owned(), format!("{status} is no status"));
                    Abort::Http(known.ok_or_else(fault)?)
                }
                (None, Some(status)) => {
                    let known = grpc_status(status.as_str());
                    let fault =
                        || ("abort.grpcStatus".to_owned(), format!("{:?} is no status", status.as_str()));
                    Abort::Grpc(known.ok_or_else(fault)?)
                }
                _ => return Err(("abort".to_owned(), "has not one of httpStatus and grpcStatus".to_owned())),
            };
            Ok((share, what))
        });
        Ok(Fault { delay: delay.transpose()?, abort: abort.transpose()? })
    }
}

/// Returns the number of a status of gRPC, which is written as such or by its name.
fn grpc_status(text: &str) -> Option<u16> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let by_name = NAMES.iter().position(|name| *name == text);
    let number = by_name.or_else(|| text.parse().ok().filter(|number| *number < NAMES.len()))?;
    u16::try_from(number).ok()
}

impl CorsManifest<'_> {
    fn lower(&self) -> Lowered<Cors> {
        let mut origins: Vec<Str> = self.allow_origin.iter().flatten().map(Text::shared).collect();
        let mut patterns = Vec::new();
        for (i, origin) in self.allow_origins.iter().flatten().enumerate() {
            let (text, is_regex) = origin.origin().map_err(|why| (format!("allowOrigins[{i}]"), why))?;
            if is_regex { patterns.push(text) } else { origins.push(text) }
        }
        let list = |list: &Option<Vec<Text<'_>>>| shared_list(list.clone());
        let max_age = optional(&self.max_age).map_err(|why| ("maxAge".to_owned(), why))?;
        let stops_unmatched = match or_empty(&self.unmatched_preflights) {
            "" | "UNSPECIFIED" | "FORWARD" => false,
            "IGNORE" => true,
            other => return Err(("unmatchedPreflights".to_owned(), format!("{other:?} is not known"))),
        };
        Ok(Cors {
            origins,
            origin_patterns: patterns,
            methods: list(&self.allow_methods),
            headers: list(&self.allow_headers),
            expose: list(&self.expose_headers),
            credentials: self.allow_credentials.unwrap_or(false),
            max_age: max_age.map_or(0, |age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
            stops_unmatched,
        })
    }
}

impl Headers<'_> {
    /// Lowers it: to set the host is to rewrite it.
    fn lower(&self) -> Lowered<Vec<Filter>> {
        let mut filters = Vec::new();
        if let Some(request) = &self.request {
            let (changes, host) = request.lower("request")?;
            filters.extend((changes != HeaderChanges::default()).then_some(Filter::RequestHeaders(changes)));
            filters.extend(
                host.map(|host| Filter::Rewrite(Rewrite { hostname: Some(host), ..Rewrite::default() })),
            );
        }
        if let Some(response) = &self.response {
            let (changes, host) = response.lower("response")?;
            if host.is_some() {
                return Err(("response.set".to_owned(), "a response has no host".to_owned()));
            }
            filters.extend((changes != HeaderChanges::default()).then_some(Filter::ResponseHeaders(changes)));
        }
        Ok(filters)
    }
}

impl Operations<'_> {
    /// Returns the changes, and what the host is set to.
    fn lower(&self, at: &str) -> Lowered<(HeaderChanges, Option<Str>)> {
        let mut host = None;
        let mut pairs = |pairs: &Option<StrictPairs<'_>>, field: &str| -> Lowered<Vec<(Str, Str)>> {
            let at = join(at, field);
            let mut all: Vec<(Str, Str)> = Vec::new();
            for (name, value) in pairs.iter().flat_map(StrictPairs::iter) {
                let value = header_value(value, &join(&at, name))?;
                if field == "set" && matches!(name.to_ascii_lowercase().as_str(), "host" | ":authority") {
                    host = Some(value);
                    continue;
                }
                let name = changed_header(name, &at)?;
                if !all.iter().any(|(other, _)| *other == name) {
                    all.push((name, value));
                }
            }
            all.sort_unstable();
            Ok(all)
        };
        let (set, add) = (pairs(&self.set, "set")?, pairs(&self.add, "add")?);
        let removed = self.remove.iter().flatten().enumerate();
        let remove = removed.map(|(i, name)| changed_header(name.as_str(), &format!("{at}.remove[{i}]")));
        Ok((HeaderChanges { set, add, remove: remove.collect::<Result<_, _>>()? }, host))
    }
}
