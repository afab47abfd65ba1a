//! Certificates, judged by the TLS library that ztunnels and this control plane use.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/src/spiffe.rs"]
mod spiffe;

use pilothouse_ca::{
    Certificate, Identity, Issuer, Root, SigningKey, SigningRequest, SystemEntropy, TrustBundle, TrustDomain,
    TtlPolicy,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use spiffe::AnyName;
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

fn server_verifier(roots: &str) -> Arc<WebPkiServerVerifier> {
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

/// A root as an existing mesh has it: an RSA key, which another encoder made.
fn rsa_root() -> Issuer {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "cluster.local");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let key = Arc::new(SigningKey::from_pem(&key.serialize_pem()).unwrap());
    let trust = TrustBundle::new([certificate.clone()]).unwrap();
    Issuer::new(certificate, key, Vec::new(), trust, TtlPolicy::default()).unwrap()
}

/// A peer: what it presents, and the roots that it trusts.
struct Peer {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: String,
}

impl Peer {
    /// A peer that asked `issuer` for a certificate, and keeps the answer as ztunnels do: the roots are the
    /// last element, and what is before them is presented.
    fn of(issuer: &Issuer) -> Self {
        let key = SigningKey::generate_p256().unwrap();
        let request = SigningRequest::from_pem(&key.request_pem(&[]).unwrap()).unwrap();
        let identity = Identity::parse(IDENTITY).unwrap();
        let issued = issuer.issue(&request, &identity, 3600, at(NOW), &SystemEntropy).unwrap();
        let (roots, presented) = issued.chain.split_last().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap();
        Self { chain: ders(presented), key, roots: roots.clone() }
    }
}

/// Tells whether two peers complete a handshake in which each verifies the other.
fn meet(client: &Peer, server: &Peer) -> bool {
    let provider = Arc::new(default_provider());
    let time = Arc::new(FixedTime);
    let server = ServerConfig::builder_with_details(Arc::clone(&provider), time.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(client_verifier(&server.roots))
        .with_single_cert(server.chain.clone(), server.key.clone_key())
        .unwrap();
    let client = ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(
            AnyName::new(store(&client.roots), Arc::new(default_provider())).unwrap(),
        ))
        .with_client_auth_cert(client.chain.clone(), client.key.clone_key())
        .unwrap();
    let name = ServerName::try_from("workload.test").unwrap();
    let mut client = rustls::Connection::from(ClientConnection::new(Arc::new(client), name).unwrap());
    let mut server = rustls::Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
    while client.is_handshaking() || server.is_handshaking() {
        if !pass(&mut client, &mut server) || !pass(&mut server, &mut client) {
            return false;
        }
    }
    true
}

/// Carries what `from` has to say to `to`.
fn pass(from: &mut rustls::Connection, to: &mut rustls::Connection) -> bool {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        if to.process_new_packets().is_err() {
            return false;
        }
    }
    true
}

#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(at(NOW))
    }
}

#[test]
fn peers_with_certificates_of_the_root_and_of_intermediates_of_two_replicas_meet() {
    let root = rsa_root();
    let domain = TrustDomain::parse("cluster.local").unwrap();
    let below = || root.intermediate(&domain, at(NOW), &SystemEntropy).unwrap();
    // The first has its certificate of a control plane that signs with the root itself.
    let peers = [Peer::of(&root), Peer::of(&below()), Peer::of(&below())];
    assert_eq!(peers.each_ref().map(|peer| peer.chain.len()), [1, 2, 2]);
    assert!(peers.iter().all(|peer| peer.roots == peers[0].roots), "all trust the root alone");
    for client in &peers {
        for server in &peers {
            assert!(meet(client, server));
        }
    }
    let outsider = Peer::of(&rsa_root().intermediate(&domain, at(NOW), &SystemEntropy).unwrap());
    assert!(!meet(&outsider, &peers[0]) && !meet(&peers[1], &outsider));
    // A leaf without its intermediate is worth nothing: it must be presented.
    let mut bare = Peer::of(&below());
    bare.chain.truncate(1);
    assert!(!meet(&bare, &peers[0]));
}
