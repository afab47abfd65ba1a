//! Feeds bearer tokens to the verifier; the input brings its own keys, of which it has no private half.
#![no_main]

use ca::token::{KeySet, PodBinding, TokenPolicy, claimed_issuer, verify};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::UnixTime;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    // The part before the first NUL is a key set, the rest a token.
    let (keys, token) = match input.iter().position(|b| *b == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&b"{\"keys\":[]}"[..], input),
    };
    let Ok(keys) = KeySet::from_json(keys) else { return };
    let Ok(token) = std::str::from_utf8(token) else { return };
    let policy = TokenPolicy {
        issuers: vec!["https://kubernetes.default.svc".to_owned()],
        audiences: vec!["istio-ca".to_owned()],
        leeway: Duration::from_secs(10),
        pod: PodBinding::Required,
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    // Total, whatever is claimed.
    let _ = claimed_issuer(token);
    let first = verify(token, &keys, &policy, now).map_err(|e| e.to_string());
    let second = verify(token, &keys, &policy, now).map_err(|e| e.to_string());
    assert_eq!(first.is_ok(), second.is_ok(), "one token gives one answer");
    assert_eq!(first.err(), second.err());
});
