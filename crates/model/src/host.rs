//! Hosts, as settings and certificates have them.

use std::net::IpAddr;

/// Longest DNS name, in bytes.
const MAX_NAME: usize = 253;

/// Longest DNS label, in bytes.
const MAX_LABEL: usize = 63;

/// Tells whether `name` looks like a DNS name; it may have wildcards.
pub fn is_dns_name(name: &str) -> bool {
    let dns = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*');
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(dns)
}

/// Tells whether `text` is a DNS label as Kubernetes wants it for the names of namespaces (RFC 1123, lower
/// case).
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    bytes.len() <= MAX_LABEL
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Tells whether `text` is the name of a host that DNS can be asked for: labels of letters, digits, `-` and
/// `_`, with or without a dot at the end. One whose last label is a number is meant as an address.
pub fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    name.len() <= MAX_NAME && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

/// Returns the host of `host:port`, `[address]:port`, or of a host alone, if a certificate can be for
/// it.
pub fn host_of(address: &str) -> Option<&str> {
    let alone = |host: &str| host.parse::<IpAddr>().is_ok() || is_dns_name(host);
    if alone(address) {
        return Some(address);
    }
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<IpAddr>().is_ok().then_some(host),
        // An IPv6 address with a port stands in brackets.
        None => (alone(host) && !host.contains(':')).then_some(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_is_what_dns_can_be_asked_for() {
        for name in
            ["vm", "vm.example.org", "VM-1.Example.org.", "10.example", "_x.example", "xn--mller-kva.de"]
        {
            assert!(is_hostname(name), "{name}");
        }
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "192.0.2.11:8080",
            "10.0.0.256",
            "10.0.0",
            "12345",
            "192.0.2.0/24",
            "[fd00::1]",
            "fe80::1%eth0",
            "unix:///run/x",
            "http://vm.example.org",
            "vm.example.org:80",
            "two words",
            " vm",
            "a..b",
            "-a.b",
            "a-.b",
            "*.example.org",
            "m\u{fc}ller.de",
            "a\nb",
            &long,
            &format!("{}example", "abcdefg.".repeat(32)),
        ] {
            assert!(!is_hostname(text), "{text:?}");
        }
    }

    #[test]
    fn host_of_an_address_is_what_a_certificate_can_be_for() {
        for (address, host) in [
            ("istiod.istio-system.svc:15012", Some("istiod.istio-system.svc")),
            ("control.example.org", Some("control.example.org")),
            ("10.0.0.1:15012", Some("10.0.0.1")),
            ("[fd00::1]:15012", Some("fd00::1")),
            ("fd00::1", Some("fd00::1")),
            ("", None),
            (":15012", None),
            ("host:", None),
            ("host:port", None),
            ("host:99999", None),
            ("[host]:15012", None),
            ("two words:15012", None),
            ("https://host:15012", None),
            ("spiffe://td/ns/a/sa/b", None),
        ] {
            assert_eq!(host_of(address), host, "{address}");
        }
    }
}
