//! Feeds certificate requests to the authority: the first byte chooses between PEM and DER.
#![cfg_attr(fuzzing, no_main)]

use ca::{Refusal, SigningRequest};

pilothouse_fuzz::target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let read = if choice & 1 == 0 {
        SigningRequest::from_der(rest)
    } else {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        SigningRequest::from_pem(text)
    };
    if let Err(refusal) = read {
        // What a client sends is the client's fault, and the reason is fit for a metric's label.
        let reason = refusal.reason();
        assert!(!reason.is_empty() && reason.len() < 64, "{reason}");
    }
});
