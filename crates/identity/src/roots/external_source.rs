//! The roots that certificates of external signers must chain to.
//!
//! 1. A file: the roots of every signer.
//! 2. `caCertificates` of the mesh settings: the roots of the signers that each entry names.
//! 3. For the default signer: the root of the chain that it returns, learned once.
//!
//! The first one that is configured is used even if it is invalid. A signer that a client chooses must have
//! roots by 1 or 2: choosing a signer must not make it trusted.

use crate::authority::{Authority, Problem, ProblemKind};
use crate::clock::Clock;
use crate::external::{CsrClient, ExternalSigner, Requester};
use crate::identity_index::IdentityIndex;
use ca::{
    ExternalRequest, RevocationLists, SignerNames, SignerRoots, SigningKey, TrustBundle, TtlPolicy,
    root_of_answer,
};
use model::facts::CaCertificate;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Maximum size of the file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How often the file is polled.
const FILE_POLL: Duration = Duration::from_secs(2);

/// The minimum and maximum backoff after a failure; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Finds the roots of external signers, and activates the signers in the authority.
pub(crate) struct ExternalSignerSource {
    /// Requests certificates.
    pub csr_client: Arc<CsrClient>,
    /// The names of the signers.
    pub names: SignerNames,
    /// Certificate lifetimes.
    pub ttl: TtlPolicy,
    /// The file with the roots of every signer.
    pub root_file: Option<PathBuf>,
    /// Whether the set of roots may change.
    pub allow_multiple_roots: bool,
    /// The names of the serving certificate, which is requested to learn the root of the signer.
    pub serving_names: Vec<String>,
    /// Never write to the cluster, so that no signer can be asked.
    pub shadow: bool,
    /// Receives the signer.
    pub authority: Authority,
    /// Knows the mesh settings.
    pub index: Arc<IdentityIndex>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl ExternalSignerSource {
    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        if self.shadow {
            let signer = self.names.default_signer();
            self.authority.report(missing(format!(
                "certificates are issued by the signer {signer}, which a shadow does not ask because it writes nothing (--shadow)"
            )));
            return stop.cancelled().await;
        }
        let csr_client = Arc::clone(&self.csr_client);
        tokio::select! {
            ((), ()) = async { tokio::join!(csr_client.watch(), self.follow()) } => {}
            () = stop.cancelled() => {}
        }
        csr_client.shut_down().await;
    }

    async fn follow(self) {
        let mut settings = self.index.ca_certificates();
        let mut learned = None;
        let mut backoff = BACKOFF.0;
        loop {
            let configured = Arc::clone(&settings.borrow_and_update());
            let retry =
                match self.find(&configured, &mut learned).await.and_then(|found| self.activate(found)) {
                    Ok(()) => {
                        backoff = BACKOFF.0;
                        self.root_file.as_ref().map(|_| FILE_POLL)
                    }
                    Err(problem) => {
                        self.authority.report(problem);
                        let retry = backoff;
                        backoff = (backoff * 2).min(BACKOFF.1);
                        Some(retry)
                    }
                };
            let due = async {
                match retry {
                    Some(retry) => self.clock.sleep(retry).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = due => {}
            }
        }
    }

    fn activate(&self, (roots, source): (SignerRoots, String)) -> Result<(), Problem> {
        let csr_client = Arc::clone(&self.csr_client);
        let signer = ExternalSigner::new(csr_client, self.names.clone(), self.ttl, roots);
        let source = format!("external signer {}, {source}", self.names.default_signer());
        // Revocation lists of an external signer are not managed here.
        let revoked = RevocationLists::default();
        let updated = self.authority.update(signer, revoked, &source, self.allow_multiple_roots);
        updated.map_err(|error| refused(format!("{source}: the roots are refused: {error}")))
    }

    async fn find(
        &self,
        configured: &[CaCertificate],
        learned: &mut Option<TrustBundle>,
    ) -> Result<(SignerRoots, String), Problem> {
        if let Some(file) = &self.root_file {
            let path = file.display();
            let text = read(file)
                .map_err(|error| unreadable(format!("cannot read the roots in {path}: {error}")))?;
            let roots = TrustBundle::from_pem(&text)
                .map_err(|error| refused(format!("the roots in {path} are refused: {error}")))?;
            return Ok((SignerRoots::shared(roots), format!("roots of {path}")));
        }
        let mut others = by_signer(configured).map_err(refused)?;
        let signer = self.names.default_signer();
        let (roots, source) = match others.remove(signer) {
            Some(roots) => (roots, "roots of caCertificates in the mesh settings"),
            None => {
                let roots = match learned {
                    Some(roots) => roots.clone(),
                    None => learned.insert(self.learn(signer).await.map_err(unreadable)?).clone(),
                };
                (roots, "root of the chain that it returns")
            }
        };
        let all = SignerRoots::each(signer, &roots, others).map_err(|error| refused(error.to_string()))?;
        Ok((all, source.to_owned()))
    }

    /// Requests a serving certificate and returns the root at the end of its chain.
    async fn learn(&self, signer: &str) -> Result<TrustBundle, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot learn the root of {signer}: {error}");
        let key = SigningKey::generate_p256().map_err(|error| failed(&error))?;
        let names: Vec<&str> = self.serving_names.iter().map(String::as_str).collect();
        let request = ExternalRequest::of_server(&key, &names, self.ttl.default_life());
        let request = request.map_err(|error| failed(&error))?;
        let answer = self.csr_client.request(Requester::ControlPlane, &request, signer).await;
        let answer = answer.map_err(|error| failed(&error.detail))?;
        let root = root_of_answer(&answer).map_err(|error| failed(&error))?;
        request.accept(&answer, &root, &root, self.clock.now()).map_err(|error| failed(&error))?;
        tracing::warn!(
            signer,
            subject = root.roots().first().map(ca::Certificate::subject),
            "learned the root of the signer from the chain that it returned; configure it by --external-root or in caCertificates of the mesh settings",
        );
        Ok(root)
    }
}

fn missing(text: String) -> Problem {
    Problem { kind: ProblemKind::Missing, secret: None, text }
}

fn refused(text: String) -> Problem {
    Problem { kind: ProblemKind::Refused, secret: None, text }
}

fn unreadable(text: String) -> Problem {
    Problem { kind: ProblemKind::Unreadable, secret: None, text }
}

/// Returns the roots of each signer that the mesh settings name.
fn by_signer(configured: &[CaCertificate]) -> Result<BTreeMap<String, TrustBundle>, String> {
    let mut all = BTreeMap::new();
    for (index, entry) in configured.iter().enumerate() {
        let invalid = |error: ca::BundleError| {
            let signers = entry.signers.join(", ");
            format!("entry {index} of caCertificates with signers in the mesh settings ({signers}): {error}")
        };
        let roots = TrustBundle::from_pem(entry.pem.as_bytes()).map_err(invalid)?;
        for signer in &entry.signers {
            match all.entry(signer.to_string()) {
                Entry::Vacant(vacant) => drop(vacant.insert(roots.clone())),
                Entry::Occupied(mut existing) => {
                    let merged = existing.get().merged_with([&roots]).map_err(invalid)?;
                    existing.insert(merged);
                }
            }
        }
    }
    Ok(all)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte beyond the limit, so that a larger file is refused rather than truncated.
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}
