//! Where objects come from: a Kubernetes API server or folders of manifests.
//!
//! A source sends batches of [`mesh::Event`]s over a bounded channel. One batch becomes part of one
//! commit, so what belongs together (one save of a file, one page of a list) travels together.

pub mod folder;
pub mod kube;

pub use mesh::Event;

use tokio::sync::mpsc::Sender;

/// The receiving side gets whole batches; a full channel holds the source back.
pub type Batches = Sender<Vec<Event>>;
