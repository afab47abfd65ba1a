//! What debug pages are made from.

use super::access::Access;
use super::objects::Objects;
use super::why::Naming;
use crate::engine_thread::EngineHandle;
use crate::metrics::Metrics;
use crate::source::SourceView;
use identity::IdentityView;
use model::Diagnostic;
use server::Clients;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many debug pages are made at once.
const AT_ONCE: usize = 4;

/// How long a page waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Who this control plane is, and what its names are made with.
#[derive(Debug, Clone)]
pub struct About {
    /// The name of this process among the replicas.
    pub replica: String,
    /// The name of its cluster.
    pub cluster_id: String,
    /// The namespace of the ConfigMap with the settings of the mesh.
    pub config_namespace: String,
    /// The name of that ConfigMap.
    pub config_name: String,
    /// What names of resources are made with.
    pub naming: Naming,
}

/// What debug pages are made from.
pub struct Monitoring {
    /// The mesh.
    pub engine: EngineHandle,
    /// Who is connected.
    pub clients: Clients,
    /// What keeps the source from reading.
    pub source: SourceView,
    /// Key material and roots.
    pub identity: IdentityView,
    /// The counters.
    pub metrics: Metrics,
    /// Objects as they are written.
    pub objects: Objects,
    /// Who may see debug pages.
    pub access: Access,
    /// Who this control plane is.
    pub about: About,
    /// How many pages are made at once.
    pub turns: Turns,
}

/// Turns to make a page, of which there are few at once.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Monitoring {
    /// Returns what is wrong with objects, then with files, with the places; what is told of both is told
    /// once. `None` when the engine has ended.
    pub(super) async fn findings(&self) -> Option<Vec<Diagnostic>> {
        let found = self.engine.query(plane::Plane::diagnostics).await?;
        let of_files = self.source.findings();
        let mut seen = HashSet::new();
        let all = found.iter().chain(&*of_files).filter(|found| seen.insert(found.identity()));
        let places = self.engine.log().places();
        Some(all.map(|found| places.placed(found.clone())).collect())
    }

    /// Waits until a page may be made; `None` when too many others are.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(TURN, Arc::clone(&self.turns.0).acquire_owned()).await.ok()?.ok()
    }
}
