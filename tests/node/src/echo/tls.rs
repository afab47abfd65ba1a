//! TLS, with a certificate of nobody unless one is given.

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Makes one with the certificate and the key of these files, or with one for `localhost`.
pub(super) fn acceptor(certificate: Option<(&Path, &Path)>) -> anyhow::Result<TlsAcceptor> {
    let (certificate, key) = match certificate {
        Some((certificate, key)) => {
            (CertificateDer::from_pem_file(certificate)?, PrivateKeyDer::from_pem_file(key)?)
        }
        None => {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
            let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
            (certificate.der().clone(), key)
        }
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
