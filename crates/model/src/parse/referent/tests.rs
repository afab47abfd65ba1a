#![allow(clippy::unwrap_used)]

use super::*;
use crate::Name;
use crate::facts::Digest;
use rcgen::{CertificateParams, KeyPair as Key, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};

/// A certificate of its own and its key, in PEM.
fn pair() -> (String, String) {
    let key = Key::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap().self_signed(&key);
    (certificate.unwrap().pem(), key.serialize_pem())
}

fn secret_of(fields: Value) -> Secret {
    let mut manifest = json!({"metadata": {"namespace": "shop", "name": "web"}, "type": "kubernetes.io/tls"});
    manifest.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    match referent(ReferentKind::Secret, manifest.to_string().as_bytes()).unwrap() {
        (Referent::Secret(name), Answer::Secret(secret)) if name == Name::new("shop", "web") => {
            (*secret).clone()
        }
        other => panic!("{other:?}"),
    }
}

fn with_data(pairs: &[(&str, &str)]) -> Secret {
    let data: serde_json::Map<String, Value> =
        pairs.iter().map(|(key, text)| ((*key).to_owned(), json!(STANDARD.encode(text)))).collect();
    secret_of(json!({"data": data}))
}

#[test]
fn a_key_pair_is_read_by_either_pair_of_keys() {
    let (certificate, key) = pair();
    let tls = with_data(&[("tls.crt", &certificate), ("tls.key", &key)]).key_pair.unwrap();
    assert_eq!((&*tls.chain, &*tls.key), (certificate.as_bytes(), key.as_bytes()));
    assert!(tls.not_after > 0);
    let generic = with_data(&[("cert", &certificate), ("key", &key)]).key_pair.unwrap();
    assert_eq!(tls, generic);
    // As manifests may have it.
    let written = secret_of(json!({"stringData": {"tls.crt": certificate, "tls.key": key}}));
    assert_eq!(written.key_pair, Ok(tls));
    assert_eq!(written.roots, Err("it has no ca.crt".to_owned()));
}

#[test]
fn a_key_pair_that_is_not_valid_says_why() {
    let ((certificate, key), (_, other)) = (pair(), pair());
    let fault = |pairs: &[(&str, &str)]| with_data(pairs).key_pair.unwrap_err();
    assert_eq!(fault(&[]), "it has no tls.crt");
    assert_eq!(fault(&[("tls.crt", &certificate)]), "it has no tls.key");
    assert_eq!(
        fault(&[("tls.crt", &certificate), ("tls.key", &other)]),
        "the key is not that of the certificate"
    );
    assert_eq!(fault(&[("tls.crt", &key), ("tls.key", &key)]), "no PEM block of type CERTIFICATE is in it");
    assert_eq!(
        fault(&[("tls.crt", &certificate), ("tls.key", "hunter2")]),
        "no PEM block of a private key is in it"
    );
    assert_eq!(
        fault(&[("tls.crt", &certificate), ("tls.key", &format!("{key}{key}"))]),
        "there is more than one private key"
    );
    let broken = certificate.replace("MII", "M!!").replace("MI", "!!");
    assert_eq!(fault(&[("tls.crt", &broken), ("tls.key", &key)]), "certificate 1 is not valid PEM");
    let ed25519 = Key::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    assert!(
        fault(&[("tls.crt", &certificate), ("tls.key", &ed25519)]).contains("use RSA (2048 to 8192 bits)")
    );
    let secret = secret_of(json!({"data": {"tls.crt": "?", "tls.key": "?"}}));
    assert_eq!(secret.key_pair, Err("tls.crt is not valid base64".to_owned()));
}

#[test]
fn nothing_that_is_shown_of_a_secret_holds_its_material() {
    let (certificate, key) = pair();
    let secret = with_data(&[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &certificate)]);
    let text = format!("{secret:?} {:?}", Answer::Secret(Arc::new(secret.clone())));
    assert!(text.contains("KeyPair(sha256:") && text.contains("Roots(sha256:"), "{text}");
    assert!(!text.contains("BEGIN") && !text.contains("45, 45"), "{text}");
    let wrong = json!({"metadata": {"namespace": "shop", "name": "web"}, "data": {"tls.key": 271828}});
    let wrong = referent(ReferentKind::Secret, wrong.to_string().as_bytes()).unwrap_err();
    assert!(!wrong.to_string().contains("271828") && wrong.message.contains("Secret shop/web"), "{wrong}");
    let wrong = json!({"metadata": {"namespace": "shop", "name": "web"}, "data": "hunter2"});
    let wrong = referent(ReferentKind::Secret, wrong.to_string().as_bytes()).unwrap_err();
    assert!(!wrong.to_string().contains("hunter2"), "{wrong}");
}

#[test]
fn other_material_has_another_digest() {
    let ((certificate, key), (other_certificate, other_key)) = (pair(), pair());
    let digest = |certificate: &str, key: &str| -> Digest {
        with_data(&[("tls.crt", certificate), ("tls.key", key)]).key_pair.unwrap().digest
    };
    assert_eq!(digest(&certificate, &key), digest(&certificate, &key));
    assert_ne!(digest(&certificate, &key), digest(&other_certificate, &other_key));
}

#[test]
fn a_config_map_has_its_texts_and_roots_where_it_has_any() {
    let map = |data: Value| {
        let manifest = json!({
            "metadata": {"namespace": "shop", "name": "ca", "labels": {"a": "b"}}, "data": data,
        });
        match referent(ReferentKind::ConfigMap, manifest.to_string().as_bytes()).unwrap() {
            (Referent::ConfigMap(_), Answer::ConfigMap(map)) => (*map).clone(),
            other => panic!("{other:?}"),
        }
    };
    let (certificate, _) = pair();
    let roots = map(json!({"ca.crt": certificate, "deployment": "spec: {}"}));
    assert_eq!(&*roots.roots.unwrap().pem, certificate.as_bytes());
    assert_eq!(roots.data.get("deployment").map(Str::as_str), Some("spec: {}"));
    assert_eq!(roots.labels.get("a").map(Str::as_str), Some("b"));
    assert_eq!(map(json!({})).roots, Err("it has no ca.crt".to_owned()));
    assert_eq!(
        map(json!({"ca.crt": "x"})).roots,
        Err("no PEM block of type CERTIFICATE is in it".to_owned())
    );
    let wrong = json!({"metadata": {"namespace": "shop", "name": "ca"}, "data": []});
    let wrong = referent(ReferentKind::ConfigMap, wrong.to_string().as_bytes()).unwrap_err();
    assert!(wrong.to_string().starts_with("ConfigMap shop/ca"), "{wrong}");
}
