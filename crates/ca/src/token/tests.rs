#![allow(clippy::unwrap_used)]
use super::base64url::encode;
use super::*;
use crate::entropy::SystemEntropy;
use crate::fixture::{NOW, later};
use crate::refusal::{Code, Refusal};
use crate::ttl::at;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair};
use model::TrustDomain;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;
use x509_parser::prelude::FromDer;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

static DEVELOPMENT: LazyLock<DevelopmentIssuer> =
    LazyLock::new(|| DevelopmentIssuer::generate(ISSUER).unwrap());
static KEYS: LazyLock<KeySet> = LazyLock::new(|| DEVELOPMENT.keys().unwrap());

fn policy() -> TokenPolicy {
    TokenPolicy {
        issuers: vec![ISSUER.to_owned()],
        audiences: vec!["istio-ca".to_owned()],
        leeway: Duration::ZERO,
        pod: PodBinding::Required,
    }
}

fn key_id() -> String {
    let set: Value = serde_json::from_str(&DEVELOPMENT.jwks()).unwrap();
    set["keys"][0]["kid"].as_str().unwrap().to_owned()
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": key_id()})
}

/// The claims of a token as an API server projects it into a pod.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "system:serviceaccount:istio-system:ztunnel", "aud": ["istio-ca"],
        "iat": NOW.as_secs(), "nbf": NOW.as_secs(), "exp": NOW.as_secs() + 3600, "jti": "x",
        "kubernetes.io": {
            "namespace": "istio-system",
            "serviceaccount": {"name": "ztunnel", "uid": "sa-uid"},
            "pod": {"name": "zt-1", "uid": "pod-uid"},
            "node": {"name": "n1", "uid": "node-uid"},
            "warnafter": NOW.as_secs() + 3000,
        },
    })
}

fn token(header: &Value, claims: &Value) -> String {
    DEVELOPMENT.sign(&header.to_string(), &claims.to_string()).unwrap()
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<ServiceAccountToken, TokenRefusal> {
    let mut claims = claims();
    change(&mut claims);
    verify(&token(&header(), &claims), &KEYS, &policy(), NOW)
}

#[test]
fn bound_token_is_accepted_with_all_it_says() {
    let token = changed(|_| {}).unwrap();
    assert_eq!(
        token.identity(&TrustDomain::parse("td").unwrap()).unwrap().to_string(),
        "spiffe://td/ns/istio-system/sa/ztunnel"
    );
    assert_eq!(token.pod, Some(BoundObject { name: "zt-1".to_owned(), uid: "pod-uid".to_owned() }));
    assert_eq!(token.node.unwrap().name, "n1");
    assert_eq!(token.service_account_uid.as_deref(), Some("sa-uid"));
    assert_eq!(token.expires, later(3600));
}

#[test]
fn each_wrong_claim_is_refused_by_its_name() {
    let cases: [(&str, Value, TokenRefusal); 9] = [
        ("iss", json!("https://elsewhere"), TokenRefusal::Issuer),
        ("aud", json!(["other"]), TokenRefusal::Audience),
        ("aud", json!([]), TokenRefusal::Audience),
        ("exp", json!(NOW.as_secs()), TokenRefusal::Expired),
        ("exp", json!(-5), TokenRefusal::Expired),
        ("nbf", json!(NOW.as_secs() + 1), TokenRefusal::NotYetValid),
        ("sub", json!("system:serviceaccount:istio-system"), TokenRefusal::Subject),
        ("sub", json!("system:serviceaccount:istio-system:ztunnel:x"), TokenRefusal::Subject),
        ("sub", json!("system:serviceaccount:other:ztunnel"), TokenRefusal::Subject),
    ];
    for (name, value, refusal) in cases {
        let result = changed(|claims| claims[name] = value.clone());
        assert_eq!(result, Err(refusal), "{name} = {value}");
    }
    for name in ["iss", "aud", "exp", "sub"] {
        let result = changed(|claims| drop(claims.as_object_mut().unwrap().remove(name)));
        assert_eq!(result, Err(TokenRefusal::Malformed("claims")), "without {name}");
    }
}

#[test]
fn audience_may_be_one_text() {
    assert!(changed(|claims| claims["aud"] = json!("istio-ca")).is_ok());
}

#[test]
fn leeway_bridges_clocks_and_no_more() {
    let text = token(&header(), &claims());
    let policy = TokenPolicy { leeway: Duration::from_secs(10), ..policy() };
    let at_end = |seconds| verify(&text, &KEYS, &policy, at(NOW.as_secs() + seconds)).map(|_| ());
    assert_eq!(at_end(3609), Ok(()));
    assert_eq!(at_end(3610), Err(TokenRefusal::Expired));
    assert!(verify(&text, &KEYS, &policy, at(NOW.as_secs() - 10)).is_ok());
    assert_eq!(verify(&text, &KEYS, &policy, at(NOW.as_secs() - 11)), Err(TokenRefusal::NotYetValid));
}

#[test]
fn unbound_tokens_are_refused_where_a_pod_is_required() {
    let no_pod = |claims: &mut Value| drop(claims["kubernetes.io"].as_object_mut().unwrap().remove("pod"));
    assert_eq!(changed(no_pod), Err(TokenRefusal::Unbound));
    assert_eq!(
        changed(|c| drop(c.as_object_mut().unwrap().remove("kubernetes.io"))),
        Err(TokenRefusal::Unbound)
    );
    assert_eq!(changed(|c| c["kubernetes.io"]["pod"] = json!({"name": "zt-1"})), Err(TokenRefusal::Unbound));
    let mut claims = claims();
    no_pod(&mut claims);
    let loose = TokenPolicy { pod: PodBinding::Ignored, ..policy() };
    assert_eq!(verify(&token(&header(), &claims), &KEYS, &loose, NOW).unwrap().pod, None);
}

#[test]
fn a_token_that_may_be_bound_says_whether_it_is() {
    let optional = TokenPolicy { pod: PodBinding::Optional, ..policy() };
    let read = |claims: &Value| verify(&token(&header(), claims), &KEYS, &optional, NOW).unwrap();
    assert_eq!(read(&claims()), verify(&token(&header(), &claims()), &KEYS, &policy(), NOW).unwrap());
    for pod in [Value::Null, json!({"name": "zt-1"}), json!({"name": "", "uid": "u"})] {
        let mut claims = claims();
        claims["kubernetes.io"]["pod"] = pod;
        let unbound = read(&claims);
        assert!(unbound.is_unbound && unbound.pod.is_none() && unbound.node.is_none(), "{unbound:?}");
    }
}

#[test]
fn what_an_issuer_without_pods_says_of_pods_counts_for_nothing() {
    let ignoring = TokenPolicy { pod: PodBinding::Ignored, ..policy() };
    let bound = verify(&token(&header(), &claims()), &KEYS, &policy(), NOW).unwrap();
    assert!(bound.pod.is_some() && bound.node.is_some());
    let read = verify(&token(&header(), &claims()), &KEYS, &ignoring, NOW).unwrap();
    assert_eq!(read, ServiceAccountToken { pod: None, node: None, ..bound });
}

#[test]
fn claimed_issuer_is_total() {
    assert_eq!(claimed_issuer(&token(&header(), &claims())).as_deref(), Some(ISSUER));
    let without = token(&header(), &json!({"sub": "x"}));
    for text in ["", "a", "a.b.c", "..", &without, &"a.".repeat(5000)] {
        assert_eq!(claimed_issuer(text), None, "{text}");
    }
}

#[test]
fn algorithms_off_the_list_are_refused_before_any_key_is_used() {
    for name in ["none", "None", "HS256", "HS384", "HS512", "PS256", "EdDSA", "", "es256"] {
        let header = json!({"alg": name, "kid": key_id()});
        assert_eq!(verify(&token(&header, &claims()), &KEYS, &policy(), NOW), Err(TokenRefusal::Algorithm));
        // Also without any signature, as `none` has it.
        let bare = format!("{}.{}.", encode(header.to_string().as_bytes()), encode(b"{}"));
        assert_eq!(verify(&bare, &KEYS, &policy(), NOW), Err(TokenRefusal::Algorithm));
    }
}

#[test]
fn key_ids_are_required_and_matched() {
    let verify = |header: Value| verify(&token(&header, &claims()), &KEYS, &policy(), NOW);
    assert_eq!(verify(json!({"alg": "ES256"})), Err(TokenRefusal::NoKeyId));
    let forged = verify(json!({"alg": "ES256", "kid": "forged"}));
    assert_eq!(forged, Err(TokenRefusal::UnknownKey { key_id: "forged".to_owned() }));
    assert_eq!(verify(json!({"alg": "RS256", "kid": key_id()})), Err(TokenRefusal::KeyMismatch));
    let critical = verify(json!({"alg": "ES256", "kid": key_id(), "crit": ["b64"], "b64": false}));
    assert!(matches!(critical, Err(TokenRefusal::Malformed(_))));
}

#[test]
fn token_signed_with_another_key_of_the_same_id_is_refused() {
    let other = DevelopmentIssuer::generate(ISSUER).unwrap();
    let text = other.sign(&header().to_string(), &claims().to_string()).unwrap();
    assert_eq!(verify(&text, &KEYS, &policy(), NOW), Err(TokenRefusal::Signature));
}

#[test]
fn claims_put_under_a_foreign_signature_are_refused() {
    let text = token(&header(), &claims());
    let mut altered = claims();
    altered["sub"] = json!("system:serviceaccount:kube-system:admin");
    let parts: Vec<&str> = text.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], encode(altered.to_string().as_bytes()), parts[2]);
    assert_eq!(verify(&forged, &KEYS, &policy(), NOW), Err(TokenRefusal::Signature));
    // Another spelling of the same signature is none.
    assert!(verify(&format!("{text}="), &KEYS, &policy(), NOW).is_err());
}

#[test]
fn over_long_tokens_are_refused_unread() {
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(verify(&long, &KEYS, &policy(), NOW), Err(TokenRefusal::TooLong(long.len())));
}

#[test]
fn refusals_are_unauthenticated() {
    let refused = verify("a.b", &KEYS, &policy(), NOW).unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (Code::Unauthenticated, "token_malformed"));
}

#[test]
fn rsa_keys_verify_with_each_hash_unless_bound_to_one() {
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let (n, e) = rsa_numbers(pair.public_key().as_ref());
    let jwk = |alg: Option<&str>| {
        let mut key = json!({"kty": "RSA", "kid": "r", "use": "sig", "n": encode(&n), "e": encode(&e)});
        if let Some(alg) = alg {
            key["alg"] = json!(alg);
        }
        KeySet::from_json(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
    };
    let sign = |name: &str, encoding: &'static dyn aws_lc_rs::signature::RsaEncoding| {
        let header = json!({"alg": name, "kid": "r"}).to_string();
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims().to_string().as_bytes()));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", encode(&signature))
    };
    let (short, long) = (sign("RS256", &RSA_PKCS1_SHA256), sign("RS512", &RSA_PKCS1_SHA512));
    assert!(verify(&short, &jwk(None), &policy(), NOW).is_ok());
    assert!(verify(&long, &jwk(None), &policy(), NOW).is_ok());
    assert!(verify(&short, &jwk(Some("RS256")), &policy(), NOW).is_ok());
    assert_eq!(verify(&long, &jwk(Some("RS256")), &policy(), NOW), Err(TokenRefusal::KeyMismatch));
    assert_eq!(
        verify(&sign("RS256", &RSA_PKCS1_SHA512), &jwk(None), &policy(), NOW),
        Err(TokenRefusal::Signature)
    );
}

/// Returns modulus and exponent of an RSAPublicKey.
fn rsa_numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (_, key) = x509_parser::public_key::RSAPublicKey::from_der(der).unwrap();
    (key.modulus.to_vec(), key.exponent.to_vec())
}

#[test]
fn unusable_keys_are_passed_over_and_usable_ones_kept() {
    let good: Value = serde_json::from_str(&DEVELOPMENT.jwks()).unwrap();
    let good = &good["keys"][0];
    let with = |change: fn(&mut Value)| {
        let mut key = good.clone();
        change(&mut key);
        key
    };
    let unusable = [
        json!({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}),
        json!({"kty": "RSA", "kid": "b", "n": encode(&[0xff; 128]), "e": "AQAB"}),
        json!("text"),
        json!({}),
        with(|key| key["use"] = json!("enc")),
        with(|key| key["alg"] = json!("HS256")),
        with(|key| key["alg"] = json!("RS256")),
        with(|key| key["crv"] = json!("P-384")),
        with(|key| key["x"] = key["y"].clone()),
        with(|key| drop(key.as_object_mut().unwrap().remove("kid"))),
    ];
    for key in &unusable {
        let alone = KeySet::from_json(json!({"keys": [key]}).to_string().as_bytes());
        assert_eq!(alone.unwrap_err(), KeySetError::Empty, "{key}");
    }
    let mut all = unusable.to_vec();
    all.push(good.clone());
    let set = KeySet::from_json(json!({"keys": all}).to_string().as_bytes()).unwrap();
    assert_eq!((set.len(), set.contains(&key_id())), (1, true));
    for text in ["", "[]", "{}", "{\"keys\": {}}"] {
        assert!(matches!(KeySet::from_json(text.as_bytes()), Err(KeySetError::Malformed(_))), "{text}");
    }
    assert!(matches!(KeySet::from_json(&vec![b' '; 300_000]), Err(KeySetError::TooLong(_))));
}

#[test]
fn development_tokens_pass_the_same_checks() {
    let again = DevelopmentIssuer::from_pem(ISSUER, DEVELOPMENT.to_pem()).unwrap();
    let wanted = DevelopmentToken {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
        pod: Some(("web-a".to_owned(), "u3".to_owned())),
        node: Some("n1".to_owned()),
        audiences: vec!["istio-ca".to_owned()],
        life: Duration::from_secs(60),
    };
    let text = again.issue(&wanted, NOW, &SystemEntropy).unwrap();
    let token = verify(&text, &KEYS, &policy(), NOW).unwrap();
    assert_eq!((token.namespace.as_str(), token.service_account.as_str()), ("shop", "web"));
    assert_eq!(verify(&text, &KEYS, &policy(), later(60)), Err(TokenRefusal::Expired));
    assert!(!format!("{again:?}").contains("PRIVATE"));
}

proptest! {
    #[test]
    fn any_text_is_refused(text in ".{0,300}") {
        prop_assert!(verify(&text, &KEYS, &policy(), NOW).is_err());
    }

    #[test]
    fn any_header_and_claims_are_refused_or_verified(header in ".{0,80}", claims in ".{0,200}") {
        let text = DEVELOPMENT.sign(&header, &claims).unwrap();
        prop_assert!(verify(&text, &KEYS, &policy(), NOW).is_err());
    }

    #[test]
    fn any_signed_claims_do_not_panic(exp in any::<f64>(), nbf in any::<i64>(), sub in ".{0,40}") {
        let _ = changed(|claims| {
            claims["exp"] = json!(exp);
            claims["nbf"] = json!(nbf);
            claims["sub"] = json!(sub);
        });
    }

    #[test]
    fn one_changed_character_refuses(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._-]") {
        let text = token(&header(), &claims());
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        let to = to.as_bytes()[0];
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(verify(std::str::from_utf8(&bytes).unwrap(), &KEYS, &policy(), NOW).is_err());
    }
}

#[test]
fn what_nobody_could_accept_is_known_before_any_key_is_asked_for() {
    let now = at(NOW.as_secs());
    let sign =
        |header: &Value, claims: &Value| DEVELOPMENT.sign(&header.to_string(), &claims.to_string()).unwrap();
    let (header, claims) = (json!({"alg": "RS256"}), |change: Value| {
        let mut claims =
            json!({"iss": "anybody", "sub": "s", "aud": ["istio-ca"], "exp": NOW.as_secs() + 60});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    });
    let check = |token: &str| check_unverified(token, &policy(), now);
    // Neither the issuer, the key nor the signature is judged.
    assert_eq!(check(&sign(&header, &claims(json!({})))), Ok(at(NOW.as_secs() + 60)));
    for (refusal, token) in [
        (TokenRefusal::Audience, sign(&header, &claims(json!({"aud": "other"})))),
        (TokenRefusal::Expired, sign(&header, &claims(json!({"exp": NOW.as_secs()})))),
        (TokenRefusal::NotYetValid, sign(&header, &claims(json!({"nbf": NOW.as_secs() + 1})))),
        (TokenRefusal::Algorithm, sign(&json!({"alg": "none"}), &claims(json!({})))),
        (TokenRefusal::Malformed("claims"), sign(&header, &json!({"aud": "istio-ca"}))),
        (TokenRefusal::Malformed("three parts are expected"), "opaque".to_owned()),
        (TokenRefusal::TooLong(9000), "x".repeat(9000)),
    ] {
        assert_eq!(check(&token), Err(refusal));
    }
}
