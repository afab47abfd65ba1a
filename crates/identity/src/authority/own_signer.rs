//! Signs with the key of this control plane, and bounds the CPU time that signing takes.
//!
//! A P-256 signature takes about 20 µs and is made inline. An RSA signature takes milliseconds: it is made
//! on a blocking thread, at most one per CPU at a time, and each client may have a bounded number pending.
//! Below an RSA key an intermediate of this process may sign instead.

use super::intermediate::OwnIntermediate;
use crate::clock::Clock;
use crate::issue_request::IssueRequest;
use crate::refused::Refused;
use ca::{Certificate, Issued, Issuer, SigningRequest, SystemEntropy};
use limits::KeyedSemaphore;
use model::TrustDomain;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pending RSA signatures per client. A ztunnel asks for a few at a time.
const PENDING_PER_CLIENT: usize = 64;

/// An issuer with bounded concurrency.
#[derive(Debug)]
pub struct OwnSigner {
    issuer: Arc<Issuer>,
    intermediate: Option<OwnIntermediate>,
    /// One permit per CPU.
    signatures: Arc<Semaphore>,
    pending: KeyedSemaphore<String>,
}

impl OwnSigner {
    /// Signs with `issuer`; or, if it is slow and `intermediate` names a trust domain, with an intermediate
    /// of that trust domain below it, where peers accept one.
    pub(crate) fn new(issuer: Issuer, intermediate: Option<TrustDomain>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            intermediate: intermediate.filter(|_| issuer.is_slow()).map(OwnIntermediate::new),
            issuer: Arc::new(issuer),
            signatures: Arc::new(Semaphore::new(cpus)),
            pending: KeyedSemaphore::new(PENDING_PER_CLIENT),
        }
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns whether an intermediate of this process may sign.
    pub(super) fn has_intermediate(&self) -> bool {
        self.intermediate.is_some()
    }

    /// Returns the intermediate of this process, or why there is none.
    pub(super) fn intermediate(&self) -> Option<Result<Certificate, String>> {
        self.intermediate.as_ref()?.status()
    }

    /// Issues the certificate of a workload.
    pub(crate) async fn issue(
        &self,
        request: IssueRequest<'_>,
        clock: &dyn Clock,
    ) -> Result<Issued, Refused> {
        let csr = SigningRequest::from_pem(request.csr)?;
        (request.charge)()?;
        let IssueRequest { identity, ttl_seconds, .. } = request;
        let now = clock.now();
        let below = self.intermediate.as_ref().and_then(|own| own.issuer(&self.issuer, now));
        let issuer = below.unwrap_or_else(|| Arc::clone(&self.issuer));
        if !issuer.is_slow() {
            return Ok(issuer.issue(&csr, identity, ttl_seconds, now, &SystemEntropy)?);
        }
        let pending = self.pending.try_acquire(request.client.to_owned()).ok_or_else(|| Refused {
            code: ca::Code::ResourceExhausted,
            reason: "too_many_at_once",
            detail: format!("this client waits for {PENDING_PER_CLIENT} certificates already"),
        })?;
        let internal = |reason| Refused {
            code: ca::Code::Internal,
            reason: "not_ready",
            detail: format!("the certificate is not signed: {reason}"),
        };
        let signature = Arc::clone(&self.signatures).acquire_owned().await;
        let signature = signature.map_err(|_| internal("the signer is closed"))?;
        let (identity, now) = (identity.clone(), clock.now());
        // The permits are held until the signature is made, even if the client disconnects before.
        let signing = tokio::task::spawn_blocking(move || {
            let _permits = (signature, pending);
            issuer.issue(&csr, &identity, ttl_seconds, now, &SystemEntropy)
        });
        Ok(signing.await.map_err(|_| internal("the process is stopping"))??)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use ca::{Identity, SigningKey, TrustBundle, TtlPolicy};
    use futures::FutureExt;
    use futures::future::join_all;
    use futures::poll;
    use std::pin::pin;
    use std::process::Command;

    /// An RSA root.
    fn root() -> Issuer {
        let dir = tempfile::tempdir().unwrap();
        let arguments = "req -x509 -newkey rsa:4096 -nodes -keyout key.pem -out cert.pem -subj /O=cluster.local \
                         -days 3650 -addext keyUsage=critical,keyCertSign";
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(&dir).output();
        assert!(output.expect("openssl is needed").status.success());
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let certificate = Certificate::all_from_pem(read("cert.pem").as_bytes()).unwrap().remove(0);
        let key = Arc::new(SigningKey::from_pem(&read("key.pem")).unwrap());
        let trust = TrustBundle::new([certificate.clone()]).unwrap();
        Issuer::new(certificate, key, Vec::new(), trust, TtlPolicy::default()).unwrap()
    }

    /// A signer with a plugged-in RSA root.
    fn rsa() -> OwnSigner {
        OwnSigner::new(root(), None)
    }

    fn identity() -> Identity {
        Identity::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap()
    }

    fn request() -> String {
        SigningKey::generate_p256().unwrap().request_pem(&["spiffe://cluster.local/ns/shop/sa/web"]).unwrap()
    }

    fn of<'a>(client: &'a str, csr: &'a str, identity: &'a Identity) -> IssueRequest<'a> {
        IssueRequest { csr, identity, signer: "", client, ttl_seconds: 0, charge: &|| Ok(()) }
    }

    #[tokio::test]
    async fn rsa_signature_does_not_block_the_async_thread() {
        let (signer, csr, identity, clock) = (rsa(), request(), identity(), SystemClock::default());
        let request = of("a", &csr, &identity);
        let mut signing = pin!(signer.issue(request, &clock));
        assert!(poll!(signing.as_mut()).is_pending(), "it is made on another thread");
        signing.await.unwrap();
    }

    #[tokio::test]
    async fn intermediate_signs_inline_below_an_rsa_root_alone() {
        let (csr, identity, clock) = (request(), identity(), SystemClock::default());
        let signer = OwnSigner::new(root(), Some(TrustDomain::default()));
        let request = of("a", &csr, &identity);
        let issued = signer.issue(request, &clock).now_or_never().expect("made inline").unwrap();
        assert_eq!(issued.chain.len(), 3);
        let own = signer.intermediate().unwrap().unwrap();
        assert_eq!(issued.chain[1], own.to_pem());

        let quick =
            ca::Root::create("td", std::time::Duration::from_secs(86_400), clock.now(), &SystemEntropy);
        let quick = Issuer::self_signed(&quick.unwrap(), TtlPolicy::default()).unwrap();
        assert!(!OwnSigner::new(quick, Some(TrustDomain::default())).has_intermediate());
    }

    #[tokio::test]
    async fn pending_signatures_of_one_client_are_bounded_and_do_not_delay_another() {
        let (signer, csr, identity, clock) = (rsa(), request(), identity(), SystemClock::default());
        let request = |client| of(client, &csr, &identity);
        let flood = join_all((0..1000).map(|_| signer.issue(request("greedy"), &clock)));
        let (flood, other) = tokio::join!(flood, signer.issue(request("modest"), &clock));
        other.unwrap();
        let refused: Vec<_> = flood.into_iter().filter_map(Result::err).collect();
        assert!((1..=1000 - PENDING_PER_CLIENT).contains(&refused.len()), "{} were refused", refused.len());
        assert!(refused.iter().all(|refused| refused.reason == "too_many_at_once"));
    }
}
