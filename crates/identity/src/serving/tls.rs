//! The TLS configuration of the secure port and of the webhook.

use crate::authentication::{ClientCertificates, ClientVerifier};
use crate::clock::Clock;
use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{Error, ServerConfig};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// TLS of the secure port; handshakes fail until there is a serving certificate.
pub(crate) struct ServingTls {
    provider: Arc<CryptoProvider>,
    certificate: Arc<CertificateResolver>,
    /// The roots and revocation lists of clients.
    pub clients: Arc<ClientCertificates>,
    acceptor: TlsAcceptor,
    web_acceptor: TlsAcceptor,
}

impl ServingTls {
    /// Configures TLS 1.2 and 1.3: with HTTP/2 and certificates of clients, and with HTTP/1 and without them.
    ///
    /// # Errors
    /// Never with the built-in provider.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = Arc::new(CertificateResolver::default());
        let clients = ClientCertificates::new(Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(TlsClock(clock)))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(ClientVerifier::new(Arc::clone(&clients))))
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would keep a client certificate accepted after its root is distrusted.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let mut web = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        web.alpn_protocols = vec![b"http/1.1".to_vec()];
        let [acceptor, web_acceptor] = [config, web].map(|config| TlsAcceptor::from(Arc::new(config)));
        Ok(Self { provider, certificate, clients, acceptor, web_acceptor })
    }

    /// Returns the acceptor of connections.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Returns the acceptor of connections of HTTP/1, whose clients show no certificate.
    pub fn web_acceptor(&self) -> TlsAcceptor {
        self.web_acceptor.clone()
    }

    /// Returns the verifier of client certificates.
    pub fn client_verifier(&self) -> ClientVerifier {
        ClientVerifier::new(Arc::clone(&self.clients))
    }

    /// Validates a serving certificate, without using it yet.
    ///
    /// # Errors
    /// When TLS does not accept the certificate or the key.
    pub fn certified_key(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<CertifiedKey, Error> {
        CertifiedKey::from_der(chain, key, &self.provider)
    }

    /// Replaces the serving certificate. Established connections keep the previous one.
    pub fn set_certificate(&self, certificate: CertifiedKey) {
        *self.certificate.0.write() = Some(Arc::new(certificate));
    }
}

/// The clock by which handshakes verify client certificates.
#[derive(Debug)]
struct TlsClock(Arc<dyn Clock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0.now())
    }
}

/// Resolves the current serving certificate.
#[derive(Debug, Default)]
struct CertificateResolver(RwLock<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}
