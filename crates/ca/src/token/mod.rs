//! Service-account tokens, verified without asking the API server.
//!
//! ```text
//!  text ─▶ size ─▶ shape ─▶ header: alg on the list, kid ─▶ key of that kid and kind
//!       ─▶ signature ─▶ claims: iss, aud, exp, nbf, sub ─▶ bound pod ─▶ ServiceAccountToken
//! ```
//!
//! Each arrow refuses before the next one works. Nothing of the claims is read before the signature
//! is verified, but for the issuer, to find the keys that verify it ([`claimed_issuer`]), and to spare the
//! API server a question whose answer is known ([`check_unverified`]); and no address in a token is ever
//! fetched.

mod base64url;
mod cache;
mod claims;
mod development;
mod keys;
mod refusal;
mod review;
mod rule;
mod verify;

pub use cache::{TokenCache, TokenHash};
pub use claims::{BoundObject, PodBinding, ServiceAccountToken, TokenPolicy};
pub use development::{DevelopmentIssuer, DevelopmentToken};
pub use keys::{KeySet, KeySetError};
pub use refusal::{MAX_TOKEN_BYTES, TokenRefusal};
pub use review::Review;
pub use rule::{IssuerRule, IssuerRuleError, IssuerRules};
pub use verify::{check_unverified, claimed_issuer, verify};

#[cfg(test)]
mod tests;
