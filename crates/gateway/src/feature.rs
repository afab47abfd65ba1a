//! Features of the Gateway API, by the names that the API gives them.

/// A feature of gateways of class `istio`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feature {
    /// As `status.supportedFeatures` of a GatewayClass has it.
    pub name: &'static str,
    /// What the conformance suite has to see of it.
    pub shown_by: ShownBy,
}

/// What shows that a feature is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownBy {
    /// Statuses alone, which are right.
    Statuses,
    /// Traffic too. Statuses are right, and nothing is sent yet.
    Traffic,
}

/// The features of which statuses are right, ascending.
pub const FEATURES: &[Feature] = &[
    traffic("BackendTLSPolicy"),
    traffic("Gateway"),
    statuses("GatewayAddressEmpty"),
    traffic("GatewayBackendClientCertificate"),
    traffic("GatewayFrontendClientCertificateValidation"),
    statuses("GatewayInfrastructure"),
    traffic("GatewayPort8080"),
    statuses("GatewayStaticAddresses"),
    traffic("HTTPRoute"),
    statuses("HTTPRouteDestinationPortMatching"),
    traffic("HTTPRouteParentRefPort"),
    traffic("ListenerSet"),
    traffic("ReferenceGrant"),
    traffic("TCPRoute"),
    traffic("TLSRoute"),
    traffic("TLSRouteModeMixed"),
    traffic("TLSRouteModeTerminate"),
];

const fn statuses(name: &'static str) -> Feature {
    Feature { name, shown_by: ShownBy::Statuses }
}

const fn traffic(name: &'static str) -> Feature {
    Feature { name, shown_by: ShownBy::Traffic }
}

/// Returns what a class may claim, ascending: features of which every test of the conformance suite passes.
///
/// Features of meshes are none of a class, though tests show them: the API has them in `status.supportedFeatures` of an XMesh, a
/// kind that is not read, and the suite looks for them there. Of a class it takes what is claimed as that of gateways.
pub fn supported_features() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().filter(|feature| feature.shown_by == ShownBy::Statuses).map(|feature| feature.name)
}

#[cfg(test)]
mod tests {
    use super::FEATURES;

    #[test]
    fn the_features_are_ascending_as_the_api_demands() {
        assert!(FEATURES.is_sorted_by(|a, b| a.name < b.name), "{FEATURES:?}");
    }
}
