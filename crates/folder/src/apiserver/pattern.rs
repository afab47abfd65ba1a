//! Expressions of definitions, compiled when a text is first held against them: a catalog has hundreds, and manifests
//! meet a few.

use std::sync::OnceLock;

use regex::Regex;

/// The expression that texts of a field are to match.
pub(super) struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// Tells whether a text matches. What is no expression to us, every text does.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Regex::new(&self.text).ok());
        compiled.as_ref().is_none_or(|compiled| compiled.is_match(text))
    }

    /// The expression as it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}
