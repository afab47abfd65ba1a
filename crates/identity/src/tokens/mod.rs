//! Verification of bearer tokens: ServiceAccount tokens of the cluster, and tokens of additional issuers.

mod key_source;
mod keys;
mod published_keys;
mod rate_limits;
mod reviewer;
mod verifier;
mod web_client;

pub(crate) use rate_limits::TokenRateLimits;
pub(crate) use reviewer::TokenReviewer;
pub use reviewer::reviewed;
pub(crate) use verifier::{LEEWAY, PrimaryIssuer, TokenVerifier};
pub use web_client::{Reach, RootsError, WebClient, WebError};
