//! Feeds revocation lists: those that the authority has not signed revoke nothing.
#![cfg_attr(fuzzing, no_main)]

pilothouse_fuzz::target!(|input: &[u8]| {
    pilothouse_fuzz::credentials::revocation_lists(input);
});
