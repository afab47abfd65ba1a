//! How the table is written.

/// Lines of the table as they are written: names stand below a path, separated by blanks.
pub(super) enum Line {
    Read(&'static str, &'static str),
    /// Path, what to use instead.
    Deprecated(&'static str, &'static str),
    /// Path, the value that asks for nothing, what to use instead.
    Unsupported(&'static str, &'static str, &'static str),
    /// Path, names (none for the path itself), why.
    Outside(&'static str, &'static str, &'static str),
    /// Lines that stand below several paths.
    Within(&'static str, &'static [Line]),
}
