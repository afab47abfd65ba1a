//! Certificates, judged by the TLS library that ztunnels and this control plane use.
#![allow(clippy::unwrap_used)]

use pilothouse_ca::{Identity, Issuer, Root, SigningKey, SigningRequest, SystemEntropy, TtlPolicy};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, client};
use std::sync::Arc;
use std::time::Duration;

const IDENTITY: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

const NOW: u64 = 1_800_000_000;
const YEAR: u64 = 365 * 86_400;

fn root() -> Root {
    Root::create("cluster.local", Duration::from_secs(YEAR), at(NOW), &SystemEntropy).unwrap()
}

fn store(pem: &str) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store.add(der.unwrap()).unwrap();
    }
    Arc::new(store)
}

fn client_verifier(roots: &str) -> Arc<dyn ClientCertVerifier> {
    WebPkiClientVerifier::builder_with_provider(store(roots), Arc::new(default_provider())).build().unwrap()
}

fn server_verifier(roots: &str) -> Arc<client::WebPkiServerVerifier> {
    WebPkiServerVerifier::builder_with_provider(store(roots), Arc::new(default_provider())).build().unwrap()
}

fn ders(chain: &[String]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect()
}

#[test]
fn workload_certificate_is_accepted_while_it_is_valid_and_only_under_its_root() {
    let (root, other) = (root(), root());
    let issuer = Issuer::self_signed(&root, TtlPolicy::default()).unwrap();
    let key = SigningKey::generate_p256().unwrap();
    let request = SigningRequest::from_pem(&key.request_pem(&[]).unwrap()).unwrap();
    let issued =
        issuer.issue(&request, &Identity::parse(IDENTITY).unwrap(), 3600, at(NOW), &SystemEntropy).unwrap();
    let certificates = ders(&issued.chain);
    let verifier = client_verifier(&issued.chain[1]);
    let verify = |now| verifier.verify_client_cert(&certificates[0], &[], at(now)).map(|_| ());
    for good in [NOW - 120, NOW, NOW + 3600] {
        assert_eq!(verify(good), Ok(()));
    }
    for bad in [NOW - 121, NOW + 3601] {
        assert!(verify(bad).is_err());
    }
    let foreign = client_verifier(&other.certificate().to_pem());
    assert!(foreign.verify_client_cert(&certificates[0], &[], at(NOW)).is_err());
}

#[test]
fn serving_certificate_is_accepted_for_its_names_only() {
    let issuer = Issuer::self_signed(&root(), TtlPolicy::default()).unwrap();
    let key = SigningKey::generate_p256().unwrap();
    let names = ["istiod.istio-system.svc", "127.0.0.1"];
    let issued =
        issuer.issue_serving(&key, &names, Duration::from_secs(86_400), at(NOW), &SystemEntropy).unwrap();
    let certificates = ders(&issued.chain);
    let verifier = server_verifier(&issued.chain[1]);
    let verify = |name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&certificates[0], &[], &name, &[], at(NOW)).map(|_| ())
    };
    for name in names {
        assert_eq!(verify(name), Ok(()));
    }
    for name in ["istiod.other.svc", "127.0.0.2"] {
        assert!(verify(name).is_err());
    }
}
