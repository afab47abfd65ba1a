use super::policy::{self, Policy, TargetRef, TargetRefs};
use super::selector::WorkloadSelector;
use super::text::{Text, or_empty, shared_list};
use super::{code, duration, wrong::Wrong};
use crate::facts::{JwtRule, RequestAuthentication, RequestAuthenticationSpec, TokenHeader};
use crate::{Kind, Str, shared};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    selector: Option<WorkloadSelector<'a>>,
    #[serde(borrow, alias = "target_refs")]
    target_refs: Option<Vec<TargetRef<'a>>>,
    #[serde(borrow, alias = "target_ref")]
    target_ref: Option<TargetRef<'a>>,
    #[serde(borrow, alias = "jwt_rules")]
    jwt_rules: Option<Vec<RuleManifest<'a>>>,
}

type List<'a> = Option<Vec<Text<'a>>>;

// A rule must be understood whole: a check that is skipped would take tokens that were not to be taken.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an object")]
struct RuleManifest<'a> {
    #[serde(borrow)]
    issuer: Option<Text<'a>>,
    #[serde(borrow)]
    audiences: List<'a>,
    #[serde(borrow)]
    jwks: Option<Text<'a>>,
    #[serde(borrow, alias = "jwks_uri")]
    jwks_uri: Option<Text<'a>>,
    #[serde(borrow, alias = "from_headers")]
    from_headers: Option<Vec<HeaderManifest<'a>>>,
    #[serde(borrow, alias = "from_params")]
    from_params: List<'a>,
    #[serde(borrow, alias = "from_cookies")]
    from_cookies: List<'a>,
    #[serde(alias = "forward_original_token")]
    forward_original_token: Option<bool>,
    #[serde(borrow, alias = "output_payload_to_header")]
    output_payload_to_header: Option<Text<'a>>,
    #[serde(borrow, alias = "output_claim_to_headers")]
    output_claim_to_headers: Option<Vec<ClaimManifest<'a>>>,
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
    #[serde(borrow, alias = "space_delimited_claims")]
    space_delimited_claims: List<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct HeaderManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    prefix: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ClaimManifest<'a> {
    #[serde(borrow)]
    header: Option<Text<'a>>,
    #[serde(borrow)]
    claim: Option<Text<'a>>,
}

/// Returns the facts of a `RequestAuthentication`.
///
/// # Errors
/// Only when the document is no JSON or names no object.
pub(super) fn parse(json: &[u8]) -> Result<RequestAuthentication, Wrong> {
    let Policy { meta, spec, .. } =
        policy::parse(Kind::RequestAuthentication, json, code::REQUEST_AUTHENTICATION_FIELD, lower)?;
    Ok(RequestAuthentication { meta, spec })
}

fn lower(spec: Spec<'_>) -> Result<RequestAuthenticationSpec, Wrong> {
    let rules = spec.jwt_rules.unwrap_or_default().into_iter().enumerate();
    Ok(RequestAuthenticationSpec {
        selector: spec.selector.map(|s| s.labels()),
        target_refs: TargetRefs { target_refs: spec.target_refs, target_ref: spec.target_ref }.lower(),
        rules: rules.map(|(i, rule)| rule.lower(i)).collect::<Result<_, _>>()?,
    })
}

impl RuleManifest<'_> {
    fn lower(self, index: usize) -> Result<JwtRule, Wrong> {
        let timeout = self.timeout.as_ref().map(|text| {
            duration::of_istio(text.as_str()).filter(|time| !time.is_zero()).ok_or_else(|| {
                let fault = format!("{:?} is no time such as 5s", text.as_str());
                Wrong::new(
                    code::REQUEST_AUTHENTICATION_FIELD,
                    format!("spec.jwtRules[{index}].timeout"),
                    fault,
                )
                .help("write a number with a unit, or leave it out")
            })
        });
        let headers = self.from_headers.unwrap_or_default().into_iter();
        let claims = self.output_claim_to_headers.unwrap_or_default().into_iter();
        Ok(JwtRule {
            issuer: shared(or_empty(&self.issuer)),
            audiences: shared_list(self.audiences),
            // Not shared: a text of its own, and long.
            jwks: Str::from(or_empty(&self.jwks)),
            jwks_uri: shared(or_empty(&self.jwks_uri)),
            from_headers: headers
                .map(|of| TokenHeader {
                    name: shared(or_empty(&of.name)),
                    prefix: shared(or_empty(&of.prefix)),
                })
                .collect(),
            from_params: shared_list(self.from_params),
            from_cookies: shared_list(self.from_cookies),
            forward_original_token: self.forward_original_token.unwrap_or(false),
            output_payload_to_header: shared(or_empty(&self.output_payload_to_header)),
            output_claim_to_headers: claims
                .map(|of| (shared(or_empty(&of.header)), shared(or_empty(&of.claim))))
                .collect(),
            timeout: timeout.transpose()?,
            space_delimited_claims: shared_list(self.space_delimited_claims),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::result_large_err)]

    use super::*;
    use crate::facts::Refused;
    use serde_json::{Value, json};

    fn spec(rule: Value) -> Result<RequestAuthenticationSpec, Refused> {
        let manifest = json!({
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"targetRefs": [{"kind": "Service", "name": "web"}], "jwtRules": [rule]},
        });
        parse(manifest.to_string().as_bytes()).unwrap().spec
    }

    #[test]
    fn both_spellings_of_a_field_are_one() {
        let camel =
            json!({"issuer": "a", "jwksUri": "https://a", "fromParams": ["t"], "forwardOriginalToken": true});
        let snake = json!({"issuer": "a", "jwks_uri": "https://a", "from_params": ["t"], "forward_original_token": true});
        assert_eq!(spec(camel).unwrap(), spec(snake).unwrap());
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_targets() {
        for (rule, field) in [
            (json!({"issuer": "a", "audience": "b"}), "spec.jwtRules[0].audience"),
            (json!({"issuer": 1}), "spec.jwtRules[0].issuer"),
            (json!({"issuer": "a", "timeout": "soon"}), "spec.jwtRules[0].timeout"),
            (json!({"issuer": "a", "timeout": "0s"}), "spec.jwtRules[0].timeout"),
            (json!({"fromHeaders": [{"header": "a"}]}), "spec.jwtRules[0].fromHeaders[0].header"),
        ] {
            let refused = spec(rule.clone()).unwrap_err();
            assert_eq!(refused.diagnostic.field, field, "{rule}");
            assert_eq!(refused.target_refs.len(), 1);
        }
    }
}
