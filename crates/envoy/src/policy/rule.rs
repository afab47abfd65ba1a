//! One rule as RBAC: what is called are permissions, who calls are principals.

use mesh::policy::{Entry, Lists, Network, PathPattern, Pattern, Rule, RuleAction, Test};
use proto::envoy::config::core::v3::CidrRange;
use proto::envoy::config::rbac::v3::{Permission, Policy, Principal, permission, principal};
use proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use proto::envoy::r#type::matcher::v3::{
    AddressMatcher, FilterStateMatcher, PathMatcher, StringMatcher, filter_state_matcher, path_matcher,
};
use std::net::{IpAddr, SocketAddr};

use super::expression::Expression;
use super::{claim, text};
use crate::matcher::{exact, like, prefix, suffix};

/// Where rules are enforced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// At each request.
    Requests,
    /// At the first byte of a stream, which has nothing that requests have.
    Streams,
    /// At the CONNECT of a stream to this address, before anything goes either way. What the stream says first is not
    /// known there, and left to [`At::Streams`].
    Connect(SocketAddr),
}

type Called = Expression<permission::Rule>;
type Caller = Expression<principal::Identifier>;

/// Returns the policy of a rule; `None` for one that matches nothing.
pub(super) fn policy(rule: &Rule, action: RuleAction, at: At) -> Option<Policy> {
    if at != At::Requests && action == RuleAction::Allow && rule.parts.iter().flatten().any(is_of_requests) {
        return None;
    }
    let context = Context { action, at };
    let (callers, called): (Vec<_>, Vec<_>) = rule.parts.iter().partition(|part| is_of_callers(part));
    let called = Called::all(called.iter().map(|part| one_of(part, |test| context.called(test))));
    let callers = Caller::all(callers.iter().map(|part| one_of(part, |test| context.caller(test))));
    if called == Called::Never || callers == Caller::Never {
        return None;
    }
    Some(Policy { permissions: vec![permission(called)], principals: vec![principal(callers)] })
}

/// Returns the policy that matches nothing.
pub(super) fn nothing() -> Policy {
    let all = Permission { rule: Some(permission::Rule::Any(true)) };
    let rule = permission::Rule::NotRule(Box::new(all));
    Policy { permissions: vec![Permission { rule: Some(rule) }], principals: vec![principal(Caller::Always)] }
}

fn is_of_requests(entry: &Entry) -> bool {
    matches!(entry, Entry::All(tests) if tests.iter().any(Test::is_of_requests))
}

/// All tests of a part are about whom is called, or all about who calls.
fn is_of_callers(part: &[Entry]) -> bool {
    let mut tests = part.iter().flat_map(|entry| match entry {
        Entry::Never => &[],
        Entry::All(tests) => tests.as_slice(),
    });
    tests.next().is_some_and(|test| {
        matches!(
            test,
            Test::SourceIp(_)
                | Test::RemoteIp(_)
                | Test::Principal(_)
                | Test::Namespace(_)
                | Test::ServiceAccount(_)
                | Test::TrustDomain(_)
                | Test::RequestPrincipal(_)
                | Test::Claim(..)
        )
    })
}

fn one_of<L>(part: &[Entry], expression: impl Fn(&Test) -> Expression<L>) -> Expression<L> {
    Expression::one(part.iter().map(|entry| match entry {
        Entry::Never => Expression::Never,
        Entry::All(tests) => Expression::all(tests.iter().map(&expression)),
    }))
}

#[derive(Clone, Copy)]
struct Context {
    action: RuleAction,
    at: At,
}

impl Context {
    /// Reads lists. A value that may be written in several ways is to match all of them where a match denies
    /// (`is_wide`), and only the plain one where it allows.
    fn lists<T, L>(self, of: &Lists<T>, leaf: impl Fn(&T, bool) -> Expression<L>) -> Expression<L> {
        let denies = self.action == RuleAction::Deny;
        let any = if of.any.is_empty() {
            Expression::Always
        } else {
            Expression::one(of.any.iter().map(|value| leaf(value, denies)))
        };
        let none = Expression::one(of.none.iter().map(|value| leaf(value, !denies)));
        Expression::all([any, none.not()])
    }

    fn called(self, test: &Test) -> Called {
        let leaf = Called::Leaf;
        if self.at != At::Requests && test.is_of_requests() {
            // Rules that allow have been left out.
            return Called::Always;
        }
        match (test, self.at) {
            (Test::DestinationIp(of), At::Connect(to)) => {
                self.lists(of, |network, _| Called::of(contains(network, to.ip())))
            }
            (Test::DestinationPort(of), At::Connect(to)) => {
                self.lists(of, |port, _| Called::of(*port == to.port()))
            }
            (Test::ServerName(_), At::Connect(_)) => Called::of(self.action == RuleAction::Allow),
            (Test::DestinationIp(of), _) => {
                self.lists(of, |network, _| leaf(permission::Rule::DestinationIp(range(network))))
            }
            (Test::DestinationPort(of), _) => {
                self.lists(of, |port, _| leaf(permission::Rule::DestinationPort(u32::from(*port))))
            }
            (Test::ServerName(of), _) => self.lists(of, |name, _| {
                let matcher = StringMatcher { ignore_case: true, ..text(name) };
                let any = || leaf(permission::Rule::RequestedServerName(like(text::SOMETHING)));
                if *name == Pattern::Any {
                    any()
                } else {
                    leaf(permission::Rule::RequestedServerName(matcher))
                }
            }),
            (Test::Host(of), _) => self.lists(of, |host, _| match host {
                Pattern::Any => Called::Always,
                host => leaf(header(":authority", like(&text::host(host)))),
            }),
            (Test::Method(of), _) => self.lists(of, |method, _| match method {
                Pattern::Any => Called::Always,
                method => leaf(header(":method", text(method))),
            }),
            (Test::Path(of), _) => self.lists(of, |path, _| match path {
                PathPattern::Text(Pattern::Any) => Called::Always,
                PathPattern::Text(path) if text::has_escape(path) => leaf(url_path(like(&text::path(path)))),
                PathPattern::Text(path) => leaf(url_path(text(path))),
                PathPattern::Template(segments) => leaf(url_path(like(&text::template(segments)))),
            }),
            (Test::Header(name, of), _) => self.lists(of, |value, is_wide| {
                leaf(match value {
                    Pattern::Any => permission::Rule::Header(HeaderMatcher {
                        name: name.to_string(),
                        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
                        ..HeaderMatcher::default()
                    }),
                    value if is_wide => header(name, like(&text::one_of_values(value))),
                    value => header(name, text(value)),
                })
            }),
            // Who calls.
            (
                Test::SourceIp(_)
                | Test::RemoteIp(_)
                | Test::Principal(_)
                | Test::Namespace(_)
                | Test::ServiceAccount(_)
                | Test::TrustDomain(_)
                | Test::RequestPrincipal(_)
                | Test::Claim(..),
                _,
            ) => Called::of(self.action == RuleAction::Deny),
        }
    }

    fn caller(self, test: &Test) -> Caller {
        let leaf = Caller::Leaf;
        if self.at != At::Requests && test.is_of_requests() {
            // As of what is called.
            return Caller::Always;
        }
        match test {
            Test::SourceIp(of) => self.lists(of, |network, _| leaf(source(network))),
            // Headers of a CONNECT say nothing of requests in it.
            Test::RemoteIp(of) if matches!(self.at, At::Connect(_)) => {
                self.lists(of, |network, _| leaf(source(network)))
            }
            Test::RemoteIp(of) => {
                self.lists(of, |network, _| leaf(principal::Identifier::RemoteIp(range(network))))
            }
            Test::Principal(of) => self.lists(of, |principal, _| leaf(peer(identity(principal)))),
            Test::Namespace(of) => {
                self.lists(of, |namespace, _| leaf(peer(like(&text::of_namespace(namespace)))))
            }
            Test::ServiceAccount(of) => {
                self.lists(of, |account, _| leaf(peer(like(&text::of_account(account)))))
            }
            Test::TrustDomain(of) => {
                self.lists(of, |domain, _| leaf(peer(like(&text::of_trust_domain(domain)))))
            }
            Test::RequestPrincipal(of) => self.lists(of, |principal, _| claim::principal(principal)),
            Test::Claim(path, of) => {
                self.lists(of, |value, is_wide| leaf(claim::claim(path, value, is_wide)))
            }
            // What is called.
            Test::DestinationIp(_)
            | Test::DestinationPort(_)
            | Test::Host(_)
            | Test::Method(_)
            | Test::Path(_)
            | Test::Header(..)
            | Test::ServerName(_) => Caller::of(self.action == RuleAction::Deny),
        }
    }
}

/// The filter state that has the identity of whoever opened the CONNECT, from its certificate.
pub(crate) const PEER: &str = "io.istio.peer_principal";
/// The filter state that has the address of whoever opened the CONNECT. Within Envoy, the direct address of a
/// connection is none that a range could have.
pub(crate) const SOURCE: &str = "envoy.filters.listener.original_dst.remote_ip";

fn state(key: &str, matcher: filter_state_matcher::Matcher) -> principal::Identifier {
    principal::Identifier::FilterState(FilterStateMatcher { key: key.to_owned(), matcher: Some(matcher) })
}

fn peer(matcher: StringMatcher) -> principal::Identifier {
    state(PEER, filter_state_matcher::Matcher::StringMatch(matcher))
}

fn source(of: &Network) -> principal::Identifier {
    state(SOURCE, filter_state_matcher::Matcher::AddressMatch(AddressMatcher { ranges: vec![range(of)] }))
}

fn identity(of: &Pattern) -> StringMatcher {
    match of {
        Pattern::Any => prefix(text::SCHEME),
        Pattern::Prefix(text) => prefix(&format!("{}{text}", text::SCHEME)),
        Pattern::Exact(text) => exact(&format!("{}{text}", text::SCHEME)),
        Pattern::Suffix(text) => suffix(text),
    }
}

fn text(of: &Pattern) -> StringMatcher {
    match of {
        Pattern::Any => like(text::SOMETHING),
        Pattern::Prefix(text) => prefix(text),
        Pattern::Exact(text) => exact(text),
        Pattern::Suffix(text) => suffix(text),
    }
}

fn header(name: &str, matcher: StringMatcher) -> permission::Rule {
    permission::Rule::Header(HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..HeaderMatcher::default()
    })
}

fn url_path(matcher: StringMatcher) -> permission::Rule {
    permission::Rule::UrlPath(PathMatcher { rule: Some(path_matcher::Rule::Path(matcher)) })
}

fn range(of: &Network) -> CidrRange {
    CidrRange { address_prefix: of.address.to_string(), prefix_len: Some(of.length.into()) }
}

fn contains(network: &Network, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((own, width), (other, other_width)) = (bits(network.address), bits(ip));
    let shift = 128 - u32::from(network.length);
    width == other_width && own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
}

fn permission(of: Called) -> Permission {
    let set = |all: Vec<Called>| permission::Set { rules: all.into_iter().map(permission).collect() };
    let rule = match of {
        Called::Always => permission::Rule::Any(true),
        Called::Never => permission::Rule::NotRule(Box::new(permission(Called::Always))),
        Called::Leaf(rule) => rule,
        Called::All(all) => permission::Rule::AndRules(set(all)),
        Called::One(all) => permission::Rule::OrRules(set(all)),
        Called::Not(one) => permission::Rule::NotRule(Box::new(permission(*one))),
    };
    Permission { rule: Some(rule) }
}

fn principal(of: Caller) -> Principal {
    let set = |all: Vec<Caller>| principal::Set { ids: all.into_iter().map(principal).collect() };
    let identifier = match of {
        Caller::Always => principal::Identifier::Any(true),
        Caller::Never => principal::Identifier::NotId(Box::new(principal(Caller::Always))),
        Caller::Leaf(identifier) => identifier,
        Caller::All(all) => principal::Identifier::AndIds(set(all)),
        Caller::One(all) => principal::Identifier::OrIds(set(all)),
        Caller::Not(one) => principal::Identifier::NotId(Box::new(principal(*one))),
    };
    Principal { identifier: Some(identifier) }
}
