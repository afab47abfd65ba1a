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
    /// Statuses alone.
    Statuses,
    /// Traffic too.
    Traffic,
}

/// The features of which every test of the conformance suite passes, ascending: what a class claims.
///
/// Features of meshes are none of a class, though tests show them: the API has them in `status.supportedFeatures` of an XMesh, a
/// kind that is not read, and the suite looks for them there. Of a class it takes what is claimed as that of gateways.
pub const FEATURES: &[Feature] = &[
    traffic("BackendTLSPolicy"),
    traffic("BackendTLSPolicySANValidation"),
    traffic("GRPCRoute"),
    traffic("GRPCRouteNamedRouteRule"),
    traffic("GRPCRouteRequestHeaderModifier"),
    traffic("Gateway"),
    statuses("GatewayAddressEmpty"),
    traffic("GatewayBackendClientCertificate"),
    traffic("GatewayFrontendClientCertificateValidation"),
    traffic("GatewayFrontendClientCertificateValidationInsecureFallback"),
    traffic("GatewayHTTPListenerIsolation"),
    traffic("GatewayHTTPSListenerDetectMisdirectedRequests"),
    statuses("GatewayInfrastructure"),
    traffic("GatewayPort8080"),
    traffic("GatewayRouteHostnameIntersectionPrecedence"),
    statuses("GatewayStaticAddresses"),
    traffic("HTTPRoute"),
    traffic("HTTPRoute303RedirectStatusCode"),
    traffic("HTTPRoute307RedirectStatusCode"),
    traffic("HTTPRoute308RedirectStatusCode"),
    traffic("HTTPRouteBackendProtocolH2C"),
    traffic("HTTPRouteBackendProtocolWebSocket"),
    traffic("HTTPRouteBackendRequestHeaderModification"),
    traffic("HTTPRouteBackendTimeout"),
    traffic("HTTPRouteBackendURLRewrite"),
    traffic("HTTPRouteCORS"),
    statuses("HTTPRouteDestinationPortMatching"),
    traffic("HTTPRouteHostRewrite"),
    traffic("HTTPRouteMethodMatching"),
    traffic("HTTPRouteNamedRouteRule"),
    traffic("HTTPRouteParentRefPort"),
    traffic("HTTPRoutePathRedirect"),
    traffic("HTTPRoutePathRewrite"),
    traffic("HTTPRoutePortRedirect"),
    traffic("HTTPRouteQueryParamMatching"),
    traffic("HTTPRouteRequestMirror"),
    traffic("HTTPRouteRequestMultipleMirrors"),
    traffic("HTTPRouteRequestPercentageMirror"),
    traffic("HTTPRouteRequestTimeout"),
    traffic("HTTPRouteResponseHeaderModification"),
    traffic("HTTPRouteRetryCodes"),
    traffic("HTTPRouteRetryConnectionError"),
    traffic("HTTPRouteSchemeRedirect"),
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

/// Returns what a class claims, ascending.
pub fn supported_features() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|feature| feature.name)
}

#[cfg(test)]
mod tests {
    use super::FEATURES;

    #[test]
    fn the_features_are_ascending_as_the_api_demands() {
        assert!(FEATURES.is_sorted_by(|a, b| a.name < b.name), "{FEATURES:?}");
    }
}
