//! What workloads make known, as they are computed, of ports that are restricted and are not.

use model::{ObjectRef, Str};

use super::target::{EnforcementTarget, WaypointEnforcement, targets};

/// Something to tell that a workload, as it is computed, makes known. Services are those of
/// workloads: `namespace/hostname`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Finding {
    /// Some workload of a service that requires its waypoint is not restricted: it has no ztunnel, or is
    /// a gateway's own. It does not say which: a status should not change with every pod.
    Exposed { service: Str },
    /// A workload that is not restricted, though a service, or it itself, requires a waypoint.
    Unprotected { object: ObjectRef, by: Option<Str> },
    /// A service that requires nothing leads to a port that is restricted for another, or for the
    /// workload itself.
    Shared { service: Str, port: u16, by: Option<Str> },
}

impl Finding {
    /// Returns the service in whose status it shows.
    pub fn of_service(&self) -> Option<&Str> {
        match self {
            Self::Exposed { service } | Self::Shared { service, .. } => Some(service),
            Self::Unprotected { .. } => None,
        }
    }
}

/// Returns what there is to tell of a workload that nothing protects.
pub(super) fn unprotected(of: &EnforcementTarget<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let required =
        of.services.iter().filter(|(s, ports)| s.requirement.required && targets(ports).next().is_some());
    let is_own = of.requirement.as_ref().is_some_and(|requirement| requirement.required);
    let by = required.map(|(service, _)| Some(service.key.clone()));
    for by in by.chain(is_own.then_some(None)) {
        found.extend(by.clone().map(|service| Finding::Exposed { service }));
        found.push(Finding::Unprotected { object: of.object.clone(), by });
    }
    found
}

/// Returns what there is to tell of services that lead to restricted ports and require nothing.
pub(super) fn shared_ports(enforcement: &WaypointEnforcement, of: &EnforcementTarget<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let leads_to = |ports, port| targets(ports).any(|p| p == port);
    let (required, others): (Vec<_>, Vec<_>) = of.services.iter().partition(|(s, _)| s.requirement.required);
    for (service, ports) in others {
        for port in targets(ports).filter(|port| enforcement.covers(*port)) {
            let by = required.iter().find(|(_, ports)| leads_to(ports, port)).map(|(s, _)| s.key.clone());
            found.push(Finding::Shared { service: service.key.clone(), port, by });
        }
    }
    found
}
