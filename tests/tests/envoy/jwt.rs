//! Tokens of requests at a real Envoy that is what a waypoint is configured to be.

use super::policy::{
    CLIENT, Case, DENIED, OK, UNAUTHENTICATED, WEB, allow, deny, from, get, request, to, when,
};
use super::proxy::LIMIT;
use anyhow::Context;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use model::facts::{FetchedKeys, KeySet, KeySetSource, KeySource};
use model::{Event, Kind, ObjectRef};
use pilothouse_tests::apiserver::until;
use proto::{ResourceType, Scope};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const TOKENS: Kind = Kind::RequestAuthentication;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds from now.
fn after(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

/// Who issues tokens.
pub struct Issuer {
    pub name: String,
    key: EcdsaKeyPair,
}

impl Issuer {
    pub fn new(name: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { name: name.to_owned(), key }
    }

    /// Its public key.
    pub fn key_set(&self) -> String {
        let point = self.key.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "alg": "ES256", "x": x, "y": y}]})
            .to_string()
    }

    /// A part of its public key that no other has.
    pub fn point(&self) -> String {
        base64url(&self.key.public_key().as_ref()[1..33])
    }

    /// A token with these claims, besides its own and that it is good for an hour unless they say otherwise.
    pub fn token(&self, claims: Value) -> String {
        let signing = Self::input("ES256", &self.with(claims));
        let signature = self.key.sign(&SystemRandom::new(), signing.as_bytes()).unwrap();
        format!("{signing}.{}", base64url(signature))
    }

    fn with(&self, claims: Value) -> Value {
        let mut all = json!({"iss": self.name, "exp": after(3600)});
        for (name, value) in claims.as_object().into_iter().flatten() {
            all[name.as_str()] = value.clone();
        }
        all
    }

    fn input(algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": "a"});
        format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()))
    }

    /// A token that nobody signed.
    fn unsigned(&self, claims: Value) -> String {
        format!("{}.", Self::input("none", &self.with(claims)))
    }

    /// A token that is signed with what everybody knows.
    fn signed_with_the_public_key(&self, claims: Value) -> String {
        let signing = Self::input("HS256", &self.with(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.public_key().as_ref());
        format!("{signing}.{}", base64url(hmac::sign(&key, signing.as_bytes())))
    }
}

fn web() -> Value {
    json!([{"group": "", "kind": "Service", "name": "web"}])
}

/// A `RequestAuthentication` for `web` with these rules.
fn tokens(rules: Value) -> (Kind, &'static str, Value) {
    (TOKENS, "shop", json!({"targetRefs": web(), "jwtRules": rules}))
}

/// An `AuthorizationPolicy` for `web`.
fn access(spec: Value) -> (Kind, &'static str, Value) {
    let mut spec = spec;
    spec["targetRefs"] = web();
    (Kind::AuthorizationPolicy, "shop", spec)
}

fn of(issuer: &Issuer) -> Value {
    json!({"issuer": issuer.name, "jwks": issuer.key_set()})
}

fn bearing(path: &str, token: &str) -> Request<Empty<Bytes>> {
    request("GET", path, &[("authorization", &format!("Bearer {token}"))])
}

async fn check(case: &Case, requests: Vec<(Request<Empty<Bytes>>, u16)>) {
    for (n, (request, expected)) in requests.into_iter().enumerate() {
        let shown = format!("{n}: {request:?}");
        let answer = case.ask(CLIENT, request).await.unwrap();
        assert_eq!(answer.status, expected, "{shown}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_token_passes_and_one_with_a_bad_one_does_not() {
    let mut case = Case::start().await.unwrap();
    let (issuer, other) = (Issuer::new("https://issuer.test"), Issuer::new("https://issuer.test"));
    let unknown = Issuer::new("https://unknown.test");
    let good = issuer.token(json!({"sub": "joe"}));
    case.apply(&[tokens(json!([of(&issuer)]))]).await.unwrap();
    let mut cut = good.clone();
    cut.pop();
    check(
        &case,
        vec![
            (get("/"), OK),
            (bearing("/", &good), OK),
            (get(&format!("/?access_token={good}")), OK),
            (bearing("/", "nonsense"), UNAUTHENTICATED),
            (bearing("/", &cut), UNAUTHENTICATED),
            (bearing("/", &issuer.token(json!({"exp": after(-3600)}))), UNAUTHENTICATED),
            (bearing("/", &issuer.token(json!({"nbf": after(3600)}))), UNAUTHENTICATED),
            (bearing("/", &other.token(json!({"sub": "joe"}))), UNAUTHENTICATED),
            (bearing("/", &unknown.token(json!({"sub": "joe"}))), UNAUTHENTICATED),
            (bearing("/", &issuer.unsigned(json!({"sub": "joe"}))), UNAUTHENTICATED),
            (bearing("/", &issuer.signed_with_the_public_key(json!({"sub": "joe"}))), UNAUTHENTICATED),
            (get("/?access_token=nonsense"), UNAUTHENTICATED),
            // What becomes of a request by its rule comes after.
            (bearing("/away", "nonsense"), UNAUTHENTICATED),
            (get("/away"), 301),
        ],
    )
    .await;
    // None but those with a token that says who it is.
    let principals = allow(from(json!({"requestPrincipals": ["https://issuer.test/joe"]})));
    case.apply(&[tokens(json!([of(&issuer)])), access(principals)]).await.unwrap();
    let authorization = |token: &str| format!("Bearer {token}");
    let ann = issuer.token(json!({"sub": "ann"}));
    let twice = |a: &str, b: &str| {
        request("GET", "/", &[("authorization", &authorization(a)), ("Authorization", &authorization(b))])
    };
    check(
        &case,
        vec![
            (get("/"), DENIED),
            (bearing("/", &good), OK),
            (bearing("/", &ann), DENIED),
            (bearing("/", &issuer.unsigned(json!({"sub": "joe"}))), UNAUTHENTICATED),
            // A token where none is looked for is none.
            (request("GET", "/", &[("x-token", &good)]), DENIED),
            (request("GET", "/", &[("cookie", &format!("token={good}"))]), DENIED),
            (get(&format!("/?token={good}")), DENIED),
            // Several at once are not one of them.
            (twice(&ann, &good), UNAUTHENTICATED),
            (twice(&good, "nonsense"), UNAUTHENTICATED),
            (twice("nonsense", &good), UNAUTHENTICATED),
            (
                request("GET", &format!("/?access_token={good}"), &[("authorization", &authorization(&ann))]),
                DENIED,
            ),
            // Nor does a header say what a token would.
            (
                request(
                    "GET",
                    "/",
                    &[("x-jwt-payload", &base64url("{\"iss\":\"https://issuer.test\",\"sub\":\"joe\"}"))],
                ),
                DENIED,
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_match_what_tokens_claim() {
    let mut case = Case::start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test/realms/a");
    let rule = json!([{"issuer": issuer.name, "jwks": issuer.key_set(), "spaceDelimitedClaims": ["teams"]}]);
    let claims = json!({
        "sub": "repo:shop/web", "aud": ["web", "api"], "azp": "spa", "scope": "read write", "teams": "red blue",
        "groups": ["dev", "ops"], "role": "admin", "is_staff": true, "address": {"geo": {"country.code": "CH"}},
    });
    let token = issuer.token(claims);
    let none = issuer.token(json!({"sub": "x"}));
    for (rules, matches) in [
        (from(json!({"requestPrincipals": ["*"]})), true),
        (from(json!({"requestPrincipals": ["https://issuer.test/realms/a/repo:shop/web"]})), true),
        (from(json!({"requestPrincipals": ["https://issuer.test/realms/a/*"]})), true),
        (from(json!({"requestPrincipals": ["https://issuer.test/realms/a/repo:*"]})), true),
        (from(json!({"requestPrincipals": ["*/repo:shop/web"]})), true),
        (from(json!({"requestPrincipals": ["*/web"]})), true),
        (from(json!({"requestPrincipals": ["https://issuer.test/realms/a/repo:shop"]})), false),
        (from(json!({"requestPrincipals": ["https://issuer.test/realms/*", "none/*"]})), true),
        (from(json!({"requestPrincipals": ["https://issuer.test/realms/b/*"]})), false),
        (from(json!({"notRequestPrincipals": ["*/repo:shop/web"]})), false),
        (when("request.auth.principal", &["https://issuer.test/realms/a/repo:shop/web"]), true),
        (when("request.auth.audiences", &["api"]), true),
        (when("request.auth.audiences", &["other"]), false),
        (when("request.auth.presenter", &["spa"]), true),
        (when("request.auth.claims[scope]", &["write"]), true),
        (when("request.auth.claims[scope]", &["read write"]), false),
        (when("request.auth.claims[teams]", &["blue"]), true),
        (when("request.auth.claims[groups]", &["o*"]), true),
        (when("request.auth.claims[groups]", &["qa"]), false),
        (when("request.auth.claims[role]", &["admin", "other"]), true),
        (when("request.auth.claims[role]", &["*min"]), true),
        (when("request.auth.claims[is_staff]", &["true"]), true),
        (when("request.auth.claims[is_staff]", &["false"]), false),
        (when("request.auth.claims[address][geo][country.code]", &["CH"]), true),
        (when("request.auth.claims[address][geo][country]", &["CH"]), false),
        (when("request.auth.claims[role]", &["*"]), true),
    ] {
        let shown = rules.to_string();
        for (spec, if_matching, if_not) in
            [(allow(rules.clone()), OK, DENIED), (deny(rules.clone()), DENIED, OK)]
        {
            case.apply(&[tokens(rule.clone()), access(spec)]).await.unwrap();
            let status = case.ask(CLIENT, bearing("/", &token)).await.unwrap().status;
            assert_eq!(status, if matches { if_matching } else { if_not }, "{shown}");
        }
    }
    // Without a token, or without the claim.
    let not = json!([{"when": [{"key": "request.auth.claims[role]", "notValues": ["banned"]}]}]);
    case.apply(&[tokens(rule.clone()), access(allow(not))]).await.unwrap();
    check(&case, vec![(get("/"), OK), (bearing("/", &none), OK), (bearing("/", &token), OK)]).await;
    let without = json!([{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}]);
    case.apply(&[tokens(rule.clone()), access(deny(without))]).await.unwrap();
    check(&case, vec![(get("/"), DENIED), (bearing("/", &none), OK)]).await;
    let both = json!([{"from": [{"source": {"requestPrincipals": ["*"], "principals": ["*/sa/client"]}}],
                       "to": [{"operation": {"paths": ["/in"]}}]}]);
    case.apply(&[tokens(rule), access(allow(both))]).await.unwrap();
    check(&case, vec![(bearing("/in", &none), OK), (bearing("/", &none), DENIED), (get("/in"), DENIED)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_where_a_rule_says_and_go_on_as_it_says() {
    let mut case = Case::start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test");
    let token = issuer.token(json!({"sub": "joe", "org": {"name": "shop"}}));
    let principal = allow(from(json!({"requestPrincipals": ["*/joe"]})));
    let mut rule = of(&issuer);
    rule["fromHeaders"] = json!([{"name": "X-Token", "prefix": "Token "}]);
    rule["fromParams"] = json!(["jwt"]);
    rule["fromCookies"] = json!(["session"]);
    case.apply(&[tokens(json!([rule])), access(principal.clone())]).await.unwrap();
    let header = |name: &str, value: String| request("GET", "/", &[(name, &value)]);
    check(
        &case,
        vec![
            (header("x-token", format!("Token {token}")), OK),
            (header("x-token", token.clone()), DENIED),
            (get(&format!("/?jwt={token}")), OK),
            (header("cookie", format!("a=b; session={token}")), OK),
            (bearing("/", &token), DENIED),
            (get("/?jwt=nonsense"), UNAUTHENTICATED),
        ],
    )
    .await;

    let mut rule = of(&issuer);
    rule["outputPayloadToHeader"] = json!("X-Payload");
    rule["outputClaimToHeaders"] =
        json!([{"header": "x-sub", "claim": "sub"}, {"header": "x-org", "claim": "org.name"}]);
    case.apply(&[tokens(json!([rule]))]).await.unwrap();
    let forged = [("x-sub", "forged"), ("x-payload", "forged"), ("x-org", "forged")];
    let answer = case.ask(CLIENT, request("GET", "/", &forged)).await.unwrap();
    for (name, _) in forged {
        assert_eq!(answer.body["headers"][name], Value::Null, "{name} is no claim");
    }
    let authorization = format!("Bearer {token}");
    let mut with_token = forged.to_vec();
    with_token.push(("authorization", &authorization));
    let answer = case.ask(CLIENT, request("GET", "/", &with_token)).await.unwrap();
    let headers = &answer.body["headers"];
    assert_eq!((&headers["x-sub"], &headers["x-org"]), (&json!("joe"), &json!("shop")));
    let payload = URL_SAFE_NO_PAD.decode(headers["x-payload"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap()["sub"], "joe");
    assert_eq!(headers["authorization"], Value::Null, "the token ends here");
    rule = of(&issuer);
    rule["forwardOriginalToken"] = json!(true);
    case.apply(&[tokens(json!([rule]))]).await.unwrap();
    let answer = case.ask(CLIENT, bearing("/", &token)).await.unwrap();
    assert_eq!(answer.body["headers"]["authorization"], json!(authorization));
    // A claim never chooses what a request is taken for.
    let mut rule = of(&issuer);
    rule["outputClaimToHeaders"] = json!([{"header": "x-pilothouse-scope", "claim": "sub"}]);
    case.apply(&[tokens(json!([rule]))]).await.unwrap();
    let scope = "inbound-vip|80|http|web-v2.shop.svc.cluster.local";
    check(&case, vec![(bearing("/", &issuer.token(json!({"sub": scope}))), UNAUTHENTICATED)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_several_issuers_and_targets_add_up() {
    let mut case = Case::start().await.unwrap();
    let issuers = ["https://a.test", "https://b.test", "https://c.test"].map(Issuer::new);
    let [a, b, c] = &issuers;
    let gateway = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}]);
    let class =
        json!([{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"}]);
    let mut narrow = of(a);
    narrow["audiences"] = json!(["web"]);
    case.apply(&[
        tokens(json!([narrow])),
        (TOKENS, "shop", json!({"targetRefs": gateway, "jwtRules": [of(b)]})),
        (TOKENS, "istio-system", json!({"targetRefs": class, "jwtRules": [of(c)]})),
        // Of another namespace: of nobody here.
        (TOKENS, "far", json!({"targetRefs": web(), "jwtRules": [of(&Issuer::new("https://d.test"))]})),
    ])
    .await
    .unwrap();
    let (of_a, of_b, of_c) =
        (a.token(json!({"aud": "web"})), b.token(json!({"sub": "x"})), c.token(json!({"sub": "x"})));
    check(
        &case,
        vec![
            (get("/"), OK),
            (bearing("/", &of_a), OK),
            (bearing("/", &of_b), OK),
            (bearing("/", &of_c), OK),
            // A good token that is for others.
            (bearing("/", &a.token(json!({"aud": "other"}))), DENIED),
            (bearing("/", &a.token(json!({"sub": "x"}))), DENIED),
            (bearing("/", &b.token(json!({"iss": "https://a.test", "aud": "web"}))), UNAUTHENTICATED),
            (bearing("/", &Issuer::new("https://d.test").token(json!({}))), UNAUTHENTICATED),
        ],
    )
    .await;
    // Those of the waypoint and its class are for its other services, too.
    let mut v2 = case.http(CLIENT, "10.96.0.2:80").await.unwrap();
    for (token, expected) in [(&of_a, UNAUTHENTICATED), (&of_b, OK), (&of_c, OK)] {
        assert_eq!(v2.send(bearing("/", token)).await.unwrap().status, expected);
    }
    // And for what turns out to be requests.
    let mut any = case.http(CLIENT, "10.96.0.4:8000").await.unwrap();
    assert_eq!(any.send(bearing("/", &of_b)).await.unwrap().status, OK);
    assert_eq!(any.send(bearing("/", "nonsense")).await.unwrap().status, UNAUTHENTICATED);
    assert_eq!(any.send(get("/")).await.unwrap().status, OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_published_come_go_and_change() {
    let mut case = Case::start().await.unwrap();
    let (first, second) = (Issuer::new("https://issuer.test"), Issuer::new("https://issuer.test"));
    let source = KeySource::Uri("https://issuer.test/keys".into());
    let rule =
        json!([{"issuer": "https://issuer.test", "jwksUri": "https://issuer.test/keys", "timeout": "2s"}]);
    case.apply(&[tokens(rule)]).await.unwrap();
    let told = |keys: Option<&Issuer>, problem: &str| {
        let keys = keys.map(|of| KeySet::read(of.key_set().as_bytes(), KeySetSource::Published).unwrap());
        Event::Keys(source.clone(), Some(FetchedKeys { keys, problem: problem.into() }))
    };
    let condition = |case: &Case| {
        let name = model::Name::new("shop", "policy-0");
        let of = case.waypoint.mesh.conditions_of(&ObjectRef { kind: TOKENS, name }).unwrap();
        let found = of.conditions.iter().find(|of| of.kind == "WaypointAccepted").unwrap().clone();
        (found.status, found.reason)
    };
    let until_so = async |case: &Case, tokens: [(&Issuer, u16); 2]| {
        let is_so = until(LIMIT, async || {
            for (issuer, expected) in tokens {
                let answer = case.ask(CLIENT, bearing("/", &issuer.token(json!({"sub": "x"})))).await?;
                if answer.status != expected {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        });
        is_so.await.context("tokens are not taken as they should be")
    };
    // As long as nobody knows any, no token is good, and requests without one pass.
    until_so(&case, [(&first, UNAUTHENTICATED), (&second, UNAUTHENTICATED)]).await.unwrap();
    assert_eq!(case.ask(CLIENT, get("/")).await.unwrap().status, OK);
    assert_eq!(condition(&case), (true, "KeysNotFetched"));
    case.waypoint.change(vec![told(Some(&first), "")]).await.unwrap();
    until_so(&case, [(&first, OK), (&second, UNAUTHENTICATED)]).await.unwrap();
    assert_eq!(condition(&case), (true, "Accepted"));
    // A connection stays as it is when keys change.
    let mut kept = case.http(CLIENT, WEB).await.unwrap();
    assert_eq!(kept.send(bearing("/", &first.token(json!({})))).await.unwrap().status, OK);
    case.waypoint.change(vec![told(Some(&second), "")]).await.unwrap();
    until_so(&case, [(&first, UNAUTHENTICATED), (&second, OK)]).await.unwrap();
    assert_eq!(kept.send(bearing("/", &first.token(json!({})))).await.unwrap().status, UNAUTHENTICATED);
    assert_eq!(kept.send(bearing("/", &second.token(json!({})))).await.unwrap().status, OK);
    // What goes wrong later changes nothing but what is told.
    let sent = case.waypoint.change(vec![told(Some(&second), "connection refused")]).await.unwrap();
    assert_eq!(sent, 0);
    assert_eq!(condition(&case), (true, "KeysNotFetched"));
    let told_of = case.waypoint.mesh.diagnostics();
    let warning = told_of.iter().find(|of| of.code == "RA103").unwrap();
    assert!(
        warning.message.contains("connection refused") && warning.message.contains("in use"),
        "{warning}"
    );
    until_so(&case, [(&first, UNAUTHENTICATED), (&second, OK)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_not_understood_lets_no_request_through() {
    let mut case = Case::start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test");
    let mut unknown = of(&issuer);
    unknown["audience"] = json!("web");
    case.apply(&[tokens(json!([unknown]))]).await.unwrap();
    check(
        &case,
        vec![
            (get("/"), UNAUTHENTICATED),
            (bearing("/", &issuer.token(json!({}))), UNAUTHENTICATED),
            (
                request("OPTIONS", "/", &[("origin", "a"), ("access-control-request-method", "GET")]),
                UNAUTHENTICATED,
            ),
        ],
    )
    .await;
    let mut db = case.waypoint.connect_as(CLIENT, "10.96.0.3:3306", &[]).await.unwrap().unwrap();
    let mut hello = [0; 5];
    let read = tokio::io::AsyncReadExt::read_exact(&mut db, &mut hello);
    tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
    assert_eq!(&hello, b"hello", "streams have no tokens");
    // A preflight has none either, where tokens are looked at.
    case.apply(&[tokens(json!([of(&issuer)]))]).await.unwrap();
    check(
        &case,
        vec![(request("OPTIONS", "/", &[("origin", "a"), ("access-control-request-method", "GET")]), OK)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_about_tokens_sends_the_scopes_that_it_concerns() {
    let mut case = Case::start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test");
    let sent = |case: &mut Case, target: Value, audience: &str| {
        let mut rule = of(&issuer);
        rule["audiences"] = json!([audience]);
        let spec = json!({"targetRefs": [target], "jwtRules": [rule]});
        let object = json!({"metadata": {"namespace": "shop", "name": "tokens"}, "spec": spec});
        let parsed = model::parse(TOKENS, object.to_string().as_bytes()).unwrap();
        let delta = case.waypoint.mesh.apply([Event::Put(parsed)]);
        let of_proxies = delta.resources.iter().filter(|of| of.scope != Scope::Mesh);
        let mut names: Vec<_> = of_proxies.map(|of| (of.resource_type, of.name.to_string())).collect();
        names.sort();
        names
    };
    let scope = |host: &str, port: u16| {
        (ResourceType::ScopedRoute, format!("inbound-vip|{port}|http|{host}.shop.svc.cluster.local"))
    };
    for audience in ["a", "b"] {
        let target = json!({"group": "", "kind": "Service", "name": "web"});
        assert_eq!(sent(&mut case, target, audience), [scope("web", 80)]);
    }
    let waypoint = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"});
    let all = sent(&mut case, waypoint, "c");
    assert_eq!(all, [scope("any", 8000), scope("web-v2", 80), scope("web", 80)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_access_of_one_path() {
    // The usual pair: whoever has a token may, and one path is open.
    let mut case = Case::start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test");
    let rules = json!([
        {"from": [{"source": {"requestPrincipals": ["https://issuer.test/*"]}}]},
        to(json!({"paths": ["/healthz"]}))[0],
    ]);
    case.apply(&[tokens(json!([of(&issuer)])), access(allow(rules))]).await.unwrap();
    let good = issuer.token(json!({"sub": "joe"}));
    check(
        &case,
        vec![
            (get("/healthz"), OK),
            (get("/"), DENIED),
            (bearing("/", &good), OK),
            (bearing("/healthz", "nonsense"), UNAUTHENTICATED),
            (get("//healthz/..//"), DENIED),
        ],
    )
    .await;
}
