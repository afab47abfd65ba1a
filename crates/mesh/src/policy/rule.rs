//! The rules of policies as they are read, whoever enforces them.
//!
//! ```text
//! facts ── reader ──▶ Rule ─┬─ wire ──▶ authorizations of ztunnels
//!                           └─────────▶ RBAC of waypoints (crate `envoy`)
//! ```
//!
//! What was not understood is resolved here already, so that both sides fail closed alike: an entry of an ALLOW policy
//! never matches, a list of a DENY policy is no condition any more (`docs/adr/0003-fail-closed.md`).

use model::Str;
use std::net::IpAddr;

/// What becomes of traffic that a rule matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// It is allowed, and what no policy allows is not.
    Allow,
    /// It is denied.
    Deny,
}

/// A rule: every part must hold. Without parts it matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// Alternatives each, never none: of `to`, of `from`, and one for each `when`. A part that always holds is left
    /// out.
    pub parts: Vec<Vec<Entry>>,
}

/// An alternative of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It matches nothing.
    Never,
    /// All of these hold; never none.
    All(Vec<Test>),
}

/// A condition on one attribute of traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    /// `ipBlocks`, `source.ip`: the address of whoever opened the connection.
    SourceIp(Lists<Network>),
    /// `remoteIpBlocks`, `remote.ip`: the address that proxies on the way say a request comes from.
    RemoteIp(Lists<Network>),
    /// `destination.ip`.
    DestinationIp(Lists<Network>),
    /// `ports`, `destination.port`.
    DestinationPort(Lists<u16>),
    /// `principals`, `source.principal`: `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    Principal(Lists<Pattern>),
    /// `namespaces`, `source.namespace`.
    Namespace(Lists<Pattern>),
    /// `serviceAccounts`, `source.serviceAccount`.
    ServiceAccount(Lists<Account>),
    /// `trustDomains`, `source.trustDomain`.
    TrustDomain(Lists<Pattern>),
    /// `hosts`, in any case; with a port only where one is written.
    Host(Lists<Pattern>),
    /// `methods`.
    Method(Lists<Pattern>),
    /// `paths`: without query.
    Path(Lists<PathPattern>),
    /// `request.headers[NAME]`, the name in lower case.
    Header(Str, Lists<Pattern>),
    /// `connection.sni`, in any case.
    ServerName(Lists<Pattern>),
    /// `requestPrincipals`, `request.auth.principal`: `ISSUER/SUBJECT` of the token of a request.
    RequestPrincipal(Lists<Pattern>),
    /// `request.auth.claims[NAME]` and others of its kind: a claim of the token of a request, by its path; a text, or one
    /// of a list.
    Claim(Vec<Str>, Lists<Pattern>),
}

impl Test {
    /// Tells whether it is about requests, and so about nothing that a stream of bytes has.
    pub fn is_of_requests(&self) -> bool {
        matches!(
            self,
            Self::Host(_)
                | Self::Method(_)
                | Self::Path(_)
                | Self::Header(..)
                | Self::RequestPrincipal(_)
                | Self::Claim(..)
        )
    }
}

/// Values of an attribute of which one must match, if there are any; and values of which none may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lists<T> {
    /// Such as `ports`.
    pub any: Vec<T>,
    /// Such as `notPorts`.
    pub none: Vec<T>,
}

/// What a value with a wildcard, or without, asks of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern<T = Str> {
    /// `*`: that there is one.
    Any,
    /// `*text`.
    Suffix(T),
    /// `text*`.
    Prefix(T),
    /// `text`.
    Exact(T),
}

impl<'a> Pattern<&'a str> {
    /// Reads `*` as presence, a leading `*` as a suffix, else a trailing `*` as a prefix, else the text.
    pub(super) fn of(value: &'a str) -> Self {
        if value == "*" {
            Self::Any
        } else if let Some(suffix) = value.strip_prefix('*') {
            Self::Suffix(suffix)
        } else if let Some(prefix) = value.strip_suffix('*') {
            Self::Prefix(prefix)
        } else {
            Self::Exact(value)
        }
    }

    /// Returns the text, without the wildcard.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Any => "",
            Self::Suffix(text) | Self::Prefix(text) | Self::Exact(text) => text,
        }
    }

    pub(super) fn owned(self) -> Pattern {
        match self {
            Self::Any => Pattern::Any,
            Self::Suffix(text) => Pattern::Suffix(Str::from(text)),
            Self::Prefix(text) => Pattern::Prefix(Str::from(text)),
            Self::Exact(text) => Pattern::Exact(Str::from(text)),
        }
    }
}

/// What a value asks of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathPattern {
    /// As of any text.
    Text(Pattern),
    /// Segments that follow a `/` each.
    Template(Vec<Segment>),
}

/// A segment of a template of paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// This text.
    Literal(Str),
    /// `{*}`: one segment that is not empty.
    One,
    /// `{**}`: whatever follows, be it nothing or many segments.
    Many,
}

/// An address, or a range of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// As written: it may have bits beyond its length.
    pub address: IpAddr,
    /// In bits.
    pub length: u8,
}

/// A service account, whatever its trust domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its namespace.
    pub namespace: Str,
    /// Its name.
    pub name: Str,
}
