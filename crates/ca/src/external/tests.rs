#![allow(clippy::unwrap_used)]

use super::*;
use crate::bundle::TrustBundle;
use crate::fixture::{DAY, Foreign, IDENTITY, NOW, authority, later, request_pem};
use crate::key::SigningKey;
use crate::ttl::TtlPolicy;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::UnixTime;
use std::collections::BTreeMap;
use std::time::Duration;

const HOUR: u64 = 3600;

fn identity() -> Identity {
    Identity::parse(IDENTITY).unwrap()
}

fn trust(of: &Foreign) -> TrustBundle {
    TrustBundle::new([of.certificate.clone()]).unwrap()
}

/// Sets from when until when a certificate is valid.
fn valid(params: &mut CertificateParams, from: UnixTime, until: UnixTime) {
    let moment = |at: UnixTime| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
    (params.not_before, params.not_after) = (moment(from), moment(until));
}

fn before(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() - seconds))
}

/// A request and the key that it is for.
struct Asked {
    key: KeyPair,
    request: ExternalRequest,
}

fn ask() -> Asked {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![uri(IDENTITY)];
    let text = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = ExternalRequest::of_workload(&text, &identity(), HOUR as i64, &TtlPolicy::default());
    Asked { key, request: request.unwrap() }
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

/// What a signer that does as it is told puts into a certificate.
fn leaf() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![uri(IDENTITY)];
    valid(&mut params, before(60), later(HOUR));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[test]
fn answer_is_the_leaf_its_intermediates_and_last_the_roots() {
    let root = Foreign::root("root");
    let between = Foreign::below(&root, authority("between"));
    let other = Foreign::root("other");
    let Asked { key, request } = ask();
    let signed = leaf().signed_by(&key, &between.issuer).unwrap().pem();
    // With the root at its end, as many signers send it, and without.
    for answer in [format!("{signed}{}{}", between.pem(), root.pem()), format!("{signed}{}", between.pem())] {
        let peers = trust(&root).merged_with([&trust(&other)]).unwrap();
        let issued = request.accept(answer.as_bytes(), &trust(&root), &peers, NOW).unwrap();
        let last = format!("{}{}", root.pem(), other.pem());
        let first = crate::Certificate::all_from_pem(signed.as_bytes()).unwrap().remove(0);
        assert_eq!(issued.chain, [first.to_pem(), between.pem(), last]);
        assert_eq!(issued.leaf, first.der());
        assert_eq!(issued.serial, first.serial());
        assert_eq!(issued.validity.not_after, later(HOUR));
    }
}

type Change = fn(&mut CertificateParams);

#[test]
fn only_what_was_asked_for_is_passed_on() {
    let root = Foreign::root("root");
    let Asked { key, request } = ask();
    let other_key = KeyPair::generate().unwrap();
    let cases: [(&str, &KeyPair, Change); 12] = [
        ("signer_names", &key, |p| {
            p.subject_alt_names = vec![uri("spiffe://cluster.local/ns/shop/sa/other")]
        }),
        ("signer_names", &key, |p| p.subject_alt_names.push(uri("spiffe://cluster.local/ns/a/sa/b"))),
        ("signer_names", &key, |p| p.subject_alt_names.push(SanType::DnsName("a.b".try_into().unwrap()))),
        ("signer_names", &key, |p| p.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()))),
        ("signer_names", &key, |p| {
            p.subject_alt_names.push(SanType::Rfc822Name("a@b.c".try_into().unwrap()))
        }),
        ("signer_names", &key, |p| p.subject_alt_names.clear()),
        ("signer_key", &other_key, |_| ()),
        ("signer_usage", &key, |p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        ("signer_usage", &key, |p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        ("signer_usage", &key, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ("signer_life", &key, |p| valid(p, NOW, later(HOUR + 121))),
        ("signer_life", &key, |p| valid(p, before(HOUR + 1), later(HOUR))),
    ];
    for (reason, key, change) in cases {
        let mut params = leaf();
        change(&mut params);
        let answer = params.signed_by(key, &root.issuer).unwrap().pem();
        let refused = request.accept(answer.as_bytes(), &trust(&root), &trust(&root), NOW).unwrap_err();
        assert_eq!((refused.reason(), refused.code()), (reason, Code::Internal), "{refused}");
    }
    let good = leaf().signed_by(&key, &root.issuer).unwrap().pem();
    request.accept(good.as_bytes(), &trust(&root), &trust(&root), NOW).unwrap();
    for broken in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = request.accept(broken.as_bytes(), &trust(&root), &trust(&root), NOW).unwrap_err();
        assert_eq!(refused.reason(), "signer_unreadable");
    }
}

#[test]
fn chain_must_lead_to_the_roots_of_that_signer() {
    let (root, unrelated) = (Foreign::root("root"), Foreign::root("root"));
    let between = Foreign::below(&root, authority("between"));
    let Asked { key, request } = ask();
    let reason = |answer: &str, roots: &TrustBundle, at| {
        // The other signer's root is one that peers trust.
        let peers = trust(&root).merged_with([&trust(&unrelated)]).unwrap();
        request.accept(answer.as_bytes(), roots, &peers, at).err().map(|refused| refused.reason())
    };
    let signed = leaf().signed_by(&key, &between.issuer).unwrap().pem();
    let whole = format!("{signed}{}", between.pem());
    assert_eq!(reason(&whole, &trust(&root), NOW), None);
    assert_eq!(reason(&signed, &trust(&root), NOW), Some("signer_chain"), "the intermediate is missing");
    assert_eq!(reason(&whole, &trust(&unrelated), NOW), Some("signer_chain"), "another signer's root");
    let forged = leaf().signed_by(&key, &unrelated.issuer).unwrap().pem();
    assert_eq!(reason(&forged, &trust(&root), NOW), Some("signer_chain"));
    let own = leaf().self_signed(&key).unwrap().pem();
    assert_eq!(reason(&own, &trust(&root), NOW), Some("signer_chain"));
    let padded = format!("{whole}{signed}");
    assert_eq!(reason(&padded, &trust(&root), NOW), Some("signer_chain"), "a leaf among the intermediates");
    // A clock that is a little behind the signer's is forgiven, a certificate of tomorrow is not.
    assert_eq!(reason(&whole, &trust(&root), before(120)), None);
    assert_eq!(reason(&whole, &trust(&root), before(121)), Some("signer_life"), "it would live longer");
    assert_eq!(reason(&whole, &trust(&root), later(HOUR + 1)), Some("signer_chain"), "it has expired");
}

#[test]
fn requests_of_servers_have_their_names_and_need_no_usage_as_client() {
    let root = Foreign::root("root");
    let key = SigningKey::generate_p256().unwrap();
    let names = ["istiod.istio-system.svc", "127.0.0.1", "::1"];
    let request = ExternalRequest::of_server(&key, &names, Duration::from_secs(HOUR)).unwrap();
    let mut params = rcgen::CertificateSigningRequestParams::from_pem(request.pem()).unwrap();
    valid(&mut params.params, NOW, later(HOUR));
    params.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let answer = params.signed_by(&root.issuer).unwrap().pem();
    request.accept(answer.as_bytes(), &trust(&root), &trust(&root), NOW).unwrap();
    let fewer = ExternalRequest::of_server(&key, &names[..2], Duration::from_secs(HOUR)).unwrap();
    let refused = fewer.accept(answer.as_bytes(), &trust(&root), &trust(&root), NOW).unwrap_err();
    assert_eq!(refused, AnswerError::Names);
}

#[test]
fn life_that_cannot_be_asked_for_is_refused_before_anybody_is_asked() {
    let text = request_pem(&rcgen::PKCS_ECDSA_P256_SHA256);
    let ask = |seconds| ExternalRequest::of_workload(&text, &identity(), seconds, &TtlPolicy::default());
    assert_eq!(ask(0).unwrap().life(), Duration::from_secs(DAY));
    assert_eq!(ask(600).unwrap().life(), Duration::from_secs(600));
    assert_eq!(ask(599).unwrap_err().reason(), "ttl_under_minimum");
    assert_eq!(ask(i64::MAX).unwrap_err().reason(), "ttl_over_maximum");
    assert_eq!(ask(599).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn callers_choose_signers_of_the_domain_only() {
    let names = SignerNames::new("clusterissuers.example/mesh", "clusterissuers.example").unwrap();
    assert_eq!(names.choose("").unwrap(), "clusterissuers.example/mesh");
    assert_eq!(names.choose("team-a").unwrap(), "clusterissuers.example/team-a");
    for wrong in ["a/b", "A", "a b", "..", "-a", "a.", "a\n", &"a".repeat(600)] {
        assert_eq!(names.choose(wrong).unwrap_err().reason(), "signer_name", "{wrong:?}");
    }
    let alone = SignerNames::new("clusterissuers.example/mesh", "").unwrap();
    assert_eq!(alone.choose("team-a"), Err(ExternalRefusal::NoChoice));
    for wrong in ["", "mesh", "/mesh", "a/", "a/b/c", "a b/c"] {
        assert!(SignerNames::new(wrong, "").is_err(), "{wrong:?}");
    }
    assert!(SignerNames::new("a.b/c", "not a domain").is_err());
}

#[test]
fn root_is_learned_only_from_the_end_of_a_chain_that_is_self_signed() {
    let root = Foreign::root("root");
    let between = Foreign::below(&root, authority("between"));
    let Asked { key, .. } = ask();
    let signed = leaf().signed_by(&key, &between.issuer).unwrap().pem();
    let whole = format!("{signed}{}{}", between.pem(), root.pem());
    assert_eq!(root_of_answer(whole.as_bytes()), Ok(trust(&root)));
    for without in [signed.clone(), format!("{signed}{}", between.pem()), root.pem()] {
        assert_eq!(root_of_answer(without.as_bytes()), Err(AnswerError::NoRoot));
    }
    let own = leaf().self_signed(&key).unwrap().pem();
    assert!(matches!(root_of_answer(format!("{signed}{own}").as_bytes()), Err(AnswerError::Root(_))));
}

#[test]
fn signers_have_their_own_roots_and_peers_are_told_all() {
    let (one, two) = (Foreign::root("one"), Foreign::root("two"));
    let others = BTreeMap::from([("a.b/two".to_owned(), trust(&two))]);
    let roots = SignerRoots::each("a.b/one", &trust(&one), others).unwrap();
    assert_eq!(roots.of("a.b/one"), Some(&trust(&one)));
    assert_eq!(roots.of("a.b/two"), Some(&trust(&two)));
    assert_eq!(roots.of("a.b/three"), None);
    assert_eq!(roots.trust().to_pem(), format!("{}{}", one.pem(), two.pem()));
    let shared = SignerRoots::shared(trust(&one));
    assert_eq!(shared.of("a.b/three"), Some(&trust(&one)));
}
