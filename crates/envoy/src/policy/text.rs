//! Regular expressions of values in rules. All are whole: Envoy matches them with a whole text.

use mesh::policy::{Account, Pattern, Segment};

use crate::matcher::escaped;

/// What identities begin with.
pub(super) const SCHEME: &str = "spiffe://";
/// Any bytes, be they UTF-8 or not: `.` is a character.
const ANYTHING: &str = r"\C*";
/// At least one byte.
pub(super) const SOMETHING: &str = r"\C+";
/// A part of a path or of an identity.
const PART: &str = "[^/]+";

/// Returns the expression of a pattern, where a wildcard stands for `rest`.
fn pattern(of: &Pattern, whole: &str, rest: &str, literal: impl Fn(&str) -> String) -> String {
    match of {
        Pattern::Any => whole.to_owned(),
        Pattern::Exact(text) => literal(text),
        Pattern::Prefix(text) => format!("{}{rest}", literal(text)),
        Pattern::Suffix(text) => format!("{rest}{}", literal(text)),
    }
}

/// Returns who is in a namespace.
pub(super) fn of_namespace(of: &Pattern) -> String {
    format!("{SCHEME}{PART}/ns/{}/sa/{PART}", pattern(of, PART, "[^/]*", escaped))
}

/// Returns who is a service account.
pub(super) fn of_account(of: &Account) -> String {
    format!("{SCHEME}{PART}/ns/{}/sa/{}", escaped(&of.namespace), escaped(&of.name))
}

/// Returns who is of a trust domain.
pub(super) fn of_trust_domain(of: &Pattern) -> String {
    format!("{SCHEME}{}/{ANYTHING}", pattern(of, PART, "[^/]*", escaped))
}

/// Returns a host in any case, with a dot at its end or without, and with any port unless one is written.
pub(super) fn host(of: &Pattern) -> String {
    let whole = |text: &str| {
        let after_address = text.rfind(']').map_or(0, |at| at + 1);
        let (name, port) = match text[after_address..].rfind(':') {
            Some(at) => text.split_at(after_address + at),
            None => (text, ""),
        };
        let port = if port.is_empty() { "(:[0-9]*)?".to_owned() } else { escaped(port) };
        format!("{}\\.?{port}", escaped(name.trim_end_matches('.')))
    };
    let text = match of {
        Pattern::Any => SOMETHING.to_owned(),
        Pattern::Exact(text) => whole(text),
        Pattern::Prefix(text) => format!("{}{ANYTHING}", escaped(text)),
        Pattern::Suffix(text) => format!("{ANYTHING}{}", whole(text)),
    };
    format!("(?i){text}")
}

/// Tells whether a path has escapes, whose digits may be in any case.
pub(super) fn has_escape(of: &Pattern) -> bool {
    match of {
        Pattern::Any => false,
        Pattern::Exact(text) | Pattern::Prefix(text) | Pattern::Suffix(text) => text.contains('%'),
    }
}

/// Returns a text of a path, its escapes in any case.
fn path_text(text: &str) -> String {
    let mut parts = text.split('%');
    let mut pattern = escaped(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        pattern.push_str(&format!("%(?i:{}){}", escaped(digits), escaped(rest)));
    }
    pattern
}

/// Returns a path that has escapes.
pub(super) fn path(of: &Pattern) -> String {
    pattern(of, SOMETHING, ANYTHING, path_text)
}

/// Returns the paths of a template.
pub(super) fn template(segments: &[Segment]) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Literal(text) => path_text(text),
        Segment::One => PART.to_owned(),
        Segment::Many => ANYTHING.to_owned(),
    };
    segments.iter().map(|of| format!("/{}", segment(of))).collect()
}

/// Returns the values of a header of which one is this, between commas. Of a header that comes several times, Envoy
/// matches each value alone.
pub(super) fn one_of_values(of: &Pattern) -> String {
    let (before, after) = (format!("({ANYTHING},)?[ \\t]*"), format!("[ \\t]*(,{ANYTHING})?"));
    match of {
        Pattern::Any => SOMETHING.to_owned(),
        Pattern::Exact(text) => format!("{before}{}{after}", escaped(text)),
        Pattern::Prefix(text) => format!("{before}{}{ANYTHING}", escaped(text)),
        Pattern::Suffix(text) => format!("{ANYTHING}{}{after}", escaped(text)),
    }
}
