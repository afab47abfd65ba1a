//! Which waypoints an object or its namespace names, and whether they are required.

use model::{Labels, Name, Ns, shared};

const USE_LABEL: &str = "istio.io/use-waypoint";
const USE_NAMESPACE_LABEL: &str = "istio.io/use-waypoint-namespace";
const CANARY_LABEL: &str = "istio.io/use-waypoint-canary";
const CANARY_NAMESPACE_LABEL: &str = "istio.io/use-waypoint-canary-namespace";
const CANARY_WEIGHT_ANNOTATION: &str = "istio.io/use-waypoint-canary-weight";

/// A reference to a waypoint by labels, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UseWaypoint {
    /// `istio.io/use-waypoint: none`.
    None,
    /// The waypoint named.
    Named(Name),
}

impl UseWaypoint {
    /// Reads the labels of an object in, or of, namespace `ns`.
    pub fn read(labels: &Labels, ns: &Ns) -> Option<Self> {
        Self::named(labels, USE_LABEL, USE_NAMESPACE_LABEL, ns)
    }

    fn named(labels: &Labels, label: &str, ns_label: &str, ns: &Ns) -> Option<Self> {
        let name = labels.get(label)?;
        if name == "none" {
            return Some(Self::None);
        }
        let ns = labels.get(ns_label).map_or_else(|| ns.clone(), |other| ns.beside(other));
        Some(Self::Named(Name { ns, name: shared(name) }))
    }
}

/// The reference that a second waypoint takes a share of a service's traffic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CanaryRef {
    pub waypoint: Name,
    /// Nothing when what stands there is no integer from 0 to 100.
    pub weight: Option<u32>,
}

impl CanaryRef {
    /// Reads the labels and annotations of an object in, or of, namespace `ns`.
    pub fn read(labels: &Labels, annotations: &Labels, ns: &Ns) -> Option<Self> {
        let UseWaypoint::Named(waypoint) =
            UseWaypoint::named(labels, CANARY_LABEL, CANARY_NAMESPACE_LABEL, ns)?
        else {
            return None;
        };
        let weight = match annotations.get(CANARY_WEIGHT_ANNOTATION) {
            None => Some(0),
            Some(text) => text.parse().ok().filter(|weight| *weight <= 100),
        };
        Some(Self { waypoint, weight })
    }

    /// Tells whether its weight is one.
    pub fn is_usable(&self) -> bool {
        self.weight.is_some()
    }
}

/// The annotation by which what did not come through a waypoint is refused.
pub(crate) const REQUIRE_ANNOTATION: &str = "ambient.pilothouse.io/require-waypoint";

/// What the annotation says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Require {
    Yes,
    No,
    /// Neither `true` nor `false`: taken as a yes, since the author wanted to say something.
    Unclear,
}

impl Require {
    /// Reads the annotations of an object or a namespace.
    pub fn read(annotations: &Labels) -> Option<Self> {
        annotations.get(REQUIRE_ANNOTATION).map(|text| match text.as_str() {
            "true" => Self::Yes,
            "false" => Self::No,
            _ => Self::Unclear,
        })
    }

    pub fn holds(self) -> bool {
        self != Self::No
    }
}
