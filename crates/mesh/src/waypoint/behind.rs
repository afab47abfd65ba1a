//! What is reached through waypoints.

use engine::{Builder, Cx, Memo, Table};
use model::{ObjectRef, Str};
use std::sync::Arc;

use super::bind::Route;
use crate::key::Selected;

/// Workloads that are reached through waypoints: replicas of a deployment are one of these.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct BehindWaypoint {
    /// What policies select the workloads by.
    pub selected: Selected,
    /// The Services and ServiceEntries that are bound to waypoints, `None` where the workloads are themselves.
    pub reached: Box<[(Option<ObjectRef>, Route)]>,
}

/// The policies that workloads list, and where they, as they are computed, write down through which waypoints they
/// are reached. That is one read for both, since there are as many readers as there are workloads.
#[derive(Clone, Copy)]
pub(crate) struct BehindWaypoints {
    selected_policies: Memo<Selected, Vec<Str>>,
    // Shared keys: a row is a key of three tables.
    behind: Memo<Arc<BehindWaypoint>, Arc<Vec<Str>>>,
}

impl BehindWaypoints {
    /// Declares it.
    pub fn declare(b: &mut Builder, selected_policies: Memo<Selected, Vec<Str>>) -> Self {
        let behind = b.memo("behind_waypoint", move |cx, of: &Arc<BehindWaypoint>| {
            cx.memo(selected_policies, &of.selected)
        });
        Self { selected_policies, behind }
    }

    /// Returns the policies that workloads list which are reached through no waypoint.
    pub fn policies(self, cx: &Cx<'_>, selected: &Selected) -> Option<Arc<Vec<Str>>> {
        cx.memo(self.selected_policies, selected)
    }

    /// Returns the policies that workloads list, and writes down that these routes lead to them.
    pub fn policies_behind<'r>(
        self,
        cx: &Cx<'_>,
        selected: &Selected,
        routes: impl Iterator<Item = (Option<ObjectRef>, &'r Route)>,
    ) -> Option<Arc<Vec<Str>>> {
        let reached: Box<[_]> = routes.map(|(bound, route)| (bound, route.clone())).collect();
        if reached.is_empty() {
            return self.policies(cx, selected);
        }
        let behind = Arc::new(BehindWaypoint { selected: selected.clone(), reached });
        cx.memo(self.behind, &behind).map(|policies| (*policies).clone())
    }

    /// Declares what was written down, after everything that writes.
    pub fn declare_rows(self, b: &mut Builder) -> Table<Arc<BehindWaypoint>, Arc<Vec<Str>>> {
        b.in_use("behind_waypoints", self.behind)
    }
}
