//! Profiles: what listeners have that is not the same for all services of a gateway, or for all gateways.

use model::Name;

use crate::key::MAIN_INTERNAL;
use crate::telemetry::Reporting;

/// What a profile is of: a gateway, and what holds there for some services besides.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ProfileKey {
    pub gateway: Name,
    /// Those that are particular to services, from the least specific one; none for what holds for all.
    pub telemetries: Vec<Name>,
}

impl ProfileKey {
    pub fn of_gateway(gateway: &Name) -> Self {
        Self { gateway: gateway.clone(), telemetries: Vec::new() }
    }

    /// Tells whether it is that of all services for which nothing of their own holds.
    pub fn is_general(&self) -> bool {
        self.telemetries.is_empty()
    }

    /// Returns the name of the listener of requests, and of the cluster that leads to it.
    pub fn listener(&self) -> String {
        let own = self.telemetries.iter().map(|name| format!("|Telemetry/{name}"));
        std::iter::once(MAIN_INTERNAL.to_owned()).chain(own).collect()
    }
}

/// What listeners of a profile have.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Profile {
    /// What is logged, counted and traced.
    pub reporting: Reporting,
}
