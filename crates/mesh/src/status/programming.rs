//! What is told of waypoints that this control plane does not program: traffic is sent to them, and routes and
//! policies for them are not active.

use engine::{Builder, Cx, Table};
use model::{Diagnostic, Kind, Name, ObjectRef, Severity};
use output::Outputs;

use crate::service::{HostKey, ServiceRow};
use crate::waypoint::{BindError, Binder, Waypoint};

/// Codes of the diagnostics that arise here.
mod code {
    /// Services are bound to a waypoint that is not programmed here.
    pub(super) const UNPROGRAMMED: &str = "WP007";
}

/// Returns why the waypoint that an object is bound to is not programmed; nothing for an object that is bound
/// to none.
pub(super) fn why_not(
    cx: &Cx<'_>,
    binder: &Binder,
    binding: &Result<Option<Name>, BindError>,
) -> Option<String> {
    let Ok(Some(waypoint)) = binding else { return None };
    of_waypoint(cx, binder, waypoint)
}

/// Returns why a waypoint is not programmed by this control plane.
pub(super) fn of_waypoint(cx: &Cx<'_>, binder: &Binder, waypoint: &Name) -> Option<String> {
    let waypoint = cx.get(binder.waypoints, waypoint)?;
    let why = waypoint.unprogrammed.as_ref()?;
    Some(["is not programmed by this control plane: ", &why.reason()].concat())
}

/// Declares what is told of the waypoints that services are bound to.
pub(super) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    binder: Binder,
    services: Table<Name, ServiceRow>,
    hosts: Table<HostKey, ServiceRow>,
) {
    let bound_to = |row: &ServiceRow| row.waypoint.as_ref().ok().cloned().flatten();
    let services = b.index(services, "service_by_waypoint", move |_: &Name, row| bound_to(row));
    let hosts = b.index(hosts, "host_by_waypoint", move |_: &HostKey, row| bound_to(row));
    let is_unprogrammed = |_: &Name, waypoint: &Waypoint| waypoint.unprogrammed.is_some();
    out.diagnostics_where(b, "waypoint_findings", binder.waypoints, is_unprogrammed, move |cx, name, waypoint| {
        let why = waypoint.unprogrammed.as_ref()?;
        (cx.any(services, name) || cx.any(hosts, name)).then(|| Diagnostic {
            code: code::UNPROGRAMMED,
            severity: Severity::Warning,
            object: Some(ObjectRef { kind: Kind::Gateway, name: name.clone() }),
            field: String::new(),
            message: format!(
                "services are bound to this waypoint, and it is not programmed by this control plane: {}",
                why.reason()
            ),
            help: "its routes and policies are those that somebody else gave it, if any; policies that ztunnels \
                   enforce are active all the same"
                .to_owned(),
            place: None,
        })
    });
}
