//! Which of several rules that match goes first.

use model::facts::{PathMatch, RequestMatch};
use model::{Kind, Str};
use std::cmp::Reverse;

use super::placed::Placed;
use crate::hostname::Specificity;
use crate::route::Rule;

/// A rule that was found for a hostname.
pub(super) struct Found {
    pub placed: Placed,
    /// Whether its route is not of the service's namespace.
    pub is_of_consumer: bool,
    /// How specific the route's own hostname is.
    pub specificity: Specificity,
}

/// Returns rules in the order in which they are tried: what callers of a namespace choose for themselves goes before
/// what the service chooses for all. Of that, routes of the Gateway API are one list, and each VirtualService is
/// one in the order of its author; the older list goes first, as istiod has it. What asks for a name of TLS goes before
/// what takes any stream.
pub(super) fn sorted(mut found: Vec<Found>) -> Vec<Placed> {
    let is_of_list = |of: &&Found| !of.is_of_consumer && !is_of_virtual_service(&of.placed.rule);
    let of_list = found.iter().filter(is_of_list).map(|of| age(&of.placed.rule));
    let oldest = of_list.min().unwrap_or_default();
    found.sort_by_cached_key(|of| {
        let rule = &of.placed.rule;
        let (list, order) = if is_of_virtual_service(rule) {
            (age(rule), Order::Written(rule.place))
        } else {
            (oldest.clone(), Order::ByMatch(Precedence::of(rule, of.specificity)))
        };
        (!of.is_of_consumer, rule.matches.sni.is_empty(), list, order, of.placed.port)
    });
    found.into_iter().map(|of| of.placed).collect()
}

fn is_of_virtual_service(rule: &Rule) -> bool {
    rule.route.kind == Kind::VirtualService
}

/// When the route of a rule was created, then its name.
fn age(rule: &Rule) -> (i64, String) {
    (rule.created, rule.route.name.to_string())
}

/// Which of two rules of one list goes first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Order {
    ByMatch(Precedence),
    Written((usize, usize)),
}

/// What rules are sorted by, the least first: as the Gateway API says of HTTPRoute, and where it leaves
/// regular expressions open, they go before what matches every path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Precedence {
    hostname: Reverse<Specificity>,
    path: Reverse<(u8, usize)>,
    has_method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created: i64,
    /// The route as `NAMESPACE/NAME`, then its kind.
    route: (String, Str),
    place: (usize, usize),
}

impl Precedence {
    /// Returns that of a rule of a route whose own hostname is so specific.
    fn of(rule: &Rule, hostname: Specificity) -> Self {
        let RequestMatch { path, headers, query, method, .. } = &rule.matches;
        Self {
            hostname: Reverse(hostname),
            path: Reverse(match path {
                Some(PathMatch::Exact(path)) => (3, path.len()),
                Some(PathMatch::Prefix(path)) if path != "/" => (2, path.len()),
                Some(PathMatch::Regex(path)) => (1, path.len()),
                _ => (0, 0),
            }),
            has_method: Reverse(!method.is_empty()),
            headers: Reverse(headers.len()),
            query: Reverse(query.len()),
            created: rule.created,
            route: (rule.route.name.to_string(), rule.route.kind.name().into()),
            place: rule.place,
        }
    }
}
