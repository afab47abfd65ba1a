//! What filters of rules change.

use model::facts::{Abort, Cors, Fault, Filter, HeaderChanges, PathChange, PathMatch};
use model::{RequestLimit, Str};
use proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, RuntimeFractionalPercent, header_value_option::HeaderAppendAction,
};
use proto::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use proto::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use proto::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use proto::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, StringMatcher};
use proto::envoy::r#type::v3::TokenBucket;

use crate::key::LIMITED;
use crate::matcher::{escaped, exact, like, regex};
use crate::message::{duration, millionths};

/// All changes of a rule, or of a share of its traffic.
#[derive(Default)]
pub(super) struct Changes {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// Another host.
    pub host: Option<String>,
    pub path: Option<PathRewrite>,
    pub cors: Option<CorsPolicy>,
    pub fault: Option<HttpFault>,
    pub limit: Option<LocalRateLimit>,
}

/// Another path, in one of the two ways that Envoy has.
pub(super) enum PathRewrite {
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

impl Changes {
    /// Reads filters of a rule that matches by this path.
    pub fn of(filters: &[Filter], matched: Option<&PathMatch>) -> Self {
        let mut changes = Self::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(of) => {
                    changes.host = host(of).or(changes.host);
                    add(of, &mut changes.request_add, &mut changes.request_remove);
                }
                Filter::ResponseHeaders(of) => {
                    add(of, &mut changes.response_add, &mut changes.response_remove)
                }
                Filter::Rewrite(of) => {
                    changes.host = of.hostname.as_ref().map(ToString::to_string).or(changes.host);
                    changes.path = of.path.as_ref().map(|to| path(to, matched)).or(changes.path);
                }
                Filter::Cors(of) => changes.cors = Some(cors(of)),
                Filter::Fault(of) => changes.fault = Some(fault(of)),
                Filter::Limit(of) => changes.limit = Some(limit(*of)),
                Filter::Redirect(_) | Filter::Mirror(_) | Filter::Respond(_) => {}
            }
        }
        changes
    }
}

/// The host of a request is no header that Envoy changes as one.
fn is_host(name: &str) -> bool {
    name == "host" || name == ":authority"
}

fn host(of: &HeaderChanges) -> Option<String> {
    of.set.iter().find(|(name, _)| is_host(name)).map(|(_, value)| value.to_string())
}

fn add(of: &HeaderChanges, added: &mut Vec<HeaderValueOption>, removed: &mut Vec<String>) {
    let may_change = |name: &Str| !is_host(name) && !name.starts_with(':');
    let option = |(name, value): &(Str, Str), action: HeaderAppendAction| HeaderValueOption {
        header: Some(HeaderValue { key: name.to_string(), value: literal(value) }),
        append_action: action.into(),
    };
    let set = of.set.iter().filter(|(name, _)| may_change(name));
    added.extend(set.map(|pair| option(pair, HeaderAppendAction::OverwriteIfExistsOrAdd)));
    let more = of.add.iter().filter(|(name, _)| may_change(name));
    added.extend(more.map(|pair| option(pair, HeaderAppendAction::AppendIfExistsOrAdd)));
    removed.extend(of.remove.iter().filter(|name| may_change(name)).map(ToString::to_string));
}

/// Returns a value that Envoy takes as it is written: a percent sign would begin a command.
fn literal(value: &str) -> String {
    value.replace('%', "%%")
}

/// Returns another path for what a rule matches by this one.
pub(super) fn path(to: &PathChange, matched: Option<&PathMatch>) -> PathRewrite {
    let substitute = |pattern: &str, substitution: String| {
        PathRewrite::Regex(RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution })
    };
    match (to, matched) {
        (PathChange::Full(path), _) => substitute("^.*$", path.replace('\\', "\\\\")),
        (PathChange::Prefix(new), Some(PathMatch::Prefix(old))) => {
            let (new, old) = (new.trim_end_matches('/'), old.trim_end_matches('/'));
            if !new.is_empty() && !old.is_empty() {
                return PathRewrite::Prefix(new.to_owned());
            }
            // One of both is the root, and of two slashes one is to remain.
            substitute(&format!("^{}(/?)(.*)$", escaped(old)), format!("{}/\\2", new.replace('\\', "\\\\")))
        }
        // What is matched by is what Envoy replaces.
        (PathChange::Prefix(new), _) | (PathChange::Matched(new), _) => PathRewrite::Prefix(new.to_string()),
        (PathChange::Regex { pattern, substitution }, _) => substitute(pattern, substitution.to_string()),
    }
}

fn cors(of: &Cors) -> CorsPolicy {
    let list = |of: &[Str]| of.iter().map(Str::as_str).collect::<Vec<_>>().join(",");
    CorsPolicy {
        allow_origin_string_match: {
            let patterns = of.origin_patterns.iter().map(|pattern| like(pattern));
            of.origins.iter().map(|origin| origin_matcher(origin)).chain(patterns).collect()
        },
        allow_methods: list(&of.methods),
        allow_headers: list(&of.headers),
        expose_headers: list(&of.expose),
        max_age: of.max_age.to_string(),
        allow_credentials: Some(of.credentials),
        forward_not_matching_preflights: of.stops_unmatched.then_some(false),
    }
}

/// Returns a limit of one Envoy, of all its threads together.
pub(super) fn limit(of: RequestLimit) -> LocalRateLimit {
    let all = || RuntimeFractionalPercent { default_value: Some(millionths(1_000_000)) };
    LocalRateLimit {
        stat_prefix: LIMITED.to_owned(),
        token_bucket: Some(TokenBucket {
            max_tokens: of.requests,
            tokens_per_fill: Some(of.requests),
            fill_interval: Some(duration(of.period)),
        }),
        filter_enabled: Some(all()),
        filter_enforced: Some(all()),
        rate_limited_as_resource_exhausted: true,
    }
}

fn fault(of: &Fault) -> HttpFault {
    HttpFault {
        delay: of.delay.map(|(share, delay)| FaultDelay {
            percentage: Some(millionths(share.0)),
            fault_delay_specifier: Some(fault_delay::FaultDelaySpecifier::FixedDelay(duration(delay))),
        }),
        abort: of.abort.map(|(share, with)| FaultAbort {
            percentage: Some(millionths(share.0)),
            error_type: Some(match with {
                Abort::Http(status) => fault_abort::ErrorType::HttpStatus(status.into()),
                Abort::Grpc(status) => fault_abort::ErrorType::GrpcStatus(status.into()),
            }),
        }),
    }
}

fn origin_matcher(origin: &str) -> StringMatcher {
    if !origin.contains('*') {
        return exact(origin);
    }
    like(&origin.split('*').map(escaped).collect::<Vec<_>>().join(".*"))
}
