//! Instances of gateways, and where each of them is.

use model::facts::{Node, Phase, Pod, topology};
use model::{Labels, Name, Str};

/// The label of a pod that makes it an instance of a gateway.
pub(crate) const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// Tells whether a pod counts: unless it is done or of another cluster, and somebody else may have its name.
pub fn is_live(name: &Name, pod: &Pod) -> bool {
    pod.phase == Phase::Live && name.ns.cluster().is_none()
}

/// How exactly it is told where an instance is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Detail {
    /// By region and zone.
    Zone,
    /// By subzone, too.
    Subzone,
    /// By node.
    Node,
    /// By the pod itself: what it is labelled with counts.
    Pod,
}

impl Detail {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Zone, Self::Subzone, Self::Node, Self::Pod];
}

/// Where an instance is. What is not known, or not told, is empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Location {
    /// The cluster.
    pub cluster: Str,
    /// Region, zone and subzone.
    pub locality: [Str; 3],
    /// The node.
    pub node: Str,
    /// The pod, and what it is labelled with.
    pub pod: Option<(Str, Labels)>,
}

impl Location {
    /// Returns where a pod is.
    pub(crate) fn of(cluster: &Str, name: &Name, pod: &Pod, node: Option<&Node>) -> Self {
        let part = |of: fn(&Node) -> &Str| node.map(|node| of(node).clone()).unwrap_or_default();
        Self {
            cluster: cluster.clone(),
            locality: [part(|of| &of.region), part(|of| &of.zone), part(|of| &of.subzone)],
            node: pod.node.clone(),
            pod: Some((name.name.clone(), pod.labels.clone())),
        }
    }

    /// Returns this as exactly as asked for: all that are there are equal.
    #[must_use]
    pub fn at(&self, detail: Detail) -> Self {
        let mut at = self.clone();
        if detail < Detail::Pod {
            at.pod = None;
        }
        if detail < Detail::Node {
            at.node = Str::new();
        }
        if detail < Detail::Subzone {
            at.locality[2] = Str::new();
        }
        at
    }

    /// Returns what the scope of what is for all that are there has behind the name of their gateway: no name of an
    /// object has an `@`.
    pub fn scope_suffix(&self, detail: Detail) -> Str {
        let [region, zone, subzone] = &self.locality;
        Str::from(match detail {
            Detail::Zone => format!("@zone={region}/{zone}"),
            Detail::Subzone => format!("@subzone={region}/{zone}/{subzone}"),
            Detail::Node => format!("@node={}", self.node),
            Detail::Pod => format!("@pod={}", self.pod.as_ref().map_or("", |(name, _)| name)),
        })
    }

    /// Returns the suffixes of all scopes that are for an instance that is here.
    pub fn scope_suffixes(&self) -> [Str; 4] {
        Detail::ALL.map(|detail| self.scope_suffix(detail))
    }

    /// Returns the value of a label, of those by which Istio says where something is, or of the pod; `None` where it is
    /// not known.
    pub fn label(&self, key: &str) -> Option<&str> {
        let known = |text: &Str| !text.is_empty();
        let [region, zone, subzone] = &self.locality;
        let of_place = match key {
            topology::CLUSTER => &self.cluster,
            topology::REGION => region,
            topology::ZONE => zone,
            topology::SUBZONE if known(zone) => return Some(subzone.as_str()),
            topology::SUBZONE => subzone,
            topology::NODE => &self.node,
            key => return self.pod.as_ref().map(|(_, labels)| labels.get(key).map_or("", Str::as_str)),
        };
        Some(of_place.as_str()).filter(|_| known(of_place))
    }
}

/// A pod that is an instance of a gateway of its namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// The pod.
    pub pod: Name,
    /// Where it is.
    pub location: Location,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_as_exactly_as_asked_for() {
        let pod = Pod { node: "n1".into(), labels: Labels::new([("app", "waypoint")]), ..Pod::default() };
        let node = Node { region: "r".into(), zone: "z".into(), ..Node::default() };
        let here = Location::of(&"c".into(), &Name::new("shop", "waypoint-1"), &pod, Some(&node));
        let suffixes = Detail::ALL.map(|detail| here.at(detail).scope_suffix(detail));
        assert_eq!(suffixes, here.scope_suffixes());
        assert_eq!(suffixes, ["@zone=r/z", "@subzone=r/z/", "@node=n1", "@pod=waypoint-1"]);
        assert_eq!((here.label("app"), here.label("other")), (Some("waypoint"), Some("")));
        assert_eq!((here.label(topology::SUBZONE), here.label(topology::NODE)), (Some(""), Some("n1")));
        let zone = here.at(Detail::Zone);
        assert_eq!(
            (zone.label("app"), zone.label(topology::NODE), zone.label(topology::ZONE)),
            (None, None, Some("z"))
        );
        assert_eq!(Location::default().label(topology::SUBZONE), None);
    }
}
