//! The result of fetching the keys of a token issuer.

use ca::token::KeySet;

/// Keys as they were fetched.
pub(super) struct FetchedKeys {
    /// The keys.
    pub keys: KeySet,
    /// The `iss` claim of the issuer's tokens.
    pub issuer: String,
    /// The document that contained the keys: equal keys have equal documents.
    pub document: Vec<u8>,
}

/// Why keys cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FetchError {
    /// The API server does not publish them to us: tokens must be reviewed.
    Withheld,
    /// The address is one that must not be dialled.
    Blocked(String),
    /// The server did not answer, or not with keys.
    Unreachable(String),
}
