//! What the clients of this command have in common.

use std::error::Error;

/// Returns the innermost cause of a failed call, which is the one that tells something.
pub fn deepest(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
