//! How a fuzz target is run: by libFuzzer, or over files.
//!
//! Only `make fuzz` and cargo-fuzz, which set `cfg(fuzzing)`, need libFuzzer and with it a C++ compiler. Elsewhere a
//! target is a program that is compiled and linted like any other, and runs once over each file that it is given: what
//! libFuzzer found, for example.
//!
//! What a target does is a function here, where it wants to be run by tests as well (`tests/bounded.rs`).

pub mod allocations;
pub mod connection;
pub mod credentials;
pub mod delta_requests;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// Runs a target over the files that the arguments name.
///
/// # Errors
/// When a file cannot be read.
pub fn over_files(target: impl Fn(&[u8])) -> std::io::Result<()> {
    std::env::args_os().skip(1).try_for_each(|path| {
        target(&std::fs::read(path)?);
        Ok(())
    })
}

/// Declares what a target does with an input.
#[macro_export]
macro_rules! target {
    (|$input:ident: &[u8]| $body:block) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|$input: &[u8]| $body);

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::over_files(|$input: &[u8]| $body)
        }
    };
}
