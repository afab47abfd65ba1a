//! How traffic to a service is routed: labels and annotations of the service or its namespace.

use model::Labels;

use crate::options::TrafficDistribution;

/// The label by which ingress gateways are told to go through a service's waypoint.
pub(crate) const INGRESS_LABEL: &str = "istio.io/ingress-use-waypoint";
/// The annotation that gives a traffic distribution where `spec.trafficDistribution` does not.
const DISTRIBUTION_ANNOTATION: &str = "networking.istio.io/traffic-distribution";

/// Returns what the annotation of an object or a namespace chooses, if there is one; an empty one is none.
pub(crate) fn annotated(annotations: &Labels) -> Option<Option<TrafficDistribution>> {
    let text = annotations.get(DISTRIBUTION_ANNOTATION).filter(|text| !text.is_empty())?;
    Some(text.parse().ok())
}
