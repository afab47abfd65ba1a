//! What the objects in a namespace depend on of it.

use engine::{Builder, Cx, Memo, Table};
use model::facts::{Namespace, Pod};
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Severity, Str};
use output::Outputs;

use crate::input::Inputs;
use crate::labels::{CanaryLabels, INGRESS_LABEL, Require, UseWaypoint, annotated};
use crate::options::{Options, TrafficDistribution};
use crate::settings::{Settings, is_discovered};

/// The few things that a namespace says about the objects in it. Other labels and annotations of a
/// namespace may change without touching any of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct NamespaceView {
    /// Whether the discovery selectors let its objects in.
    pub in_scope: bool,
    /// Its labels `istio.io/use-waypoint…`.
    pub use_waypoint: Option<UseWaypoint>,
    /// Its labels and annotation `istio.io/use-waypoint-canary…`.
    pub canary: CanaryLabels,
    /// Its annotation `ambient.pilothouse.io/require-waypoint`.
    pub require_waypoint: Option<Require>,
    /// Its label `istio.io/ingress-use-waypoint`.
    pub ingress_use_waypoint: Option<Str>,
    /// Its annotation `networking.istio.io/traffic-distribution`, else the mesh's default; none for an
    /// unknown value.
    pub traffic_distribution: Option<TrafficDistribution>,
}

/// The label by which the CNI agent enrols namespaces and pods.
const DATAPLANE_LABEL: &str = "istio.io/dataplane-mode";
/// Codes of the diagnostics that arise here.
const LEFT_OUT: &str = "NS001";
const NO_SIDECARS: &str = "NS002";
/// The label by which webhooks of istiod find namespaces whose pods get a sidecar.
const INJECTION_LABEL: &str = "istio-injection";

fn is_enrolled(labels: &Labels) -> bool {
    labels.get(DATAPLANE_LABEL).is_some_and(|mode| mode == "ambient")
}

/// Where pods, as they are computed, write down that they are enrolled and discovery leaves them out. One of a
/// namespace that is in the mesh has nothing to write, and costs nothing.
#[derive(Clone, Copy)]
pub(crate) struct LeftOutPods(Memo<Name, ()>);

impl LeftOutPods {
    /// Declares it.
    pub fn declare(b: &mut Builder) -> Self {
        Self(b.memo("left_out_pod", |_, _| Some(())))
    }

    /// Writes down a pod of a namespace that discovery leaves out, if it is enrolled.
    pub fn tell(self, cx: &Cx<'_>, name: &Name, pod: &Pod) {
        if pod.captured || is_enrolled(&pod.labels) {
            cx.memo(self.0, name);
        }
    }

    /// Declares what the author of a namespace should know: that workloads of it are enrolled, and discovery
    /// leaves it out. It comes after everything that writes.
    pub fn declare_findings(
        self,
        b: &mut Builder,
        out: &mut Outputs,
        inputs: Inputs,
        views: Memo<Ns, NamespaceView>,
    ) {
        let left_out = b.in_use("left_out_pods", self.0);
        let by_namespace =
            b.index(left_out, "left_out_pod_by_namespace", |name: &Name, ()| [name.ns.clone()]);
        let pods = b.group("left_out_pods_of_namespace", by_namespace, |_, _: &Ns, pods| {
            let (first, _) = pods.first()?;
            Some((first.clone(), pods.len()))
        });
        let asks = |_: &Ns, namespace: &Namespace| {
            namespace.labels.get(INJECTION_LABEL).is_some_and(|value| value == "enabled")
        };
        out.diagnostics_where(b, "injection_findings", inputs.namespaces, asks, |_, ns, _| [no_sidecars(ns)]);
        let concerns = |_: &Ns, namespace: &Namespace| is_enrolled(&namespace.labels);
        out.diagnostics_where(b, "namespace_findings", inputs.namespaces, concerns, move |cx, ns, _| {
            let is_left_out = !cx.memo(views, ns)?.in_scope;
            is_left_out.then(|| enrolled_and_left_out(ns, None))
        });
        out.diagnostics_where(
            b,
            "left_out_pod_findings",
            pods,
            |_, _| true,
            move |cx, ns, pods| {
                // That its namespace is enrolled says it of all its pods.
                let namespace = cx.get(inputs.namespaces, ns);
                let is_told = namespace.is_some_and(|namespace| is_enrolled(&namespace.labels));
                (!is_told).then(|| enrolled_and_left_out(ns, Some(pods.clone())))
            },
        );
    }
}

fn no_sidecars(ns: &Ns) -> Diagnostic {
    Diagnostic {
        code: NO_SIDECARS,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::Namespace, name: ns.object() }),
        field: format!("metadata.labels[{INJECTION_LABEL}]"),
        message: "no sidecars are injected: its pods are not in the mesh by this".to_owned(),
        help: format!("enrol the namespace by the label {DATAPLANE_LABEL}: ambient, and remove this one"),
        place: None,
    }
}

/// `pods` is the first that is enrolled by itself and how many are, where the namespace is not enrolled.
fn enrolled_and_left_out(ns: &Ns, pods: Option<(Name, usize)>) -> Diagnostic {
    let (field, who) = match pods {
        None => (format!("metadata.labels[{DATAPLANE_LABEL}]"), "the namespace is enrolled".to_owned()),
        Some((first, 1)) => ("metadata.labels".to_owned(), format!("Pod {first} is enrolled")),
        Some((first, count)) => {
            ("metadata.labels".to_owned(), format!("{count} pods are enrolled, such as {first}"))
        }
    };
    Diagnostic {
        code: LEFT_OUT,
        severity: Severity::Warning,
        object: Some(ObjectRef { kind: Kind::Namespace, name: ns.object() }),
        field,
        message: format!(
            "{who}, but no entry of discoverySelectors matches the namespace: nothing in it is sent, so ztunnels do not know its workloads"
        ),
        help: "label the namespace so that an entry matches, or enrol nothing in it".to_owned(),
        place: None,
    }
}

/// Declares the view of each namespace that something lives in, whether the object exists or not.
pub(crate) fn declare(
    b: &mut Builder,
    namespaces: Table<Ns, Namespace>,
    settings: Settings,
    options: &Options,
) -> Memo<Ns, NamespaceView> {
    let by_default = options.traffic_distribution;
    b.memo("namespace_view", move |cx, name: &Ns| {
        let selectors = cx.single(settings.discovery).unwrap_or_default();
        let namespace = cx.get(namespaces, name);
        let labels = namespace.as_ref().map(|n| n.labels.clone()).unwrap_or_default();
        let annotations: Labels = namespace.map(|n| n.annotations.clone()).unwrap_or_default();
        Some(NamespaceView {
            in_scope: is_discovered(&selectors, &labels),
            use_waypoint: UseWaypoint::read(&labels, name),
            canary: CanaryLabels::read(&labels, &annotations, name),
            require_waypoint: Require::read(&annotations),
            ingress_use_waypoint: labels.get(INGRESS_LABEL).cloned(),
            traffic_distribution: annotated(&annotations).unwrap_or(by_default),
        })
    })
}
