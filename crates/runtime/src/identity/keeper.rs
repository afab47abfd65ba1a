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
use super::state_dir::StateDir;
use super::trouble::{Trouble, TroubleKind};
use super::world::World;
use crate::source::kube::answer;
use ca::{CRL_FILE, KeyMaterial, PLUGGED_IN_FILES, RevocationLists, RotationPolicy, TLS_FILES, TtlPolicy};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use rustls::pki_types::UnixTime;
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

/// What a cluster has for us.
enum Found {
    Files(PathBuf),
    PluggedIn,
    SelfSigned { secret: &'static str, generated_mark: bool },
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
                Ok(Some(found)) => return self.follow(found).await,
                Ok(None) => return,
                Err(trouble) => self.authority.trouble(trouble),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Decides what to follow; nothing is left to follow in a state folder, which does not change.
    async fn find(&self) -> Result<Option<Found>, Trouble> {
        match &self.place {
            KeyPlace::StateDir(dir) => self.put_state(dir).map(|()| None).map_err(|text| Trouble {
                kind: TroubleKind::Unreadable,
                secret: None,
                text,
            }),
            KeyPlace::Cluster { client, namespace, ca_dir, .. } => {
                if let Some(dir) = ca_dir {
                    let files = read_files(dir).map_err(|e| unreadable_files(dir, &e))?;
                    if has_material(&files) && !KeyMaterial::is_generated(&files) {
                        return Ok(Some(Found::Files(dir.clone())));
                    }
                }
                let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
                let get = async |name: &'static str| {
                    let found = secrets.get_opt(name).await;
                    found.map_err(|e| Trouble {
                        kind: TroubleKind::Unreadable,
                        secret: Some(name),
                        text: format!(
                            "cannot read Secret {namespace}/{name}: {e}; grant get on secrets there"
                        ),
                    })
                };
                let plugged_in =
                    get(PLUGGED_IN_SECRET).await?.map(|secret| data_of(&secret)).filter(has_material);
                let is_generated = plugged_in.as_ref().is_some_and(KeyMaterial::is_generated);
                if plugged_in.is_some() && !is_generated {
                    return Ok(Some(Found::PluggedIn));
                }
                // A root of either Secret is taken over; a new one is put into the first.
                let in_other = is_generated && get(ROOT_SECRET).await?.is_none();
                let secret = if in_other { PLUGGED_IN_SECRET } else { ROOT_SECRET };
                Ok(Some(Found::SelfSigned { secret, generated_mark: in_other }))
            }
        }
    }

    fn put_state(&self, dir: &StateDir) -> Result<(), String> {
        let domain = self.world.mesh().trust_domain.clone();
        let root = dir.root(domain.as_str(), self.settings.rotation.life, UnixTime::now());
        let state = root.map_err(|e| e.to_string())?;
        let issuer = state.issuer(self.settings.ttl).map_err(|e| e.to_string())?;
        let source = dir.root_folder().display().to_string();
        self.authority.put(issuer, RevocationLists::default(), &source);
        Ok(())
    }

    async fn follow(self, found: Found) {
        let KeyPlace::Cluster { client, namespace, shadow, root_config_map, trust_bundle, .. } = &self.place
        else {
            return;
        };
        match found {
            Found::Files(dir) => self.follow_files(&dir).await,
            Found::PluggedIn => {
                let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
                self.follow_plugged_in(secrets, &format!("Secret {namespace}/{PLUGGED_IN_SECRET}")).await;
            }
            Found::SelfSigned { secret, generated_mark } => {
                let root = RootSecret {
                    client: client.clone(),
                    namespace: namespace.clone(),
                    name: secret,
                    generated_mark,
                    shadow: *shadow,
                    root_config_map: root_config_map.clone(),
                    trust_bundle: *trust_bundle,
                    ttl: self.settings.ttl,
                    rotation: self.settings.rotation,
                    authority: self.authority.clone(),
                    world: Arc::clone(&self.world),
                };
                root.follow().await;
            }
        }
    }

    async fn follow_files(&self, dir: &Path) {
        let mut known = None;
        let source = dir.display().to_string();
        loop {
            match read_files(dir) {
                Ok(files) => {
                    if known.as_ref() != Some(&files) {
                        known = Some(files.clone());
                        self.take(files, &source, None);
                    }
                }
                Err(error) => {
                    known = None;
                    self.authority.trouble(unreadable_files(dir, &error));
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn follow_plugged_in(&self, secrets: Api<Secret>, source: &str) {
        let secret = Some(PLUGGED_IN_SECRET);
        let mut known = None;
        loop {
            match secrets.get_opt(PLUGGED_IN_SECRET).await {
                Ok(Some(found)) => {
                    if known != found.metadata.resource_version {
                        self.take(data_of(&found), source, secret);
                        known = found.metadata.resource_version;
                    }
                }
                Ok(None) => {
                    known = None;
                    let text = format!("{source} is gone; restore it");
                    self.authority.trouble(Trouble { kind: TroubleKind::Missing, secret, text });
                }
                // With a root in force an API server that is away changes nothing.
                Err(error) if self.authority.current().is_some() && is_away(&error) => {
                    tracing::debug!(%error, "cannot read {source}");
                }
                Err(error) => {
                    known = None;
                    let text =
                        format!("cannot read {source}: {}; grant get on secrets there", answer(&error));
                    self.authority.trouble(Trouble { kind: TroubleKind::Unreadable, secret, text });
                }
            }
            sleep(LOOK_AT_SECRET).await;
        }
    }

    /// Takes plugged-in material if all of it is right; else what is in force stays.
    fn take(&self, mut files: BTreeMap<String, Vec<u8>>, source: &str, secret: Option<&'static str>) {
        if !self.settings.reads_revocations {
            files.remove(CRL_FILE);
        }
        let taken = match KeyMaterial::from_files(&files, UnixTime::now()) {
            Ok(Some(material)) => self.put(&material, source),
            Ok(None) => Err("holds no key material any more; restore it".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = taken {
            let text = format!("key material in {source} is refused: {error}");
            self.authority.trouble(Trouble { kind: TroubleKind::Refused, secret, text });
        }
    }

    fn put(&self, material: &KeyMaterial, source: &str) -> Result<(), String> {
        let issuer = material.issuer(self.settings.ttl).map_err(|e| e.to_string())?;
        let revoked = material.revoked().clone();
        let followed = self.authority.follow(issuer, revoked, source, self.settings.several_roots);
        followed.map_err(|e| e.to_string())
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

fn has_material(files: &BTreeMap<String, Vec<u8>>) -> bool {
    PLUGGED_IN_FILES.iter().chain(&TLS_FILES).any(|name| files.contains_key(*name))
}

/// Returns the data of a Secret by key.
pub(super) fn data_of(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Reads the files that key material may consist of; those that are not there are left out.
fn read_files(dir: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
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
