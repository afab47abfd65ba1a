//! The forms of texts: names, labels, addresses.

use std::net::IpAddr;

/// The form of a text, or of the entries of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A label of RFC 1123: up to 63 lower-case letters, digits and dashes.
    DnsLabel,
    /// Labels of RFC 1123 with dots between them, up to 253 characters.
    DnsSubdomain,
    /// The name of a port: up to 15 lower-case letters, digits and dashes, at least one letter.
    PortName,
    /// A port: a number, or the name of one.
    PortOrName,
    /// A name, perhaps with a subdomain before it: `example.com/name`.
    QualifiedName,
    /// A mapping of qualified names to values of labels.
    Labels,
    /// A mapping of qualified names to anything.
    Annotations,
    /// A mapping of file names to anything.
    FileNames,
    /// An IP address.
    Ip,
    /// An IP address, empty, or `None`.
    ClusterIp,
    /// A date and time of RFC 3339.
    Time,
}

impl Form {
    /// What is wrong with a text; `None` if it has the form. Forms of mappings say so of each key.
    pub(super) fn fault(self, text: &str) -> Option<&'static str> {
        let (is_right, fault) = match self {
            Self::DnsLabel => (
                is_dns_label(text),
                "must be a lowercase RFC 1123 label: letters, digits and '-', at most 63",
            ),
            Self::DnsSubdomain => (
                is_dns_subdomain(text),
                "must be a lowercase RFC 1123 subdomain: letters, digits, '-' and '.', with a letter or digit at both ends of each part",
            ),
            Self::PortName => (
                is_port_name(text),
                "must be the name of a port: lower-case letters, digits and '-', at least one letter, at most 15",
            ),
            Self::PortOrName => {
                (is_port_name(text), "must be a number from 1 to 65535 or the name of a port")
            }
            Self::QualifiedName | Self::Labels => (is_qualified_name(text), NAME_PART),
            // Keys of annotations are compared in lower case.
            Self::Annotations => (is_qualified_name(&text.to_ascii_lowercase()), NAME_PART),
            Self::FileNames => (
                !text.is_empty()
                    && text.len() <= 253
                    && text != "."
                    && !text.starts_with("..")
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            ),
            Self::Ip => (
                text.parse::<IpAddr>().is_ok(),
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
            Self::ClusterIp => (
                matches!(text, "" | "None") || text.parse::<IpAddr>().is_ok(),
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
            Self::Time => (is_time(text), "must be a date and time such as 2026-01-31T12:00:00Z"),
        };
        (!is_right).then_some(fault)
    }

    /// What is wrong with a value of a mapping of this form.
    pub(super) fn value_fault(self, text: &str) -> Option<&'static str> {
        let is_right = self != Self::Labels || is_label_value(text);
        (!is_right).then_some(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', with an alphanumeric character at both ends, at most 63",
        )
    }
}

const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', with an alphanumeric character at both ends, at most 63, with an optional DNS subdomain and '/' before it";

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Tells whether a text has between 1 and `most` characters, the outer ones `outer`, the inner ones
/// `outer` or one of `inner`.
fn is_bounded(text: &str, most: usize, outer: fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            bytes.len() <= most
                && outer(*first)
                && outer(*last)
                && bytes.iter().all(|byte| outer(*byte) || inner.contains(byte))
        }
        _ => false,
    }
}

/// Tells whether a text is a label of RFC 1123.
pub(crate) fn is_dns_label(text: &str) -> bool {
    is_bounded(text, 63, is_lower, b"-")
}

/// Tells whether a text is a subdomain of RFC 1123.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| is_bounded(part, 253, is_lower, b"-"))
}

fn is_port_name(text: &str) -> bool {
    is_bounded(text, 15, is_lower, b"-")
        && !text.contains("--")
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_bounded(text, 63, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_dns_subdomain)
        && !name.is_empty()
        && is_bounded(name, 63, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let rest = bytes.get(shape.len()..).unwrap_or_default();
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => &fraction[fraction.iter().take_while(|byte| byte.is_ascii_digit()).count()..],
        None => rest,
    };
    bytes.len() >= shape.len()
        && bytes.iter().zip(shape).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        })
        && (zone == b"Z" || matches!(zone, [b'+' | b'-', _, _, b':', _, _]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_tell_right_from_wrong() {
        let all = [
            (Form::DnsLabel, "web-1", "Web"),
            (Form::DnsLabel, "1", "a.b"),
            (Form::DnsSubdomain, "a.b-c.d", "a..b"),
            (Form::PortName, "http-2", "80"),
            (Form::PortName, "a", "http--2"),
            (Form::QualifiedName, "app.kubernetes.io/name", "/name"),
            (Form::QualifiedName, "A_b.c", "a/b/c"),
            (Form::Annotations, "Example.com/X", "a b"),
            (Form::FileNames, "mesh.yaml", "a/b"),
            (Form::Ip, "::1", "10.0.0.256"),
            (Form::ClusterIp, "None", "none"),
            (Form::Time, "2026-01-31T12:00:00.5+01:00", "2026-01-31"),
        ];
        for (form, right, wrong) in all {
            assert_eq!(form.fault(right), None, "{form:?} {right}");
            assert!(form.fault(wrong).is_some(), "{form:?} {wrong}");
        }
        assert_eq!(Form::Labels.value_fault(""), None);
        assert!(Form::Labels.value_fault("a b").is_some());
    }
}
