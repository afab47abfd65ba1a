//! Single values in rules about requests: hosts, methods, paths, headers and names of servers.
//!
//! A value that no request can have, as a waypoint sees it, matches none: it is not understood, as with identities
//! (`docs/adr/0032-values-no-identity-can-have.md`).

use model::facts::PathNormalization;
use model::{Str, did_you_mean};

use super::rule::{PathPattern, Pattern, Segment};
use super::value::{Expected, Unclear};

/// Longest value that is understood, in bytes: longer ones would be programs too large for Envoy.
const MAX_VALUE: usize = 1_024;
/// Longest host with its port, in bytes.
const MAX_HOST: usize = 261;

const HOST: Expected = "a host such as shop.example.org, with or without its port, or a beginning or an end of one \
                        with `*`";
const METHOD: Expected = "a method such as GET, or a beginning or an end of one with `*`";
const PATH: Expected = "a path as requests have it, such as /info, or a beginning or an end of one with `*`, or a template \
                        with `{*}` and `{**}`";
const HEADER: Expected = "a value that a header can have, or a beginning or an end of one with `*`";
const SERVER_NAME: Expected = "a name such as shop.example.org, or a beginning or an end of one with `*`";

const CLAIM: Expected = "a value that a claim can have, or a beginning or an end of one with `*`";
const REQUEST_PRINCIPAL: Expected = "an issuer and a subject such as https://issuer.example.org/alice, or a beginning \
                                     or an end of them with `*`";

/// Methods of HTTP (RFC 9110, RFC 5789), which are compared with their case.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Returns the pattern of a value whose text is of these bytes; no wildcard stands within it.
fn pattern(value: &str, limit: usize, is_part: impl Fn(u8) -> bool) -> Option<Pattern> {
    let of = Pattern::of(value);
    let text = of.text();
    let is_known = of == Pattern::Any || (!text.is_empty() && text.bytes().all(|b| b != b'*' && is_part(b)));
    (is_known && text.len() <= limit).then(|| of.owned())
}

/// Returns the pattern of a host, in lower case.
///
/// # Errors
/// What was expected, if no request can have such a host.
pub(super) fn host(value: &str) -> Result<Pattern, Expected> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    pattern(&value.to_ascii_lowercase(), MAX_HOST, is_part).ok_or(HOST)
}

/// Returns the pattern of the name that a TLS client asks for, in lower case.
///
/// # Errors
/// What was expected, if there can be no such name.
pub(super) fn server_name(value: &str) -> Result<Pattern, Expected> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    pattern(&value.to_ascii_lowercase(), MAX_HOST, is_part).ok_or(SERVER_NAME)
}

/// Returns the pattern of a method.
///
/// # Errors
/// What was expected and likely meant, if no request can have such a method.
pub(super) fn method(value: &str) -> Result<Pattern, Unclear> {
    let upper = value.to_ascii_uppercase();
    if upper != value && METHODS.contains(&upper.as_str()) {
        return Err(Unclear { expected: METHOD, likely: Some(did_you_mean(&upper)) });
    }
    pattern(value, MAX_VALUE, is_token).ok_or_else(|| METHOD.into())
}

/// Tells whether a byte can be in a token (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns the pattern of a path, as Envoy makes it of what a client writes.
///
/// # Errors
/// What was expected, if no request can have such a path.
pub(super) fn path(value: &str, normalization: PathNormalization) -> Result<PathPattern, Expected> {
    if value.len() > MAX_VALUE {
        return Err(PATH);
    }
    if value.contains('{') || value.contains('}') {
        return template(value, normalization).ok_or(PATH);
    }
    let of = pattern(value, MAX_VALUE, is_path_byte).ok_or(PATH)?;
    let (text, is_beginning) = match Pattern::of(value) {
        Pattern::Any => return Ok(PathPattern::Text(of)),
        Pattern::Suffix(text) => return ending(text, normalization).map(|()| PathPattern::Text(of)),
        Pattern::Prefix(text) => (text, true),
        Pattern::Exact(text) => (text, false),
    };
    let can_be = text.starts_with('/') && can_be(text, is_beginning, normalization);
    can_be.then_some(PathPattern::Text(of)).ok_or(PATH)
}

fn ending(text: &str, normalization: PathNormalization) -> Result<(), Expected> {
    // What comes before its first slash is a part of a segment.
    let whole = text.find('/').map_or("", |at| &text[at..]);
    (can_be(whole, false, normalization) && has_no_known_escape(text, normalization))
        .then_some(())
        .ok_or(PATH)
}

/// Tells whether a text is a path, or a beginning of one.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= MAX_VALUE && text.bytes().all(is_path_byte)
}

/// Visible bytes but those that begin a query or a fragment; Envoy makes no others.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"?#\\\"<>".contains(&byte)
}

/// Tells whether a path can have this text once it is normalised; `is_beginning` of a path whose last segment goes on.
fn can_be(text: &str, is_beginning: bool, normalization: PathNormalization) -> bool {
    let mut segments: Vec<&str> = text.split('/').skip(1).collect();
    let last = segments.pop();
    let last = last.filter(|_| !is_beginning);
    let has_dots = segments.iter().copied().chain(last).any(|segment| segment == "." || segment == "..");
    let has_empty = segments.iter().any(|segment| segment.is_empty());
    (normalization == PathNormalization::None || !has_dots)
        && (!normalization.merges_slashes() || !has_empty)
        && has_no_known_escape(text, normalization)
}

/// Tells whether no byte is escaped that Envoy writes without it.
fn has_no_known_escape(text: &str, normalization: PathNormalization) -> bool {
    let is_slash = |byte: u8| byte == b'/' || byte == b'\\';
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.match_indices('%').all(|(at, _)| {
        let Some(byte) = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            return false;
        };
        (normalization == PathNormalization::None || !is_plain(byte))
            && (!normalization.decodes_slashes() || !is_slash(byte))
    })
}

/// Reads a template: segments of text, `{*}`, and `{**}` after which no operator comes.
fn template(value: &str, normalization: PathNormalization) -> Option<PathPattern> {
    let mut segments = Vec::new();
    let mut has_many = false;
    for part in value.strip_prefix('/')?.split('/') {
        segments.push(match part {
            "{*}" if !has_many => Segment::One,
            "{**}" if !has_many => {
                has_many = true;
                Segment::Many
            }
            text if text.bytes().all(|b| is_path_byte(b) && !b"*{}".contains(&b)) => {
                Segment::Literal(Str::from(text))
            }
            _ => return None,
        });
    }
    let literal = |segment: &Segment| match segment {
        Segment::Literal(text) => text.to_string(),
        Segment::One | Segment::Many => "x".to_owned(),
    };
    let plain: Vec<String> = segments.iter().map(literal).collect();
    let has_operator = segments.iter().any(|of| !matches!(of, Segment::Literal(_)));
    let can_be = can_be(&format!("/{}", plain.join("/")), false, normalization);
    (can_be && has_operator).then_some(PathPattern::Template(segments))
}

const HEADERS: [&str; 2] = ["request.headers[", "request.experimental.inline.headers["];

const CLAIMS: &str = "request.auth.claims";

/// Tells whether the key of a condition names a header or a claim.
pub(super) fn has_name(key: &str) -> bool {
    HEADERS.iter().any(|prefix| key.starts_with(prefix)) || key.starts_with(CLAIMS)
}

/// Returns the path of the claim that the key of a condition names; `None` where it names none.
pub(super) fn claim_of(key: &str) -> Option<Vec<Str>> {
    match key {
        "request.auth.audiences" => return Some(vec![Str::from("aud")]),
        "request.auth.presenter" => return Some(vec![Str::from("azp")]),
        _ => {}
    }
    let names = key.strip_prefix(CLAIMS)?.strip_prefix('[')?.strip_suffix(']')?;
    let is_good = |name: &&str| !name.is_empty() && name.len() <= MAX_VALUE && !name.contains(['[', ']']);
    let path: Vec<&str> = names.split("][").collect();
    path.iter().all(is_good).then(|| path.into_iter().map(Str::from).collect())
}

/// Returns the pattern of the value of a claim.
///
/// # Errors
/// What was expected, if no claim can have such a value.
pub(super) fn claim_value(value: &str) -> Result<Pattern, Expected> {
    let of = Pattern::of(value);
    let text = of.text();
    let can_be = of == Pattern::Any || (!text.is_empty() && text.chars().all(|c| !c.is_control()));
    (can_be && text.len() <= MAX_VALUE).then(|| of.owned()).ok_or(CLAIM)
}

/// Returns the pattern of the principal of a token.
///
/// # Errors
/// What was expected, if no token can have such a principal.
pub(super) fn request_principal(value: &str) -> Result<Pattern, Expected> {
    let pattern = claim_value(value).map_err(|_| REQUEST_PRINCIPAL)?;
    let has_both = |text: &str| {
        let name = text.split_once("://").map_or(text, |(_, rest)| rest);
        name.split_once('/').is_some_and(|(issuer, subject)| !issuer.is_empty() && !subject.is_empty())
    };
    match &pattern {
        Pattern::Exact(text) if !has_both(text) => Err(REQUEST_PRINCIPAL),
        _ => Ok(pattern),
    }
}

/// Returns the header that the key of a condition names, in lower case; `None` where no request can have it.
pub(super) fn header_of(key: &str) -> Option<Str> {
    let named = HEADERS.iter().find_map(|prefix| key.strip_prefix(prefix))?;
    let name = named.strip_suffix(']')?;
    let token = match name {
        ":method" | ":path" | ":authority" | ":scheme" => return Some(Str::from(name)),
        // Envoy makes one of both.
        name if name.eq_ignore_ascii_case("host") => return Some(Str::from(":authority")),
        name => name,
    };
    (!token.is_empty() && token.len() <= MAX_VALUE && token.bytes().all(is_token))
        .then(|| Str::from(token.to_ascii_lowercase()))
}

/// Returns the pattern of the value of a header.
///
/// # Errors
/// What was expected, if no header can have such a value.
pub(super) fn header_value(value: &str) -> Result<Pattern, Expected> {
    let of = Pattern::of(value);
    let text = of.text();
    let has_margin = match of {
        Pattern::Any => false,
        Pattern::Exact(text) => text.trim() != text,
        Pattern::Prefix(text) => text.trim_start() != text,
        Pattern::Suffix(text) => text.trim_end() != text,
    };
    let can_be = of == Pattern::Any || (!text.is_empty() && text.chars().all(|c| !c.is_control()));
    (can_be && !has_margin && text.len() <= MAX_VALUE).then(|| of.owned()).ok_or(HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Unchanged};

    #[test]
    fn a_host_is_one_that_a_request_can_have() {
        for (value, expected) in [
            ("*", Pattern::Any),
            ("Shop.Example.org", Pattern::Exact("shop.example.org".into())),
            ("*.example.org", Pattern::Suffix(".example.org".into())),
            ("shop.*", Pattern::Prefix("shop.".into())),
            ("shop:8080", Pattern::Exact("shop:8080".into())),
            ("[::1]:80", Pattern::Exact("[::1]:80".into())),
        ] {
            assert_eq!(host(value), Ok(expected), "{value}");
        }
        for value in ["", "**", "a.*.b", "http://shop", "shop/", "shop ", "a@b", "ä.org"] {
            assert_eq!(host(value), Err(HOST), "{value}");
        }
    }

    #[test]
    fn a_method_has_its_case() {
        assert_eq!(method("GET"), Ok(Pattern::Exact("GET".into())));
        assert_eq!(method("P*"), Ok(Pattern::Prefix("P".into())));
        assert_eq!(method("get").map_err(|of| of.likely), Err(Some("did you mean `GET`?".to_owned())));
        for value in ["", "G ET", "GE*T"] {
            assert!(method(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_path_is_one_that_is_left_once_it_is_normalised() {
        let exact = |text: &str| Ok(PathPattern::Text(Pattern::Exact(text.into())));
        for value in ["/", "/info", "/info/", "/a.b/..c", "/a%20b", "/%C3%A4", "/a;b=c"] {
            assert_eq!(path(value, DecodeAndMergeSlashes), exact(value), "{value}");
        }
        for value in [
            "/a//b", "/a/../b", "/a%2Fb", "/%61", "/..", "/a/.", "info", "", "/a?b", "/a#b", "/a b", "/a*b",
            "/%zz", "/a%",
        ] {
            assert_eq!(path(value, DecodeAndMergeSlashes), Err(PATH), "{value}");
        }
        assert_eq!(path("/a%2Fb", MergeSlashes), exact("/a%2Fb"));
        assert_eq!(path("/a//b", MergeSlashes), Err(PATH));
        assert_eq!(path("/a//b", Base), exact("/a//b"));
        assert_eq!(path("/a/../b", Base), Err(PATH));
        assert_eq!(path("/a/../%61", Unchanged), exact("/a/../%61"));
        let text = |of| Ok(PathPattern::Text(of));
        assert_eq!(path("*", Base), text(Pattern::Any));
        assert_eq!(path("/a/*", Base), text(Pattern::Prefix("/a/".into())));
        assert_eq!(path("/a/.*", Base), text(Pattern::Prefix("/a/.".into())));
        assert_eq!(path("*.png", Base), text(Pattern::Suffix(".png".into())));
        assert_eq!(path("*/../x", Base), Err(PATH));
    }

    #[test]
    fn a_template_has_whole_segments_and_one_open_end() {
        let of = |value| path(value, DecodeAndMergeSlashes);
        let literal = |text: &str| Segment::Literal(text.into());
        assert_eq!(of("/a/{*}/b"), Ok(PathPattern::Template(vec![literal("a"), Segment::One, literal("b")])));
        assert_eq!(of("/a/{**}"), Ok(PathPattern::Template(vec![literal("a"), Segment::Many])));
        assert_eq!(of("/{**}/x"), Ok(PathPattern::Template(vec![Segment::Many, literal("x")])));
        for value in [
            "/{**}/{*}",
            "/{**}/{**}",
            "/a{*}",
            "/{*}.txt",
            "/*/{*}",
            "/{}",
            "/{a}",
            "a/{*}",
            "/{*",
            "/a//{*}",
        ] {
            assert_eq!(of(value), Err(PATH), "{value}");
        }
    }

    #[test]
    fn a_header_is_named_by_a_token() {
        assert_eq!(header_of("request.headers[X-Role]").as_deref(), Some("x-role"));
        assert_eq!(header_of("request.headers[:authority]").as_deref(), Some(":authority"));
        for key in [
            "request.headers[]",
            "request.headers[a b]",
            "request.headers[a",
            "request.headers[:a]",
            "source.ip",
        ] {
            assert_eq!(header_of(key), None, "{key}");
        }
        assert_eq!(header_value("a b"), Ok(Pattern::Exact("a b".into())));
        for value in ["", " a", "a ", "a\nb", "**"] {
            assert_eq!(header_value(value).is_ok(), value == "**", "{value:?}");
        }
    }

    #[test]
    fn a_claim_is_named_by_its_path() {
        let path = |names: &[&str]| Some(names.iter().map(|name| Str::from(*name)).collect::<Vec<_>>());
        assert_eq!(claim_of("request.auth.claims[sub]"), path(&["sub"]));
        assert_eq!(claim_of("request.auth.claims[a][b.c]"), path(&["a", "b.c"]));
        assert_eq!(claim_of("request.auth.audiences"), path(&["aud"]));
        assert_eq!(claim_of("request.auth.presenter"), path(&["azp"]));
        for key in [
            "request.auth.claims",
            "request.auth.claims[]",
            "request.auth.claims[a][",
            "request.auth.claims[a]b]",
        ] {
            assert_eq!(claim_of(key), None, "{key}");
            assert!(has_name(key));
        }
    }

    #[test]
    fn a_principal_of_a_token_has_an_issuer_and_a_subject() {
        for value in ["*", "https://a/*", "*/joe", "https://a/joe", "a/b", "https://a/b/c"] {
            assert!(request_principal(value).is_ok(), "{value}");
        }
        for value in ["", "joe", "https://a", "https:///joe", "a/", "a\nb/c"] {
            assert_eq!(request_principal(value), Err(REQUEST_PRINCIPAL), "{value}");
        }
    }
}
