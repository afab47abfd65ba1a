//! Requests that somebody else decides about.
//!
//! A filter of access control only tells which rule matches, and the filter that asks looks whether one did: the one
//! knows all attributes of a request, the other none.

use mesh::policy::{Asked, WaypointAction};
use model::Str;
use model::facts::{AuthorizerProtocol, HttpAuthorizer};
use proto::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HttpUri, TypedExtensionConfig, grpc_service, http_uri,
};
use proto::envoy::config::rbac::v3::Rbac as Rules;
use proto::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationRequest, AuthorizationResponse, BufferSettings, ExtAuthz, HttpService, ext_authz::Services,
};
use proto::envoy::extensions::filters::http::rbac::v3::Rbac;
use proto::envoy::r#type::matcher::v3::{
    ListStringMatcher, MetadataMatcher, StringMatcher, ValueMatcher, metadata_matcher,
    value_matcher::MatchPattern,
};
use proto::envoy::r#type::v3::HttpStatus;
use std::time::Duration;

use super::slot;
use crate::matcher::{exact, like, prefix, suffix};
use crate::message::{changes_of_others, duration};

/// How names of rules begin that somebody is asked about.
const RULES: &str = "istio-ext-authz-";
/// How long an answer may take where nobody says, as with istiod.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Where the filter of access control tells which rule matches.
const METADATA: &str = "envoy.filters.http.rbac";

/// Somebody who is asked at a port, and the cluster that leads there.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Authority {
    pub asked: std::sync::Arc<Asked>,
    pub cluster: String,
}

impl Authority {
    /// Returns how the name of a rule begins.
    pub fn stem(&self) -> String {
        format!("{RULES}{}-", self.asked.provider)
    }

    /// Tells whether it is the one that a policy asks.
    pub fn is_of(&self, action: &WaypointAction) -> bool {
        matches!(action, WaypointAction::Ask(Some(of)) if of.provider == self.asked.provider)
    }

    /// Returns the filters that ask about what rules match. Each provider has a key of its own for what matches.
    pub fn filters(&self, rules: Rules) -> [TypedExtensionConfig; 2] {
        let prefix = format!("istio_ext_authz_{}_", self.asked.provider);
        let tells =
            Rbac { shadow_rules: Some(rules), shadow_rules_stat_prefix: prefix.clone(), ..Rbac::default() };
        let asks = self.ext_authz(&format!("{prefix}shadow_effective_policy_id"));
        [slot::filter(METADATA, &tells), slot::filter("envoy.filters.http.ext_authz", &asks)]
    }

    fn ext_authz(&self, matched: &str) -> ExtAuthz {
        let of = &self.asked.authorizer;
        let timeout = Some(duration(of.timeout.unwrap_or(TIMEOUT)));
        let authority = format!("{}:{}", self.asked.hostname(), self.asked.port);
        let (services, headers) = match &of.protocol {
            AuthorizerProtocol::Grpc => {
                let target = grpc_service::EnvoyGrpc { cluster_name: self.cluster.clone(), authority };
                let service = GrpcService {
                    timeout,
                    target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)),
                    ..GrpcService::default()
                };
                (Services::GrpcService(service), None)
            }
            AuthorizerProtocol::Http(http) => {
                let uri = HttpUri {
                    uri: format!("http://{authority}"),
                    timeout,
                    http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(self.cluster.clone())),
                };
                (Services::HttpService(by_http(http, uri)), texts(&http.headers))
            }
        };
        // A body of no bytes is no body to Envoy.
        let body = of.body.filter(|body| body.max_bytes > 0);
        let segment = metadata_matcher::path_segment::Segment::Key(matched.to_owned());
        ExtAuthz {
            services: Some(services),
            failure_mode_allow: of.fail_open,
            with_request_body: body.map(|body| BufferSettings {
                max_request_bytes: body.max_bytes,
                allow_partial_message: body.allow_partial,
                pack_as_bytes: body.as_bytes,
            }),
            clear_route_cache: of.clear_route_cache,
            status_on_error: of.status_on_error.map(|code| HttpStatus { code: code.into() }),
            transport_api_version: ApiVersion::V3.into(),
            filter_enabled_metadata: Some(MetadataMatcher {
                filter: METADATA.to_owned(),
                path: vec![metadata_matcher::PathSegment { segment: Some(segment) }],
                value: Some(ValueMatcher {
                    match_pattern: Some(MatchPattern::StringMatch(prefix(&self.stem()))),
                }),
            }),
            allowed_headers: headers,
            decoder_header_mutation_rules: Some(changes_of_others()),
        }
    }
}

fn by_http(of: &HttpAuthorizer, uri: HttpUri) -> HttpService {
    let more = of.more_headers.iter();
    HttpService {
        server_uri: Some(uri),
        path_prefix: of.path_prefix.to_string(),
        authorization_request: Some(AuthorizationRequest {
            headers_to_add: more
                .map(|(key, value)| HeaderValue { key: key.to_string(), value: value.to_string() })
                .collect(),
        }),
        authorization_response: Some(AuthorizationResponse {
            allowed_upstream_headers: texts(&of.to_upstream),
            allowed_client_headers: texts(&of.on_deny),
            allowed_client_headers_on_success: texts(&of.on_allow),
        }),
    }
}

/// Returns what matches any of these names of headers, in any case: `x*` begins one, and `*x` ends one.
fn texts(all: &[Str]) -> Option<ListStringMatcher> {
    let in_any_case = |matcher: StringMatcher| StringMatcher { ignore_case: true, ..matcher };
    let one = |text: &Str| match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(""), _) => like(".*"),
        (_, Some(beginning)) => in_any_case(prefix(beginning)),
        (Some(end), None) => in_any_case(suffix(end)),
        (None, None) => in_any_case(exact(text)),
    };
    let patterns: Vec<StringMatcher> = all.iter().filter(|text| !text.is_empty()).map(one).collect();
    (!patterns.is_empty()).then_some(ListStringMatcher { patterns })
}
