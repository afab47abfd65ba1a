//! What became of the waypoint of a service, for whoever tells authors of its routes.

use engine::{Cx, Table};
use model::{Name, Str};

use super::programming;
use crate::service::{HostKey, ServiceRow};
use crate::waypoint::Binder;

/// The waypoints of services, by the object that a service stands for.
#[derive(Clone, Copy)]
pub struct WaypointBindings {
    pub(crate) binder: Binder,
    pub(crate) services: Table<Name, ServiceRow>,
    pub(crate) hosts: Table<HostKey, ServiceRow>,
}

impl WaypointBindings {
    /// Returns the waypoint that the rules for a Service are for; `None` for a Service that is not sent.
    ///
    /// # Errors
    /// Why there is none that has them, as reason and message of a condition.
    pub fn of_service(&self, cx: &Cx<'_>, service: &Name) -> Option<Result<Name, (&'static str, String)>> {
        Some(self.of_row(cx, &*cx.get(self.services, service)?))
    }

    /// As [`WaypointBindings::of_service`], of a ServiceEntry with these hosts, which have all the same.
    pub fn of_entry(
        &self,
        cx: &Cx<'_>,
        entry: &Name,
        hosts: &[Str],
    ) -> Option<Result<Name, (&'static str, String)>> {
        let key = |host: &Str| HostKey { ns: entry.ns.clone(), host: host.clone() };
        let row =
            hosts.iter().filter_map(|host| cx.get(self.hosts, &key(host))).find(|row| row.object == *entry);
        Some(self.of_row(cx, &*row?))
    }

    fn of_row(&self, cx: &Cx<'_>, row: &ServiceRow) -> Result<Name, (&'static str, String)> {
        match &row.waypoint {
            Err(error) => Err(error.condition()),
            Ok(None) => {
                let message = "istio.io/use-waypoint label missing from parent and parent namespace; in ambient \
                               mode, route will not be respected";
                Err(("WaypointMissing", message.to_owned()))
            }
            Ok(Some(waypoint)) => match programming::of_waypoint(cx, &self.binder, waypoint) {
                None => Ok(waypoint.clone()),
                Some(why) => Err(("WaypointNotProgrammed", format!("waypoint {waypoint} {why}"))),
            },
        }
    }
}
