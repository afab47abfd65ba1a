//! Verification of bearer tokens: ServiceAccount tokens of the cluster, and tokens of additional issuers.

mod https_client;
mod key_source;
mod keys;
mod published_keys;
mod rate_limits;
mod reviewer;
mod verifier;

pub(crate) use https_client::{HttpsClient, RootsError};
pub(crate) use rate_limits::TokenRateLimits;
pub(crate) use reviewer::TokenReviewer;
pub(crate) use verifier::{LEEWAY, PrimaryIssuer, TokenVerifier};
