//! Key material of other authorities.

use crate::plane::Site;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use std::collections::BTreeMap;

/// Returns the Secrets of a control plane's namespace.
pub async fn secrets(site: &Site) -> anyhow::Result<Api<Secret>> {
    Ok(Api::namespaced(site.server.client().await?, &site.system))
}

/// Returns a Secret with this data.
pub fn secret(name: &str, data: BTreeMap<String, Vec<u8>>) -> Secret {
    let mut secret = Secret {
        data: Some(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect()),
        ..Secret::default()
    };
    secret.metadata.name = Some(name.to_owned());
    secret
}

/// An authority outside of the control plane.
pub struct Foreign {
    pub pem: String,
    pub key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Returns the parameters of an authority certificate.
pub fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Foreign {
    pub fn root(name: &str) -> anyhow::Result<Self> {
        Self::root_of(authority(name))
    }

    pub fn root_of(params: CertificateParams) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, key: key.serialize_pem(), issuer: Issuer::new(params, key) })
    }

    pub fn below(&self, name: &str) -> anyhow::Result<Self> {
        self.below_of(authority(name))
    }

    pub fn below_of(&self, params: CertificateParams) -> anyhow::Result<Self> {
        self.below_with(params, KeyPair::generate()?)
    }

    pub fn rsa_below_of(&self, params: CertificateParams) -> anyhow::Result<Self> {
        self.below_with(params, KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)?)
    }

    fn below_with(&self, params: CertificateParams, key: KeyPair) -> anyhow::Result<Self> {
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Self { pem, key: key.serialize_pem(), issuer: Issuer::new(params, key) })
    }
}

impl Foreign {
    /// Returns a list that revokes the certificates with these hexadecimal serial numbers.
    pub fn revoking(&self, serials: &[&str]) -> anyhow::Result<String> {
        let entry = |serial: &&str| {
            let pairs = serial.as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair)?;
                anyhow::Ok(u8::from_str_radix(pair, 16)?)
            });
            anyhow::Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&pairs.collect::<anyhow::Result<Vec<_>>>()?),
                revocation_time: rcgen::date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2036, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(entry).collect::<anyhow::Result<_>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}

/// Returns the files of plugged-in key material.
pub fn plugged_in(root: &Foreign, signing: &Foreign, key: &str) -> BTreeMap<String, Vec<u8>> {
    let chain = format!("{}{}", signing.pem, root.pem);
    [
        ("ca-cert.pem", signing.pem.as_str()),
        ("ca-key.pem", key),
        ("cert-chain.pem", chain.as_str()),
        ("root-cert.pem", root.pem.as_str()),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
    .collect()
}
