//! Feeds a whole connection's bytes to the server; they follow the preface of HTTP/2.
#![cfg_attr(fuzzing, no_main)]

use pilothouse_fuzz::{allocations::Counting, connection};

#[global_allocator]
static COUNTING: Counting = Counting;

pilothouse_fuzz::target!(|input: &[u8]| { connection::run(&[connection::HELLO, input].concat()) });
