//! Where objects come from when it is no Kubernetes API server (that is [`cluster::KubeSource`]).
//!
//! A source sends batches of [`model::Event`]s over a bounded channel.

pub mod folder;
mod view;

pub use view::SourceView;
