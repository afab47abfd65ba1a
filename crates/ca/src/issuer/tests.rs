#![allow(clippy::unwrap_used)]
use super::*;
use crate::SystemEntropy;
use crate::fixture::{DAY, Foreign, IDENTITY, NOW, authority, issuer, later, request_pem, root};
use crate::ttl::at;
use std::collections::BTreeSet;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

fn identity() -> Identity {
    Identity::parse(IDENTITY).unwrap()
}

fn request() -> SigningRequest {
    SigningRequest::from_pem(&request_pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap()
}

/// Gives the same bytes every time.
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        bytes.fill(self.0);
        Ok(())
    }
}

struct Broken;

impl Entropy for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

#[test]
fn leaf_has_exactly_the_fields_that_peers_expect() {
    let root = root();
    let issued = issuer(&root).issue(&request(), &identity(), 86_400, NOW, &Fixed(0xab)).unwrap();
    let (rest, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
    assert!(rest.is_empty());
    assert_eq!(leaf.raw_serial(), [&[0u8][..], &[0xab; 16]].concat(), "positive, 128 bits");
    assert_eq!(issued.serial, "ab".repeat(16));
    assert_eq!(leaf.subject().iter().count(), 0);
    assert_eq!(leaf.issuer().as_raw(), root.certificate().subject);
    assert_eq!(leaf.validity().not_before.timestamp(), 1_800_000_000 - 120);
    assert_eq!(leaf.validity().not_after.timestamp(), 1_800_000_000 + 86_400);
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(san.critical);
    assert!(matches!(san.value.general_names.as_slice(), [GeneralName::URI(IDENTITY)]));
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
    assert_eq!(usage.value.flags.count_ones(), 2);
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any);
    let basic = leaf.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && !basic.value.ca);
    assert_eq!(leaf.extensions().len(), 5);
    let authority_key = leaf.extensions().iter().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
        _ => None,
    });
    assert_eq!(authority_key.unwrap().0, root.certificate().key_id.as_deref().unwrap());
    assert_eq!(Certificate::from_der(&issued.leaf).unwrap().identity().unwrap(), identity());
}

#[test]
fn self_signed_answer_is_leaf_and_root() {
    let root = root();
    let issued = issuer(&root).issue(&request(), &identity(), 0, NOW, &SystemEntropy).unwrap();
    assert_eq!(issued.chain.len(), 2);
    assert_eq!(issued.chain[1], root.certificate().to_pem());
    assert!(issued.chain.iter().all(|element| element.ends_with("-----END CERTIFICATE-----\n")));
}

#[test]
fn common_name_follows_the_request_when_it_fits() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "whatever it says");
    let with_name =
        SigningRequest::from_pem(&params.serialize_request(&key).unwrap().pem().unwrap()).unwrap();
    let common_name = |identity: &Identity| {
        let issued = issuer(&root()).issue(&with_name, identity, 0, NOW, &Fixed(1)).unwrap();
        let (_, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
        leaf.subject().iter_common_name().next().map(|cn| cn.as_str().unwrap().to_owned())
    };
    assert_eq!(common_name(&identity()).as_deref(), Some(IDENTITY));
    let long = format!("spiffe://cluster.local/ns/{}/sa/web", "n".repeat(60));
    assert_eq!(common_name(&Identity::parse(&long).unwrap()), None);
}

#[test]
fn serial_numbers_do_not_repeat() {
    let issuer = issuer(&root());
    let request = request();
    let serials: BTreeSet<String> = (0..200)
        .map(|_| issuer.issue(&request, &identity(), 0, NOW, &SystemEntropy).unwrap().serial)
        .collect();
    assert_eq!(serials.len(), 200);
}

#[test]
fn failing_entropy_issues_nothing() {
    let issuer = issuer(&root());
    for entropy in [&Broken as &dyn Entropy, &Fixed(0)] {
        let refused = issuer.issue(&request(), &identity(), 0, NOW, entropy).unwrap_err();
        assert_eq!((refused.code(), refused.reason()), (Code::Internal, "no_entropy"));
    }
}

#[test]
fn life_is_bounded_by_request_policy_and_signer() {
    let issuer = issuer(&root());
    let end = |requested, now| {
        issuer.issue(&request(), &identity(), requested, now, &Fixed(1)).map(|i| i.validity.not_after)
    };
    assert_eq!(end(60, NOW).unwrap(), later(60));
    assert_eq!(end(-7, NOW).unwrap(), later(DAY));
    assert_eq!(end(DAY as i64, later(3650 * DAY - 10)).unwrap(), later(3650 * DAY));
    assert_eq!(end(i64::MAX, NOW).unwrap_err().code(), Code::InvalidArgument);
    let expired = end(60, later(3650 * DAY)).unwrap_err();
    assert_eq!((expired.code(), expired.reason()), (Code::Internal, "signer_expired"));
}

#[test]
fn signer_that_does_not_fit_is_refused() {
    let (a, b) = (root(), root());
    let trust = TrustBundle::new([a.certificate().clone()]).unwrap();
    let mixed = Issuer::new(
        a.certificate().clone(),
        Arc::clone(b.key()),
        vec![],
        trust.clone(),
        TtlPolicy::default(),
    );
    assert!(matches!(mixed, Err(IssuerError::Pair(PairError::KeyMismatch { .. }))));
    let parent = Foreign::root("root");
    let mut params = authority("no signing");
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let crippled = Foreign::below(&parent, params);
    let key = Arc::new(SigningKey::from_pem(&crippled.key_pem).unwrap());
    let refused = Issuer::new(crippled.certificate.clone(), key, vec![], trust, TtlPolicy::default());
    assert!(matches!(refused, Err(IssuerError::Pair(PairError::NotAuthority { .. }))));
}

#[test]
fn issuer_name_is_copied_byte_for_byte() {
    let mut params = authority("Ünïcode & several");
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, rcgen::DnValue::PrintableString("O".try_into().unwrap()));
    params.distinguished_name.push(rcgen::DnType::CountryName, "XX");
    let parent = Foreign::root("root");
    let signer = Foreign::below(&parent, params);
    let key = Arc::new(SigningKey::from_pem(&signer.key_pem).unwrap());
    let trust = TrustBundle::new([parent.certificate]).unwrap();
    let issuer = Issuer::new(
        signer.certificate.clone(),
        key,
        vec![signer.certificate.clone()],
        trust,
        TtlPolicy::default(),
    )
    .unwrap();
    let issued = issuer.issue(&request(), &identity(), 0, NOW, &Fixed(1)).unwrap();
    let leaf = Certificate::from_der(&issued.leaf).unwrap();
    assert_eq!(leaf.issuer, signer.certificate.subject);
    crate::chain::verify_chain(&leaf, issuer.intermediates(), issuer.trust().roots(), NOW).unwrap();
}

#[test]
fn serving_certificate_has_the_names_of_the_server() {
    let issuer = issuer(&root());
    let key = SigningKey::generate_p256().unwrap();
    let names = ["istiod.istio-system.svc", "10.0.0.1", "::ffff:10.0.0.2", "fd00::1"];
    let life = Duration::from_secs(100_000 * DAY);
    let issued = issuer.issue_serving(&key, &names, life, NOW, &Fixed(1)).unwrap();
    assert_eq!(issued.validity.not_after, issuer.certificate().validity().not_after);
    let (_, leaf) = X509Certificate::from_der(&issued.leaf).unwrap();
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    let lengths: Vec<usize> = san
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => name.len(),
            GeneralName::IPAddress(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [names[0].len(), 4, 4, 16]);
    for wrong in [&[][..], &[""], &["a,b"], &["a b"], &["ä.example"], &["spiffe://td/x"]] {
        assert_eq!(issuer.issue_serving(&key, wrong, life, NOW, &Fixed(1)), Err(IssueError::Serving));
    }
    assert_eq!(Certificate::from_der(&issued.leaf).unwrap().identity(), Err(crate::IdentityError::Shape));
}

#[test]
fn half_life_lies_ahead_even_for_the_shortest_certificate() {
    let issued = issuer(&root()).issue(&request(), &identity(), 1, NOW, &Fixed(1)).unwrap();
    assert!(issued.validity.contains(NOW) && issued.validity.half_life() >= NOW);
    assert_eq!(issued.validity.not_after, at(NOW.as_secs() + 1));
}

#[test]
fn parts_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Issuer>();
    shared::<crate::KeyMaterial>();
    shared::<crate::RootState>();
    shared::<crate::token::KeySet>();
    shared::<crate::token::DevelopmentIssuer>();
}
