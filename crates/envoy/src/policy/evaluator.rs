//! What an Envoy decides, for tests: the evaluation that rules are written for.

#![allow(clippy::expect_used)]

use proto::envoy::config::core::v3::CidrRange;
use proto::envoy::config::rbac::v3::{Permission, Principal, Rbac, permission, principal, rbac};
use proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use proto::envoy::r#type::matcher::v3::{
    StringMatcher, filter_state_matcher::Matcher, path_matcher, string_matcher::MatchPattern,
};
use regex::bytes::RegexBuilder;
use std::net::{IpAddr, SocketAddr};

use super::rule::{PEER, SOURCE};

/// A request, or a stream: it has what requests have, which nobody looks at.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// From the certificate.
    pub peer: String,
    pub source: IpAddr,
    /// As proxies on the way say.
    pub remote: IpAddr,
    pub destination: SocketAddr,
    pub server_name: String,
    pub method: String,
    pub host: String,
    /// Normalised, with its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// Returns the values of a header: Envoy matches each alone.
    fn values(&self, name: &str) -> Vec<&str> {
        match name {
            ":method" => vec![self.method.as_str()],
            ":authority" => vec![self.host.as_str()],
            ":path" => vec![self.path.as_str()],
            name => {
                self.headers.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect()
            }
        }
    }

    pub fn plain_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// Tells whether rules let a request pass.
pub(super) fn passes(rules: Option<&Rbac>, request: &Request) -> bool {
    let Some(rules) = rules else { return true };
    let matches = rules.policies.values().any(|policy| {
        assert!(!policy.permissions.is_empty() && !policy.principals.is_empty(), "Envoy refuses {policy:?}");
        policy.permissions.iter().any(|of| is_called(of, request))
            && policy.principals.iter().any(|of| calls(of, request))
    });
    matches == (rules.action() == rbac::Action::Allow)
}

fn is_called(of: &Permission, request: &Request) -> bool {
    use permission::Rule;
    match of.rule.as_ref().expect("a rule") {
        Rule::AndRules(set) => some(&set.rules).iter().all(|of| is_called(of, request)),
        Rule::OrRules(set) => some(&set.rules).iter().any(|of| is_called(of, request)),
        Rule::Any(any) => *any,
        Rule::Header(of) => has_header(of, request),
        Rule::UrlPath(of) => {
            let Some(path_matcher::Rule::Path(of)) = &of.rule else { panic!("no path") };
            is_like(of, request.plain_path())
        }
        Rule::DestinationIp(of) => contains(of, request.destination.ip()),
        Rule::DestinationPort(port) => *port == u32::from(request.destination.port()),
        Rule::NotRule(of) => !is_called(of, request),
        Rule::RequestedServerName(of) => is_like(of, &request.server_name),
    }
}

fn calls(of: &Principal, request: &Request) -> bool {
    use principal::Identifier;
    match of.identifier.as_ref().expect("an identifier") {
        Identifier::AndIds(set) => some(&set.ids).iter().all(|of| calls(of, request)),
        Identifier::OrIds(set) => some(&set.ids).iter().any(|of| calls(of, request)),
        Identifier::Any(any) => *any,
        Identifier::RemoteIp(of) => contains(of, request.remote),
        Identifier::Header(of) => has_header(of, request),
        Identifier::FilterState(of) => match (of.key.as_str(), &of.matcher) {
            (PEER, Some(Matcher::StringMatch(of))) => is_like(of, &request.peer),
            (SOURCE, Some(Matcher::AddressMatch(of))) => {
                of.ranges.iter().any(|of| contains(of, request.source))
            }
            other => panic!("no such filter state: {other:?}"),
        },
        Identifier::NotId(of) => !calls(of, request),
    }
}

fn some<T>(set: &[T]) -> &[T] {
    assert!(!set.is_empty(), "Envoy refuses an empty set");
    set
}

fn has_header(of: &HeaderMatcher, request: &Request) -> bool {
    let values = request.values(&of.name);
    match of.header_match_specifier.as_ref().expect("a matcher") {
        HeaderMatchSpecifier::PresentMatch(present) => values.is_empty() != *present,
        HeaderMatchSpecifier::StringMatch(of) => values.iter().any(|value| is_like(of, value)),
    }
}

fn is_like(of: &StringMatcher, text: &str) -> bool {
    let fold = |text: &str| if of.ignore_case { text.to_lowercase() } else { text.to_owned() };
    let text = fold(text);
    match of.match_pattern.as_ref().expect("a pattern") {
        MatchPattern::Exact(of) => text == fold(of),
        MatchPattern::Prefix(of) => !of.is_empty() && text.starts_with(&fold(of)),
        MatchPattern::Suffix(of) => !of.is_empty() && text.ends_with(&fold(of)),
        MatchPattern::SafeRegex(of) => {
            // RE2 calls a byte `\C`.
            let pattern = format!("^(?:{})$", of.regex.replace("\\C", "(?s-u:.)"));
            let regex = RegexBuilder::new(&pattern).unicode(false).build().expect("an expression");
            regex.is_match(text.as_bytes())
        }
    }
}

fn contains(range: &CidrRange, ip: IpAddr) -> bool {
    let base: IpAddr = range.address_prefix.parse().expect("an address");
    let length = range.prefix_len.expect("a length");
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => format!("4{:032b}", u32::from(ip)),
        IpAddr::V6(ip) => format!("6{:0128b}", u128::from(ip)),
    };
    let length = 1 + usize::try_from(length).expect("a length");
    bits(ip).starts_with(&bits(base)[..length])
}
