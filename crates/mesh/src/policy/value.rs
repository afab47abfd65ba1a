//! The grammar of single values in rules: ports, addresses, strings with a wildcard, service accounts.

use bytes::Bytes;
use proto::security::{Address, ServiceAccountMatch, StringMatch, string_match::MatchType};
use std::net::IpAddr;

/// What a value should have been, to follow "is not" or "write".
pub(super) type Expected = &'static str;

const PORT: Expected = "a port from 0 to 65535";
const ADDRESS: Expected = "an IP address or a range such as 10.0.0.0/8";
const TEXT: Expected = "a text that is not empty";
const SERVICE_ACCOUNT: Expected = "a service account `name` or `namespace/name` without wildcard";

/// Returns the port that `value` names, in decimal digits only.
///
/// # Errors
/// What was expected, if `value` is not a port.
pub(super) fn port(value: &str) -> Result<u32, Expected> {
    // `parse` alone would also take a sign.
    let is_digits = value.bytes().all(|b| b.is_ascii_digit());
    value.parse::<u16>().ok().filter(|_| is_digits).map(u32::from).ok_or(PORT)
}

/// Returns the address or the range that `value` names. Host bits of a range are kept, as
/// istiod does; a ztunnel ignores them.
///
/// # Errors
/// What was expected, if `value` is neither.
pub(super) fn address(value: &str) -> Result<Address, Expected> {
    let (ip, length) = match value.rsplit_once('/') {
        Some((ip, length)) => (ip, Some(length)),
        None => (value, None),
    };
    let (address, bits) = match ip.parse::<IpAddr>().map_err(|_| ADDRESS)? {
        IpAddr::V4(ip) => (Bytes::copy_from_slice(&ip.octets()), 32),
        IpAddr::V6(ip) => (Bytes::copy_from_slice(&ip.octets()), 128),
    };
    let length = match length {
        Some(text) => prefix_length(text).filter(|l| *l <= bits).ok_or(ADDRESS)?,
        None => bits,
    };
    Ok(Address { address, length })
}

fn prefix_length(text: &str) -> Option<u32> {
    let has_leading_zero = text.len() > 1 && text.starts_with('0');
    let is_digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits && !has_leading_zero)
}

/// Returns the match that `value` describes: `*` for presence, a leading `*` for a suffix, else a
/// trailing `*` for a prefix, else the text itself.
///
/// # Errors
/// What was expected, if `value` is empty: a ztunnel would find the empty text equal to the missing
/// namespace of a peer without identity.
pub(super) fn string(value: &str) -> Result<StringMatch, Expected> {
    let match_type = if value.is_empty() {
        return Err(TEXT);
    } else if value == "*" {
        MatchType::Presence(())
    } else if let Some(suffix) = value.strip_prefix('*') {
        MatchType::Suffix(suffix.to_owned())
    } else if let Some(prefix) = value.strip_suffix('*') {
        MatchType::Prefix(prefix.to_owned())
    } else {
        MatchType::Exact(value.to_owned())
    };
    Ok(StringMatch { match_type: Some(match_type) })
}

/// Returns the service account that `value` names, in `namespace` unless it names its own.
///
/// # Errors
/// What was expected, if `value` cannot name a service account: these are compared exactly, so a
/// wildcard would match nobody.
pub(super) fn service_account(value: &str, namespace: &str) -> Result<ServiceAccountMatch, Expected> {
    let (namespace, name) = value.split_once('/').unwrap_or((namespace, value));
    if namespace.is_empty() || name.is_empty() || name.contains('/') || value.contains('*') {
        return Err(SERVICE_ACCOUNT);
    }
    Ok(ServiceAccountMatch { namespace: namespace.to_owned(), service_account: name.to_owned() })
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
        let of = |bytes: &'static [u8], length| Ok(Address { address: Bytes::from_static(bytes), length });
        assert_eq!(address("1.2.3.4"), of(&[1, 2, 3, 4], 32));
        assert_eq!(address("1.2.3.4/16"), of(&[1, 2, 3, 4], 16));
        assert_eq!(address("0.0.0.0/0"), of(&[0; 4], 0));
        assert_eq!(address("::"), of(&[0; 16], 128));
        assert_eq!(address("::/3"), of(&[0; 16], 3));
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
    fn a_leading_wildcard_is_tested_before_a_trailing_one() {
        let of = |m| Ok(StringMatch { match_type: Some(m) });
        assert_eq!(string("*"), of(MatchType::Presence(())));
        assert_eq!(string("*b"), of(MatchType::Suffix("b".into())));
        assert_eq!(string("a*"), of(MatchType::Prefix("a".into())));
        assert_eq!(string("*a*"), of(MatchType::Suffix("a*".into())));
        assert_eq!(string("a*b"), of(MatchType::Exact("a*b".into())));
        assert_eq!(string(""), Err(TEXT));
    }

    #[test]
    fn presence_is_written_on_the_wire() {
        use prost::Message;
        assert_eq!(string("*").map(|m| m.encode_to_vec()), Ok(vec![0x22, 0]));
    }

    #[test]
    fn a_service_account_is_in_the_namespace_of_the_policy_unless_it_names_one() {
        let of = |ns: &str, sa: &str| {
            Ok(ServiceAccountMatch { namespace: ns.to_owned(), service_account: sa.to_owned() })
        };
        assert_eq!(service_account("web", "shop"), of("shop", "web"));
        assert_eq!(service_account("infra/web", "shop"), of("infra", "web"));
        for bad in ["", "/", "infra/", "/web", "a/b/c", "*", "infra/*", "we*"] {
            assert_eq!(service_account(bad, "shop"), Err(SERVICE_ACCOUNT), "{bad:?}");
        }
    }
}
