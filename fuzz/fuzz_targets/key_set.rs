//! Feeds key sets (JWKS): a token verifies with the key that signed it alone.
#![cfg_attr(fuzzing, no_main)]

pilothouse_fuzz::target!(|input: &[u8]| {
    pilothouse_fuzz::credentials::key_set(input);
});
