//! Which waypoints an object or its namespace names, and whether they are required.

use model::{Labels, Name, Ns, Str, shared};

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
    /// Tells whether its weight is one.
    pub fn is_usable(&self) -> bool {
        self.weight.is_some()
    }
}

/// What an object, or its namespace, says of a canary. The waypoint and its weight are inherited each for
/// itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct CanaryLabels {
    /// Empty is a reference for none, as `none` is.
    waypoint: Option<UseWaypoint>,
    /// The weight as it is written, checked only where it counts.
    weight: Option<Str>,
}

impl CanaryLabels {
    /// Reads the labels and annotations of an object in, or of, namespace `ns`.
    pub fn read(labels: &Labels, annotations: &Labels, ns: &Ns) -> Self {
        let waypoint = match labels.get(CANARY_LABEL).map(|name| name.as_str()) {
            Some("") => Some(UseWaypoint::None),
            _ => UseWaypoint::named(labels, CANARY_LABEL, CANARY_NAMESPACE_LABEL, ns),
        };
        Self { waypoint, weight: annotations.get(CANARY_WEIGHT_ANNOTATION).cloned() }
    }

    /// Returns the canary of an object that says this, and inherits the rest.
    pub fn canary(&self, inherited: Option<&Self>) -> Option<CanaryRef> {
        let waypoint = self.waypoint.as_ref().or_else(|| inherited?.waypoint.as_ref())?;
        let UseWaypoint::Named(waypoint) = waypoint else { return None };
        let weight = match self.weight.as_ref().or_else(|| inherited?.weight.as_ref()) {
            None => Some(0),
            Some(text) => text.parse::<i64>().ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 100),
        };
        Some(CanaryRef { waypoint: waypoint.clone(), weight })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn says(label: Option<&str>, weight: Option<&str>) -> CanaryLabels {
        let labels = Labels::new(label.map(|name| (CANARY_LABEL, name)));
        let annotations = Labels::new(weight.map(|text| (CANARY_WEIGHT_ANNOTATION, text)));
        CanaryLabels::read(&labels, &annotations, &Ns::own("shop"))
    }

    #[test]
    fn a_canary_and_its_weight_are_inherited_each_for_itself() {
        let of = |object: (Option<&str>, Option<&str>), namespace: (Option<&str>, Option<&str>)| {
            let namespace = says(namespace.0, namespace.1);
            let canary = says(object.0, object.1).canary(Some(&namespace))?;
            Some((canary.waypoint.name.to_string(), canary.weight))
        };
        let new = |weight| Some(("new".to_owned(), weight));
        assert_eq!(of((Some("new"), None), (None, Some("30"))), new(Some(30)));
        assert_eq!(of((None, Some("30")), (Some("new"), None)), new(Some(30)));
        assert_eq!(of((Some("new"), Some("10")), (Some("other"), Some("30"))), new(Some(10)));
        assert_eq!(of((None, None), (Some("new"), Some("30"))), new(Some(30)));
        assert_eq!(of((Some("new"), None), (None, None)), new(Some(0)));
        // What is written on the object counts, even if it is no weight.
        assert_eq!(of((Some("new"), Some("")), (None, Some("30"))), new(None));
        assert_eq!(of((Some("new"), Some("101")), (None, Some("30"))), new(None));
        assert_eq!(of((Some("new"), Some("-1")), (None, None)), new(None));
    }

    #[test]
    fn an_object_opts_out_of_the_canary_of_its_namespace() {
        let namespace = says(Some("new"), Some("30"));
        for word in ["none", ""] {
            assert_eq!(says(Some(word), Some("30")).canary(Some(&namespace)), None, "{word:?}");
            assert_eq!(says(None, None).canary(Some(&says(Some(word), None))), None, "{word:?}");
        }
        assert_eq!(says(None, Some("30")).canary(None), None);
    }

    #[test]
    fn the_namespace_of_a_canary_stands_beside_its_name() {
        let labels = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied());
        let none = Labels::default();
        let (shop, infra) = (Ns::own("shop"), [(CANARY_NAMESPACE_LABEL, "infra")]);
        let here = CanaryLabels::read(&labels(&[(CANARY_LABEL, "new")]), &none, &shop);
        let there = CanaryLabels::read(&labels(&[(CANARY_LABEL, "new"), infra[0]]), &none, &shop);
        let only = CanaryLabels::read(&labels(&infra), &none, &shop);
        assert_eq!(here.canary(Some(&there)).unwrap().waypoint, Name::new("shop", "new"));
        assert_eq!(there.canary(None).unwrap().waypoint, Name::new("infra", "new"));
        assert_eq!(only.canary(Some(&here)).unwrap().waypoint, Name::new("shop", "new"));
    }
}
