//! What the unit tests are built from. Keys and requests come from another encoder (rcgen).
#![allow(clippy::unwrap_used)]

use crate::ttl::at;
use crate::{Certificate, Issuer, Root, SystemEntropy, TtlPolicy};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm,
};
use rustls_pki_types::UnixTime;
use std::time::Duration;

pub(crate) const NOW: UnixTime = at(1_800_000_000);
pub(crate) const DAY: u64 = 86_400;
pub(crate) const IDENTITY: &str = "spiffe://cluster.local/ns/shop/sa/web";

pub(crate) fn later(seconds: u64) -> UnixTime {
    at(NOW.as_secs() + seconds)
}

pub(crate) fn root() -> Root {
    Root::create("cluster.local", Duration::from_secs(3650 * DAY), NOW, &SystemEntropy).unwrap()
}

pub(crate) fn issuer(root: &Root) -> Issuer {
    Issuer::self_signed(root, TtlPolicy::default()).unwrap()
}

/// A request as ztunnels send it: no subject, one URI.
pub(crate) fn request_pem(algorithm: &'static SignatureAlgorithm) -> String {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(IDENTITY.try_into().unwrap())];
    params.serialize_request(&key).unwrap().pem().unwrap()
}

/// Parameters of an authority.
pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// An authority that somebody else runs: its key, its certificate, and rcgen's issuer.
pub(crate) struct Foreign {
    pub(crate) key_pem: String,
    pub(crate) certificate: Certificate,
    pub(crate) issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Foreign {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_of(authority(name))
    }

    pub(crate) fn root_of(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        Self::new(params, key, der.der())
    }

    pub(crate) fn below(parent: &Self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &parent.issuer).unwrap();
        Self::new(params, key, der.der())
    }

    fn new(params: CertificateParams, key: KeyPair, der: &[u8]) -> Self {
        Self {
            key_pem: key.serialize_pem(),
            certificate: Certificate::from_der(der).unwrap(),
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.to_pem()
    }
}
