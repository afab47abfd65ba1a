//! Feeds answers to TokenReviews: what is accepted is an account of a pod, for our audience.
#![cfg_attr(fuzzing, no_main)]

pilothouse_fuzz::target!(|input: &[u8]| {
    pilothouse_fuzz::credentials::review(input);
});
