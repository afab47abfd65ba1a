//! Workloads of other networks.

use model::{Name, ObjectRef, Str};

/// A workload of another network: what its summary and its services take from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Remote {
    /// The object that declares it.
    pub object: ObjectRef,
    /// Which of the endpoints of that object it is; `None` where the object is the workload.
    pub endpoint: Option<usize>,
    pub network: Str,
    /// The Services that it belongs to.
    pub services: Vec<Name>,
    /// Namespace and service account that it proves.
    pub account: Name,
    /// At least 1.
    pub capacity: u32,
}

/// A service on another network.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RemoteKey {
    pub network: Str,
    pub service: Name,
}

impl Remote {
    pub fn keys(&self) -> impl Iterator<Item = RemoteKey> {
        self.services.iter().map(|s| RemoteKey { network: self.network.clone(), service: s.clone() })
    }
}
