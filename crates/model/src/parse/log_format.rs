//! Formats of access logs: texts with commands between percent signs. A proxy refuses whatever has one that it does not
//! know, so each is checked.

/// Commands without an argument.
const PLAIN: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "STREAM_ID",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];
/// Commands whose argument is a header, perhaps with another one instead.
const HEADERS: &[&str] = &["REQ", "RESP", "TRAILER"];
/// Commands whose argument is a path within metadata or filter state.
const PATHS: &[&str] = &["CLUSTER_METADATA", "DYNAMIC_METADATA", "FILTER_STATE", "UPSTREAM_METADATA"];
/// Commands whose argument is a format of a time, or nothing.
const TIMES: &[&str] = &["EMIT_TIME", "START_TIME", "START_TIME_LOCAL"];

/// Checks a format.
///
/// # Errors
/// When it has a command that is not known, or is not one where a percent sign says so.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let end = after.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (argument, after) = match after.strip_prefix('(').map(|inner| inner.split_once(')')) {
            Some(Some((argument, after))) => (Some(argument), after),
            Some(None) => return Err(format!("{name:?} has no closing bracket")),
            None => (None, after),
        };
        let (length, after) = match after.strip_prefix(':') {
            Some(after) => {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                (Some(&after[..end]), &after[end..])
            }
            None => (None, after),
        };
        let is_ended = after.starts_with('%');
        let is_number = |digits: &str| digits.parse::<u16>().is_ok();
        let is_known = match (argument, length) {
            (None, None) => PLAIN.contains(&name) || TIMES.contains(&name),
            (Some(header), length) if HEADERS.contains(&name) => {
                is_header(header) && length.is_none_or(is_number)
            }
            (Some(path), None) if PATHS.contains(&name) => is_path(path),
            (Some(format), None) if TIMES.contains(&name) => is_time(format),
            _ => false,
        };
        if !is_known || !is_ended {
            return Err(format!("{name:?} is no command, or not written as one"));
        }
        rest = &after[1..];
    }
    Ok(())
}

fn is_header(text: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.strip_prefix(':').unwrap_or(name);
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match text.split_once('?') {
        Some((first, second)) => is_name(first) && is_name(second),
        None => is_name(text),
    }
}

fn is_path(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
    };
    text.split(':').all(is_part)
}

fn is_time(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"%-:./ +,_".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_that_proxies_know() {
        for text in [
            "",
            "plain 100%%",
            "%PROTOCOL%",
            "[%START_TIME%] %REQ(X-A?:PATH):10%\n",
            "%START_TIME(%Y-%m-%dT%H:%M:%S.%3f)%",
            "%DYNAMIC_METADATA(istio.mixer:status)%",
            "%FILTER_STATE(a:PLAIN)%%%",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in [
            "100%",
            "%%%",
            "%PROTOCOLS%",
            "%protocol%",
            "%REQ%",
            "%REQ(a b)%",
            "%REQ(a%",
            "%REQ(A?B?C)%",
            "%PROTOCOL(a)%",
            "%REQ(A):x%",
            "%CEL(request.host)%",
            "%ENVIRONMENT(HOME)%",
            "%PROTOCOL",
            "%REQ(A)",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }
}
