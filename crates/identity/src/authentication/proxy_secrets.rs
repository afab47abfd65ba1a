//! The secrets of an Envoy that has no agent beside it: its certificate with the key, and the roots.
//!
//! Upstream's Envoy makes no requests for certificates: it is given key and certificate on the stream on which it
//! has shown the token of its pod. A key is made for one stream, is in no log and on no disk, and is not kept.

use super::authorizer::Authorizer;
use super::caller::Authenticated;
use crate::authority::{ActiveMaterial, MaterialReceiver, Signer};
use crate::identity_index::MeshIdentity;
use ca::{Entropy, Issued, SigningKey, SystemEntropy, Validity};
use futures::Stream;
use futures::stream::unfold;
use rustls::pki_types::UnixTime;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The minimum and maximum backoff after a certificate could not be issued.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Minimum interval between renewals: a signer that expires soon shortens the lifetime of what it signs.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Which part of a lifetime renewals are spread over, before half of it is over: whoever came at the same time
/// does not come back at the same time.
const SPREAD: u64 = 10;

/// A secret of one Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxySecret {
    /// The roots that peers are verified by, PEM.
    Roots(String),
    /// A certificate with its key.
    Certificate(ProxyCertificate),
    /// The certificate that it holds from an earlier stream, of this version, is good for a while yet.
    Held(String),
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyCertificate {
    /// What it is known by when its holder comes back: whose it is, who signed it, and when it is renewed.
    pub version: String,
    /// The leaf and the intermediates, PEM.
    pub chain: String,
    /// The private key, PEM.
    pub key: String,
}

impl fmt::Debug for ProxyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyCertificate").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What makes the secrets of one stream.
struct ProxySecrets {
    authorizer: Arc<Authorizer>,
    caller: Authenticated,
    changes: MaterialReceiver,
    /// The trust domain may change, and with it whose the certificate is.
    mesh: watch::Receiver<Arc<MeshIdentity>>,
    /// The version of the certificate that the client holds from an earlier stream.
    held: Option<String>,
    roots: Option<String>,
    current: Option<Current>,
    backoff: Duration,
    /// No attempt before this time.
    not_before: UnixTime,
}

/// The certificate that the client has.
struct Current {
    /// Whose it is, and who signed it.
    name: String,
    renew_at: UnixTime,
}

/// Returns the secrets of an authenticated Envoy, each when it is due, without end: the roots now and whenever they
/// change, then its certificate, and another when half of its life is over, another certificate signs, or
/// the trust domain changes. `held` is
/// the version of the certificate that it has from an earlier stream.
///
/// Certificates count against the limits of the caller, as those that it would request.
pub fn proxy_secrets(
    authorizer: Arc<Authorizer>,
    caller: Authenticated,
    held: Option<String>,
) -> impl Stream<Item = ProxySecret> + Send {
    let secrets = ProxySecrets {
        changes: authorizer.authority().changes(),
        mesh: authorizer.mesh_changes(),
        not_before: authorizer.clock().now(),
        authorizer,
        caller,
        held,
        roots: None,
        current: None,
        backoff: BACKOFF.0,
    };
    unfold(secrets, |mut secrets| async move {
        let next = secrets.next().await;
        Some((next, secrets))
    })
}

impl ProxySecrets {
    async fn next(&mut self) -> ProxySecret {
        loop {
            let material = self.changes.borrow_and_update().clone();
            self.mesh.borrow_and_update();
            let now = self.authorizer.clock().now();
            let mut wait = None;
            if let Some(ActiveMaterial { signer, .. }) = material {
                // Roots first: peers may show certificates of a new one at once.
                let roots = signer.trust().to_pem();
                if self.roots.as_ref() != Some(&roots) {
                    self.roots = Some(roots.clone());
                    return ProxySecret::Roots(roots);
                }
                let name = format!("{} {}", self.authorizer.identity_now(&self.caller), name_of(&signer));
                if let Some(version) = self.held.take()
                    && let Some(renew_at) = self.renewal_of(&version, &name, now)
                {
                    self.current = Some(Current { name, renew_at });
                    return ProxySecret::Held(version);
                }
                let due = match &self.current {
                    Some(current) if current.name == name => current.renew_at,
                    _ => now,
                };
                let due = due.max(self.not_before);
                if due <= now {
                    match self.authorizer.proxy_certificate(&self.caller).await {
                        Ok(issued) => return ProxySecret::Certificate(self.take(issued, name)),
                        Err(refused) => {
                            tracing::warn!(
                                caller = %self.caller.identity(), reason = refused.reason,
                                detail = limits::truncated(&refused.detail), retry = ?self.backoff,
                                "cannot issue the certificate of a proxy",
                            );
                            self.not_before = after(self.authorizer.clock().now(), self.backoff);
                            self.backoff = (self.backoff * 2).min(BACKOFF.1);
                            continue;
                        }
                    }
                }
                wait = Some(Duration::from_secs(due.as_secs().saturating_sub(now.as_secs())));
            }
            let authorizer = Arc::clone(&self.authorizer);
            let due = async {
                match wait {
                    Some(wait) => authorizer.clock().sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() {
                    // The process is stopping.
                    std::future::pending::<()>().await;
                },
                // It lives as long as the authorizer.
                _ = self.mesh.changed() => {}
                () = due => {}
            }
        }
    }

    /// Takes note of a certificate that was issued for the client.
    fn take(&mut self, (key, issued): (SigningKey, Issued), name: String) -> ProxyCertificate {
        let now = self.authorizer.clock().now();
        let renew_at = renewal(issued.validity).max(after(now, MIN_INTERVAL));
        let version = version(&name, renew_at);
        (self.backoff, self.not_before) = (BACKOFF.0, now);
        self.current = Some(Current { name, renew_at });
        let chain = issued.chain.iter().take(1).chain(issued.between()).map(String::as_str).collect();
        ProxyCertificate { version, chain, key: key.to_pem().to_owned() }
    }

    /// Reads from the version of a certificate that the client holds when it is to be renewed; `None` for one of
    /// another identity or signer, or one that is due. Who lies about it has himself not given a newer one.
    fn renewal_of(&self, held: &str, name: &str, now: UnixTime) -> Option<UnixTime> {
        let seconds = held.rsplit_once(' ')?.1.parse().ok()?;
        let renew_at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let latest = after(now, self.authorizer.certificate_life());
        (renew_at > now && renew_at <= latest && held == version(name, renew_at)).then_some(renew_at)
    }
}

fn version(name: &str, renew_at: UnixTime) -> String {
    format!("{name} {}", renew_at.as_secs())
}

fn after(time: UnixTime, wait: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs()) + wait)
}

/// Returns by what a signer is known: another one has other certificates renewed.
fn name_of(signer: &Signer) -> String {
    let own = signer.certificate().or(signer.trust().roots().first());
    own.map(|certificate| certificate.serial().to_owned()).unwrap_or_default()
}

/// Returns when a certificate is renewed: half-way, or a little earlier.
fn renewal(validity: Validity) -> UnixTime {
    let life = validity.not_after.as_secs().saturating_sub(validity.not_before.as_secs());
    let mut lot = [0; 8];
    // Without entropy nobody could have signed anything.
    let earlier = match SystemEntropy.fill(&mut lot) {
        Ok(()) => u64::from_le_bytes(lot) % (life / SPREAD).max(1),
        Err(_) => 0,
    };
    let half = validity.half_life().as_secs();
    UnixTime::since_unix_epoch(Duration::from_secs(half.saturating_sub(earlier)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_before_half_of_its_life_is_over_and_its_key_is_not_shown() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let validity = Validity { not_before: at(1_000), not_after: at(2_000) };
        for _ in 0..100 {
            assert!((1_400..=1_500).contains(&renewal(validity).as_secs()));
        }
        let certificate =
            ProxyCertificate { version: "v".to_owned(), chain: "c".to_owned(), key: "secret".to_owned() };
        let shown = format!("{:?}", ProxySecret::Certificate(certificate));
        assert!(shown.contains('v') && !shown.contains("secret"), "{shown}");
    }
}
