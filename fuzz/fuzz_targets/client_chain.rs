//! Feeds what clients show in handshakes: certificates, each after its length of two bytes. None is accepted but the one
//! that was issued.
#![cfg_attr(fuzzing, no_main)]

pilothouse_fuzz::target!(|input: &[u8]| {
    pilothouse_fuzz::credentials::client_chain(input);
});
