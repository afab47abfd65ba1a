//! Which roots the certificates of external signers must lead to, and how they stay right.
//!
//! 1. A file: the roots of every signer.
//! 2. `caCertificates` of the mesh settings: the roots of the signers that each entry names.
//! 3. For the signer that is asked by default: the end of the chain that it returns, taken once.
//!
//! The first that is there is taken, also when it is broken. A signer that a caller chooses has roots
//! by 1 or 2 or is not asked: what a caller chooses must not come to be trusted by that.

use super::super::authority::Authority;
use super::super::signer::Signer;
use super::super::trouble::{Trouble, TroubleKind};
use super::super::world::World;
use super::desk::Asker;
use super::{Desk, External};
use ca::{
    ExternalRequest, RevocationLists, SignerNames, SignerRoots, SigningKey, TrustBundle, TtlPolicy,
    root_of_answer,
};
use model::facts::CaCertificate;
use rustls::pki_types::UnixTime;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The first and the longest pause after a failure; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Keeps the authority supplied where others sign.
pub struct Supply {
    /// Where signers are asked.
    pub desk: Arc<Desk>,
    /// Who they are.
    pub names: SignerNames,
    /// Lives of leaves.
    pub ttl: TtlPolicy,
    /// The file with the roots of every signer.
    pub root_file: Option<PathBuf>,
    /// Whether roots may change.
    pub several_roots: bool,
    /// The names of the serving certificate: with them a signer is asked to learn its root.
    pub serving_names: Vec<String>,
    /// Never write, so that nobody can be asked.
    pub shadow: bool,
    /// Whom to supply.
    pub authority: Authority,
    /// Knows the mesh settings.
    pub world: Arc<World>,
}

impl Supply {
    /// Keeps the authority supplied until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if self.shadow {
            let signer = self.names.default_signer();
            self.authority.trouble(missing(format!(
                "certificates are those of the signer {signer}, which a shadow does not ask, since it writes nothing (--shadow)"
            )));
            return stop.cancelled().await;
        }
        let desk = Arc::clone(&self.desk);
        tokio::select! {
            ((), ()) = async { tokio::join!(desk.follow(), self.keep()) } => {}
            () = stop.cancelled() => {}
        }
        desk.close().await;
    }

    async fn keep(self) {
        let mut settings = self.world.ca_certificates();
        let mut learned = None;
        let mut pause = PAUSE.0;
        loop {
            let configured = Arc::clone(&settings.borrow_and_update());
            let again = match self.find(&configured, &mut learned).await.and_then(|found| self.take(found)) {
                Ok(()) => {
                    pause = PAUSE.0;
                    self.root_file.as_ref().map(|_| LOOK)
                }
                Err(trouble) => {
                    self.authority.trouble(trouble);
                    let this = pause;
                    pause = (pause * 2).min(PAUSE.1);
                    Some(this)
                }
            };
            let due = async {
                match again {
                    Some(again) => sleep(again).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = due => {}
            }
        }
    }

    fn take(&self, (roots, source): (SignerRoots, String)) -> Result<(), Trouble> {
        let (desk, names) = (Arc::clone(&self.desk), self.names.clone());
        let signer = Signer::from(External { desk, names, ttl: self.ttl, roots });
        let source = format!("external signer {}, {source}", self.names.default_signer());
        // Who signs elsewhere keeps its revocation lists elsewhere.
        let revoked = RevocationLists::default();
        let taken = self.authority.follow(signer, revoked, &source, self.several_roots);
        taken.map_err(|error| refused(format!("{source}: the roots are refused: {error}")))
    }

    async fn find(
        &self,
        configured: &[CaCertificate],
        learned: &mut Option<TrustBundle>,
    ) -> Result<(SignerRoots, String), Trouble> {
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

    /// Asks the signer for a serving certificate and takes the root at the end of its chain.
    async fn learn(&self, signer: &str) -> Result<TrustBundle, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("cannot learn the root of {signer}: {error}");
        let key = SigningKey::generate_p256().map_err(|error| wrong(&error))?;
        let names: Vec<&str> = self.serving_names.iter().map(String::as_str).collect();
        let request = ExternalRequest::of_server(&key, &names, self.ttl.default_life());
        let request = request.map_err(|error| wrong(&error))?;
        let answer =
            self.desk.ask(Asker::Itself, &request, signer).await.map_err(|error| wrong(&error.detail))?;
        let root = root_of_answer(&answer).map_err(|error| wrong(&error))?;
        request.accept(&answer, &root, &root, UnixTime::now()).map_err(|error| wrong(&error))?;
        tracing::warn!(
            signer,
            subject = root.roots().first().map(ca::Certificate::subject),
            "the root of the signer is taken from the chain that it returns; name it by --external-root or in caCertificates of the mesh settings",
        );
        Ok(root)
    }
}

fn missing(text: String) -> Trouble {
    Trouble { kind: TroubleKind::Missing, secret: None, text }
}

fn refused(text: String) -> Trouble {
    Trouble { kind: TroubleKind::Refused, secret: None, text }
}

fn unreadable(text: String) -> Trouble {
    Trouble { kind: TroubleKind::Unreadable, secret: None, text }
}

/// Returns the roots of each signer that the mesh settings name.
fn by_signer(configured: &[CaCertificate]) -> Result<BTreeMap<String, TrustBundle>, String> {
    let mut all = BTreeMap::new();
    for (index, entry) in configured.iter().enumerate() {
        let wrong = |error: ca::BundleError| {
            let signers = entry.signers.join(", ");
            format!("entry {index} of caCertificates with signers in the mesh settings ({signers}): {error}")
        };
        let roots = TrustBundle::from_pem(entry.pem.as_bytes()).map_err(wrong)?;
        for signer in &entry.signers {
            match all.entry(signer.to_string()) {
                Entry::Vacant(vacant) => drop(vacant.insert(roots.clone())),
                Entry::Occupied(mut known) => {
                    let merged = known.get().merged_with([&roots]).map_err(wrong)?;
                    known.insert(merged);
                }
            }
        }
    }
    Ok(all)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more than is taken, so that a longer file is refused and not cut.
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}
