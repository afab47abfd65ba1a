//! Where objects come from: a Kubernetes API server or folders of manifests.
//!
//! A source sends batches of [`Event`]s over a bounded channel. One batch becomes part of one
//! commit, so what belongs together (one save of a file, one page of a list) travels together.

pub mod folder;
pub mod kube;

use model::{Diagnostic, Kind, Object, ObjectRef};
use tokio::sync::mpsc::Sender;

/// One change of the world.
#[derive(Debug, Clone)]
pub enum Event {
    /// A full listing of `Kind` begins: what is not put until [`Event::Synced`] no longer exists.
    Begin(Kind),
    /// An object exists and is as given.
    Put(Object),
    /// An object exists and cannot be understood: its last good version stays in force.
    Reject(ObjectRef, Diagnostic),
    /// An object is gone.
    Remove(ObjectRef),
    /// The listing of `Kind` is complete. A kind that the server does not know is complete at once.
    Synced(Kind),
}

/// The receiving side gets whole batches; a full channel holds the source back.
pub type Batches = Sender<Vec<Event>>;
