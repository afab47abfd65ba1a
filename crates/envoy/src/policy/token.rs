//! Tokens of requests: which are taken, and what becomes of their claims.

use mesh::policy::{TokenRule, WaypointTokens, by_issuer};
use proto::envoy::config::core::v3::{DataSource, data_source};
use proto::envoy::config::route::v3::{RouteMatch, route_match};
use proto::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement, JwtRequirementAndList,
    JwtRequirementOrList, RequirementRule, jwt_provider, jwt_requirement::RequiresType, requirement_rule,
};
use std::collections::{BTreeMap, BTreeSet};

use super::claim::PAYLOAD;

/// A key that nobody can sign for: a point of the curve that was made of a hash, so that its private half is not known.
/// It is in each set, since Envoy refuses a set without any key that it understands.
const NOBODY: &str = "{\"alg\":\"ES256\",\"crv\":\"P-256\",\"kid\":\"nobody\",\"kty\":\"EC\",\
                      \"x\":\"U8dBuhefY1MHw5doWH0Oz4GjoIw0rV7fKSJRk9KXTP4\",\
                      \"y\":\"INL425kw-L2Azk_j2JhM7FKjdp0r638fIyziundtWpw\"}";
/// Claims that always are lists with blanks between.
const SPACE_DELIMITED: [&str; 2] = ["permission", "scope"];

/// Returns the filter that takes the tokens of all these policies; `None` where they say nothing of any.
pub(super) fn filter<'t>(
    all: impl IntoIterator<Item = &'t WaypointTokens> + Clone,
) -> Option<JwtAuthentication> {
    if all.clone().into_iter().any(|of| of.is_refused) {
        // Whoever comes needs a token that nobody can have.
        let nobody = JwtProvider { jwks_source_specifier: Some(keys(None)), ..JwtProvider::default() };
        let name = "refused".to_owned();
        let rule = rule(requirement(RequiresType::ProviderName(name.clone())));
        return Some(JwtAuthentication {
            providers: BTreeMap::from([(name, nobody)]),
            rules: vec![rule],
            bypass_cors_preflight: false,
        });
    }
    let rules = by_issuer(all);
    if rules.is_empty() {
        return None;
    }
    let names: Vec<String> = (0..rules.len()).map(|i| format!("origins-{i}")).collect();
    Some(JwtAuthentication {
        providers: names.iter().cloned().zip(rules.iter().map(|rule| provider(rule))).collect(),
        rules: vec![rule(any_of(&names))],
        bypass_cors_preflight: true,
    })
}

fn rule(requires: JwtRequirement) -> RequirementRule {
    let all = route_match::PathSpecifier::Prefix("/".to_owned());
    RequirementRule {
        r#match: Some(RouteMatch { path_specifier: Some(all), ..RouteMatch::default() }),
        requirement_type: Some(requirement_rule::RequirementType::Requires(requires)),
    }
}

fn requirement(of: RequiresType) -> JwtRequirement {
    JwtRequirement { requires_type: Some(of) }
}

/// A good token of one of them, or none at all.
fn any_of(names: &[String]) -> JwtRequirement {
    let one = |name: &String| requirement(RequiresType::ProviderName(name.clone()));
    let any = |requirements| requirement(RequiresType::RequiresAny(JwtRequirementOrList { requirements }));
    let or_missing = |name: &String| any(vec![one(name), requirement(RequiresType::AllowMissing(()))]);
    if let [name] = names {
        return or_missing(name);
    }
    // Each of them alone would take a token of another for a bad one.
    let none = JwtRequirementAndList { requirements: names.iter().map(or_missing).collect() };
    let mut all: Vec<JwtRequirement> = names.iter().map(one).collect();
    all.push(requirement(RequiresType::RequiresAll(none)));
    any(all)
}

fn keys(of: Option<&str>) -> jwt_provider::JwksSourceSpecifier {
    let more = of.and_then(|keys| keys.strip_prefix('[')?.strip_suffix(']')).unwrap_or_default();
    let comma = if more.is_empty() { "" } else { "," };
    let document = format!("{{\"keys\":[{NOBODY}{comma}{more}]}}");
    jwt_provider::JwksSourceSpecifier::LocalJwks(DataSource {
        specifier: Some(data_source::Specifier::InlineString(document)),
    })
}

fn provider(rule: &TokenRule) -> JwtProvider {
    let header = |of: &model::facts::TokenHeader| JwtHeader {
        name: of.name.to_string(),
        value_prefix: of.prefix.to_string(),
    };
    let own = rule.space_delimited.iter().map(model::Str::as_str);
    let lists: BTreeSet<&str> = SPACE_DELIMITED.into_iter().chain(own).collect();
    let text = |all: &[model::Str]| all.iter().map(ToString::to_string).collect();
    JwtProvider {
        issuer: rule.issuer.to_string(),
        audiences: text(&rule.audiences),
        jwks_source_specifier: Some(keys(rule.keys.as_ref().map(|of| of.keys()))),
        forward: rule.is_forwarded,
        from_headers: rule.headers.iter().map(header).collect(),
        from_params: text(&rule.params),
        from_cookies: text(&rule.cookies),
        forward_payload_header: rule.payload_header.to_string(),
        payload_in_metadata: PAYLOAD.to_owned(),
        claim_to_headers: rule
            .claim_headers
            .iter()
            .map(|(header, claim)| JwtClaimToHeader {
                header_name: header.to_string(),
                claim_name: claim.to_string(),
            })
            .collect(),
        // Rules of routes may look at headers with claims.
        clear_route_cache: true,
        normalize_payload_in_metadata: Some(jwt_provider::NormalizePayload {
            space_delimited_claims: lists.into_iter().map(str::to_owned).collect(),
        }),
    }
}
