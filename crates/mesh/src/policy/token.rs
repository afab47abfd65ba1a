//! `RequestAuthentication` to which tokens waypoints take, its condition and its diagnostics.
//!
//! ```text
//! RequestAuthentication ─┬─ sources ───▶ where keys are published ──▶ whoever fetches them
//!                        └─ with keys ─▶ TokenRow: rules of waypoints, what is not as written, diagnostics
//! ```
//!
//! A rule of which something is not understood, or whose keys are not known, takes no token of its issuer: a policy
//! never lets in what it was to keep out.

use engine::{Builder, Cx, Table};
use model::facts::{
    FetchedKeys, JwtRule, KeySet, KeySetSource, KeySource, Meta, PolicyTargetRef, RequestAuthentication,
    TokenHeader,
};
use model::{Diagnostic, Kind, Name, Ns, ObjectRef, Severity, Str};
use output::Outputs;
use std::collections::BTreeMap;
use std::time::Duration;

use super::authorization::{Condition, refused_in_words};
use super::code;
use super::request::is_token;
use super::waypoint::{PolicyTarget, targets};

/// Longest text of a rule, in bytes.
const MAX_TEXT: usize = 2_048;
/// Headers that say how a request goes on, or that have a meaning within proxies.
const RESERVED: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
/// How headers begin that have a meaning within proxies.
const RESERVED_PREFIXES: [&str; 2] = ["x-pilothouse-", "x-envoy-"];

/// What waypoints make of a `RequestAuthentication`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaypointTokens {
    /// What it is for; one of them is enough.
    pub targets: Vec<PolicyTarget>,
    /// Whether it was not understood as a whole: no request passes.
    pub is_refused: bool,
    /// In order.
    pub rules: Vec<TokenRule>,
}

/// Which tokens of an issuer are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRule {
    /// As in `iss`; empty if nobody knows.
    pub issuer: Str,
    /// One of them is in `aud`; none where it may be anything.
    pub audiences: Vec<Str>,
    /// `None` if there is none that is known: no token is taken.
    pub keys: Option<KeySet>,
    /// Where tokens are; without any place, where they usually are.
    pub headers: Vec<TokenHeader>,
    /// Parameters of the query.
    pub params: Vec<Str>,
    /// Cookies.
    pub cookies: Vec<Str>,
    /// Whether the token goes on.
    pub is_forwarded: bool,
    /// The header that has the payload; empty if none has.
    pub payload_header: Str,
    /// Headers, and the claim that each has.
    pub claim_headers: Vec<(Str, Str)>,
    /// Claims that are lists with blanks between.
    pub space_delimited: Vec<Str>,
}

/// What a `RequestAuthentication` became.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TokenRow {
    /// What waypoints enforce; `None` for one that is for none.
    pub at_waypoints: Option<WaypointTokens>,
    /// What of it is not enforced as written; `None` if all is.
    pub fault: Option<Condition>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Tokens of requests, and the keys that they are signed with.
#[derive(Clone, Copy)]
pub(crate) struct Tokens {
    pub rows: Table<Name, TokenRow>,
    /// Where keys are published that somebody needs, and how long to wait for them.
    pub wanted: Table<KeySource, Duration>,
}

/// What tokens are read from.
pub(crate) struct Inputs<S> {
    pub policies: Table<Name, RequestAuthentication>,
    pub keys: Table<KeySource, FetchedKeys>,
    pub root_namespace: Table<(), Ns>,
    /// Whether waypoints are configured here.
    pub configures_waypoints: bool,
    /// Tells whether an object takes part in the mesh.
    pub in_scope: S,
}

impl Tokens {
    /// Declares them.
    pub fn declare(
        b: &mut Builder,
        out: &mut Outputs,
        inputs: Inputs<impl Fn(&Cx<'_>, &Meta) -> bool + Send + 'static>,
    ) -> Self {
        let Inputs { policies, keys, root_namespace, configures_waypoints, in_scope } = inputs;
        let policies = b.derive("request_authentications", policies, move |cx, _, policy| {
            in_scope(cx, &policy.meta).then(|| policy.clone())
        });
        let sources = b.expand("key_sources", policies, move |_, name, policy| {
            let read = read(policy).into_iter().enumerate().filter(|_| configures_waypoints);
            let row = |(i, (rule, timeout)): (usize, (Read, Duration))| match rule.keys {
                Keys::At(source) => Some(((source, name.clone(), i), timeout)),
                Keys::These(_) | Keys::None => None,
            };
            read.filter_map(row).collect()
        });
        let by_source = b.index(sources, "key_source_by_source", |(source, ..), _| [source.clone()]);
        let wanted = b.group("wanted_keys", by_source, |_, _, all: &[(_, std::sync::Arc<Duration>)]| {
            all.iter().map(|(_, timeout)| **timeout).max()
        });
        b.sink(wanted);
        let rows = b.derive("tokens", policies, move |cx, _, policy| {
            let root = cx.single(root_namespace)?;
            Some(row(policy, &root, configures_waypoints, |source| {
                cx.get(keys, source).map(|of| (*of).clone()).unwrap_or_default()
            }))
        });
        out.diagnostics(b, "token_findings", rows, |_, row| row.diagnostics.clone());
        Self { rows, wanted }
    }
}

/// A rule as it is read.
struct Read {
    rule: TokenRule,
    keys: Keys,
    /// The fields that were not understood, from `spec`, and what is wrong with each.
    wrong: Vec<(String, String)>,
}

/// Where the keys of a rule are.
enum Keys {
    /// Nobody knows.
    None,
    These(KeySet),
    At(KeySource),
}

/// Returns the rules of a policy that is for waypoints, each with how long to wait for its keys.
fn read(policy: &RequestAuthentication) -> Vec<(Read, Duration)> {
    let spec = policy.spec.as_ref().ok().filter(|spec| !spec.target_refs.is_empty());
    let rules = spec.into_iter().flat_map(|spec| &spec.rules).enumerate();
    rules
        .map(|(i, rule)| {
            (read_rule(rule, &format!("spec.jwtRules[{i}]")), rule.timeout.unwrap_or(KeySource::TIMEOUT))
        })
        .collect()
}

fn read_rule(rule: &JwtRule, at: &str) -> Read {
    let mut wrong = Vec::new();
    let mut check = |is_good: bool, field: String, value: &str, of: &str| {
        if !is_good {
            let shown: String = value.chars().take(64).collect();
            wrong.push((format!("{at}.{field}"), format!("{shown:?} is no {of}")));
        }
    };
    check(is_text(&rule.issuer), "issuer".to_owned(), &rule.issuer, "issuer as tokens name it");
    let lists = [
        ("audiences", &rule.audiences),
        ("fromParams", &rule.from_params),
        ("spaceDelimitedClaims", &rule.space_delimited_claims),
    ];
    for (field, values) in lists {
        for (i, value) in values.iter().enumerate() {
            check(is_text(value), format!("{field}[{i}]"), value, "text that there can be");
        }
    }
    for (i, header) in rule.from_headers.iter().enumerate() {
        check(is_name(&header.name), format!("fromHeaders[{i}].name"), &header.name, "name of a header");
        let prefix = &header.prefix;
        let is_good = prefix.is_empty() || is_text(prefix);
        check(is_good, format!("fromHeaders[{i}].prefix"), prefix, "text that a header can have");
    }
    for (i, cookie) in rule.from_cookies.iter().enumerate() {
        check(is_name(cookie), format!("fromCookies[{i}]"), cookie, "name of a cookie");
    }
    let output = &rule.output_payload_to_header;
    let is_good = output.is_empty() || is_output(output);
    check(is_good, "outputPayloadToHeader".to_owned(), output, "name of a header that may be set");
    for (i, (header, claim)) in rule.output_claim_to_headers.iter().enumerate() {
        let field = |name: &str| format!("outputClaimToHeaders[{i}].{name}");
        check(is_output(header), field("header"), header, "name of a header that may be set");
        check(is_text(claim), field("claim"), claim, "name of a claim");
    }
    let keys = match (rule.jwks.as_str(), rule.jwks_uri.as_str()) {
        ("", "") if is_url(&rule.issuer) => Keys::At(KeySource::Issuer(rule.issuer.clone())),
        ("", "") => {
            let message =
                "it has no jwks and no jwksUri, and its issuer is no URL that could tell".to_owned();
            wrong.push((at.to_owned(), message));
            Keys::None
        }
        ("", uri) if is_url(uri) => Keys::At(KeySource::Uri(rule.jwks_uri.clone())),
        ("", uri) => {
            wrong.push((format!("{at}.jwksUri"), format!("{uri:?} is no URL of http or https")));
            Keys::None
        }
        (jwks, "") => match KeySet::read(jwks.as_bytes(), KeySetSource::Written) {
            Ok(keys) => Keys::These(keys),
            Err(why) => {
                wrong.push((format!("{at}.jwks"), why));
                Keys::None
            }
        },
        _ => {
            wrong.push((format!("{at}.jwksUri"), "it is there besides jwks".to_owned()));
            Keys::None
        }
    };
    let issuer = if is_text(&rule.issuer) { rule.issuer.clone() } else { Str::new() };
    let plain = TokenRule {
        issuer,
        audiences: Vec::new(),
        keys: None,
        headers: Vec::new(),
        params: Vec::new(),
        cookies: Vec::new(),
        is_forwarded: false,
        payload_header: Str::new(),
        claim_headers: Vec::new(),
        space_delimited: Vec::new(),
    };
    if !wrong.is_empty() {
        return Read { rule: plain, keys: Keys::None, wrong };
    }
    let lower = |name: &Str| Str::from(name.to_ascii_lowercase());
    let rule = TokenRule {
        audiences: rule.audiences.clone(),
        headers: rule
            .from_headers
            .iter()
            .map(|of| TokenHeader { name: lower(&of.name), prefix: of.prefix.clone() })
            .collect(),
        params: rule.from_params.clone(),
        cookies: rule.from_cookies.clone(),
        is_forwarded: rule.forward_original_token,
        payload_header: lower(&rule.output_payload_to_header),
        claim_headers: rule.output_claim_to_headers.iter().map(|(h, c)| (lower(h), c.clone())).collect(),
        space_delimited: rule.space_delimited_claims.clone(),
        ..plain
    };
    Read { rule, keys, wrong }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_TEXT && name.bytes().all(is_token)
}

fn is_output(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_name(name)
        && !RESERVED.contains(&lower.as_str())
        && !RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    text.len() <= MAX_TEXT
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
}

fn row(
    policy: &RequestAuthentication,
    root_namespace: &Ns,
    configures_waypoints: bool,
    fetched: impl Fn(&KeySource) -> FetchedKeys,
) -> TokenRow {
    let refs = refs(policy);
    let targets = targets(&policy.meta.name.ns, refs, root_namespace);
    let told = |code, severity, field: String, message, help: &str| Diagnostic {
        code,
        severity,
        object: Some(ObjectRef { kind: Kind::RequestAuthentication, name: policy.meta.name.clone() }),
        field,
        message,
        help: help.to_owned(),
        place: None,
    };
    let mut diagnostics = Vec::new();
    if let Err(refused) = &policy.spec {
        diagnostics.push(refused.diagnostic.clone());
        let at_waypoints = WaypointTokens { targets, is_refused: true, rules: Vec::new() };
        let message = refused_in_words(refused, "no request passes");
        return TokenRow {
            at_waypoints: (configures_waypoints && !refs.is_empty()).then_some(at_waypoints),
            fault: Some(Condition { status: false, reason: "Invalid", message }),
            diagnostics,
        };
    }
    if refs.is_empty() {
        let message =
            "nothing enforces it: ztunnels see no requests, and waypoints take policies with targetRefs";
        let help = "name in spec.targetRefs what has a waypoint, or the waypoint itself";
        diagnostics.push(told(
            code::UNTARGETED_TOKENS,
            Severity::Warning,
            "spec.targetRefs".to_owned(),
            message.to_owned(),
            help,
        ));
        return TokenRow { at_waypoints: None, fault: None, diagnostics };
    }
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for (Read { mut rule, keys, wrong }, _) in read(policy) {
        let issuer = rule.issuer.clone();
        for (field, message) in wrong {
            let help = "write it as the reference of RequestAuthentication says";
            let message = format!("{message}, so no token of issuer {issuer:?} is taken");
            faults.push(("PartiallyInvalid", format!("{field}: {message}")));
            diagnostics.push(told(code::UNCLEAR_TOKENS, Severity::Error, field, message, help));
        }
        rule.keys = match keys {
            Keys::None => None,
            Keys::These(keys) => Some(keys),
            Keys::At(source) => {
                let FetchedKeys { keys, problem } = fetched(&source);
                let is_known = keys.is_some();
                if !problem.is_empty() {
                    let effect = if is_known {
                        "the last that were fetched are in use".to_owned()
                    } else {
                        format!("no token of issuer {issuer:?} is taken")
                    };
                    let message = format!("keys cannot be fetched from {source}: {problem}; {effect}");
                    let help = "let it be reached from the control plane, or write the keys into jwks";
                    let severity = if is_known { Severity::Warning } else { Severity::Error };
                    faults.push(("KeysNotFetched", message.clone()));
                    diagnostics.push(told(
                        code::KEYS_NOT_FETCHED,
                        severity,
                        "spec.jwtRules".to_owned(),
                        message,
                        help,
                    ));
                } else if !is_known {
                    let message = format!(
                        "no token of issuer {issuer:?} is taken until keys are fetched from {source}"
                    );
                    faults.push(("KeysNotFetched", message));
                }
                keys
            }
        };
        rules.push(rule);
    }
    let fault = faults.first().map(|(reason, first)| {
        let more = match faults.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        Condition {
            status: true,
            reason,
            message: format!("enforced more strictly than written: {first}{more}"),
        }
    });
    let at_waypoints = WaypointTokens { targets, is_refused: false, rules };
    TokenRow { at_waypoints: configures_waypoints.then_some(at_waypoints), fault, diagnostics }
}

/// Returns what a policy targets.
pub(crate) fn refs(policy: &RequestAuthentication) -> &[PolicyTargetRef] {
    match &policy.spec {
        Ok(spec) => &spec.target_refs,
        Err(refused) => &refused.target_refs,
    }
}

/// Returns the rules of policies as one list, ascending by issuer.
pub fn by_issuer<'t>(all: impl IntoIterator<Item = &'t WaypointTokens>) -> Vec<&'t TokenRule> {
    let mut ordered: BTreeMap<&str, Vec<&TokenRule>> = BTreeMap::new();
    for rule in all.into_iter().flat_map(|of| &of.rules) {
        ordered.entry(&rule.issuer).or_default().push(rule);
    }
    ordered.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use model::Object;
    use model::parse;
    use serde_json::{Value, json};

    const KEY: &str = r#"{"keys":[{"kty":"RSA","n":"sXch","e":"AQAB"}]}"#;

    fn policy(spec: Value) -> RequestAuthentication {
        let object = json!({"metadata": {"namespace": "shop", "name": "tokens"}, "spec": spec});
        match parse(Kind::RequestAuthentication, object.to_string().as_bytes()).unwrap() {
            Object::RequestAuthentication(policy) => (*policy).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn with(rule: Value) -> RequestAuthentication {
        policy(json!({"targetRefs": [{"kind": "Service", "name": "web"}], "jwtRules": [rule]}))
    }

    fn row_of(policy: &RequestAuthentication, fetched: FetchedKeys) -> TokenRow {
        row(policy, &"istio-system".into(), true, |_| fetched.clone())
    }

    #[test]
    fn a_rule_that_is_not_understood_takes_no_token() {
        for (rule, field) in [
            (json!({"issuer": "", "jwks": KEY}), "issuer"),
            (json!({"issuer": "a", "jwks": "{}"}), "jwks"),
            (json!({"issuer": "a"}), ""),
            (json!({"issuer": "a", "jwksUri": "ftp://a"}), "jwksUri"),
            (json!({"issuer": "a", "jwksUri": "https://user@a/"}), "jwksUri"),
            (json!({"issuer": "a", "jwks": KEY, "jwksUri": "https://a"}), "jwksUri"),
            (json!({"issuer": "a", "jwks": KEY, "fromHeaders": [{"name": "a b"}]}), "fromHeaders[0].name"),
            (json!({"issuer": "a", "jwks": KEY, "fromCookies": ["a;b"]}), "fromCookies[0]"),
            (json!({"issuer": "a", "jwks": KEY, "outputPayloadToHeader": "host"}), "outputPayloadToHeader"),
            (
                json!({"issuer": "a", "jwks": KEY,
                       "outputClaimToHeaders": [{"header": "X-Pilothouse-Scope", "claim": "sub"}]}),
                "outputClaimToHeaders[0].header",
            ),
        ] {
            let row = row_of(&with(rule.clone()), FetchedKeys::default());
            let told: Vec<_> = row.diagnostics.iter().map(|d| d.field.as_str()).collect();
            let at = "spec.jwtRules[0]";
            let field = if field.is_empty() { at.to_owned() } else { format!("{at}.{field}") };
            assert_eq!(told, [field], "{rule}");
            assert_eq!(row.at_waypoints.unwrap().rules[0].keys, None, "{rule}");
            assert!(row.fault.is_some_and(|fault| fault.status && fault.reason == "PartiallyInvalid"));
        }
    }

    #[test]
    fn keys_that_were_fetched_outlive_what_goes_wrong_later() {
        let policy = with(json!({"issuer": "https://a.test"}));
        let keys = KeySet::read(KEY.as_bytes(), KeySetSource::Published).unwrap();
        let states = [
            (None, "", "KeysNotFetched", 0),
            (None, "no route", "KeysNotFetched", 1),
            (Some(keys.clone()), "no route", "KeysNotFetched", 1),
        ];
        for (keys, problem, reason, count) in states {
            let row = row_of(&policy, FetchedKeys { keys: keys.clone(), problem: problem.into() });
            assert_eq!(row.fault.map(|fault| fault.reason), Some(reason));
            assert_eq!(row.diagnostics.len(), count);
            assert_eq!(row.at_waypoints.unwrap().rules[0].keys, keys);
        }
        let row = row_of(&policy, FetchedKeys { keys: Some(keys), problem: "".into() });
        assert_eq!((row.fault, row.diagnostics), (None, Vec::new()));
    }

    #[test]
    fn one_that_is_refused_or_for_nobody_says_so() {
        let targets = json!([{"kind": "Service", "name": "web"}]);
        let row = row_of(&policy(json!({"targetRefs": targets, "jwtRules": 7})), FetchedKeys::default());
        assert!(row.at_waypoints.is_some_and(|of| of.is_refused && of.targets.len() == 1));
        assert!(row.fault.is_some_and(|fault| !fault.status));
        let row = row_of(&policy(json!({"jwtRules": []})), FetchedKeys::default());
        assert_eq!(row.at_waypoints, None);
        assert_eq!(row.diagnostics.len(), 1);
    }
}
