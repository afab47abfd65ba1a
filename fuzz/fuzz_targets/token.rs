//! Feeds bearer tokens to the verifier. No input is signed by the server's key, so none may be accepted
//! by it; and with keys that the input brings, an answer is one answer.
#![cfg_attr(fuzzing, no_main)]

use ca::token::{KeySet, PodBinding, TokenPolicy, claimed_issuer, verify};
use rustls_pki_types::UnixTime;
use std::sync::LazyLock;
use std::time::Duration;

/// The key of a server. Nobody has its private half: it was thrown away when this was written.
static SERVER: LazyLock<KeySet> = LazyLock::new(|| {
    let keys = br#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"server",
        "x":"RVTl4l_rUV14QySPoE7EzA585gvDYNHQYniORfa1tNQ",
        "y":"aFGELQAr2flxSSpqAvLXdqwybCBzjkfVhu93AYugn8o"}]}"#;
    KeySet::from_json(keys).expect("a good key set")
});

/// The header of a token of that key, `{"alg":"ES256","kid":"server"}`, which an input need not find.
const HEADER: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6InNlcnZlciJ9";

pilothouse_fuzz::target!(|input: &[u8]| {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let policy = TokenPolicy {
        issuers: vec!["https://kubernetes.default.svc".to_owned()],
        audiences: vec!["istio-ca".to_owned()],
        leeway: Duration::from_secs(10),
        pod: PodBinding::Required,
    };
    if let Ok(forged) = std::str::from_utf8(input) {
        for token in [forged.to_owned(), format!("{HEADER}.{forged}")] {
            assert!(verify(&token, &SERVER, &policy, now).is_err(), "a forged token is accepted");
        }
    }
    // The part before the first NUL is a key set, the rest a token.
    let (keys, token) = match input.iter().position(|b| *b == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&b"{\"keys\":[]}"[..], input),
    };
    let Ok(keys) = KeySet::from_json(keys) else { return };
    let Ok(token) = std::str::from_utf8(token) else { return };
    // Total, whatever is claimed.
    let _ = claimed_issuer(token);
    let first = verify(token, &keys, &policy, now).map_err(|e| e.to_string());
    let second = verify(token, &keys, &policy, now).map_err(|e| e.to_string());
    assert_eq!(first.is_ok(), second.is_ok(), "one token gives one answer");
    assert_eq!(first.err(), second.err());
});
