//! Why tokens are refused.

use crate::refusal::{Code, Refusal};

/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// The token is longer than [`MAX_TOKEN_BYTES`].
    #[error("token has {0} bytes; at most 8192 are accepted")]
    TooLong(usize),
    /// The token is not three base64url parts with JSON inside.
    #[error("token is not a signed JWT in compact form: {0}")]
    Malformed(&'static str),
    /// The algorithm is not on the list; `none` and those with a shared secret never are.
    #[error("token has an algorithm that is not accepted; RS256, RS384, RS512, ES256, ES384 and ES512 are")]
    Algorithm,
    /// The header has no key id.
    #[error("token has no key id")]
    NoKeyId,
    /// No key has this id. Fetching the keys again may help.
    #[error("token has an unknown key id")]
    UnknownKey {
        /// The key id.
        key_id: String,
    },
    /// The key of that id is of another kind than the algorithm.
    #[error("token has an algorithm that its key is not for")]
    KeyMismatch,
    /// The signature does not verify.
    #[error("token has a wrong signature")]
    Signature,
    /// The issuer is not one of the expected ones.
    #[error("token has an unexpected issuer")]
    Issuer,
    /// None of the audiences is expected.
    #[error("token is for another audience")]
    Audience,
    /// The token has expired.
    #[error("token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("token is not valid yet")]
    NotYetValid,
    /// The subject is not a service account, or differs from the bound one.
    #[error("token has a subject that is not system:serviceaccount:<namespace>:<name>")]
    Subject,
    /// The API server was asked and rejected the token.
    #[error("token is rejected by the API server")]
    Rejected,
    /// The token is not bound to a pod.
    #[error("token is not bound to a pod; project it with a serviceAccountToken volume")]
    Unbound,
}

impl Refusal for TokenRefusal {
    fn code(&self) -> Code {
        Code::Unauthenticated
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "token_too_long",
            Self::Malformed(_) => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::NoKeyId => "token_no_key_id",
            Self::UnknownKey { .. } => "token_unknown_key",
            Self::KeyMismatch => "token_key_mismatch",
            Self::Signature => "token_signature",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Subject => "token_subject",
            Self::Rejected => "token_rejected",
            Self::Unbound => "token_unbound",
        }
    }
}
