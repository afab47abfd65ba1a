//! What the objects in a namespace depend on of it.

use engine::{Builder, Memo, Table};
use model::facts::Namespace;
use model::{Diagnostic, Kind, Labels, Name, Ns, ObjectRef, Severity, Str};
use output::Outputs;
use std::collections::BTreeMap;

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
/// Code of the diagnostic that arises here.
const LEFT_OUT: &str = "NS001";

/// Declares what the author of a namespace should know: that workloads of it are enrolled, and discovery
/// leaves it out.
pub(crate) fn declare_findings(out: &mut Outputs, inputs: Inputs, settings: Settings) {
    out.findings(move |graph| {
        let selectors = graph.get(settings.discovery, &()).unwrap_or_default();
        if selectors.is_empty() {
            return Vec::new();
        }
        let is_enrolled = |labels: &Labels| labels.get(DATAPLANE_LABEL).is_some_and(|mode| mode == "ambient");
        let labels_of: BTreeMap<Ns, Labels> =
            graph.rows(inputs.namespaces).into_iter().map(|(ns, of)| (ns, of.labels.clone())).collect();
        let none = Labels::default();
        let labels_of = |ns: &Ns| labels_of.get(ns).unwrap_or(&none);
        let namespaces = graph.rows(inputs.namespaces).into_iter().map(|(ns, _)| ns);
        let namespaces = namespaces.filter(|ns| is_enrolled(labels_of(ns)));
        let mut enrolled: BTreeMap<Ns, Option<(Name, usize)>> = namespaces.map(|ns| (ns, None)).collect();
        for (name, pod) in graph.rows(inputs.pods) {
            if enrolled.get(&name.ns).is_none_or(Option::is_some)
                && (pod.captured || is_enrolled(&pod.labels))
            {
                let of_ns = enrolled.entry(name.ns.clone()).or_insert(None);
                of_ns.get_or_insert((name, 0)).1 += 1;
            }
        }
        let left_out = enrolled.into_iter().filter(|(ns, _)| !is_discovered(&selectors, labels_of(ns)));
        left_out.map(|(ns, pods)| enrolled_and_left_out(&ns, pods)).collect()
    });
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
