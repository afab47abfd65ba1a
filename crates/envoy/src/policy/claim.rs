//! Claims of tokens, as the filter that takes tokens apart leaves them for rules.

use mesh::policy::Pattern;
use proto::envoy::config::rbac::v3::{SourcedMetadata, principal::Identifier};
use proto::envoy::r#type::matcher::v3::{
    ListMatcher, MetadataMatcher, OrMatcher, StringMatcher, ValueMatcher, list_matcher, metadata_matcher,
    value_matcher::MatchPattern,
};

use super::expression::Expression;
use super::text;
use crate::matcher::{exact, like, prefix, suffix};

/// Where claims are: the metadata of this filter, below this key.
pub(super) const METADATA: &str = "envoy.filters.http.jwt_authn";
pub(super) const PAYLOAD: &str = "payload";

/// Returns what matches a claim: a text, or one of a list. What is true or false is matched by its name; a wildcard
/// matches whatever there is where that denies (`is_wide`).
pub(super) fn claim<S: AsRef<str>>(path: &[S], value: &Pattern, is_wide: bool) -> Identifier {
    let mut any = match value {
        Pattern::Any if is_wide => vec![matcher(MatchPattern::PresentMatch(true))],
        Pattern::Any => {
            vec![true, false].into_iter().map(|of| matcher(MatchPattern::BoolMatch(of))).collect()
        }
        Pattern::Exact(text) => match text.parse::<bool>() {
            Ok(flag) => vec![matcher(MatchPattern::BoolMatch(flag))],
            Err(_) => Vec::new(),
        },
        Pattern::Prefix(_) | Pattern::Suffix(_) => Vec::new(),
    };
    let one = matcher(MatchPattern::StringMatch(of_text(value)));
    let list = ListMatcher { match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(one.clone()))) };
    any.extend([one, matcher(MatchPattern::ListMatch(Box::new(list)))]);
    metadata(path, matcher(MatchPattern::OrMatch(OrMatcher { value_matchers: any })))
}

/// Returns what matches the principal of a token, `ISSUER/SUBJECT`: both may have slashes, so each slash may be the one
/// between them.
pub(super) fn principal(value: &Pattern) -> Expression<Identifier> {
    let both =
        |issuer: StringMatcher, subject: StringMatcher| {
            Expression::all([("iss", issuer), ("sub", subject)].map(|(name, of)| {
                Expression::Leaf(metadata(&[name], matcher(MatchPattern::StringMatch(of))))
            }))
        };
    let something = || like(text::SOMETHING);
    let or_any =
        |text: &str, of: fn(&str) -> StringMatcher| if text.is_empty() { something() } else { of(text) };
    match value {
        Pattern::Any => both(something(), something()),
        Pattern::Exact(text) => {
            Expression::one(splits(text).map(|(issuer, subject)| both(exact(issuer), exact(subject))))
        }
        Pattern::Prefix(text) => Expression::one(
            std::iter::once(both(prefix(text), something()))
                .chain(splits(text).map(|(issuer, subject)| both(exact(issuer), or_any(subject, prefix)))),
        ),
        Pattern::Suffix(text) => Expression::one(
            std::iter::once(both(something(), suffix(text)))
                .chain(splits(text).map(|(issuer, subject)| both(or_any(issuer, suffix), exact(subject)))),
        ),
    }
}

/// Returns what may come before and after the slash between an issuer and a subject. Those of a scheme are none.
fn splits(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let begin = text.find("://").map_or(0, |at| at + 3);
    text[begin..].match_indices('/').map(move |(at, _)| (&text[..begin + at], &text[begin + at + 1..]))
}

fn of_text(value: &Pattern) -> StringMatcher {
    match value {
        Pattern::Any => like(text::SOMETHING),
        Pattern::Prefix(text) => prefix(text),
        Pattern::Exact(text) => exact(text),
        Pattern::Suffix(text) => suffix(text),
    }
}

fn matcher(of: MatchPattern) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(of) }
}

fn metadata<S: AsRef<str>>(path: &[S], value: ValueMatcher) -> Identifier {
    let segment = |key: &str| metadata_matcher::PathSegment {
        segment: Some(metadata_matcher::path_segment::Segment::Key(key.to_owned())),
    };
    let path = std::iter::once(PAYLOAD).chain(path.iter().map(AsRef::as_ref)).map(segment);
    let matcher = MetadataMatcher { filter: METADATA.to_owned(), path: path.collect(), value: Some(value) };
    Identifier::SourcedMetadata(SourcedMetadata { metadata_matcher: Some(matcher) })
}
