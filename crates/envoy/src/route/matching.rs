//! What rules match.

use model::facts::{PathMatch, RequestMatch, ValueMatch};
use proto::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher, route_match,
};
use proto::envoy::r#type::matcher::v3::StringMatcher;

use crate::matcher::{exact, like, regex};

/// The expression of any value.
const ANY: &str = ".*";

/// Returns the match of a rule.
pub(super) fn encode(of: &RequestMatch) -> RouteMatch {
    let path = match &of.path {
        Some(PathMatch::Exact(path)) => route_match::PathSpecifier::Path(path.to_string()),
        Some(PathMatch::Prefix(path)) if path != "/" => {
            route_match::PathSpecifier::PathSeparatedPrefix(path.to_string())
        }
        Some(PathMatch::StartsWith(path)) => route_match::PathSpecifier::Prefix(path.to_string()),
        Some(PathMatch::Regex(path)) => route_match::PathSpecifier::SafeRegex(regex(path)),
        Some(PathMatch::Prefix(_)) | None => route_match::PathSpecifier::Prefix("/".to_owned()),
    };
    let method = (!of.method.is_empty()).then(|| exactly(":method", &of.method));
    let has_case = matches!(of.path, None | Some(PathMatch::Regex(_))) || !of.ignores_case;
    RouteMatch {
        path_specifier: Some(path),
        case_sensitive: (!has_case).then_some(false),
        headers: method.into_iter().chain(of.headers.iter().map(value_of_header)).collect(),
        query_parameters: of.query.iter().map(parameter).collect(),
    }
}

/// Returns the match of a header with this value.
pub(super) fn exactly(name: &str, value: &str) -> HeaderMatcher {
    header(name, HeaderMatchSpecifier::StringMatch(exact(value)))
}

fn header(name: &str, specifier: HeaderMatchSpecifier) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

fn value_of_header(of: &ValueMatch) -> HeaderMatcher {
    if !of.is_negated {
        return header(&of.name, HeaderMatchSpecifier::StringMatch(value(of)));
    }
    // Any value: what has none, not even an empty one.
    if of.is_regex && of.value == ANY {
        return header(&of.name, HeaderMatchSpecifier::PresentMatch(false));
    }
    HeaderMatcher {
        invert_match: true,
        // A header that is not there would match nothing, and its opposite neither.
        treat_missing_header_as_empty: true,
        ..header(&of.name, HeaderMatchSpecifier::StringMatch(value(of)))
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
