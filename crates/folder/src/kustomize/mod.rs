//! Builds kustomizations, as far as rules for resources, namespaces, names, labels and patches go.
//!
//! ```text
//!  kustomization.yaml ─read─▶ Kustomization ─┐
//!  objects of the files it lists ────────────┴─build─▶ patches ▸ namespace ▸ names ▸ labels ▸ replicas
//! ```
//!
//! What it cannot build (charts, generators of objects that are not known, remote bases, …) is named,
//! with the pipe that builds it; the files that it lists are then no objects by themselves.

mod build;
mod merge;
mod path;
mod pointer;
mod read;
mod transform;

pub(crate) use build::{Sources, Unbuilt, bases, build};
pub(crate) use path::{folder_of, join};
pub(crate) use read::{Kustomization, is_kustomization, read};
