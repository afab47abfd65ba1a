//! The key of this control plane, and how much of the machine signing with it may take.
//!
//! A signature of P-256 takes some 20 µs and is made where it is asked for. One of RSA takes
//! milliseconds: those are made beside the threads that serve everybody, as many at a time as the machine
//! has processors, and one client waits for so many at most.

use super::refused::Refused;
use super::signer::Order;
use ca::{Issued, Issuer, SigningRequest, SystemEntropy};
use limits::KeyedSemaphore;
use rustls::pki_types::UnixTime;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many certificates one client may wait for. A ztunnel asks for some at a time.
const OF_CLIENT: usize = 64;

/// An issuer whose work is bounded.
#[derive(Debug)]
pub struct OwnSigner {
    issuer: Arc<Issuer>,
    turns: Arc<Semaphore>,
    clients: KeyedSemaphore<String>,
}

impl OwnSigner {
    /// Signs by this issuer.
    pub(super) fn new(issuer: Issuer) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            issuer: Arc::new(issuer),
            turns: Arc::new(Semaphore::new(processors)),
            clients: KeyedSemaphore::new(OF_CLIENT),
        }
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Issues the certificate of a workload.
    pub(super) async fn issue(&self, order: Order<'_>) -> Result<Issued, Refused> {
        let request = SigningRequest::from_pem(order.csr)?;
        if !self.issuer.is_slow() {
            let now = UnixTime::now();
            return Ok(self.issuer.issue(
                &request,
                order.identity,
                order.life_seconds,
                now,
                &SystemEntropy,
            )?);
        }
        let place = self.clients.try_acquire(order.client.to_owned()).ok_or_else(|| Refused {
            code: ca::Code::ResourceExhausted,
            reason: "too_many_at_once",
            detail: format!("this client waits for {OF_CLIENT} certificates already"),
        })?;
        let internal = |reason| Refused {
            code: ca::Code::Internal,
            reason: "not_ready",
            detail: format!("the certificate is not signed: {reason}"),
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| internal("it is too late"))?;
        let (issuer, identity, life) = (Arc::clone(&self.issuer), order.identity.clone(), order.life_seconds);
        // Both are given back when it is made, though the client may have gone away before.
        let signing = tokio::task::spawn_blocking(move || {
            let _held = (turn, place);
            issuer.issue(&request, &identity, life, UnixTime::now(), &SystemEntropy)
        });
        Ok(signing.await.map_err(|_| internal("the process stops"))??)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use ca::{Certificate, Identity, SigningKey, TrustBundle, TtlPolicy};
    use futures::future::join_all;
    use futures::poll;
    use std::pin::pin;
    use std::process::Command;

    /// An issuer with a root as somebody may plug it in.
    fn rsa() -> OwnSigner {
        let dir = tempfile::tempdir().unwrap();
        let arguments = "req -x509 -newkey rsa:4096 -nodes -keyout key.pem -out cert.pem -subj /O=cluster.local \
                         -days 3650 -addext keyUsage=critical,keyCertSign";
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(&dir).output();
        assert!(output.expect("openssl is needed").status.success());
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let certificate = Certificate::all_from_pem(read("cert.pem").as_bytes()).unwrap().remove(0);
        let key = Arc::new(SigningKey::from_pem(&read("key.pem")).unwrap());
        let trust = TrustBundle::new([certificate.clone()]).unwrap();
        OwnSigner::new(Issuer::new(certificate, key, Vec::new(), trust, TtlPolicy::default()).unwrap())
    }

    fn identity() -> Identity {
        Identity::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap()
    }

    fn request() -> String {
        SigningKey::generate_p256().unwrap().request_pem(&["spiffe://cluster.local/ns/shop/sa/web"]).unwrap()
    }

    #[tokio::test]
    async fn a_signature_of_rsa_keeps_no_thread_that_serves_others() {
        let (signer, csr, identity) = (rsa(), request(), identity());
        let order = Order { csr: &csr, identity: &identity, signer: "", client: "a", life_seconds: 0 };
        let mut signing = pin!(signer.issue(order));
        assert!(poll!(signing.as_mut()).is_pending(), "it is made meanwhile");
        signing.await.unwrap();
    }

    #[tokio::test]
    async fn one_client_waits_for_some_certificates_and_another_for_its_own() {
        let (signer, csr, identity) = (rsa(), request(), identity());
        let order = |client| Order { csr: &csr, identity: &identity, signer: "", client, life_seconds: 0 };
        let flood = join_all((0..1000).map(|_| signer.issue(order("greedy"))));
        let (flood, other) = tokio::join!(flood, signer.issue(order("modest")));
        other.unwrap();
        let refused: Vec<_> = flood.into_iter().filter_map(Result::err).collect();
        assert!((1..=1000 - OF_CLIENT).contains(&refused.len()), "{} were refused", refused.len());
        assert!(refused.iter().all(|refused| refused.reason == "too_many_at_once"));
    }
}
