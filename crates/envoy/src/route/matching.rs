//! What rules match.

use model::facts::{PathMatch, RequestMatch, ValueMatch};
use proto::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher, query_parameter_matcher, route_match,
};
use proto::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher};

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

/// Returns what matches a text.
pub(super) fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(text.to_owned())),
        ..StringMatcher::default()
    }
}

/// Returns what matches the whole of a text by a regular expression.
pub(super) fn like(pattern: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::SafeRegex(regex(pattern))),
        ..StringMatcher::default()
    }
}

/// Returns a regular expression.
pub(super) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned() }
}

/// Returns the regular expression of a text.
pub(super) fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_meaning_in_an_expression() {
        assert_eq!(escaped("/a.b+c"), "\\/a\\.b\\+c");
        assert_eq!(escaped("plain"), "plain");
    }
}
