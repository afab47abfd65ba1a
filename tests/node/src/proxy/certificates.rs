//! Certificates of the accounts that have a pod on the node, each asked for when it is first needed, and again in time.

use anyhow::Context;
use ca::Certificate;
use pilothouse_tests::certificates::{CertificateTarget, request_certificate};
use pilothouse_tests::spiffe::AnyName;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long after one that failed a certificate is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// TLS with the certificate of an account.
pub struct Account {
    /// For what it dials.
    pub connector: TlsConnector,
    /// For what it takes.
    pub acceptor: TlsAcceptor,
}

/// What the node has certificates for.
pub struct Certificates {
    target: std::sync::Mutex<CertificateTarget>,
    accounts: Mutex<HashMap<String, Held>>,
}

struct Held {
    account: Arc<Account>,
    /// When another certificate is asked for.
    renewal: Instant,
    end: Instant,
}

impl Certificates {
    /// Asks this authority.
    pub fn new(target: CertificateTarget) -> Self {
        Self { target: std::sync::Mutex::new(target), accounts: Mutex::default() }
    }

    /// Trusts an authority that other roots (PEM) have signed.
    pub fn use_roots(&self, roots_pem: &[u8]) {
        self.target().roots_pem = roots_pem.to_owned();
    }

    fn target(&self) -> MutexGuard<'_, CertificateTarget> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns TLS of an identity. Nobody waits for another certificate while one is valid.
    ///
    /// # Errors
    /// When no certificate can be had.
    pub async fn of(self: &Arc<Self>, identity: &str) -> anyhow::Result<Arc<Account>> {
        let mut accounts = self.accounts.lock().await;
        let now = Instant::now();
        if let Some(held) = accounts.get_mut(identity).filter(|held| now < held.end) {
            if now >= held.renewal {
                held.renewal = now + PAUSE;
                let (own, identity) = (Arc::clone(self), identity.to_owned());
                tokio::spawn(async move {
                    if let Ok(renewed) = own.ask(&identity).await {
                        own.accounts.lock().await.insert(identity, renewed);
                    }
                });
            }
            return Ok(Arc::clone(&held.account));
        }
        let held = self.ask(identity).await.with_context(|| format!("no certificate of {identity}"))?;
        let account = Arc::clone(&held.account);
        accounts.insert(identity.to_owned(), held);
        Ok(account)
    }

    async fn ask(&self, identity: &str) -> anyhow::Result<Held> {
        let target = self.target().clone();
        let (chain, key, roots) = request_certificate(&target, Some(identity), 0).await?.tls()?;
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
        let account = Account {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
        };
        let now = Instant::now();
        Ok(Held { account: Arc::new(account), renewal: now + left / 2, end: now + left })
    }
}

/// The identity in the certificate that a peer shows.
///
/// # Errors
/// When it shows none, or one without.
pub fn identity_shown(certificates: Option<&[CertificateDer<'_>]>) -> anyhow::Result<String> {
    let leaf = certificates.and_then(<[_]>::first).context("the peer shows no certificate")?;
    Ok(Certificate::from_der(leaf)?.identity()?.to_string())
}
