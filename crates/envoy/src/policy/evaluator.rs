//! What an Envoy decides, for tests: the evaluation that rules are written for.

#![allow(clippy::expect_used)]

use proto::envoy::config::core::v3::CidrRange;
use proto::envoy::config::rbac::v3::{Permission, Principal, Rbac, permission, principal, rbac};
use proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use proto::envoy::r#type::matcher::v3::{
    StringMatcher, ValueMatcher, filter_state_matcher::Matcher, list_matcher, metadata_matcher::path_segment,
    path_matcher, string_matcher::MatchPattern, value_matcher::MatchPattern as ValuePattern,
};
use regex::bytes::RegexBuilder;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::claim::{METADATA, PAYLOAD};
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
    /// Of its token; none where it has none.
    pub claims: BTreeMap<&'static str, Claim>,
}

/// The value of a claim.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Claim {
    Text(&'static str),
    List(Vec<&'static str>),
    Flag(bool),
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
        Identifier::SourcedMetadata(of) => {
            let of = of.metadata_matcher.as_ref().expect("a matcher");
            assert_eq!(of.filter, METADATA, "no such metadata");
            let mut path = of.path.iter().map(|segment| match &segment.segment {
                Some(path_segment::Segment::Key(key)) => key.as_str(),
                None => panic!("no segment"),
            });
            assert_eq!(path.next(), Some(PAYLOAD));
            let claim = path.next().and_then(|name| request.claims.get(name));
            assert_eq!(path.next(), None, "no claims within claims here");
            claim.is_some_and(|claim| has_value(of.value.as_ref().expect("a value"), claim))
        }
        Identifier::NotId(of) => !calls(of, request),
    }
}

fn has_value(of: &ValueMatcher, claim: &Claim) -> bool {
    match (of.match_pattern.as_ref().expect("a pattern"), claim) {
        (ValuePattern::PresentMatch(present), _) => *present,
        (ValuePattern::BoolMatch(flag), Claim::Flag(own)) => flag == own,
        (ValuePattern::StringMatch(of), Claim::Text(text)) => is_like(of, text),
        (ValuePattern::ListMatch(of), Claim::List(all)) => {
            let Some(list_matcher::MatchPattern::OneOf(of)) = &of.match_pattern else { panic!("no pattern") };
            all.iter().any(|&one| has_value(of, &Claim::Text(one)))
        }
        (ValuePattern::OrMatch(of), claim) => {
            assert!(of.value_matchers.len() > 1, "Envoy refuses fewer than two");
            of.value_matchers.iter().any(|of| has_value(of, claim))
        }
        _ => false,
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
