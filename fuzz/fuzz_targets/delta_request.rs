//! Feeds one stream's requests to a session of a ztunnel, and counts what that takes.
#![cfg_attr(fuzzing, no_main)]

use pilothouse_fuzz::{allocations::Counting, delta_requests};

#[global_allocator]
static COUNTING: Counting = Counting;

pilothouse_fuzz::target!(|input: &[u8]| { delta_requests::run(input) });
