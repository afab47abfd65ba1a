//! What the environment asks for.

/// Reads a variable of the environment; one that is empty is not set.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The further flags of the suite.
pub fn flags() -> Vec<String> {
    let flags = variable("CONFORMANCE_FLAGS").unwrap_or_default();
    flags.split_whitespace().map(str::to_owned).collect()
}
