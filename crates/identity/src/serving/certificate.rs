//! The serving certificate, issued by the authority and renewed.

use super::names::ServingNames;
use super::tls::ServingTls;
use crate::authority::{ActiveMaterial, Authority, Signer};
use crate::clock::Clock;
use crate::refused::Refused;
use crate::stats::IdentityStats;
use ca::{Certificate, SigningKey, Validity};
use model::rfc3339;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Lifetime of the serving certificate, unless the signer expires before; it is renewed half-way.
const TTL: Duration = Duration::from_secs(90 * 24 * 3600);

/// The minimum and maximum backoff after a failed renewal. It grows only while the active certificate has
/// most of its lifetime left.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// Minimum interval between renewals: a signer that expires soon shortens the lifetime of what it signs.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no serving certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServingError {
    /// It cannot be issued.
    #[error("cannot issue the serving certificate: {}", .0.detail)]
    Issue(Refused),
    /// Its chain cannot be parsed.
    #[error("cannot parse the chain of the serving certificate: {0}")]
    Chain(#[from] ca::CertificateError),
    /// Its key cannot be generated.
    #[error("cannot generate the key of the serving certificate: {0}")]
    Key(#[from] ca::KeyError),
    /// TLS does not accept it.
    #[error("cannot use the serving certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// Its key cannot be parsed.
    #[error("cannot parse the key of the serving certificate: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The roots cannot verify clients.
    #[error("cannot use the roots to verify clients: {0}")]
    Roots(#[from] rustls::server::VerifierBuilderError),
}

/// The signer and the names of the active certificate, and when it is renewed.
struct Active {
    signer: Arc<Signer>,
    names: Vec<String>,
    renew_at: UnixTime,
}

/// When a certificate must be replaced.
struct Schedule {
    /// Half of its lifetime is over.
    renew_at: UnixTime,
    /// A quarter of its lifetime is left: from then on a certificate with fewer names is acceptable.
    urgent_at: UnixTime,
}

/// Renews the serving certificate.
pub(crate) struct ServingCertificate {
    tls: ServingTls,
    clock: Arc<dyn Clock>,
    stats: Arc<IdentityStats>,
}

impl ServingCertificate {
    /// Renews the serving certificate of `tls`.
    pub fn new(tls: ServingTls, clock: Arc<dyn Clock>, stats: Arc<IdentityStats>) -> Self {
        Self { tls, clock, stats }
    }

    /// Returns the TLS configuration.
    pub fn tls(&self) -> &ServingTls {
        &self.tls
    }

    /// Renews the certificate when the authority or the names change, and half-way through its lifetime;
    /// and updates the revocation lists of clients. `ready` is cancelled once there is a certificate.
    /// Established connections keep their certificate.
    pub async fn run(
        &self,
        authority: &Authority,
        mut names: ServingNames,
        ready: CancellationToken,
        stop: CancellationToken,
    ) {
        let mut changes = authority.changes();
        let mut active: Option<Active> = None;
        // The signer of the last certificate, and when its renewal becomes urgent.
        let mut last: Option<(Arc<Signer>, UnixTime)> = None;
        let mut backoff = BACKOFF.0;
        loop {
            let material = changes.borrow_and_update().clone();
            let current_names = names.current();
            let mut wait = None;
            if let Some(ActiveMaterial { signer, revoked }) = material {
                // Before the roots: no client is accepted by new roots and old lists.
                self.tls.clients.set_revoked(revoked);
                let is_current = active.as_ref().is_some_and(|active| {
                    Arc::ptr_eq(&active.signer, &signer)
                        && active.names == current_names
                        && active.renew_at > self.clock.now()
                });
                let is_urgent = last.as_ref().is_none_or(|(last_signer, urgent_at)| {
                    !Arc::ptr_eq(last_signer, &signer) || *urgent_at <= self.clock.now()
                });
                if !is_current {
                    let fallback = is_urgent.then_some(names.fixed.as_slice());
                    let renewed = tokio::select! {
                        renewed = self.renew_or_fall_back(&signer, &current_names, fallback) => renewed,
                        // An external signer may take its time.
                        () = stop.cancelled() => return,
                    };
                    active = match renewed {
                        Ok(Schedule { renew_at, urgent_at }) => {
                            ready.cancel();
                            backoff = BACKOFF.0;
                            last = Some((Arc::clone(&signer), urgent_at));
                            Some(Active { signer, names: current_names, renew_at })
                        }
                        Err(error) => {
                            let names = current_names.join(",");
                            tracing::error!(%error, names, "the serving certificate is not renewed");
                            None
                        }
                    };
                }
                let now = self.clock.now();
                let left =
                    |until: UnixTime| Duration::from_secs(until.as_secs().saturating_sub(now.as_secs()));
                let retry = match (&active, &last) {
                    (Some(active), _) => left(active.renew_at),
                    (None, Some((_, urgent_at))) if !is_urgent => {
                        let retry = backoff.min(left(*urgent_at));
                        backoff = (backoff * 2).min(BACKOFF.1);
                        retry
                    }
                    (None, _) => BACKOFF.0,
                };
                wait = Some(retry.max(MIN_INTERVAL));
            }
            let due = async {
                match wait {
                    Some(wait) => self.clock.sleep(wait).await,
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

    /// Renews the certificate with all names, or else with the `fallback` names if it is urgent: an
    /// unusable host in the mesh settings must not close the port.
    async fn renew_or_fall_back(
        &self,
        signer: &Signer,
        names: &[String],
        fallback: Option<&[String]>,
    ) -> Result<Schedule, ServingError> {
        let dropped = fallback
            .and_then(|fallback| Some((fallback, names.iter().find(|name| !fallback.contains(name))?)));
        let (error, fallback, host) = match (self.renew(signer, names).await, dropped) {
            (Err(error), Some((fallback, host))) => (error, fallback, host),
            (renewed, _) => return renewed,
        };
        let Ok(Schedule { renew_at, urgent_at }) = self.renew(signer, fallback).await else {
            return Err(error);
        };
        tracing::warn!(
            host, %error,
            "the serving certificate does not contain the discovery host of proxies, which fail to connect \
             to it: have the signer allow the name, or change defaultConfig.discoveryAddress of the mesh \
             settings; it is retried every ten minutes",
        );
        let retry_at = Duration::from_secs(self.clock.now().as_secs()) + BACKOFF.1;
        Ok(Schedule { renew_at: renew_at.min(UnixTime::since_unix_epoch(retry_at)), urgent_at })
    }

    /// Issues a certificate with `signer`, serves it, and verifies clients by the roots of `signer`.
    async fn renew(&self, signer: &Signer, names: &[String]) -> Result<Schedule, ServingError> {
        let key = SigningKey::generate_p256()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let issued = signer.issue_serving(&key, &names, TTL, &*self.clock).await;
        let issued = issued.map_err(ServingError::Issue)?;
        let is_root = |c: &Certificate| signer.trust().roots().iter().any(|root| root.der() == c.der());
        let intermediates = match issued.between().concat() {
            none if none.is_empty() => Vec::new(),
            pem => Certificate::all_from_pem(pem.as_bytes())?,
        };
        let intermediates = intermediates.iter().filter(|c| !is_root(c)).map(|c| c.der().to_vec());
        let chain = std::iter::once(issued.leaf).chain(intermediates).map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes())?;
        let certificate = self.tls.certified_key(chain, key)?;
        let mut roots = RootCertStore::empty();
        for root in signer.trust().roots() {
            roots.add(CertificateDer::from(root.der().to_vec()))?;
        }
        self.tls.clients.set_roots(roots)?;
        self.tls.set_certificate(certificate);
        self.stats.serving_expiry.set(issued.validity.not_after);
        tracing::info!(
            serial = %issued.serial, not_after = rfc3339(issued.validity.not_after.as_secs()),
            names = names.join(","), "renewed the serving certificate",
        );
        let Validity { not_before, not_after } = issued.validity;
        let quarter = not_after.as_secs().saturating_sub(not_before.as_secs()) / 4;
        let urgent_at = UnixTime::since_unix_epoch(Duration::from_secs(not_after.as_secs() - quarter));
        Ok(Schedule { renew_at: issued.validity.half_life(), urgent_at })
    }
}
