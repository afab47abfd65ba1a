//! Routes: what they attach to, and what their rules do.

mod backend;
mod kinds;
mod parent;
mod reach;
mod rule;

pub use backend::Backend;
pub use rule::{Action, MirrorTo, Rule, WeightedBackend};

pub(crate) use backend::{Backends, ServicePorts, declare as declare_backends};
pub(crate) use kinds::PerKind;
pub(crate) use parent::{Attachments, Inputs, ParentOutcome, declare as declare_parents, is_service};
pub(crate) use reach::{Reaches, declare as declare_reaches};
pub(crate) use rule::{RouteRules, declare as declare_rules};
