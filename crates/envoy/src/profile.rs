//! Profiles: what listeners have that is not the same for all services of a gateway, or for all gateways.

use model::{Kind, Name};

use crate::extension::Running;
use crate::key::MAIN_INTERNAL;
use crate::telemetry::Reporting;

/// The kinds of extensions, in the order of their tables.
pub(crate) const EXTENSION_KINDS: [Kind; 2] = [Kind::WasmPlugin, Kind::TrafficExtension];

/// What a profile is of: a gateway, and what holds there for some services besides.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ProfileKey {
    pub gateway: Name,
    /// Those that are particular to services, from the least specific one; none for what holds for all.
    pub telemetries: Vec<Name>,
    /// Likewise extensions: the place of their kind, and their names.
    pub extensions: Vec<(usize, Name)>,
}

impl ProfileKey {
    pub fn of_gateway(gateway: &Name) -> Self {
        Self { gateway: gateway.clone(), telemetries: Vec::new(), extensions: Vec::new() }
    }

    /// Tells whether it is that of all services for which nothing of their own holds.
    pub fn is_general(&self) -> bool {
        self.telemetries.is_empty() && self.extensions.is_empty()
    }

    /// Returns the name of the listener of requests, and of the cluster that leads to it.
    pub fn listener(&self) -> String {
        let own = self.telemetries.iter().map(|name| format!("|Telemetry/{name}"));
        let extensions = self.extensions.iter();
        let extensions = extensions.map(|(kind, name)| format!("|{}/{name}", EXTENSION_KINDS[*kind]));
        std::iter::once(MAIN_INTERNAL.to_owned()).chain(own).chain(extensions).collect()
    }
}

/// What listeners of a profile have.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Profile {
    /// What is logged, counted and traced.
    pub reporting: Reporting,
    /// What runs besides, in order.
    pub extensions: Vec<Running>,
}
