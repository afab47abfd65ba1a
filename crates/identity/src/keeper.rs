//! Where key material comes from, and how it stays right.
//!
//! ```text
//!  without a cluster:  folder under --state-dir
//!  with one:           1. files of --ca-dir           ┐ plugged in: by somebody else, followed as
//!                      2. Secret cacerts              ┘ they change
//!                      3. Secret istio-ca-secret        self-signed: read, else made; rotated
//! ```
//!
//! The first that is there is taken, also when it is broken: falling back to another root would split
//! the mesh. While there is nothing right, nothing is signed, and it is looked at again.

use super::authority::Authority;
use super::root_secret::RootSecret;
use super::state_dir::{StateDir, StateError};
use super::trouble::{Trouble, TroubleKind};
use super::world::World;
use ca::{
    CRL_FILE, KeyMaterial, PLUGGED_IN_FILES, RevocationLists, RotationPolicy, SystemEntropy, TLS_FILES,
    TtlPolicy,
};
use cluster::error_message;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use rustls::pki_types::UnixTime;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The Secret of plugged-in key material.
const PLUGGED_IN_SECRET: &str = "cacerts";

/// The Secret of a self-signed root.
const ROOT_SECRET: &str = "istio-ca-secret";

/// The mark of material that a control plane has generated itself.
const GENERATED: &str = "istio-generated";

/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How often files are looked at. A mounted Secret changes by an exchange of links, of which the
/// system tells unreliably; a look costs five small reads.
const LOOK: Duration = Duration::from_secs(2);

/// How often a Secret is read. Not watched: that would need the right to list Secrets.
const LOOK_AT_SECRET: Duration = Duration::from_secs(5);

/// How long the root of a state folder is left alone at most: clocks are set, and processes share it.
const LOOK_AT_STATE: Duration = Duration::from_secs(60);

/// Content of files, or of the keys of a Secret, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// The first and the longest pause after a failure; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Where key material may be.
pub enum KeyPlace {
    /// A folder of this process.
    StateDir(StateDir),
    /// A cluster.
    Cluster {
        /// The way to its API server.
        client: Client,
        /// The namespace of the control plane.
        namespace: String,
        /// A folder of plugged-in files, mounted from a Secret.
        ca_dir: Option<PathBuf>,
        /// Never write.
        shadow: bool,
        /// The ConfigMap with the roots; one that disagrees keeps a new root from being made.
        root_config_map: String,
        /// Whether a ClusterTrustBundle with the roots does so too.
        trust_bundle: bool,
    },
}

/// Settings of key material.
#[derive(Debug, Clone, Copy)]
pub struct KeySettings {
    /// Lives of leaves.
    pub ttl: TtlPolicy,
    /// Whether the roots of plugged-in material may change.
    pub several_roots: bool,
    /// Whether revocation lists beside plugged-in material are read.
    pub reads_revocations: bool,
    /// Life and rotation of self-signed roots.
    pub rotation: RotationPolicy,
}

/// Keeps the authority supplied.
pub struct Keeper {
    /// Where to look.
    pub place: KeyPlace,
    /// How to treat what is found.
    pub settings: KeySettings,
    /// Whom to supply.
    pub authority: Authority,
    /// Knows the trust domain.
    pub world: Arc<World>,
}

/// What there is for us.
enum Found {
    State(StateDir),
    Files(PathBuf),
    PluggedIn { secrets: Api<Secret>, source: String },
    SelfSigned(Box<RootSecret>),
}

impl Keeper {
    /// Keeps the authority supplied until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep(self) {
        let mut pause = PAUSE.0;
        loop {
            match self.find().await {
                Ok(found) => return self.follow(found).await,
                Err(trouble) => self.authority.trouble(trouble),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Decides what to follow.
    async fn find(&self) -> Result<Found, Trouble> {
        let (client, namespace, ca_dir, shadow, root_config_map, trust_bundle) = match &self.place {
            KeyPlace::StateDir(dir) => return Ok(Found::State(dir.clone())),
            KeyPlace::Cluster { client, namespace, ca_dir, shadow, root_config_map, trust_bundle } => {
                (client, namespace, ca_dir, *shadow, root_config_map, *trust_bundle)
            }
        };
        if let Some(dir) = ca_dir {
            let files = read_files(dir).map_err(|e| unreadable_files(dir, &e))?;
            if has_material(&files) && !KeyMaterial::is_generated(&files) {
                return Ok(Found::Files(dir.clone()));
            }
        }
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let get = async |name: &'static str| {
            let found = secrets.get_opt(name).await;
            found.map_err(|e| Trouble {
                kind: TroubleKind::Unreadable,
                secret: Some(name),
                text: format!("cannot read Secret {namespace}/{name}: {e}; grant get on secrets there"),
            })
        };
        let plugged_in = get(PLUGGED_IN_SECRET).await?.map(|secret| data_of(&secret)).filter(has_material);
        let is_generated = plugged_in.as_ref().is_some_and(KeyMaterial::is_generated);
        if plugged_in.is_some() && !is_generated {
            let source = format!("Secret {namespace}/{PLUGGED_IN_SECRET}");
            return Ok(Found::PluggedIn { secrets, source });
        }
        // A root of either Secret is taken over; a new one is put into the first.
        let in_other = is_generated && get(ROOT_SECRET).await?.is_none();
        let secret = if in_other { PLUGGED_IN_SECRET } else { ROOT_SECRET };
        Ok(Found::SelfSigned(Box::new(RootSecret {
            client: client.clone(),
            namespace: namespace.clone(),
            name: secret,
            generated_mark: in_other,
            shadow,
            root_config_map: root_config_map.clone(),
            trust_bundle,
            ttl: self.settings.ttl,
            rotation: self.settings.rotation,
            authority: self.authority.clone(),
            world: Arc::clone(&self.world),
        })))
    }

    /// Takes the root of a state folder, renewed if that is due; returns when to look again.
    fn take_state(&self, dir: &StateDir) -> Result<Duration, Trouble> {
        let trouble = |kind, text| Trouble { kind, secret: None, text };
        let unreadable = |text| trouble(TroubleKind::Unreadable, text);
        let (domain, policy) = (self.world.mesh().trust_domain.clone(), &self.settings.rotation);
        let root = dir.root(domain.as_str(), policy.life, UnixTime::now());
        let root = root.map_err(|e| unreadable(e.to_string()))?;
        let advanced = dir.advance(&root, policy, UnixTime::now());
        let state = advanced.as_ref().unwrap_or(&root);
        // What is there goes on, also when it cannot be renewed.
        if advanced.is_ok() || self.authority.current().is_none() {
            let issuer = state.issuer(self.settings.ttl).map_err(|e| unreadable(e.to_string()))?;
            let source = dir.root_folder().display().to_string();
            self.authority.put(issuer, RevocationLists::default(), &source);
        }
        let due = state.next_due(policy).map_or(u64::MAX, |due| due.as_secs());
        let wait = Duration::from_secs(due.saturating_sub(UnixTime::now().as_secs()));
        let unwritable =
            |e: StateError| trouble(TroubleKind::Unwritable, format!("the root is not renewed: {e}"));
        advanced.map(|_| wait).map_err(unwritable)
    }

    async fn follow_state(&self, dir: &StateDir) {
        let mut pause = PAUSE.0;
        loop {
            match self.take_state(dir) {
                Ok(wait) => {
                    pause = PAUSE.0;
                    sleep(wait.clamp(PAUSE.0, LOOK_AT_STATE)).await;
                }
                Err(trouble) => {
                    self.authority.trouble(trouble);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    async fn follow(self, found: Found) {
        match found {
            Found::State(dir) => self.follow_state(&dir).await,
            Found::Files(dir) => self.follow_files(&dir).await,
            Found::PluggedIn { secrets, source } => self.follow_plugged_in(secrets, &source).await,
            Found::SelfSigned(root) => root.follow().await,
        }
    }

    async fn follow_files(&self, dir: &Path) {
        let source = dir.display().to_string();
        let mut looks = Looks::default();
        loop {
            let trouble = match read_files(dir) {
                Ok(files) => looks.look(files, |files| self.take(files, &source, None)),
                Err(error) => {
                    looks = Looks::default();
                    Some(unreadable_files(dir, &error))
                }
            };
            if let Some(trouble) = trouble {
                self.authority.trouble(trouble);
            }
            sleep(LOOK).await;
        }
    }

    async fn follow_plugged_in(&self, secrets: Api<Secret>, source: &str) {
        let secret = Some(PLUGGED_IN_SECRET);
        // The version in force.
        let mut taken = None;
        loop {
            match secrets.get_opt(PLUGGED_IN_SECRET).await {
                Ok(Some(found)) => {
                    let version = found.metadata.resource_version.clone().unwrap_or_default();
                    if taken.as_ref() != Some(&version) {
                        // What is refused is looked at again: it may only not be valid yet.
                        taken = match self.take(&data_of(&found), source, secret) {
                            Ok(()) => Some(version),
                            Err(trouble) => {
                                self.authority.trouble(trouble);
                                None
                            }
                        };
                    }
                }
                Ok(None) => {
                    taken = None;
                    let text = format!("{source} is gone; restore it");
                    self.authority.trouble(Trouble { kind: TroubleKind::Missing, secret, text });
                }
                // With a root in force an API server that is away changes nothing.
                Err(error) if self.authority.current().is_some() && is_away(&error) => {
                    tracing::debug!(%error, "cannot read {source}");
                }
                Err(error) => {
                    taken = None;
                    let text = format!(
                        "cannot read {source}: {}; grant get on secrets there",
                        error_message(&error)
                    );
                    self.authority.trouble(Trouble { kind: TroubleKind::Unreadable, secret, text });
                }
            }
            sleep(LOOK_AT_SECRET).await;
        }
    }

    /// Takes plugged-in material if all of it is right; else what is in force stays.
    fn take(&self, files: &Files, source: &str, secret: Option<&'static str>) -> Result<(), Trouble> {
        let mut files = Cow::Borrowed(files);
        if !self.settings.reads_revocations && files.contains_key(CRL_FILE) {
            files.to_mut().remove(CRL_FILE);
        }
        let taken = match KeyMaterial::from_files(&files, UnixTime::now()) {
            Ok(Some(material)) => self.put(&material, source),
            Ok(None) => Err("holds no key material any more; restore it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        taken.map_err(|error| {
            let text = format!("key material in {source} is refused: {error}");
            Trouble { kind: TroubleKind::Refused, secret, text }
        })
    }

    fn put(&self, material: &KeyMaterial, source: &str) -> Result<(), String> {
        let issuer = material.issuer(self.settings.ttl).map_err(|e| e.to_string())?;
        let domain = self.world.mesh().trust_domain.clone();
        let usable = issuer.check_with_peers(&domain, UnixTime::now(), &SystemEntropy);
        usable.map_err(|e| e.to_string())?;
        let revoked = material.revoked().clone();
        let followed = self.authority.follow(issuer, revoked, source, self.settings.several_roots);
        followed.map_err(|e| e.to_string())
    }
}

/// What files were at earlier looks.
#[derive(Default)]
struct Looks {
    /// What is in force of them.
    taken: Option<Files>,
    /// What they were at the last look.
    seen: Option<Files>,
}

impl Looks {
    /// Takes what is not in force yet, by `take`; returns what there is to say against it.
    ///
    /// Files are exchanged, or written, one after another, and a look may fall between: what is wrong is
    /// said when it was so at two looks. And it is tried again at each, since time mends some of it.
    fn look(&mut self, files: Files, take: impl FnOnce(&Files) -> Result<(), Trouble>) -> Option<Trouble> {
        if self.taken.as_ref() == Some(&files) {
            return None;
        }
        let taken = take(&files);
        self.taken = taken.is_ok().then(|| files.clone());
        let is_known = self.seen.as_ref() == Some(&files);
        self.seen = Some(files);
        taken.err().filter(|_| is_known)
    }
}

/// Tells whether the API server is away or too busy, rather than against it.
pub(super) fn is_away(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        _ => true,
    }
}

fn unreadable_files(dir: &Path, error: &io::Error) -> Trouble {
    let text = format!("cannot read {}: {error}", dir.display());
    Trouble { kind: TroubleKind::Unreadable, secret: None, text }
}

fn has_material(files: &Files) -> bool {
    PLUGGED_IN_FILES.iter().chain(&TLS_FILES).any(|name| files.contains_key(*name))
}

/// Returns the data of a Secret by key.
pub(super) fn data_of(secret: &Secret) -> Files {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Reads the files that key material may consist of; those that are not there are left out.
fn read_files(dir: &Path) -> io::Result<Files> {
    let mut files = BTreeMap::new();
    for name in PLUGGED_IN_FILES.iter().chain(&TLS_FILES).chain(&[CRL_FILE, GENERATED]) {
        let path = dir.join(name);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() > MAX_FILE_BYTES => {
                return Err(io::Error::new(ErrorKind::FileTooLarge, format!("{name} has more than 1 MiB")));
            }
            Ok(_) => drop(files.insert((*name).to_owned(), std::fs::read(&path)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        [("ca-cert.pem".to_owned(), text.as_bytes().to_vec())].into()
    }

    fn good(_: &Files) -> Result<(), Trouble> {
        Ok(())
    }

    fn bad(_: &Files) -> Result<(), Trouble> {
        Err(Trouble { kind: TroubleKind::Refused, secret: None, text: "bad".to_owned() })
    }

    fn not_asked(_: &Files) -> Result<(), Trouble> {
        unreachable!("it is in force")
    }

    #[test]
    fn files_that_are_just_exchanged_are_no_trouble_and_broken_ones_are() {
        let mut looks = Looks::default();
        assert_eq!(looks.look(files("old"), good), None);
        assert_eq!(looks.look(files("old"), not_asked), None);
        assert_eq!(looks.look(files("half old"), bad), None, "a look between two writes");
        assert_eq!(looks.look(files("new"), good), None);
        assert_eq!(looks.look(files("broken"), bad), None);
        assert!(looks.look(files("broken"), bad).is_some(), "they stay as they are");
        assert_eq!(looks.look(files("new"), good), None, "taken again, so that the trouble ends");
    }

    #[test]
    fn files_that_were_refused_are_tried_again_though_nobody_wrote_them() {
        let mut looks = Looks::default();
        assert_eq!(looks.look(files("of tomorrow"), bad), None);
        assert!(looks.look(files("of tomorrow"), bad).is_some());
        assert_eq!(looks.look(files("of tomorrow"), good), None);
        assert_eq!(looks.look(files("of tomorrow"), not_asked), None);
    }
}
