//! A folder of manifests as a cluster: plays the controllers that a cluster would have.
//!
//! The crate is pure: the caller hands it the text of files and gets back the objects that an API
//! server would hold, were the same files applied to a cluster.
//!
//! ```text
//!  path -> text ──load──▶ objects of a file ──admit──▶ declared objects (last good of each)
//!                            │ Problem                     │          │ simulate
//!                            ▼                             ▼          ▼
//!                         problems ◀───────────────────────┴── namespaces, nodes, pods, addresses, slices
//! ```
//!
//! Invariants:
//! * The answer of [`Folder::resolve`] depends on the files alone, not on the order they came in.
//! * A file that cannot be read keeps the objects of its last good version; a wrong object never
//!   takes its neighbours with it.
//! * What an API server would refuse is not taken, and what it would set is set.
//! * A policy that cannot be read or taken, and that has no good version, is kept by its name, to be
//!   refused by whoever reads it: policies fail closed.
//! * Names and addresses of what is generated come from hashes of names: an edit of one controller
//!   leaves the pods of the others as they were.
//! * Pods, Nodes and EndpointSlices that the folder declares are kept as they are.
//!
//! ```
//! let mut folder = pilothouse_folder::Folder::default();
//! folder.set("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
//! let resolved = folder.resolve();
//! assert!(resolved.objects.keys().any(|key| key.kind == "Namespace" && key.name == "shop"));
//! ```

mod admit;
mod analysis;
mod apiserver;
mod cluster;
pub mod code;
mod diff;
mod document;
mod field;
mod file;
mod hash;
mod key;
mod kustomize;
mod layout;
mod load;
mod locate;
mod object;
mod places;
mod problem;
mod salvage;
mod state;
mod value;

pub use diff::{Change, changes};
pub use document::MAX_FILE_BYTES;
pub use field::Step;
pub use key::Key;
pub use object::{Object, Objects, Origin};
pub use places::Places;
pub use problem::Problem;
pub use state::{Deployed, Folder, Resolved};

#[cfg(test)]
mod tests;
