use super::{Meta, PolicyTargetRef, Refused};
use crate::{Labels, Str};
use std::time::Duration;

/// A header that a token may be in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenHeader {
    /// `name`.
    pub name: Str,
    /// `prefix`: what comes before the token.
    pub prefix: Str,
}

/// `spec.jwtRules[]`: which tokens of an issuer are good. Strings stay as written; each list is in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // the fields are those of `security.istio.io` `JWTRule`, name for name
pub struct JwtRule {
    pub issuer: Str,
    pub audiences: Vec<Str>,
    pub jwks: Str,
    pub jwks_uri: Str,
    pub from_headers: Vec<TokenHeader>,
    pub from_params: Vec<Str>,
    pub from_cookies: Vec<Str>,
    pub forward_original_token: bool,
    pub output_payload_to_header: Str,
    /// Headers, and the claim that each has.
    pub output_claim_to_headers: Vec<(Str, Str)>,
    pub timeout: Option<Duration>,
    pub space_delimited_claims: Vec<Str>,
}

/// The understood `spec` of a `RequestAuthentication`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestAuthenticationSpec {
    /// `selector.matchLabels`; `Some` even when the selector is written empty.
    pub selector: Option<Labels>,
    /// `targetRefs`, then `targetRef`.
    pub target_refs: Vec<PolicyTargetRef>,
    /// `jwtRules`, in order.
    pub rules: Vec<JwtRule>,
}

/// Facts of a `RequestAuthentication`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestAuthentication {
    /// Metadata.
    pub meta: Meta,
    /// `spec`, or why it was not understood.
    pub spec: Result<RequestAuthenticationSpec, Refused>,
}
