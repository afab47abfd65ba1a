//! A control plane without a cluster: a folder of manifests, and a state folder with the token key.

use crate::plane::settings;
use ca::SystemEntropy;
use ca::token::DevelopmentToken;
use identity::{NO_UID, StateDir};
use runtime::config::{ServeArgs, SourceArgs};
use rustls::pki_types::UnixTime;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop}
spec: {serviceAccountName: api, nodeName: elsewhere, containers: [{name: api, image: api}]}
";

/// The folders; dropping it removes them.
pub struct Laptop {
    dir: tempfile::TempDir,
    /// Settings of a control plane that serves them.
    pub args: ServeArgs,
}

impl Laptop {
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let manifests = dir.path().join("manifests");
        std::fs::create_dir(&manifests)?;
        std::fs::write(manifests.join("pods.yaml"), PODS)?;
        let source = SourceArgs { from: vec![manifests], ..SourceArgs::default() };
        let mut args = settings(source, "istio-system")?;
        args.state_dir = Some(dir.path().join("state"));
        Ok(Self { dir, args })
    }

    /// Returns the folder that holds both.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the state folder.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes manifests in addition to the existing ones.
    pub fn write(&self, file: &str, manifests: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.dir.path().join("manifests").join(file), manifests)?)
    }

    /// Returns a token of the ztunnel of the node `laptop`.
    pub fn ztunnel(&self) -> anyhow::Result<String> {
        token(&self.state(), "ztunnel", Some("laptop"), 3600)
    }
}

/// Returns a token of an account in the namespace of the control plane that expires in `life` seconds.
pub fn token(state: &Path, account: &str, node: Option<&str>, life: i64) -> anyhow::Result<String> {
    let token = DevelopmentToken {
        namespace: "istio-system".to_owned(),
        service_account: account.to_owned(),
        pod: Some((account.to_owned(), NO_UID.to_owned())),
        node: node.map(str::to_owned),
        audiences: vec!["istio-ca".to_owned()],
        life: Duration::from_secs(life.try_into().unwrap_or(0)),
    };
    // An expired token was issued in the past.
    let past = Duration::from_secs(life.min(0).unsigned_abs());
    let now = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) - past);
    Ok(StateDir::open(state)?.development_issuer()?.issue(&token, now, &SystemEntropy)?)
}
