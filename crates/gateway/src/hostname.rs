//! Hostnames with wildcards: `*.example.com` is every name that ends so, `*` is every name.

use model::{Str, shared};

/// Every hostname.
pub(crate) const ANY: &str = "*";

/// Returns a hostname of an object, where an empty one is every one.
pub(crate) fn or_any(hostname: &Str) -> Str {
    if hostname.is_empty() { shared(ANY) } else { hostname.clone() }
}

/// Returns what must end a name that a wildcard covers; `None` for a name without one.
fn suffix(hostname: &str) -> Option<&str> {
    hostname.strip_prefix('*').filter(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Tells whether a hostname covers more than one name.
pub(crate) fn is_wildcard(hostname: &str) -> bool {
    suffix(hostname).is_some()
}

/// Tells whether every name that `narrow` covers is one that `wide` covers.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    match suffix(wide) {
        None => wide == narrow,
        // A name is longer than the suffix: `*.example.com` does not cover `example.com`.
        Some(end) => narrow.ends_with(end) && (narrow.len() > end.len() || end.is_empty()),
    }
}

/// Returns the hostname of what both cover; `None` if nothing is.
pub(crate) fn intersection(a: &Str, b: &Str) -> Option<Str> {
    if covers(a, b) {
        Some(b.clone())
    } else if covers(b, a) {
        Some(a.clone())
    } else {
        None
    }
}

/// How specific a hostname is: one without a wildcard is more than any with one, then the longer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Specificity {
    is_exact: bool,
    length: usize,
}

impl Specificity {
    pub fn of(hostname: &str) -> Self {
        Self { is_exact: suffix(hostname).is_none(), length: hostname.len() }
    }
}

/// Returns the wildcards that cover a hostname, the most specific first, without itself.
pub(crate) fn wider(hostname: &str) -> Vec<Str> {
    let mut all = Vec::new();
    let mut rest = hostname.strip_prefix("*.").unwrap_or(hostname);
    while let Some((_, parent)) = rest.split_once('.') {
        all.push(shared(&format!("*.{parent}")));
        rest = parent;
    }
    if hostname != ANY {
        all.push(shared(ANY));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(a: &str, b: &str) -> Option<String> {
        let found = intersection(&a.into(), &b.into());
        assert_eq!(found, intersection(&b.into(), &a.into()), "{a} {b}");
        found.map(|name| name.to_string())
    }

    #[test]
    fn the_narrower_of_two_hostnames_is_what_both_cover() {
        for (a, b, expected) in [
            ("*", "a.example.com", Some("a.example.com")),
            ("*", "*", Some("*")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "a.example.net", None),
            ("*.com", "a.b.com", Some("a.b.com")),
            ("a.com", "a.com", Some("a.com")),
            ("a.com", "b.com", None),
            ("*.example.com", "badexample.com", None),
        ] {
            assert_eq!(both(a, b).as_deref(), expected, "{a} {b}");
        }
    }

    #[test]
    fn wildcards_that_cover_a_name_come_from_the_most_specific_on() {
        assert_eq!(wider("a.b.com"), ["*.b.com", "*.com", "*"]);
        assert_eq!(wider("*.b.com"), ["*.com", "*"]);
        assert_eq!(wider("*"), [""; 0]);
        assert!(wider("a.b.com").iter().all(|wide| covers(wide, "a.b.com")));
    }

    #[test]
    fn an_exact_name_is_more_specific_than_a_longer_wildcard() {
        assert!(Specificity::of("a.com") > Specificity::of("*.very.long.example.com"));
        assert!(Specificity::of("*.b.com") > Specificity::of("*.com"));
        assert!(Specificity::of("*.com") > Specificity::of("*"));
    }
}
