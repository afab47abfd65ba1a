//! `filters` of rules and backends, and the backends, since the one has the other.

use super::fault::{Faults, Lowered};
use super::number::{Bounded, Port};
use super::reference::object_reference;
use super::route_match::header_name;
use super::text::{Text, or_empty, shared_list};
use crate::facts::{
    BackendReference, Cors, Filter, HeaderChanges, Mirror, PathChange, Redirect, Rewrite, RouteProtocol,
};
use crate::{Str, shared};
use serde::Deserialize;

/// An entry of `backendRefs`.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct BackendManifest<'a> {
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    port: Option<Port>,
    weight: Option<Weight>,
    #[serde(borrow)]
    filters: Option<Vec<FilterManifest<'a>>>,
}

/// A share of the traffic, up to what the API allows.
type Weight = Bounded<1_000_000, false>;

/// An entry of `filters`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct FilterManifest<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    request_header_modifier: Option<Headers<'a>>,
    #[serde(borrow)]
    response_header_modifier: Option<Headers<'a>>,
    #[serde(borrow)]
    request_redirect: Option<RedirectManifest<'a>>,
    #[serde(borrow)]
    url_rewrite: Option<RewriteManifest<'a>>,
    #[serde(borrow)]
    request_mirror: Option<MirrorManifest<'a>>,
    #[serde(borrow)]
    cors: Option<CorsManifest<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct Headers<'a> {
    #[serde(borrow)]
    set: Option<Vec<Header<'a>>>,
    #[serde(borrow)]
    add: Option<Vec<Header<'a>>>,
    #[serde(borrow)]
    remove: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Header<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct RedirectManifest<'a> {
    #[serde(borrow)]
    scheme: Option<Text<'a>>,
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    #[serde(borrow)]
    path: Option<PathManifest<'a>>,
    port: Option<Port>,
    status_code: Option<Bounded<999, false>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct RewriteManifest<'a> {
    #[serde(borrow)]
    hostname: Option<Text<'a>>,
    #[serde(borrow)]
    path: Option<PathManifest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct PathManifest<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    replace_full_path: Option<Text<'a>>,
    #[serde(borrow)]
    replace_prefix_match: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct MirrorManifest<'a> {
    #[serde(borrow)]
    backend_ref: Option<BackendManifest<'a>>,
    percent: Option<Bounded<100, false>>,
    fraction: Option<Fraction>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Fraction {
    numerator: Option<Bounded<{ i32::MAX as u32 }, false>>,
    denominator: Option<Bounded<{ i32::MAX as u32 }, false>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct CorsManifest<'a> {
    #[serde(borrow)]
    allow_origins: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    allow_methods: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    allow_headers: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    expose_headers: Option<Vec<Text<'a>>>,
    allow_credentials: Option<bool>,
    max_age: Option<Bounded<{ i32::MAX as u32 }, false>>,
}

impl FilterManifest<'_> {
    /// Tells whether it can be done for one of several backends, and not only for all requests of a rule.
    fn is_for_backends(&self) -> bool {
        !matches!(or_empty(&self.kind), "RequestRedirect" | "RequestMirror" | "CORS")
    }

    /// Lowers the filter that stands at the field `at`.
    ///
    /// # Errors
    /// The field that is not valid, and why.
    fn lower(self, protocol: RouteProtocol, at: &str, faults: &mut Faults) -> Lowered<Filter> {
        let kind = or_empty(&self.kind);
        let is_http = protocol == RouteProtocol::Http;
        match kind {
            "RequestHeaderModifier" => Ok(Filter::RequestHeaders(
                required(self.request_header_modifier, "requestHeaderModifier")?.lower()?,
            )),
            "ResponseHeaderModifier" => Ok(Filter::ResponseHeaders(
                required(self.response_header_modifier, "responseHeaderModifier")?.lower()?,
            )),
            "RequestMirror" => {
                let mirror = required(self.request_mirror, "requestMirror")?;
                Ok(Filter::Mirror(mirror.lower(protocol, at, faults)?))
            }
            "RequestRedirect" if is_http => {
                Ok(Filter::Redirect(required(self.request_redirect, "requestRedirect")?.lower()?))
            }
            "URLRewrite" if is_http => {
                Ok(Filter::Rewrite(required(self.url_rewrite, "urlRewrite")?.lower()?))
            }
            "CORS" if is_http => Ok(Filter::Cors(required(self.cors, "cors")?.lower())),
            _ => Err(("type".to_owned(), format!("unsupported filter type {kind:?}"))),
        }
    }
}

/// Returns the part of a filter that its type asks for.
fn required<T>(part: Option<T>, field: &str) -> Lowered<T> {
    part.ok_or_else(|| (field.to_owned(), "missing".to_owned()))
}

impl Headers<'_> {
    fn lower(self) -> Lowered<HeaderChanges> {
        let pairs = |list: Option<Vec<Header<'_>>>, field: &str| -> Lowered<Vec<(Str, Str)>> {
            let mut pairs: Vec<(Str, Str)> = Vec::new();
            for (i, header) in list.unwrap_or_default().iter().enumerate() {
                let name = changed_header(or_empty(&header.name), &format!("{field}[{i}].name"))?;
                let value = header_value(or_empty(&header.value), &format!("{field}[{i}].value"))?;
                if !pairs.iter().any(|(other, _)| *other == name) {
                    pairs.push((name, value));
                }
            }
            Ok(pairs)
        };
        let removed = self.remove.unwrap_or_default().into_iter().enumerate();
        Ok(HeaderChanges {
            set: pairs(self.set, "set")?,
            add: pairs(self.add, "add")?,
            remove: removed
                .map(|(i, header)| changed_header(header.as_str(), &format!("remove[{i}]")))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Returns a value that a header may have.
pub(super) fn header_value(text: &str, field: &str) -> Lowered<Str> {
    if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err((field.to_owned(), format!("value {text:?} has control characters")));
    }
    Ok(shared(text))
}

/// Returns the name of a header that may be changed: `Host` and what begins with a colon are none.
pub(super) fn changed_header(text: &str, field: &str) -> Lowered<Str> {
    let name = header_name(text).filter(|name| name != "host");
    name.ok_or_else(|| (field.to_owned(), format!("{text:?} is no header that can be changed")))
}

/// Returns the code of a redirect.
pub(super) fn redirect_code(code: u32) -> Result<u16, String> {
    let known = [301, 302, 303, 307, 308].into_iter().find(|known| u32::from(*known) == code);
    known.ok_or_else(|| format!("{code} is no code of a redirect"))
}

/// Returns a path that replaces another.
pub(super) fn new_path(text: &str, field: &str) -> Lowered<Str> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err((field.to_owned(), format!("path {text:?} has characters that no path has")));
    }
    Ok(shared(text))
}

impl RedirectManifest<'_> {
    fn lower(self) -> Lowered<Redirect> {
        let code = self.status_code.map_or(302, Bounded::get);
        let code = redirect_code(code).map_err(|why| ("requestRedirect.statusCode".to_owned(), why))?;
        let scheme = self.scheme.as_ref().map(Text::shared);
        if let Some(scheme) = scheme.as_ref().filter(|scheme| !matches!(scheme.as_str(), "http" | "https")) {
            let message = format!("scheme {scheme:?} is neither http nor https");
            return Err(("requestRedirect.scheme".to_owned(), message));
        }
        Ok(Redirect {
            scheme,
            hostname: self.hostname.as_ref().map(Text::shared),
            path: self.path.as_ref().map(|path| path.lower("requestRedirect.path")).transpose()?,
            port: self.port.map(Port::port),
            keeps_port: false,
            code,
        })
    }
}

impl RewriteManifest<'_> {
    fn lower(self) -> Lowered<Rewrite> {
        Ok(Rewrite {
            hostname: self.hostname.as_ref().map(Text::shared),
            path: self.path.as_ref().map(|path| path.lower("urlRewrite.path")).transpose()?,
        })
    }
}

impl PathManifest<'_> {
    /// Lowers the change that stands at the field `at` of a filter.
    fn lower(&self, at: &str) -> Lowered<PathChange> {
        let value = |text: &Option<Text<'_>>, field: &str| -> Lowered<Str> {
            new_path(or_empty(text), &format!("{at}.{field}"))
        };
        match or_empty(&self.kind) {
            "ReplaceFullPath" => Ok(PathChange::Full(value(&self.replace_full_path, "replaceFullPath")?)),
            "ReplacePrefixMatch" => {
                let prefix = value(&self.replace_prefix_match, "replacePrefixMatch")?;
                let trimmed = prefix.strip_suffix('/').unwrap_or(&prefix);
                Ok(PathChange::Prefix(if trimmed.is_empty() { shared("/") } else { shared(trimmed) }))
            }
            other => Err((format!("{at}.type"), format!("{other:?} is no change of a path"))),
        }
    }
}

impl MirrorManifest<'_> {
    fn lower(self, protocol: RouteProtocol, at: &str, faults: &mut Faults) -> Lowered<Mirror> {
        let backend = required(self.backend_ref, "requestMirror.backendRef")?;
        let backend = backend.lower(&format!("{at}.requestMirror.backendRef"), protocol, faults);
        let (share, of) = match (self.percent, self.fraction) {
            (Some(_), Some(_)) => {
                return Err(("requestMirror".to_owned(), "has both percent and fraction".to_owned()));
            }
            (Some(percent), None) => (percent.get(), 100),
            (None, Some(of)) => {
                let denominator = of.denominator.map_or(100, Bounded::get);
                (of.numerator.map_or(0, Bounded::get), denominator)
            }
            (None, None) => (1, 1),
        };
        if of == 0 || share > of {
            let message = format!("{share} of {of} is no share");
            return Err(("requestMirror.fraction".to_owned(), message));
        }
        Ok(Mirror { backend, share, of })
    }
}

impl CorsManifest<'_> {
    fn lower(self) -> Cors {
        Cors {
            origins: shared_list(self.allow_origins),
            methods: shared_list(self.allow_methods),
            headers: shared_list(self.allow_headers),
            expose: shared_list(self.expose_headers),
            credentials: self.allow_credentials.unwrap_or(false),
            max_age: self.max_age.map_or(5, Bounded::get),
            // Who is not allowed to call gets nothing of the backend to see.
            stops_unmatched: true,
            ..Cors::default()
        }
    }
}

/// What has filters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FiltersOf {
    Rule,
    Backend,
}

/// Lowers the filters of what stands at the field `at`; those that are not valid are left out.
pub(super) fn lower_filters(
    filters: Option<Vec<FilterManifest<'_>>>,
    of: FiltersOf,
    at: &str,
    protocol: RouteProtocol,
    faults: &mut Faults,
) -> Vec<Filter> {
    let all = filters.unwrap_or_default().into_iter().enumerate();
    all.filter_map(|(i, filter)| {
        let at = format!("{at}.filters[{i}]");
        let lowered = if of == FiltersOf::Rule || filter.is_for_backends() {
            filter.lower(protocol, &at, faults)
        } else {
            let kind = or_empty(&filter.kind);
            Err(("type".to_owned(), format!("filter type {kind:?} is for rules, and not for backends")))
        };
        faults.take(&at, lowered)
    })
    .collect()
}

/// Refuses a path that is rewritten for one of several backends, where no proxy does it.
pub(super) fn check_backends(backends: &[BackendReference], at: &str, faults: &mut Faults) {
    let rewrites = |filter: &Filter| matches!(filter, Filter::Rewrite(of) if of.path.is_some());
    for (i, _) in backends.iter().enumerate().filter(|(_, backend)| backend.filters.iter().any(rewrites)) {
        if backends.len() > 1 {
            let message = "a path is rewritten for the only backend of a rule, and not for one of several";
            let refused: Lowered<()> = Err(("filters".to_owned(), message.to_owned()));
            faults.take(&format!("{at}.backendRefs[{i}]"), refused);
        }
    }
}

impl BackendManifest<'_> {
    /// Lowers the reference that stands at the field `at`.
    pub(super) fn lower(self, at: &str, protocol: RouteProtocol, faults: &mut Faults) -> BackendReference {
        BackendReference {
            object: object_reference((&self.group, ""), (&self.kind, "Service"), &self.namespace, &self.name),
            port: self.port.map(Port::port),
            weight: self.weight.map_or(1, Bounded::get),
            subset: Str::default(),
            filters: lower_filters(self.filters, FiltersOf::Backend, at, protocol, faults),
        }
    }
}
