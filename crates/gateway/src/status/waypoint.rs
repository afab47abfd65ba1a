//! Which waypoint has the rules for a service.

use engine::{Cx, Table};
use mesh::WaypointBindings;
use model::{Kind, Name};

use crate::key::ServiceTarget;
use crate::route::ServicePorts;

/// The waypoints of services.
#[derive(Clone, Copy)]
pub(crate) struct Waypoints {
    pub bindings: WaypointBindings,
    /// The ServiceEntries that may have one.
    pub entries: Table<Name, ServicePorts>,
}

impl Waypoints {
    /// Returns that of a service; `None` for a service that is not there.
    ///
    /// # Errors
    /// Why none has its rules, as reason and message of a condition.
    pub fn of(self, cx: &Cx<'_>, service: &ServiceTarget) -> Option<Result<Name, (&'static str, String)>> {
        let name = &service.name;
        match service.kind {
            Kind::Service => self.bindings.of_service(cx, name),
            _ => {
                let entry = cx.get(self.entries, name)?;
                self.bindings.of_entry(cx, name, &entry.hostnames)
            }
        }
    }
}
