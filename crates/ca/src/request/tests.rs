#![allow(clippy::unwrap_used)]
use super::*;
use crate::external::{ExternalRefusal, check_external_request};
use crate::fixture::{IDENTITY, request_pem};
use crate::identity::Identity;
use crate::key::SigningKey;
use crate::pem::pem;
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use std::sync::LazyLock;

static REQUEST: LazyLock<String> = LazyLock::new(|| request_pem(&rcgen::PKCS_ECDSA_P256_SHA256));

fn der(pem: &str) -> Vec<u8> {
    one_block(pem).unwrap()
}

#[test]
fn keys_of_agents_are_accepted() {
    for (algorithm, kind) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, PublicKeyKind::P256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, PublicKeyKind::P384),
        (&rcgen::PKCS_RSA_SHA256, PublicKeyKind::Rsa(2048)),
    ] {
        let text = request_pem(algorithm);
        let request = SigningRequest::from_pem(&text).unwrap();
        assert_eq!(request.key_kind(), kind);
        assert!(!request.has_common_name);
        // Encoded anew, and yet the same: the encoding is canonical.
        let der = der(&text);
        assert_eq!(parse(&der).unwrap().certification_request_info.subject_pki.raw, request.key.der);
    }
}

#[test]
fn own_requests_are_accepted() {
    let text = SigningKey::generate_p256().unwrap().request_pem(&[IDENTITY]).unwrap();
    let request = SigningRequest::from_pem(&text).unwrap();
    assert_eq!((request.key_kind(), request.has_common_name), (PublicKeyKind::P256, false));
}

#[test]
fn other_kinds_of_key_are_refused() {
    let refused = SigningRequest::from_pem(&request_pem(&rcgen::PKCS_ED25519)).unwrap_err();
    assert!(matches!(&refused, RequestError::KeyKind(oid) if oid == "1.3.101.112"), "{refused}");
    assert_eq!((refused.code(), refused.reason()), (Code::InvalidArgument, "csr_key"));
}

#[test]
fn only_one_block_of_the_right_type_is_accepted() {
    let text = REQUEST.as_str();
    let certificate = pem("CERTIFICATE", &der(text));
    for wrong in [
        String::new(),
        "text".to_owned(),
        format!("{text}{text}"),
        certificate.clone(),
        format!("{certificate}{text}"),
    ] {
        assert_eq!(SigningRequest::from_pem(&wrong), Err(RequestError::Blocks));
    }
    let cut = &text[..text.len() / 2];
    assert!(matches!(SigningRequest::from_pem(cut), Err(RequestError::Pem(_))));
}

#[test]
fn over_long_requests_are_refused_unread() {
    let long = format!("{}{}", REQUEST.as_str(), "x".repeat(MAX_REQUEST_BYTES));
    let refused = SigningRequest::from_pem(&long).unwrap_err();
    assert_eq!(refused, RequestError::TooLong(long.len()));
    assert_eq!(refused.reason(), "csr_too_long");
}

#[test]
fn forged_signature_is_refused() {
    let mut bytes = der(&REQUEST);
    let other = der(&request_pem(&rcgen::PKCS_ECDSA_P256_SHA256));
    // Another key's request with this one's signature: the names and lengths agree, the proof not.
    let refused = {
        let ours = parse(&bytes).unwrap();
        let theirs = parse(&other).unwrap();
        signature::verify(
            &ours.certification_request_info.subject_pki,
            &theirs.signature_algorithm,
            ours.certification_request_info.raw,
            &theirs.signature_value.data,
        )
    };
    assert_eq!(refused, Err(SignatureError::Mismatch));
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    assert!(matches!(SigningRequest::from_der(&bytes), Err(RequestError::Signature(_))));
}

#[test]
fn bytes_after_the_request_are_refused() {
    let mut bytes = der(&REQUEST);
    bytes.push(0);
    assert_eq!(SigningRequest::from_der(&bytes), Err(RequestError::Der));
}

fn with_params(change: impl FnOnce(&mut CertificateParams)) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(IDENTITY.try_into().unwrap())];
    change(&mut params);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn names_and_extensions_do_not_matter_to_the_built_in_authority() {
    let text = with_params(|params| {
        params.distinguished_name.push(DnType::CommonName, "anything");
        params.subject_alt_names = vec![SanType::DnsName("example.com".try_into().unwrap())];
    });
    let request = SigningRequest::from_pem(&text).unwrap();
    assert!(request.has_common_name);
}

#[test]
fn external_signer_gets_only_what_is_authorised() {
    let identity = Identity::parse(IDENTITY).unwrap();
    let check = |text: &str| check_external_request(text, &identity).map(|_| ());
    assert_eq!(check(&REQUEST), Ok(()));
    assert_eq!(check(&SigningKey::generate_p256().unwrap().request_pem(&[IDENTITY]).unwrap()), Ok(()));

    let names = Err(ExternalRefusal::Names(IDENTITY.to_owned()));
    let other = "spiffe://cluster.local/ns/shop/sa/other";
    for wrong in [
        vec![],
        vec![SanType::URI(other.try_into().unwrap())],
        vec![SanType::URI(IDENTITY.try_into().unwrap()), SanType::URI(IDENTITY.try_into().unwrap())],
        vec![SanType::URI(IDENTITY.try_into().unwrap()), SanType::DnsName("a.b".try_into().unwrap())],
        vec![SanType::IpAddress([10, 0, 0, 1].into())],
    ] {
        assert_eq!(check(&with_params(|params| params.subject_alt_names = wrong.clone())), names);
    }
    let subject = with_params(|params| params.distinguished_name.push(DnType::CommonName, "x"));
    assert_eq!(check(&subject), Err(ExternalRefusal::Subject));
    let usage = with_params(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]);
    assert_eq!(check(&usage), Err(ExternalRefusal::Extension));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,400}") {
        let _ = SigningRequest::from_pem(&text);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SigningRequest::from_der(&bytes).is_err());
    }

    /// Whatever is changed on the way: no panic, and no other key than the one that signed.
    #[test]
    fn changed_request_never_carries_another_key(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let original = der(&REQUEST);
        let mut bytes = original.clone();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(request) = SigningRequest::from_der(&bytes) {
            prop_assert_eq!(request.key, SigningRequest::from_der(&original).unwrap().key);
        }
    }
}
