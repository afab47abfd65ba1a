//! Where objects come from when it is no Kubernetes API server (that is [`cluster::KubeSource`]).
//!
//! A source sends batches of [`model::Event`]s over a bounded channel.

pub mod folder;
mod places;
mod view;

pub use places::Places;
pub use view::SourceView;
