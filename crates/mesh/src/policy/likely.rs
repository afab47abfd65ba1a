//! What somebody may have meant by a value that no identity can have: help in words.

use model::{TrustDomain, did_you_mean, is_dns_label};

use super::source::{is_account, is_namespace, is_principal};

/// The scheme of SPIFFE ids, which principals in policies do not have.
const SCHEME: &str = "spiffe://";
/// What Kubernetes calls a service account as a user.
const USER: &str = "system:serviceaccount:";

/// Returns help for a principal that no identity can have.
pub(super) fn principal(value: &str, trust_domain: &TrustDomain) -> Option<String> {
    let plain = plain(value);
    if is_principal(&plain) {
        return meant(&plain);
    }
    let parts: Vec<&str> = plain.trim_matches('/').split('/').collect();
    if let Some((ns, account)) = user(&plain).or_else(|| account_of(&parts)) {
        return meant(&format!("{trust_domain}/ns/{ns}/sa/{account}"));
    }
    match *parts.as_slice() {
        [_, "ns", "*", "sa", account] if is_account(account) => meant(&format!("*/sa/{account}")),
        ["*", "ns", ns] | ["*", "ns", ns, "*"] | ["*", "ns", ns, "sa", "*"] if is_dns_label(ns) => {
            Some(format!("write `namespaces: [{ns}]` for all accounts of a namespace"))
        }
        [domain, "ns", ns] if is_principal(&format!("{domain}/ns/{ns}/*")) => {
            meant(&format!("{domain}/ns/{ns}/*"))
        }
        _ => None,
    }
}

/// Returns help for a namespace that cannot be.
pub(super) fn namespace(value: &str) -> Option<String> {
    let plain = plain(value);
    let plain = plain.trim_matches('/');
    let named = plain.strip_prefix("kubernetes.io/metadata.name=").unwrap_or(plain);
    if is_namespace(named) {
        return meant(named);
    }
    let parts: Vec<&str> = plain.split('/').collect();
    match *parts.as_slice() {
        ["ns", ns] | [_, "ns", ns] | [_, "ns", ns, "*"] | [_, "ns", ns, "sa", "*"] if is_dns_label(ns) => {
            meant(ns)
        }
        [_, "ns", ns, "sa", account] if is_dns_label(ns) && is_account(account) => {
            Some(format!("write `serviceAccounts: [{ns}/{account}]` for one account"))
        }
        [ns, account] if is_dns_label(ns) && is_account(account) => {
            Some(format!("write `serviceAccounts: [{ns}/{account}]` for one account"))
        }
        _ => None,
    }
}

/// Returns help for a service account that cannot be; `namespace` is that of the policy.
pub(super) fn service_account(value: &str, namespace: &str, trust_domain: &TrustDomain) -> Option<String> {
    let plain = plain(value);
    let parts: Vec<&str> = plain.trim_matches('/').split('/').collect();
    if let Some((ns, account)) = user(&plain).or_else(|| account_of(&parts)) {
        return meant(&format!("{ns}/{account}"));
    }
    match *parts.as_slice() {
        [account] if is_account(account) => meant(account),
        ["*"] => Some("write `principals: [\"*\"]` for every identity".to_owned()),
        [ns, "*"] | [_, "ns", ns, "*"] | [_, "ns", ns, "sa", "*"] if is_dns_label(ns) => {
            Some(format!("write `namespaces: [{ns}]` for all accounts of a namespace"))
        }
        ["*", account] if is_account(account) => {
            Some(format!("write `principals: [\"*/sa/{account}\"]` for this account of every namespace"))
        }
        [ns, account] | [_, "ns", ns, "sa", account] => by_principal(trust_domain, ns, account),
        [account] => by_principal(trust_domain, namespace, account),
        _ => None,
    }
}

/// Wildcards of accounts can be written as principals.
fn by_principal(trust_domain: &TrustDomain, ns: &str, account: &str) -> Option<String> {
    let principal = format!("{trust_domain}/ns/{ns}/sa/{account}");
    (is_dns_label(ns) && is_principal(&principal)).then(|| format!("write `principals: [{principal}]`"))
}

fn meant(value: &str) -> Option<String> {
    Some(did_you_mean(value))
}

/// Returns a value without what it may have around it and between: scheme, case, spaces, `.*` for `*`.
fn plain(value: &str) -> String {
    let plain = value.trim().to_lowercase().replace(".*", "*");
    let plain = match plain.strip_prefix(SCHEME) {
        Some(rest) => rest,
        None => &plain,
    };
    plain.trim().to_owned()
}

/// Reads the user that Kubernetes calls a service account.
fn user(plain: &str) -> Option<(&str, &str)> {
    valid(plain.strip_prefix(USER)?.split_once(':')?)
}

/// Reads a namespace and an account without their trust domain, or in another order.
fn account_of<'a>(parts: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match *parts {
        [ns, account]
        | ["ns", ns, "sa", account]
        | [_, "ns", ns, "sa", account]
        | [_, "sa", account, "ns", ns] => valid((ns, account)),
        [both] => valid(both.split_once(':')?),
        _ => None,
    }
}

fn valid<'a>((ns, account): (&'a str, &'a str)) -> Option<(&'a str, &'a str)> {
    (is_dns_label(ns) && is_account(account)).then_some((ns, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_principals_are_named() {
        let domain = TrustDomain::default();
        for (value, help) in [
            ("spiffe://cluster.local/ns/bad/sa/bad", "did you mean `cluster.local/ns/bad/sa/bad`?"),
            ("Cluster.local/ns/Bad/sa/bad", "did you mean `cluster.local/ns/bad/sa/bad`?"),
            (" cluster.local/ns/bad/sa/bad ", "did you mean `cluster.local/ns/bad/sa/bad`?"),
            ("SPIFFE://td/ns/bad/*", "did you mean `td/ns/bad/*`?"),
            ("td/ns/bad/sa/.*", "did you mean `td/ns/bad/sa/*`?"),
            ("system:serviceaccount:bad:worse", "did you mean `cluster.local/ns/bad/sa/worse`?"),
            ("ns/bad/sa/worse", "did you mean `cluster.local/ns/bad/sa/worse`?"),
            ("bad/worse", "did you mean `cluster.local/ns/bad/sa/worse`?"),
            ("td/sa/worse/ns/bad", "did you mean `cluster.local/ns/bad/sa/worse`?"),
            ("td/ns/bad", "did you mean `td/ns/bad/*`?"),
            ("a b/ns/bad/sa/worse", "did you mean `cluster.local/ns/bad/sa/worse`?"),
            ("td/ns/*/sa/bad", "did you mean `*/sa/bad`?"),
            ("*/ns/bad/*", "write `namespaces: [bad]` for all accounts of a namespace"),
            ("*/ns/bad/sa/*", "write `namespaces: [bad]` for all accounts of a namespace"),
        ] {
            assert_eq!(principal(value, &domain).as_deref(), Some(help), "{value}");
        }
        for value in ["", "web", "td/ns/a*b/sa/x", "*a*"] {
            assert_eq!(principal(value, &domain), None, "{value}");
        }
    }

    #[test]
    fn likely_namespaces_are_named() {
        for (value, help) in [
            ("Shop", "did you mean `shop`?"),
            (" shop", "did you mean `shop`?"),
            ("shop/", "did you mean `shop`?"),
            ("shop-.*", "did you mean `shop-*`?"),
            ("kubernetes.io/metadata.name=shop", "did you mean `shop`?"),
            ("cluster.local/ns/shop", "did you mean `shop`?"),
            ("cluster.local/ns/shop/*", "did you mean `shop`?"),
            ("shop/web", "write `serviceAccounts: [shop/web]` for one account"),
            ("td/ns/shop/sa/web", "write `serviceAccounts: [shop/web]` for one account"),
        ] {
            assert_eq!(namespace(value).as_deref(), Some(help), "{value}");
        }
        for value in ["", "a b", "*a*", "a*b"] {
            assert_eq!(namespace(value), None, "{value}");
        }
    }

    #[test]
    fn likely_service_accounts_are_named() {
        for (value, help) in [
            ("Web", "did you mean `web`?"),
            ("Far/Web", "did you mean `far/web`?"),
            ("far/web ", "did you mean `far/web`?"),
            ("far:web", "did you mean `far/web`?"),
            ("system:serviceaccount:far:web", "did you mean `far/web`?"),
            ("spiffe://td/ns/far/sa/web", "did you mean `far/web`?"),
            ("*", "write `principals: [\"*\"]` for every identity"),
            ("far/*", "write `namespaces: [far]` for all accounts of a namespace"),
            ("*/web", "write `principals: [\"*/sa/web\"]` for this account of every namespace"),
            ("far/we*", "write `principals: [td/ns/far/sa/we*]`"),
            ("we*", "write `principals: [td/ns/shop/sa/we*]`"),
        ] {
            let domain = TrustDomain::parse("td").unwrap_or_default();
            assert_eq!(service_account(value, "shop", &domain).as_deref(), Some(help), "{value}");
        }
    }
}
