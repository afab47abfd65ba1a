//! `matches` of routes.

use super::expression;
use super::fault::Lowered;
use super::text::{Text, or_empty};
use crate::facts::{PathMatch, RequestMatch, ValueMatch};
use crate::{Str, shared};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An entry of `matches` of one kind of route.
pub(super) trait Matches {
    /// Lowers it.
    ///
    /// # Errors
    /// The field that is not valid, and why.
    fn lower(self) -> Lowered<RequestMatch>;
}

/// An entry of `matches` of an HTTPRoute.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct HttpMatch<'a> {
    #[serde(borrow)]
    path: Option<Typed<'a>>,
    #[serde(borrow)]
    headers: Option<Vec<Typed<'a>>>,
    #[serde(borrow)]
    query_params: Option<Vec<Typed<'a>>>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
}

/// An entry of `matches` of a GRPCRoute.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct GrpcMatch<'a> {
    #[serde(borrow)]
    method: Option<GrpcMethod<'a>>,
    #[serde(borrow)]
    headers: Option<Vec<Typed<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GrpcMethod<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    service: Option<Text<'a>>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
}

/// Rules of streams have no `matches`; whatever stands there is nothing that the API has.
pub(super) type StreamMatch = IgnoredAny;

/// A value with a type of match and, unless it is the path, a name.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

impl Matches for HttpMatch<'_> {
    fn lower(self) -> Lowered<RequestMatch> {
        let method = method(or_empty(&self.method)).map_err(|message| ("method".to_owned(), message))?;
        Ok(RequestMatch {
            path: self.path.as_ref().map(path).transpose().map_err(|m| ("path.value".to_owned(), m))?,
            headers: headers(self.headers.as_deref())?,
            query: values(self.query_params.as_deref(), "queryParams", |name| {
                (!name.is_empty()).then(|| shared(name))
            })?,
            method,
            ..RequestMatch::default()
        })
    }
}

impl Matches for GrpcMatch<'_> {
    fn lower(self) -> Lowered<RequestMatch> {
        let path = self.method.as_ref().map(GrpcMethod::path).transpose();
        Ok(RequestMatch {
            path: path.map_err(|message| ("method".to_owned(), message))?.flatten(),
            headers: headers(self.headers.as_deref())?,
            ..RequestMatch::default()
        })
    }
}

impl Matches for StreamMatch {
    fn lower(self) -> Lowered<RequestMatch> {
        Ok(RequestMatch::default())
    }
}

impl GrpcMethod<'_> {
    /// Returns the path that calls of the method have on the wire.
    fn path(&self) -> Result<Option<PathMatch>, String> {
        let (service, method) = (or_empty(&self.service), or_empty(&self.method));
        match or_empty(&self.kind) {
            "" | "Exact" => {
                for name in [service, method] {
                    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
                        return Err(format!("{name:?} is no name of gRPC"));
                    }
                }
                Ok(match (service, method) {
                    ("", "") => None,
                    (_, "") => Some(PathMatch::Prefix(shared(&format!("/{service}")))),
                    ("", _) => Some(PathMatch::Regex(shared(&format!("/[^/]+/{method}")))),
                    _ => Some(PathMatch::Exact(shared(&format!("/{service}/{method}")))),
                })
            }
            "RegularExpression" => {
                let service = if service.is_empty() { "[^/]+" } else { service };
                let method = if method.is_empty() { ".+" } else { method };
                let path = format!("/{service}/{method}");
                expression::check(&path)?;
                Ok(Some(PathMatch::Regex(shared(&path))))
            }
            other => Err(format!("{other:?} is no type of match")),
        }
    }
}

/// Returns the match of a path; one without a value matches every path.
fn path(of: &Typed<'_>) -> Result<PathMatch, String> {
    let value = of.value.as_ref().map_or("/", Text::as_str);
    match or_empty(&of.kind) {
        "" | "PathPrefix" => {
            check_path(value)?;
            let trimmed = value.strip_suffix('/').filter(|rest| !rest.is_empty());
            Ok(PathMatch::Prefix(shared(trimmed.unwrap_or(value))))
        }
        "Exact" => {
            check_path(value)?;
            Ok(PathMatch::Exact(shared(value)))
        }
        "RegularExpression" => {
            expression::check(value)?;
            Ok(PathMatch::Regex(shared(value)))
        }
        other => Err(format!("{other:?} is no type of match")),
    }
}

/// Refuses paths that no normal request has: what compares with them would never match, or match what
/// the author did not mean.
fn check_path(path: &str) -> Result<(), String> {
    let lower = path.to_ascii_lowercase();
    let has = |part: &&&str| lower.contains(**part);
    if !path.starts_with('/') {
        return Err(format!("path {path:?} does not begin with a slash"));
    }
    if let Some(part) = ["//", "/./", "/../", "%2f", "#"].iter().find(has) {
        return Err(format!("path {path:?} has {part:?} in it"));
    }
    if let Some(end) = ["/..", "/."].iter().find(|end| path.ends_with(**end)) {
        return Err(format!("path {path:?} ends in {end:?}"));
    }
    if path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("path {path:?} has characters that no path has"));
    }
    Ok(())
}

/// Returns a method of HTTP, or nothing for an empty text.
pub(super) fn method(text: &str) -> Result<Str, String> {
    let is_method = text.bytes().all(is_token);
    if is_method { Ok(shared(text)) } else { Err(format!("{text:?} is no method of HTTP")) }
}

fn headers(list: Option<&[Typed<'_>]>) -> Lowered<Vec<ValueMatch>> {
    values(list, "headers", header_name)
}

/// Returns a name of headers in lower case; `None` for what can be none.
pub(super) fn header_name(name: &str) -> Option<Str> {
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    is_name.then(|| shared(&name.to_ascii_lowercase()))
}

/// Tells whether a byte may be in a token of HTTP (RFC 9110, 5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Returns the matches of values by their names; of equal names the first counts.
fn values(
    list: Option<&[Typed<'_>]>,
    field: &str,
    name_of: impl Fn(&str) -> Option<Str>,
) -> Lowered<Vec<ValueMatch>> {
    let mut all: Vec<ValueMatch> = Vec::new();
    for (i, one) in list.unwrap_or_default().iter().enumerate() {
        let at = |part: &str| format!("{field}[{i}].{part}");
        let is_regex = match or_empty(&one.kind) {
            "" | "Exact" => false,
            "RegularExpression" => true,
            other => return Err((at("type"), format!("{other:?} is no type of match"))),
        };
        if is_regex {
            expression::check(or_empty(&one.value)).map_err(|why| (at("value"), why))?;
        }
        let written = or_empty(&one.name);
        let name = name_of(written).ok_or_else(|| (at("name"), format!("{written:?} cannot be a name")))?;
        if !all.iter().any(|other| other.name == name) {
            all.push(ValueMatch { name, value: shared(or_empty(&one.value)), is_regex, is_negated: false });
        }
    }
    Ok(all)
}
