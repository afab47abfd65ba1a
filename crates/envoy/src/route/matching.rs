//! What rules match.

use model::facts::{PathMatch, RequestMatch, ValueMatch};
use proto::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher, query_parameter_matcher, route_match,
};
use proto::envoy::r#type::matcher::v3::StringMatcher;

use crate::matcher::{escaped, exact, like, regex};

/// Returns the match of a rule.
pub(super) fn encode(of: &RequestMatch) -> RouteMatch {
    let path = match &of.path {
        Some(PathMatch::Exact(path)) if of.ignores_case => {
            route_match::PathSpecifier::SafeRegex(regex(&format!("(?i:{})", escaped(path))))
        }
        Some(PathMatch::StartsWith(path)) if of.ignores_case => {
            route_match::PathSpecifier::SafeRegex(regex(&format!("(?i:{}).*", escaped(path))))
        }
        Some(PathMatch::Exact(path)) => route_match::PathSpecifier::Path(path.to_string()),
        Some(PathMatch::Prefix(path)) if path != "/" => {
            route_match::PathSpecifier::PathSeparatedPrefix(path.to_string())
        }
        Some(PathMatch::StartsWith(path)) => route_match::PathSpecifier::Prefix(path.to_string()),
        Some(PathMatch::Regex(path)) => route_match::PathSpecifier::SafeRegex(regex(path)),
        Some(PathMatch::Prefix(_)) | None => route_match::PathSpecifier::Prefix("/".to_owned()),
    };
    let method = (!of.method.is_empty()).then(|| header(":method", exact(&of.method)));
    RouteMatch {
        path_specifier: Some(path),
        headers: method.into_iter().chain(of.headers.iter().map(|of| header(&of.name, value(of)))).collect(),
        query_parameters: of.query.iter().map(parameter).collect(),
    }
}

fn header(name: &str, matcher: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::StringMatch(matcher)),
    }
}

fn parameter(of: &ValueMatch) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: of.name.to_string(),
        query_parameter_match_specifier: Some(
            query_parameter_matcher::QueryParameterMatchSpecifier::StringMatch(value(of)),
        ),
    }
}

fn value(of: &ValueMatch) -> StringMatcher {
    if of.is_regex { like(&of.value) } else { exact(&of.value) }
}
