use super::{PolicySelector, PolicyTargetReference};
use schemars::JsonSchema;

/// Which tokens of requests are good. A request with none passes; one with a token that is not good does not.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(given, given).size() <= 1",
        "message": "give at most one of selector, targetRef and targetRefs"
    }
]))]
pub struct RequestAuthenticationSpec {
    /// The workloads concerned: no ztunnel sees requests, so a policy with it has no effect.
    pub selector: Option<PolicySelector>,
    /// Like `targetRefs`, for one target.
    pub target_ref: Option<PolicyTargetReference>,
    /// The gateways and services whose waypoints look at tokens.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<PolicyTargetReference>>,
    /// The issuers of tokens.
    #[schemars(length(max = 4096))]
    pub jwt_rules: Option<Vec<JwtRuleSpec>>,
}

/// A text that is not empty.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct JwtText(#[schemars(length(min = 1))] pub String);

/// Where keys are published, by `http://` or `https://`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct JwtKeysUri(
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://"))]
    pub String,
);

/// A length of time, such as `5s`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct JwtTimeout(
    #[schemars(regex(pattern = r"^[+]?([0-9]+([.][0-9]*)?(h|m|s|ms|us|ns))+$"))] pub String,
);

/// Which tokens of an issuer are good.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.jwksUri), has(self.jwks_uri), has(self.jwks)].filter(given, given).size() <= 1",
        "message": "give at most one of jwks and jwksUri"
    }
]))]
pub struct JwtRuleSpec {
    /// The issuer, as tokens name it in `iss`.
    pub issuer: Option<JwtText>,
    /// For whom tokens may be, as they name it in `aud`; without any, for whomever.
    pub audiences: Option<Vec<JwtText>>,
    /// The keys of the issuer (JSON Web Key Set).
    pub jwks: Option<String>,
    /// Where the keys of the issuer are published; without it and without `jwks`, its discovery document says.
    pub jwks_uri: Option<JwtKeysUri>,
    /// As `jwksUri`.
    #[schemars(rename = "jwks_uri")]
    pub jwks_uri_by_its_other_name: Option<JwtKeysUri>,
    /// Headers that have tokens. Without any place, tokens are in `authorization`, or in the parameter `access_token`.
    pub from_headers: Option<Vec<JwtHeader>>,
    /// Parameters of the query that have tokens.
    pub from_params: Option<Vec<JwtText>>,
    /// Cookies that have tokens.
    pub from_cookies: Option<Vec<JwtText>>,
    /// The header that the payload of a good token is put into, in base64url.
    pub output_payload_to_header: Option<String>,
    /// Whether the workload gets the token.
    pub forward_original_token: Option<bool>,
    /// Headers that claims of a good token are put into.
    pub output_claim_to_headers: Option<Vec<ClaimHeader>>,
    /// How long keys may take to be fetched.
    pub timeout: Option<JwtTimeout>,
    /// Claims that are lists with blanks between; `scope` and `permission` always are.
    #[schemars(length(max = 64))]
    pub space_delimited_claims: Option<Vec<JwtText>>,
}

/// A header that has tokens.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct JwtHeader {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What comes before the token.
    pub prefix: Option<String>,
}

/// A header that a claim is put into.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct ClaimHeader {
    /// The header.
    #[schemars(length(min = 1), regex(pattern = r"^[-_A-Za-z0-9]+$"))]
    pub header: String,
    /// The claim; a dot leads to one within it.
    #[schemars(length(min = 1))]
    pub claim: String,
}
