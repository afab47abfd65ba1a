//! Routes: what they attach to, and what their rules do.

mod backend;
mod destination;
mod kinds;
mod parent;
mod reach;
mod routed;
mod rule;
mod virtual_service;

pub use backend::Backend;
pub use destination::{Destination, DestinationKey, Destinations, Path, PathPolicy, PortPath};
pub use rule::{Action, MirrorTo, Rule, WeightedBackend};

pub(crate) use backend::{
    Backends, Inputs as BackendInputs, ServicePorts, Unresolved, declare as declare_backends,
};
pub(crate) use destination::{
    Inputs as DestinationInputs, TlsOf, declare as declare_destinations, keys as destination_keys,
    tls as destination_tls,
};
pub(crate) use kinds::PerKind;
pub(crate) use parent::{Attachments, ByHost, Inputs, ParentOutcome, declare as declare_parents, is_service};
pub(crate) use reach::{Reaches, declare as declare_reaches};
pub(crate) use routed::RoutedHosts;
pub(crate) use rule::{RouteRules, declare as declare_rules};
pub(crate) use virtual_service::{
    HostOutcome, Inputs as VirtualServiceInputs, VirtualServiceHosts, VirtualServices,
    declare as declare_virtual_services,
};
