//! What gateways at the edge are made from.

use engine::Index;
use gateway::{Listener, ListenerKey};
use mesh::destination::Destinations;

use crate::key::EdgePort;
use crate::policy;
use crate::profiles::Profiles;
use crate::route::Sources;
use crate::settings::Settings;

/// What they are made from besides their listeners and routes.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub destinations: Destinations,
    pub sources: Sources,
    pub policies: policy::Tables,
    pub settings: Settings,
    pub profiles: Profiles,
}

/// The listeners of a port that take traffic, as far as they alone are concerned.
pub(super) type ByPort = Index<EdgePort, ListenerKey, Listener>;
