//! Workloads that are not bound to the waypoint that is named for them.

use engine::{Builder, Cx, Memo};
use model::{Diagnostic, Kind, Labels, Name, ObjectRef, Severity};
use output::Outputs;

use super::bind::BindError;
use super::require::WaypointRequirement;
use crate::labels::UseWaypoint;

/// Code of the diagnostic that arises here.
const WORKLOAD_NOT_BOUND: &str = "WP006";

/// Something that names a waypoint for workloads which it does not get: a workload, or the namespace
/// that names it for all of them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Unbound {
    object: ObjectRef,
    /// Which of the endpoints that the object lists.
    endpoint: Option<usize>,
    error: BindError,
    /// Whether what does not come through the waypoint is refused.
    refused: bool,
}

impl Unbound {
    /// Returns what the author of the object should know.
    fn diagnostic(&self) -> Diagnostic {
        let (reason, message) = self.error.condition();
        let effect = match (self.object.kind, self.refused) {
            (Kind::Namespace, _) => {
                "its workloads are reached without a waypoint, or not at all where one is required"
            }
            (_, true) => "connections to the workload are refused",
            (_, false) => "the workload is reached without a waypoint",
        };
        let at = self.endpoint.map_or_else(|| "metadata".to_owned(), |n| format!("spec.endpoints[{n}]"));
        Diagnostic {
            code: WORKLOAD_NOT_BOUND,
            severity: Severity::Warning,
            object: Some(self.object.clone()),
            field: format!("{at}.labels[istio.io/use-waypoint]"),
            message,
            help: format!("{effect} ({reason})"),
            place: None,
        }
    }
}

/// Where workloads, as they are computed, write down that they are not bound.
#[derive(Clone, Copy)]
pub(crate) struct UnboundWorkloads(Memo<Unbound, ()>);

impl UnboundWorkloads {
    /// Declares it.
    pub fn declare(b: &mut Builder) -> Self {
        Self(b.memo("unbound_workload", |_, _| Some(())))
    }

    /// Writes down why a workload with these labels, `endpoint` of the object where that lists
    /// several, is not bound.
    pub fn tell(
        self,
        cx: &Cx<'_>,
        object: &ObjectRef,
        endpoint: Option<usize>,
        labels: &Labels,
        requirement: Option<&WaypointRequirement>,
        error: &BindError,
    ) {
        let ns = &object.name.ns;
        let error = error.clone();
        let unbound = match UseWaypoint::read(labels, ns) {
            Some(_) => {
                let refused = requirement.is_some_and(|requirement| requirement.required);
                Unbound { object: object.clone(), endpoint, error, refused }
            }
            // Told once, and not for each of its pods.
            None => {
                let object = ObjectRef { kind: Kind::Namespace, name: Name::new("", ns) };
                Unbound { object, endpoint: None, error, refused: false }
            }
        };
        cx.memo(self.0, &unbound);
    }

    /// Declares what was written down, after everything that writes.
    pub fn declare_rows(self, b: &mut Builder, out: &mut Outputs) {
        let unbound = b.in_use("unbound_workloads", self.0);
        out.diagnostics(b, "unbound_findings", unbound, |unbound, ()| [unbound.diagnostic()]);
    }
}
