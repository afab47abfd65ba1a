//! The profiles of gateways with traffic, through real Envoys, on a node of processes: `make conformance` alone runs it.
//!
//! Of the variables of `main.rs` beside it, `CONFORMANCE_TESTS` and `CONFORMANCE_FLAGS` count. Without the first all tests
//! are run whose features are those below; with `claimed` those whose features the class claims.

mod environment;
mod told;

use anyhow::ensure;
use environment::{flags, variable};
use pilothouse_tests::conformance::{GatewayRun, Release};
use pilothouse_tests::{envoy, program};
use told::{tell, told};

/// The features that are tried.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetryCodes",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
];

#[tokio::test]
async fn v1_7_0_gateway() -> anyhow::Result<()> {
    let node = tokio::task::spawn_blocking(|| envoy::program().and_then(|_| program::node())).await??;
    let asked = variable("CONFORMANCE_TESTS");
    let (only, features): (Vec<&str>, _) = match asked.as_deref() {
        None | Some("all") => (Vec::new(), FEATURES),
        Some("claimed") => (Vec::new(), &[] as &[&str]),
        Some(names) => (names.split(',').collect(), FEATURES),
    };
    let run = GatewayRun { release: Release::V1_7_0, node, only: &only, features, flags: &flags() };
    let outcome = run.outcome().await?;
    tell(&told("Gateway API v1.7.0 with traffic", &only, &outcome)?)?;
    ensure!(outcome.failed.is_empty(), "{} tests failed", outcome.failed.len());
    ensure!(!outcome.passed.is_empty(), "no test passed");
    Ok(())
}
