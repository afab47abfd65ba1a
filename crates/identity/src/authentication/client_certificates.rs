//! Client certificates: verified in the handshake, and again for each call.

use crate::refused::Refused;
use ca::{Certificate, Identity, RevocationLists};
use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConnection,
    SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

/// The certificate that a client has presented in a handshake.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The identity of the client.
    pub identity: Identity,
    /// The last second of validity.
    pub not_after: UnixTime,
    /// The leaf and the intermediates as presented. Kept to verify them again, since a connection may
    /// outlive the roots and revocation lists of its handshake.
    chain: Arc<[CertificateDer<'static>]>,
}

/// Returns the certificate that a client has presented in its handshake, if any.
pub fn client_certificate(connection: &ServerConnection) -> Option<ClientCertificate> {
    let chain = connection.peer_certificates()?;
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    Some(ClientCertificate {
        identity: certificate.identity().ok()?,
        not_after: certificate.validity().not_after,
        chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
    })
}

/// The active roots and revocation lists by which clients are verified.
pub struct ClientCertificates {
    provider: Arc<CryptoProvider>,
    verifier: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
    revoked: RwLock<Arc<RevocationLists>>,
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificates").finish_non_exhaustive()
    }
}

impl ClientCertificates {
    /// Creates a store without roots, which verifies no client.
    pub fn new(provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { provider, verifier: RwLock::new(None), revoked: RwLock::default() })
    }

    /// Replaces the roots.
    ///
    /// # Errors
    /// When the roots cannot verify anybody.
    pub fn set_roots(&self, roots: RootCertStore) -> Result<(), VerifierBuilderError> {
        let provider = Arc::clone(&self.provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()?;
        *self.verifier.write() = Some(verifier);
        Ok(())
    }

    /// Replaces the revocation lists.
    pub fn set_revoked(&self, revoked: Arc<RevocationLists>) {
        *self.revoked.write() = revoked;
    }
}

/// Verifies client certificates, in handshakes and for each call after them.
#[derive(Debug, Clone)]
pub struct ClientVerifier(Arc<ClientCertificates>);

impl ClientVerifier {
    /// Verifies clients by the roots and revocation lists that are active.
    pub fn new(active: Arc<ClientCertificates>) -> Self {
        Self(active)
    }

    /// Verifies a presented certificate as a handshake at `now` would: by its validity, and by the active
    /// roots and revocation lists.
    ///
    /// # Errors
    /// [`Refused`], `Unauthenticated`.
    pub fn check_valid(&self, presented: &ClientCertificate, now: UnixTime) -> Result<(), Refused> {
        let Some((leaf, intermediates)) = presented.chain.split_first() else {
            return Err(Refused::unauthenticated("no_credential", "the client has presented no certificate"));
        };
        self.verify_client_cert(leaf, intermediates, now).map(drop).map_err(|error| {
            let reason = match &error {
                Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => "credential_expired",
                Error::InvalidCertificate(CertificateError::Revoked) => "certificate_revoked",
                _ => "certificate_untrusted",
            };
            let identity = &presented.identity;
            let detail = format!("the client certificate of {identity} is no longer valid: {error}");
            Refused::unauthenticated(reason, detail)
        })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let none = || Error::General("there are no roots to verify clients yet".to_owned());
        self.0.verifier.read().clone().ok_or_else(none)
    }

    /// Checks all presented certificates. A certificate whose issuer has no list is accepted: its
    /// intermediate may have been replaced, and the certificate stays valid until it expires.
    fn check_not_revoked<'a>(
        &self,
        presented: impl Iterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<(), Error> {
        let revoked = Arc::clone(&self.0.revoked.read());
        if revoked.is_empty() {
            return Ok(());
        }
        for der in presented {
            let certificate = Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
            if revoked.revokes(&certificate) {
                let serial = certificate.serial();
                tracing::warn!(serial, "a client with a revoked certificate is refused");
                return Err(CertificateError::Revoked.into());
            }
        }
        Ok(())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Without hints a client presents the certificate that it has, also while the roots change.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier()?.verify_client_cert(leaf, intermediates, now)?;
        self.check_not_revoked(std::iter::once(leaf).chain(intermediates))?;
        // Clients must have exactly one SPIFFE id.
        match Certificate::from_der(leaf).map(|certificate| certificate.identity()) {
            Ok(Ok(_)) => Ok(verified),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}
