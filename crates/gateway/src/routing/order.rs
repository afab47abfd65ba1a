//! Which of several rules that match goes first.

use model::Str;
use model::facts::{PathMatch, RequestMatch};
use std::cmp::Reverse;

use crate::hostname::Specificity;
use crate::route::Rule;

/// What rules are sorted by, the least first: as the Gateway API says of HTTPRoute, and where it leaves
/// regular expressions open, they go before what matches every path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Precedence {
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
    pub fn of(rule: &Rule, hostname: Specificity) -> Self {
        let RequestMatch { path, headers, query, method } = &rule.matches;
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
