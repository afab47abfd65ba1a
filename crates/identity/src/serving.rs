//! TLS of the secure port: the serving certificate, and certificates of clients.
//!
//! Both follow the authority without a restart: each handshake takes what is in force.

use super::authority::{Authority, InForce};
use super::refused::Refused;
use super::signer::Signer;
use super::stats::IdentityStats;
use ca::{Certificate, Identity, RevocationLists, SigningKey, Validity};
use model::rfc3339;
use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Life of the serving certificate, unless the signer ends before; it is renewed half-way.
const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// How soon a failed renewal is tried again; while what is in force does for long, in ever longer pauses
/// up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// The least time between two renewals: a signer that is about to end shortens what it signs.
const SHORTEST: Duration = Duration::from_secs(1);

/// Why no serving certificate can be had.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// It cannot be issued.
    #[error("cannot issue the serving certificate: {}", .0.detail)]
    Issue(Refused),
    /// What was issued with it cannot be read.
    #[error("cannot read the chain of the serving certificate: {0}")]
    Chain(#[from] ca::CertificateError),
    /// Its key cannot be made.
    #[error("cannot make the key of the serving certificate: {0}")]
    Key(#[from] ca::KeyError),
    /// TLS does not accept it.
    #[error("cannot use the serving certificate: {0}")]
    Tls(#[from] Error),
    /// What was just written cannot be read.
    #[error("cannot read the key of the serving certificate: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The roots cannot verify anybody.
    #[error("cannot use the roots to verify clients: {0}")]
    Roots(#[from] rustls::server::VerifierBuilderError),
}

/// The names of the certificate.
pub struct ServingNames {
    /// Those of the process's settings.
    pub set: Vec<String>,
    /// The host that proxies are told, as the settings of the mesh change.
    pub discovery_host: watch::Receiver<Option<String>>,
}

impl ServingNames {
    /// Returns all names there are now, sorted.
    fn now(&mut self) -> Vec<String> {
        let mut names = self.set.clone();
        names.extend(self.discovery_host.borrow_and_update().clone());
        names.sort();
        names.dedup();
        names
    }

    /// Waits until they are others.
    async fn changed(&mut self) {
        if self.discovery_host.changed().await.is_err() {
            // Nobody is left to change them.
            std::future::pending::<()>().await;
        }
    }
}

/// What the certificate in force was made from, and when it is to be renewed.
struct Held {
    signer: Arc<Signer>,
    names: Vec<String>,
    renew: UnixTime,
}

/// Until when a certificate does, if no other can be had.
struct Term {
    /// Half-way.
    renew: UnixTime,
    /// When a quarter of its life is left: from then on one with fewer names is better than none.
    press: UnixTime,
}

/// What handshakes use, once there is something.
pub struct Serving {
    material: Arc<Material>,
    acceptor: TlsAcceptor,
    stats: Arc<IdentityStats>,
}

struct Material {
    provider: Arc<CryptoProvider>,
    key: RwLock<Option<Arc<CertifiedKey>>>,
    clients: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
    revoked: RwLock<Arc<RevocationLists>>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

impl Serving {
    /// Prepares TLS 1.2 and 1.3 with HTTP/2; handshakes fail until there is a certificate.
    ///
    /// # Errors
    /// Never with the provider that is built in.
    pub fn new(stats: Arc<IdentityStats>) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let material = Arc::new(Material {
            provider: Arc::clone(&provider),
            key: RwLock::new(None),
            clients: RwLock::new(None),
            revoked: RwLock::default(),
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(Clients(Arc::clone(&material))))
            .with_cert_resolver(Arc::new(Own(Arc::clone(&material))));
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would carry a client certificate past the end of its root's trust.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { material, acceptor: TlsAcceptor::from(Arc::new(config)), stats })
    }

    /// Returns what takes connections.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Returns what judges the certificates of clients, by what is in force.
    pub fn clients(&self) -> Clients {
        Clients(Arc::clone(&self.material))
    }

    /// Keeps the certificate right: with the authority, with its names, and half-way through its life;
    /// and the lists of those that are revoked. `first` is cancelled once there is a certificate.
    /// Connections that stand go on with the one that they met.
    pub async fn follow(
        &self,
        authority: &Authority,
        mut names: ServingNames,
        first: CancellationToken,
        stop: CancellationToken,
    ) {
        let mut changes = authority.changes();
        let mut held: Option<Held> = None;
        // Who signed what is in force, and when it is high time for another.
        let mut last: Option<(Arc<Signer>, UnixTime)> = None;
        let mut pause = AGAIN.0;
        loop {
            let in_force = changes.borrow_and_update().clone();
            let called = names.now();
            let mut wait = None;
            if let Some(InForce { signer, revoked }) = in_force {
                // Before the roots: nobody is let in by new roots and old lists.
                *self.material.revoked.write() = revoked;
                let is_held = held.as_ref().is_some_and(|held| {
                    Arc::ptr_eq(&held.signer, &signer) && held.names == called && held.renew > UnixTime::now()
                });
                let is_pressing = last
                    .as_ref()
                    .is_none_or(|(of, press)| !Arc::ptr_eq(of, &signer) || *press <= UnixTime::now());
                if !is_held {
                    let fewer = is_pressing.then_some(names.set.as_slice());
                    let taken = tokio::select! {
                        taken = self.take_most(&signer, &called, fewer) => taken,
                        // What somebody else is asked for may take its time.
                        () = stop.cancelled() => return,
                    };
                    held = match taken {
                        Ok(Term { renew, press }) => {
                            first.cancel();
                            pause = AGAIN.0;
                            last = Some((Arc::clone(&signer), press));
                            Some(Held { signer, names: called, renew })
                        }
                        Err(error) => {
                            let names = called.join(",");
                            tracing::error!(%error, names, "the serving certificate is not renewed");
                            None
                        }
                    };
                }
                let now = UnixTime::now();
                let left =
                    |until: UnixTime| Duration::from_secs(until.as_secs().saturating_sub(now.as_secs()));
                let again = match (&held, &last) {
                    (Some(held), _) => left(held.renew),
                    (None, Some((_, press))) if !is_pressing => {
                        let again = pause.min(left(*press));
                        pause = (pause * 2).min(AGAIN.1);
                        again
                    }
                    (None, _) => AGAIN.0,
                };
                wait = Some(again.max(SHORTEST));
            }
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = names.changed() => {}
                () = due => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes a new certificate with all names, or else one with `fewer`, if it is time for that: what
    /// somebody wrote into the settings of the mesh must not close the port.
    async fn take_most(
        &self,
        signer: &Signer,
        names: &[String],
        fewer: Option<&[String]>,
    ) -> Result<Term, ServingError> {
        let missing = fewer.and_then(|fewer| Some((fewer, names.iter().find(|name| !fewer.contains(name))?)));
        let (error, fewer, host) = match (self.take(signer, names).await, missing) {
            (Err(error), Some((fewer, host))) => (error, fewer, host),
            (taken, _) => return taken,
        };
        let Ok(Term { renew, press }) = self.take(signer, fewer).await else { return Err(error) };
        tracing::warn!(
            host, %error,
            "the secure port has a certificate without the host that proxies are told, and those that \
             connect to that host refuse it: have the signer allow the name, or change \
             defaultConfig.discoveryAddress of the mesh settings; it is tried again every ten minutes",
        );
        let again = Duration::from_secs(UnixTime::now().as_secs()) + AGAIN.1;
        Ok(Term { renew: renew.min(UnixTime::since_unix_epoch(again)), press })
    }

    /// Takes a new certificate from `signer` and verifies clients by its roots.
    async fn take(&self, signer: &Signer, names: &[String]) -> Result<Term, ServingError> {
        let key = SigningKey::generate_p256()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let issued = signer.issue_serving(&key, &names, LIFE).await.map_err(ServingError::Issue)?;
        let is_root = |c: &Certificate| signer.trust().roots().iter().any(|root| root.der() == c.der());
        let between = match issued.between().concat() {
            none if none.is_empty() => Vec::new(),
            pem => Certificate::all_from_pem(pem.as_bytes())?,
        };
        let between = between.iter().filter(|c| !is_root(c)).map(|c| c.der().to_vec());
        let chain = std::iter::once(issued.leaf).chain(between).map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, &self.material.provider)?;
        let mut roots = RootCertStore::empty();
        for root in signer.trust().roots() {
            roots.add(CertificateDer::from(root.der().to_vec()))?;
        }
        let provider = Arc::clone(&self.material.provider);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()?;
        *self.material.clients.write() = Some(clients);
        *self.material.key.write() = Some(Arc::new(certified));
        self.stats.serving_ends.set(issued.validity.not_after);
        tracing::info!(
            serial = %issued.serial, not_after = rfc3339(issued.validity.not_after.as_secs()),
            names = names.join(","), "the secure port has a certificate",
        );
        let Validity { not_before, not_after } = issued.validity;
        let quarter = not_after.as_secs().saturating_sub(not_before.as_secs()) / 4;
        let press = UnixTime::since_unix_epoch(Duration::from_secs(not_after.as_secs() - quarter));
        Ok(Term { renew: issued.validity.half_life(), press })
    }
}

/// The certificate that a client has shown in a handshake.
#[derive(Debug, Clone)]
pub struct ShownCertificate {
    /// Whose it is.
    pub identity: Identity,
    /// Its last valid second.
    pub not_after: UnixTime,
    /// The leaf, and what the client has shown with it. Kept, since a connection may outlive what its
    /// handshake was judged by.
    chain: Arc<[CertificateDer<'static>]>,
}

/// Returns the certificate that a client has shown in its handshake, if it did.
pub fn client_identity(connection: &ServerConnection) -> Option<ShownCertificate> {
    let chain = connection.peer_certificates()?;
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    Some(ShownCertificate {
        identity: certificate.identity().ok()?,
        not_after: certificate.validity().not_after,
        chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
    })
}

#[derive(Debug)]
struct Own(Arc<Material>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.key.read().clone()
    }
}

/// Judges the certificates of clients: in handshakes, and for each call after them.
#[derive(Debug)]
pub struct Clients(Arc<Material>);

impl Clients {
    /// Judges what a client has shown as a handshake would at `now`: by the roots and the lists that are
    /// in force, and by its end.
    ///
    /// # Errors
    /// [`Refused`], `Unauthenticated`.
    pub fn check_still_good(&self, shown: &ShownCertificate, now: UnixTime) -> Result<(), Refused> {
        let Some((leaf, between)) = shown.chain.split_first() else {
            return Err(Refused::unauthenticated("no_credential", "the client has shown no certificate"));
        };
        self.verify_client_cert(leaf, between, now).map(drop).map_err(|error| {
            let reason = match &error {
                Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => "credential_expired",
                Error::InvalidCertificate(CertificateError::Revoked) => "certificate_revoked",
                _ => "certificate_untrusted",
            };
            let detail = format!("the client certificate of {} is no longer good: {error}", shown.identity);
            Refused::unauthenticated(reason, detail)
        })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let none = || Error::General("there are no roots to verify clients by yet".to_owned());
        self.0.clients.read().clone().ok_or_else(none)
    }

    /// Checks everything that a client shows. A certificate whose issuer has no list is let in: it may
    /// be one of an intermediate that was replaced, and lives on until its end.
    fn check_not_revoked<'a>(
        &self,
        shown: impl Iterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<(), Error> {
        let revoked = Arc::clone(&self.0.revoked.read());
        if revoked.is_empty() {
            return Ok(());
        }
        for der in shown {
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

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The roots change; without hints a client shows the certificate that it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier()?.verify_client_cert(leaf, between, now)?;
        self.check_not_revoked(std::iter::once(leaf).chain(between))?;
        // Exactly one SPIFFE id: nobody else is served, so nobody else gets in.
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
