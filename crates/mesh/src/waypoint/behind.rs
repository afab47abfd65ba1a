//! What is reached through waypoints.

use engine::{Builder, Cx, Memo, Table};
use model::ObjectRef;

use super::bind::Route;
use crate::key::Selected;

/// Workloads that are reached through waypoints: replicas of a deployment are one of these.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct BehindWaypoint {
    /// What policies select the workloads by.
    pub selected: Selected,
    pub route: Route,
    /// The Service or ServiceEntry that is bound to the waypoints; `None` where the workloads are themselves.
    pub bound: Option<ObjectRef>,
}

/// Where workloads, as they are computed, write down through which waypoints they are reached.
#[derive(Clone, Copy)]
pub(crate) struct BehindWaypoints(Memo<BehindWaypoint, ()>);

impl BehindWaypoints {
    /// Declares it.
    pub fn declare(b: &mut Builder) -> Self {
        Self(b.memo("behind_waypoint", |_, _| Some(())))
    }

    /// Writes down that workloads are reached by these routes.
    pub fn tell<'r>(
        self,
        cx: &Cx<'_>,
        selected: &Selected,
        routes: impl Iterator<Item = (Option<ObjectRef>, &'r Route)>,
    ) {
        for (bound, route) in routes {
            let behind = BehindWaypoint { selected: selected.clone(), route: route.clone(), bound };
            cx.memo(self.0, &behind);
        }
    }

    /// Declares what was written down, after everything that writes.
    pub fn declare_rows(self, b: &mut Builder) -> Table<BehindWaypoint, ()> {
        b.in_use("behind_waypoints", self.0)
    }
}
