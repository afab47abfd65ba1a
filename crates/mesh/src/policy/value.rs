//! Single values in rules: ports, addresses, and who a peer is; and what is said of a value that is none.

use model::{Str, TrustDomain, is_dns_label};
use std::net::IpAddr;

use super::likely;
use super::rule::{Account, Network, Pattern};
use super::source::{is_account, is_namespace, is_principal, is_trust_domain};

/// What a value should have been, to follow "is not" or "write".
pub(super) type Expected = &'static str;

/// A value that was not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unclear {
    pub(super) expected: Expected,
    /// What was likely meant, as help in words.
    pub(super) likely: Option<String>,
}

impl From<Expected> for Unclear {
    fn from(expected: Expected) -> Self {
        Self { expected, likely: None }
    }
}

const PORT: Expected = "a port from 0 to 65535";
const ADDRESS: Expected = "an IP address or a range such as 10.0.0.0/8";
const PRINCIPAL: Expected = "a principal that an identity can have, such as cluster.local/ns/shop/sa/web, or a \
                             beginning or an end of one with `*`";
const NAMESPACE: Expected = "a name that a namespace can have, or a beginning or an end of one with `*`";
const TRUST_DOMAIN: Expected = "a trust domain, or a beginning or an end of one with `*`";
const SERVICE_ACCOUNT: Expected =
    "a service account `name` or `namespace/name`, in lower case and without wildcard";

/// Returns the port that `value` names, in decimal digits only.
///
/// # Errors
/// What was expected, if `value` is not a port.
pub(super) fn port(value: &str) -> Result<u16, Expected> {
    // `parse` alone would also take a sign.
    let is_digits = value.bytes().all(|b| b.is_ascii_digit());
    value.parse::<u16>().ok().filter(|_| is_digits).ok_or(PORT)
}

/// Returns the address or the range that `value` names. Host bits of a range are kept, as
/// istiod does; a ztunnel ignores them.
///
/// # Errors
/// What was expected, if `value` is neither.
pub(super) fn address(value: &str) -> Result<Network, Expected> {
    let (ip, length) = match value.rsplit_once('/') {
        Some((ip, length)) => (ip, Some(length)),
        None => (value, None),
    };
    let address = ip.parse::<IpAddr>().map_err(|_| ADDRESS)?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(text) => prefix_length(text).filter(|l| *l <= bits).ok_or(ADDRESS)?,
        None => bits,
    };
    Ok(Network { address, length })
}

fn prefix_length(text: &str) -> Option<u8> {
    let has_leading_zero = text.len() > 1 && text.starts_with('0');
    let is_digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits && !has_leading_zero)
}

/// Returns the match that the principal `value` describes.
///
/// # Errors
/// What was expected and likely meant, if no identity can have `value`. `trust_domain` is that of the mesh.
pub(super) fn principal(value: &str, trust_domain: &TrustDomain) -> Result<Pattern, Unclear> {
    if is_principal(value) {
        return Ok(Pattern::of(value).owned());
    }
    Err(Unclear { expected: PRINCIPAL, likely: likely::principal(value, trust_domain) })
}

/// Returns the match that the namespace `value` describes.
///
/// # Errors
/// What was expected and likely meant, if no namespace can be called so. A ztunnel would find the empty text
/// equal to the missing namespace of a peer without identity.
pub(super) fn namespace(value: &str) -> Result<Pattern, Unclear> {
    if is_namespace(value) {
        return Ok(Pattern::of(value).owned());
    }
    Err(Unclear { expected: NAMESPACE, likely: likely::namespace(value) })
}

/// Returns the service account that `value` names, in `namespace` unless it names its own.
///
/// # Errors
/// What was expected and likely meant, if no service account can be called so: these are compared exactly,
/// so a wildcard would match nobody.
pub(super) fn service_account(
    value: &str,
    namespace: &str,
    trust_domain: &TrustDomain,
) -> Result<Account, Unclear> {
    let (ns, name) = value.split_once('/').unwrap_or((namespace, value));
    if is_dns_label(ns) && is_account(name) {
        return Ok(Account { namespace: Str::from(ns), name: Str::from(name) });
    }
    let likely = likely::service_account(value, namespace, trust_domain);
    Err(Unclear { expected: SERVICE_ACCOUNT, likely })
}

/// Returns the match that the trust domain `value` describes.
///
/// # Errors
/// What was expected, if there can be no such trust domain.
pub(super) fn trust_domain(value: &str) -> Result<Pattern, Expected> {
    if is_trust_domain(value) { Ok(Pattern::of(value).owned()) } else { Err(TRUST_DOMAIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_decimal_digits_up_to_65535() {
        assert_eq!([port("0"), port("80"), port("080"), port("65535")], [Ok(0), Ok(80), Ok(80), Ok(65535)]);
        for bad in ["", "http", "65536", "-1", "+80", " 80", "80 ", "8_0", "0x50", "99999999999999999999"] {
            assert_eq!(port(bad), Err(PORT), "{bad:?}");
        }
    }

    #[test]
    fn an_address_has_the_length_of_its_family_and_a_range_keeps_its_host_bits() {
        let of = |address: IpAddr, length| Ok(Network { address, length });
        assert_eq!(address("1.2.3.4"), of(IpAddr::from([1, 2, 3, 4]), 32));
        assert_eq!(address("1.2.3.4/16"), of(IpAddr::from([1, 2, 3, 4]), 16));
        assert_eq!(address("0.0.0.0/0"), of(IpAddr::from([0; 4]), 0));
        assert_eq!(address("::"), of(IpAddr::from([0_u8; 16]), 128));
        assert_eq!(address("::/3"), of(IpAddr::from([0_u8; 16]), 3));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "*",
            "web",
            "1.2.3",
            "1.2.3.4/33",
            "::/129",
            "1.2.3.4/",
            "1.2.3.4/08",
            "1.2.3.4/+8",
            "/8",
            "1.2.3.4/8/8",
            "01.2.3.4",
            "fe80::1%eth0",
            "1.2.3.4 ",
        ] {
            assert_eq!(address(bad), Err(ADDRESS), "{bad:?}");
        }
    }

    #[test]
    fn a_principal_is_one_that_an_identity_can_have() {
        let domain = TrustDomain::default();
        let read = |value: &str| principal(value, &domain).map_err(|unclear| unclear.expected);
        for (value, expected) in [
            ("*", Pattern::Any),
            ("td/ns/a/sa/x", Pattern::Exact("td/ns/a/sa/x".into())),
            ("td/ns/a/sa/x.y-1", Pattern::Exact("td/ns/a/sa/x.y-1".into())),
            ("*/sa/x", Pattern::Suffix("/sa/x".into())),
            ("*/ns/a/sa/x", Pattern::Suffix("/ns/a/sa/x".into())),
            ("*td/ns/a/sa/x", Pattern::Suffix("td/ns/a/sa/x".into())),
            ("*-web", Pattern::Suffix("-web".into())),
            ("*.web", Pattern::Suffix(".web".into())),
            ("*s/a/sa/x", Pattern::Suffix("s/a/sa/x".into())),
            ("td*", Pattern::Prefix("td".into())),
            ("td.*", Pattern::Prefix("td.".into())),
            ("td/*", Pattern::Prefix("td/".into())),
            ("td/n*", Pattern::Prefix("td/n".into())),
            ("td/ns/shop-*", Pattern::Prefix("td/ns/shop-".into())),
            ("td/ns/a/*", Pattern::Prefix("td/ns/a/".into())),
            ("td/ns/a/sa/x*", Pattern::Prefix("td/ns/a/sa/x".into())),
        ] {
            assert_eq!(read(value), Ok(expected), "{value}");
        }
        for value in [
            "",
            " ",
            "td",
            "web",
            "**",
            "*a*",
            "spiffe://td/ns/a/sa/x",
            "spiffe://td/ns/a/*",
            "SPIFFE://td*",
            "td/ns/*/sa/x",
            "*/ns/a/*",
            "*/ns/*/sa/x",
            "td/ns/a",
            "td/ns/a/sa/",
            "td/ns/a/sa/x/",
            "td/ns/a/sa/x/*",
            "/td/ns/a/sa/x",
            "*/td/ns/a/sa/x",
            "td/NS/a/sa/x",
            "TD/ns/a/sa/x",
            "td/ns/A/sa/x",
            "td/ns/a/sa/X",
            "*/sa/X",
            "Td*",
            "td/ns/a b/sa/x",
            " td/ns/a/sa/x",
            "td/ns/a/sa/x ",
            "td/ns/a/sa/x\n",
            "td/ns/a.b/sa/x",
            "td/ns/-*",
            "td/ns/a/sa/.*",
            "*x.",
            "td/sa/x/ns/a",
            "td:ns:a:sa:x",
        ] {
            assert_eq!(read(value), Err(PRINCIPAL), "{value:?}");
        }
    }

    #[test]
    fn a_namespace_is_one_that_can_be() {
        let read = |value: &str| namespace(value).map_err(|unclear| unclear.expected);
        let long = "a".repeat(63);
        for (value, expected) in [
            ("*", Pattern::Any),
            ("shop", Pattern::Exact("shop".into())),
            ("*-b", Pattern::Suffix("-b".into())),
            ("a-*", Pattern::Prefix("a-".into())),
            (long.as_str(), Pattern::Exact(long.clone().into())),
        ] {
            assert_eq!(read(value), Ok(expected), "{value}");
        }
        let longer = "a".repeat(64);
        for value in
            ["", " ", "Shop", "shop ", "a*b", "*a*", "a.b", "a/b", "-a", "a-", "-*", "*-", "a_b", &longer]
        {
            assert_eq!(read(value), Err(NAMESPACE), "{value:?}");
        }
    }

    #[test]
    fn a_service_account_is_in_the_namespace_of_the_policy_unless_it_names_one() {
        let read = |value: &str| {
            service_account(value, "shop", &TrustDomain::default()).map_err(|unclear| unclear.expected)
        };
        let of = |ns: &str, sa: &str| Ok(Account { namespace: ns.into(), name: sa.into() });
        assert_eq!(read("web"), of("shop", "web"));
        assert_eq!(read("infra/web.v1"), of("infra", "web.v1"));
        assert_eq!(read(&"a".repeat(100)), of("shop", &"a".repeat(100)));
        for bad in [
            "",
            "/",
            "infra/",
            "/web",
            "a/b/c",
            "*",
            "infra/*",
            "we*",
            "Web",
            "infra/Web",
            "Infra/web",
            "web ",
            " infra/web",
            "in fra/web",
            "web_1",
            "infra:web",
            "td/ns/a/sa/x",
            "spiffe://td/ns/a/sa/x",
        ] {
            assert_eq!(read(bad), Err(SERVICE_ACCOUNT), "{bad:?}");
        }
    }
}
