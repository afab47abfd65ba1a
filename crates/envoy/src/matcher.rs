//! What matches texts.

use proto::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

fn matcher(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// Returns what matches a text.
pub(crate) fn exact(text: &str) -> StringMatcher {
    matcher(MatchPattern::Exact(text.to_owned()))
}

/// Returns what matches the beginning of a text.
pub(crate) fn prefix(text: &str) -> StringMatcher {
    matcher(MatchPattern::Prefix(text.to_owned()))
}

/// Returns what matches the end of a text.
pub(crate) fn suffix(text: &str) -> StringMatcher {
    matcher(MatchPattern::Suffix(text.to_owned()))
}

/// Returns what matches the whole of a text by a regular expression.
pub(crate) fn like(pattern: &str) -> StringMatcher {
    matcher(MatchPattern::SafeRegex(regex(pattern)))
}

/// Returns a regular expression.
pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned() }
}

/// Returns the regular expression of a text.
pub(crate) fn escaped(text: &str) -> String {
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
