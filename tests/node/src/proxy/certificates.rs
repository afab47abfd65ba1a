//! Certificates of the accounts that have a pod on the node, each asked for when it is first needed.

use anyhow::Context;
use ca::Certificate;
use pilothouse_tests::certificates::{CertificateTarget, request_certificate};
use pilothouse_tests::spiffe::AnyName;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// TLS with the certificate of an account.
pub struct Account {
    /// For what it dials.
    pub connector: TlsConnector,
    /// For what it takes.
    pub acceptor: TlsAcceptor,
    /// When another certificate is asked for.
    renewal: Instant,
}

/// What the node has certificates for.
pub struct Certificates {
    target: CertificateTarget,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
}

impl Certificates {
    /// Asks this authority.
    pub fn new(target: CertificateTarget) -> Self {
        Self { target, accounts: Mutex::default() }
    }

    /// Returns TLS of an identity.
    ///
    /// # Errors
    /// When no certificate can be had.
    pub async fn of(&self, identity: &str) -> anyhow::Result<Arc<Account>> {
        let mut accounts = self.accounts.lock().await;
        if let Some(account) = accounts.get(identity).filter(|of| Instant::now() < of.renewal) {
            return Ok(Arc::clone(account));
        }
        let account =
            Arc::new(self.ask(identity).await.with_context(|| format!("no certificate of {identity}"))?);
        accounts.insert(identity.to_owned(), Arc::clone(&account));
        Ok(account)
    }

    async fn ask(&self, identity: &str) -> anyhow::Result<Account> {
        let (chain, key, roots) = request_certificate(&self.target, Some(identity), 0).await?.tls()?;
        let leaf = Certificate::from_der(chain.first().context("an empty chain")?)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let left = Duration::from_secs(leaf.validity().not_after.as_secs()).saturating_sub(now);
        let provider = Arc::new(default_provider());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyName::new(
                Arc::clone(&roots),
                Arc::clone(&provider),
            )?))
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        let peers = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(peers)
            .with_single_cert(chain, key)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        server.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Account {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            renewal: Instant::now() + left / 2,
        })
    }
}

/// The identity in the certificate that a peer shows.
///
/// # Errors
/// When it shows none, or one without.
pub fn peer(certificates: Option<&[CertificateDer<'_>]>) -> anyhow::Result<String> {
    let leaf = certificates.and_then(<[_]>::first).context("the peer shows no certificate")?;
    Ok(Certificate::from_der(leaf)?.identity()?.to_string())
}
