//! What targets do with credentials, and with what these are verified by: plain functions, which a bounded test drives,
//! too.

use ca::token::{DevelopmentIssuer, DevelopmentToken, KeySet, PodBinding, TokenPolicy, verify};
use ca::{
    CRL_FILE, Certificate, Identity, Issuer, KeyMaterial, RevocationLists, Root, SigningKey, SigningRequest,
    SystemEntropy, TtlPolicy,
};
use identity::{ClientCertificates, ClientVerifier, reviewed};
use k8s_openapi::api::authentication::v1::TokenReview;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// When everything here is verified.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

/// The serial number that the authority has revoked.
const REVOKED: u64 = 4711;

/// What a good input is, for whoever damages one.
pub struct Good {
    /// A key set, JWKS.
    pub key_set: Vec<u8>,
    /// An answer to a TokenReview, JSON.
    pub review: Vec<u8>,
    /// A revocation list, PEM.
    pub revocation_list: Vec<u8>,
    /// A client's chain, as [`client_chain`] takes it.
    pub client_chain: Vec<u8>,
    leaf: Vec<u8>,
    token: String,
    files: BTreeMap<String, Vec<u8>>,
    verifier: ClientVerifier,
}

/// Made anew by each process: no input can know its keys.
pub static GOOD: LazyLock<Good> = LazyLock::new(|| Good::new().expect("good inputs"));

fn policy() -> TokenPolicy {
    TokenPolicy {
        issuers: vec!["here".to_owned()],
        audiences: vec!["istio-ca".to_owned()],
        leeway: Duration::from_secs(10),
        pod: PodBinding::Required,
    }
}

impl Good {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let root_pem = params.self_signed(&key)?.pem();
        let lists = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2036, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(REVOKED),
                revocation_time: rcgen::date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let revocation_list = lists.signed_by(&rcgen::Issuer::new(params, key))?.pem()?.into_bytes();
        let root = Root::from_pem(root_pem.as_bytes(), &key_pem)?;
        let issuer = Issuer::self_signed(&root, TtlPolicy::default())?;
        let request = SigningRequest::from_pem(&SigningKey::generate_p256()?.request_pem(&[])?)?;
        let web = Identity::parse("spiffe://cluster.local/ns/shop/sa/web")?;
        let leaf = issuer.issue(&request, &web, 0, NOW, &SystemEntropy)?.leaf;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = ClientCertificates::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.certificate().der().to_vec()))?;
        clients.set_roots(roots)?;
        clients.set_revoked(Arc::new(RevocationLists::default()));
        let tokens = DevelopmentIssuer::generate("here")?;
        let token = DevelopmentToken {
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            pod: Some(("web-0".to_owned(), "uid".to_owned())),
            node: Some("n1".to_owned()),
            audiences: vec!["istio-ca".to_owned()],
            life: Duration::from_secs(3600),
        };
        let files = [
            ("ca-cert.pem", &root_pem),
            ("ca-key.pem", &key_pem),
            ("cert-chain.pem", &root_pem),
            ("root-cert.pem", &root_pem),
        ];
        let review = serde_json::json!({"status": {
            "authenticated": true, "audiences": ["istio-ca"], "user": {
                "username": "system:serviceaccount:shop:web", "groups": ["system:serviceaccounts"],
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["web-0"],
                    "authentication.kubernetes.io/pod-uid": ["uid"],
                },
            },
        }});
        Ok(Self {
            key_set: tokens.jwks().into_bytes(),
            review: review.to_string().into_bytes(),
            revocation_list,
            client_chain: chain([leaf.as_slice(), root.certificate().der()]),
            leaf,
            token: tokens.issue(&token, NOW, &SystemEntropy)?,
            files: files.map(|(name, text)| (name.to_owned(), text.clone().into_bytes())).into(),
            verifier: ClientVerifier::new(clients),
        })
    }
}

/// Writes certificates as [`client_chain`] reads them: each after its length, of two bytes.
pub fn chain<'c>(certificates: impl IntoIterator<Item = &'c [u8]>) -> Vec<u8> {
    let with_length = |der: &'c [u8]| {
        let length = u16::try_from(der.len()).unwrap_or(u16::MAX).to_be_bytes();
        length.into_iter().chain(der.iter().copied())
    };
    certificates.into_iter().flat_map(with_length).collect()
}

/// Reads a key set (JWKS). A token verifies with the key that signed it, and with no other that an input brings.
pub fn key_set(input: &[u8]) -> bool {
    let Ok(keys) = KeySet::from_json(input) else { return false };
    assert!(!keys.is_empty(), "an empty set would refuse every token");
    let is_verified = verify(&GOOD.token, &keys, &policy(), NOW).is_ok();
    let own = KeySet::from_json(&GOOD.key_set).expect("a good key set");
    assert!(verify(&GOOD.token, &own, &policy(), NOW).is_ok());
    is_verified
}

/// Reads an answer to a TokenReview. What is accepted is a service account, for our audience, bound to a pod.
pub fn review(input: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<TokenReview>(input) else { return false };
    let review = reviewed(answer);
    let Ok(token) = review.accepted(&policy(), NOW) else { return false };
    assert!(review.authenticated && review.error.is_empty());
    assert!(review.audiences.iter().any(|audience| audience == "istio-ca"));
    let name = format!("system:serviceaccount:{}:{}", token.namespace, token.service_account);
    assert_eq!(review.username, name, "the account is the one that the API server names");
    assert!(token.pod.is_some_and(|pod| !pod.name.is_empty() && !pod.uid.is_empty()), "no pod");
    true
}

/// Reads revocation lists beside the key material of their authority. Those that it has not signed revoke nothing.
pub fn revocation_lists(input: &[u8]) -> bool {
    let mut files = GOOD.files.clone();
    files.insert(CRL_FILE.to_owned(), input.to_vec());
    let Ok(Some(material)) = KeyMaterial::from_files(&files, NOW) else { return false };
    let lists = material.revoked();
    let leaf = Certificate::from_der(&GOOD.leaf).expect("a certificate");
    assert!(!lists.revokes(&leaf), "a list that the authority has not signed revokes");
    assert_eq!(lists.is_empty(), lists.to_pem().is_empty());
    !lists.is_empty()
}

/// Verifies what a client shows in its handshake: certificates, each after its length of two bytes, its own first. The one
/// that is accepted is the one that was issued.
pub fn client_chain(input: &[u8]) -> bool {
    let mut rest = input;
    let mut shown = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (der, after) = after.split_at(after.len().min(usize::from(u16::from_be_bytes(*length))));
        shown.push(CertificateDer::from(der));
        rest = after;
    }
    let Some((own, others)) = shown.split_first() else { return false };
    let is_accepted = GOOD.verifier.verify_client_cert(own, others, NOW).is_ok();
    assert!(!is_accepted || own.as_ref() == GOOD.leaf.as_slice(), "another certificate is accepted");
    is_accepted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    type Target = fn(&[u8]) -> bool;

    fn targets() -> [(Target, &'static [u8]); 4] {
        let good = &*GOOD;
        [
            (key_set, &good.key_set),
            (review, &good.review),
            (revocation_lists, &good.revocation_list),
            (client_chain, &good.client_chain),
        ]
    }

    #[test]
    fn what_is_good_is_accepted() {
        for (number, (target, good)) in targets().into_iter().enumerate() {
            assert!(target(good), "target {number}");
            assert!(!target(b""), "target {number}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_input_is_taken_for_more_than_it_is(
            which in 0..4usize,
            noise in prop::collection::vec(any::<u8>(), 0..200),
            changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
            cut in prop::option::weighted(0.2, any::<Index>()),
            at in any::<Index>(),
        ) {
            let (target, good) = targets()[which];
            target(&noise);
            let mut damaged = good.to_vec();
            for (at, to) in changes {
                let at = at.index(damaged.len());
                damaged[at] = to;
            }
            if let Some(cut) = cut {
                damaged.truncate(cut.index(damaged.len()));
            }
            target(&damaged);
            // As a part of something longer.
            let at = at.index(damaged.len() + 1);
            damaged.splice(at..at, noise);
            target(&damaged);
        }
    }
}
