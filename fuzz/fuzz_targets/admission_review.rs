//! Reviews of objects, as whoever reaches the webhook may send them, and the objects in them.
#![cfg_attr(fuzzing, no_main)]

use admission::{Judge, Review};
use plane::Options;

pilothouse_fuzz::target!(|input: &[u8]| {
    if let Ok(review) = Review::read(input) {
        let decision = Judge::new(Options::default()).decide(&review.request);
        let answer = review.answer(&decision);
        assert!(std::str::from_utf8(&answer).is_ok());
    }
});
