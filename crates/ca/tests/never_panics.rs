//! Whatever bytes come in: an answer or a refusal, never a panic.
#![allow(clippy::unwrap_used)]

use pilothouse_ca::token::{DevelopmentIssuer, KeySet};
use pilothouse_ca::{
    Certificate, Identity, Issuer, KeyMaterial, NodeAuthorizer, Root, RootState, SigningKey, SigningRequest,
    StreamNode, SystemEntropy, TrustBundle, TtlPolicy, check_external_request, verify_chain,
};
use proptest::prelude::*;
use proptest::sample::Index;
use rustls_pki_types::UnixTime;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

static ROOT: LazyLock<Root> = LazyLock::new(|| {
    Root::create("cluster.local", Duration::from_secs(1 << 30), NOW, &SystemEntropy).unwrap()
});
static LEAF: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let issuer = Issuer::self_signed(&ROOT, TtlPolicy::default()).unwrap();
    let key = SigningKey::generate_p256().unwrap();
    let request = SigningRequest::from_pem(&key.request_pem(&[]).unwrap()).unwrap();
    let identity = Identity::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap();
    issuer.issue(&request, &identity, 0, NOW, &SystemEntropy).unwrap().leaf
});

/// A few bytes changed, and perhaps the end cut off.
fn damage() -> impl Strategy<Value = (Vec<(Index, u8)>, Option<Index>)> {
    (prop::collection::vec((any::<Index>(), any::<u8>()), 1..5), prop::option::weighted(0.2, any::<Index>()))
}

fn damaged(original: &[u8], (changes, cut): (Vec<(Index, u8)>, Option<Index>)) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for (at, to) in changes {
        let at = at.index(bytes.len());
        bytes[at] = to;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

proptest! {
    #[test]
    fn damaged_certificates(damage in damage()) {
        let bytes = damaged(&LEAF, damage);
        if let Ok(certificate) = Certificate::from_der(&bytes) {
            let _ = certificate.identity();
            let trusted = std::slice::from_ref(ROOT.certificate());
            // What still verifies is what was signed.
            if verify_chain(&certificate, &[], trusted, NOW).is_ok() {
                let original = Certificate::from_der(&LEAF).unwrap();
                prop_assert_eq!(certificate.identity(), original.identity());
                prop_assert_eq!(certificate.validity(), original.validity());
            }
        }
    }

    #[test]
    fn damaged_roots(damage in damage()) {
        let pem = damaged(ROOT.certificate().to_pem().as_bytes(), damage);
        let _ = TrustBundle::from_pem(&pem);
        let _ = Root::from_pem(&pem, ROOT.key().to_pem());
    }

    #[test]
    fn damaged_keys(damage in damage()) {
        let pem = damaged(ROOT.key().to_pem().as_bytes(), damage);
        if let Ok(text) = std::str::from_utf8(&pem) {
            let _ = SigningKey::from_pem(text);
            let _ = DevelopmentIssuer::from_pem("x", text);
        }
    }

    #[test]
    fn damaged_secrets_and_files(damage in damage(), name in 0..5usize) {
        let mut data = RootState::new(ROOT.clone()).to_secret(false).unwrap();
        let pem = data["ca-cert.pem"].clone();
        data.insert("cert-chain.pem".to_owned(), pem.clone());
        data.insert("ca-crl.pem".to_owned(), pem);
        let names = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem", "ca-crl.pem"];
        let changed = damaged(&data[names[name]], damage);
        data.insert(names[name].to_owned(), changed);
        let _ = RootState::from_secret(&data);
        let _ = KeyMaterial::from_files(&data, NOW);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::from_der(&bytes).is_err());
        prop_assert!(Certificate::all_from_pem(&bytes).is_err());
        let _ = KeySet::from_json(&bytes);
        let files = BTreeMap::from([("tls.crt".to_owned(), bytes)]);
        prop_assert!(KeyMaterial::from_files(&files, NOW).is_err());
    }

    #[test]
    fn any_text(text in ".{0,200}") {
        let identity = Identity::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap();
        prop_assert!(check_external_request(&text, &identity).is_err());
        let _ = StreamNode::parse(&text, "", "", "", &text);
        let _ = NodeAuthorizer::new(&text, []);
        let block = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
        prop_assert!(SigningRequest::from_pem(&block).is_err());
    }

    #[test]
    fn any_key_set(kty in "(RSA|EC|oct)", crv in "(P-256|P-384|P-521|x)", n in "[A-Za-z0-9_-]{0,400}", e in "[A-Za-z0-9_-]{0,8}") {
        let key = serde_json::json!({"kty": kty, "crv": crv, "kid": "k", "n": n, "e": e, "x": n, "y": e});
        let _ = KeySet::from_json(serde_json::json!({"keys": [key]}).to_string().as_bytes());
    }
}
