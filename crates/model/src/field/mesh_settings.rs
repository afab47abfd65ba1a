//! Fields of the mesh settings: of `MeshConfig` in the key `mesh` of their ConfigMap, and of `ProxyConfig` in it.

use super::istio::LOCALITY;
use super::line::Line::{self, Outside, Read, Unsupported, Within};

const ACCESS_LOG: &str = "write a provider with envoyHttpAls, and name it in defaultProviders.accessLogging";
const ENVOY: &str = "it is for Envoys, and no waypoint of this version reads it";
const OTEL: &str = "write opentelemetry: its collector sends spans on to others";
const SECRET: &str = "write a collector beside the gateway that adds headers";
const INGRESS: &str = "there is no ingress controller here";
const TLS: &str = "ztunnels have one profile of TLS";
const TRACING: &str = "write it into a Telemetry of the root namespace";
const VISIBILITY: &str = "use serviceEntryVisibility of the mesh settings";

pub(super) const CONFIG_MAP: &[Line] = &[
    Within("data.mesh", MESH),
    Outside("", "binaryData immutable", "the settings are a text"),
    Outside("data", "*", "other keys of the ConfigMap are for injection, which there is none of"),
];

const SELECTOR: &[Line] = &[Read("", "matchLabels.*"), Read("matchExpressions[]", "key operator values[]")];

const MESH: &[Line] = &[
    Read("", "rootNamespace trustDomain trustDomainAliases[]"),
    Read("", "accessLogFile accessLogFormat accessLogEncoding"),
    Within("discoverySelectors[]", SELECTOR),
    Read("serviceScopeConfigs[]", "scope"),
    Within("serviceScopeConfigs[].namespaceSelector", SELECTOR),
    Within("serviceScopeConfigs[].servicesSelector", SELECTOR),
    Read("serviceEntryVisibility", "defaultVisibility policies[].visibility"),
    Within("serviceEntryVisibility.policies[].matchingRules[].namespaceSelector", SELECTOR),
    Outside("serviceEntryVisibility", "applyToSidecars", "there are no sidecars"),
    Read("caCertificates[]", "pem certSigners[]"),
    Read("pathNormalization", "normalization"),
    Unsupported("caCertificates[].spiffeBundleUrl", "", "write the roots into pem"),
    Unsupported("caCertificates[].trustDomains", "", "write trustDomainAliases"),
    Within("defaultConfig", PROXY),
    Unsupported("ca", "", "use an external signer: K8S_SIGNER"),
    Unsupported(
        "certificates",
        "",
        "certificates for other servers are made by others, such as cert-manager",
    ),
    Unsupported("configSources", "", "objects come from the API server, or from folders by --from"),
    Unsupported("connectTimeout", "", ENVOY),
    Unsupported("defaultDestinationRuleExportTo", "", VISIBILITY),
    Unsupported("defaultHttpRetryPolicy", "", ENVOY),
    Read("defaultProviders", "tracing[] metrics[] accessLogging[]"),
    Unsupported("defaultServiceExportTo", "", VISIBILITY),
    Unsupported("defaultTrafficPolicy", "", ENVOY),
    Unsupported("defaultVirtualServiceExportTo", "", VISIBILITY),
    Unsupported("disableEnvoyListenerLog", "", ENVOY),
    Unsupported("dnsRefreshRate", "", ENVOY),
    Unsupported("enableAutoMtls", "", "ztunnels use mutual TLS by themselves"),
    Unsupported("enableEnvoyAccessLogService", "", ACCESS_LOG),
    Unsupported("enablePrometheusMerge", "", "let Prometheus read ztunnels and applications each for itself"),
    Unsupported("enableTracing", "", "write defaultProviders.tracing, or a Telemetry in the root namespace"),
    Read("extensionProviders[]", "name"),
    Within("extensionProviders[].envoyExtAuthzHttp", AUTHORIZER),
    Read(
        "extensionProviders[].envoyExtAuthzHttp",
        "pathPrefix includeHeadersInCheck[] includeRequestHeadersInCheck[] includeAdditionalHeadersInCheck.* \
         headersToUpstreamOnAllow[] headersToDownstreamOnDeny[] headersToDownstreamOnAllow[]",
    ),
    Within("extensionProviders[].envoyExtAuthzGrpc", AUTHORIZER),
    Read("extensionProviders[].envoyFileAccessLog", "path logFormat.text logFormat.labels.* omitEmptyValues"),
    Read(
        "extensionProviders[].envoyHttpAls",
        "service port logName filterStateObjectsToLog[] additionalRequestHeadersToLog[] \
         additionalResponseHeadersToLog[] additionalResponseTrailersToLog[]",
    ),
    Read("extensionProviders[].envoyTcpAls", "service port logName filterStateObjectsToLog[]"),
    Read("extensionProviders[].envoyOtelAls", "service port logName logFormat.text logFormat.labels.*"),
    Read("extensionProviders[]", "prometheus"),
    Read(
        "extensionProviders[].opentelemetry",
        "service port maxTagLength http.path http.timeout http.headers[].name http.headers[].value grpc.timeout \
         grpc.initialMetadata[].name grpc.initialMetadata[].value resourceDetectors.environment",
    ),
    Unsupported("extensionProviders[].opentelemetry.http.headers[].envName", "", SECRET),
    Unsupported("extensionProviders[].opentelemetry.grpc.initialMetadata[].envName", "", SECRET),
    Unsupported("extensionProviders[].opentelemetry.resourceDetectors.dynatrace", "", OTEL),
    Unsupported("extensionProviders[].opentelemetry.serviceAttributeEnrichment", "ISTIO_CANONICAL", OTEL),
    Unsupported("extensionProviders[].opentelemetry.dynatraceSampler", "", OTEL),
    Read(
        "extensionProviders[].zipkin",
        "service port maxTagLength enable64bitTraceId path traceContextOption",
    ),
    Unsupported("extensionProviders[].zipkin.timeout", "", "leave it out: spans are sent for five seconds"),
    Unsupported("extensionProviders[].zipkin.headers", "", SECRET),
    Unsupported("extensionProviders[].lightstep", "", OTEL),
    Unsupported("extensionProviders[].datadog", "", OTEL),
    Unsupported("extensionProviders[].stackdriver", "", OTEL),
    Unsupported("extensionProviders[].opencensus", "", OTEL),
    Unsupported("extensionProviders[].skywalking", "", OTEL),
    Unsupported("extensionProviders[].sds", "", ENVOY),
    Unsupported("h2UpgradePolicy", "", ENVOY),
    Unsupported("hboneIdleTimeout", "", "ztunnels are set by their chart"),
    Unsupported("inboundClusterStatName", "", ENVOY),
    Unsupported("inboundTrafficPolicy", "", ENVOY),
    Unsupported("ingressClass", "", INGRESS),
    Unsupported("ingressControllerMode", "", INGRESS),
    Unsupported("ingressSelector", "", INGRESS),
    Unsupported("ingressService", "", INGRESS),
    Within("localityLbSetting", LOCALITY),
    Unsupported("meshMTLS", "", TLS),
    Unsupported("outboundClusterStatName", "", ENVOY),
    Unsupported(
        "outboundTrafficPolicy",
        "",
        "a ztunnel lets through what it does not know: restrict it by a NetworkPolicy",
    ),
    Unsupported("protocolDetectionTimeout", "", ENVOY),
    Unsupported("proxyHttpPort", "", ENVOY),
    Unsupported("proxyInboundListenPort", "", ENVOY),
    Unsupported("proxyListenPort", "", ENVOY),
    Unsupported("serviceSettings", "", "use `trafficDistribution` and `internalTrafficPolicy` of Services"),
    Unsupported("tcpKeepalive", "", ENVOY),
    Unsupported("tlsDefaults", "", TLS),
    Unsupported("verifyCertificateAtClient", "", ENVOY),
    Unsupported(
        "zoneAwareLbSetting",
        "",
        "use `trafficDistribution` of Services, or --traffic-distribution for all",
    ),
];

/// Whoever decides about requests.
const AUTHORIZER: &[Line] = &[
    Read("", "service port timeout failOpen clearRouteCache statusOnError"),
    Read("includeRequestBodyInCheck", "maxRequestBytes allowPartialMessage packAsBytes"),
];

/// Settings of a proxy: ztunnels take none of them from here.
const PROXY: &[Line] = &[
    Read("", "discoveryAddress"),
    Read("gatewayTopology", "numTrustedProxies forwardClientCertDetails proxyProtocol"),
    Unsupported("availabilityZone", "", ENVOY),
    Unsupported("binaryPath", "", ENVOY),
    Unsupported("caCertificatesPem", "", ENVOY),
    Unsupported("concurrency", "", ENVOY),
    Unsupported("configPath", "", ENVOY),
    Unsupported("connectionSettings", "", ENVOY),
    Unsupported("controlPlaneAuthPolicy", "", ENVOY),
    Unsupported("customConfigFile", "", ENVOY),
    Unsupported("discoveryRefreshDelay", "", ENVOY),
    Unsupported("drainDuration", "", ENVOY),
    Unsupported("envoyAccessLogService", "", ENVOY),
    Unsupported("envoyMetricsService", "", ENVOY),
    Unsupported("envoyMetricsServiceAddress", "", ENVOY),
    Unsupported("extraStatTags", "", ENVOY),
    Unsupported("fileFlushInterval", "", ENVOY),
    Unsupported("fileFlushMinSizeKb", "", ENVOY),
    Unsupported("holdApplicationUntilProxyStarts", "", ENVOY),
    Unsupported("image", "", ENVOY),
    Unsupported("interceptionMode", "", ENVOY),
    Unsupported("meshId", "", ENVOY),
    Unsupported("privateKeyProvider", "", ENVOY),
    Unsupported("proxyAdminPort", "", ENVOY),
    Unsupported("proxyBootstrapTemplatePath", "", ENVOY),
    Unsupported("proxyHeaders", "", ENVOY),
    Unsupported("proxyMetadata", "", ENVOY),
    Unsupported("proxyStatsMatcher", "", ENVOY),
    Unsupported("readinessProbe", "", ENVOY),
    Unsupported("runtimeValues", "", ENVOY),
    Unsupported("sds", "", ENVOY),
    Unsupported("serviceCluster", "", ENVOY),
    Unsupported("statNameLength", "", ENVOY),
    Unsupported("statsCompression", "", ENVOY),
    Unsupported("statsdUdpAddress", "", ENVOY),
    Unsupported("statusPort", "", ENVOY),
    Unsupported("terminationDrainDuration", "", ENVOY),
    Read("tracing", "sampling maxPathTagLength"),
    Unsupported("tracing.zipkin", "", TRACING),
    Unsupported("tracing.lightstep", "", TRACING),
    Unsupported("tracing.datadog", "", TRACING),
    Unsupported("tracing.stackdriver", "", TRACING),
    Unsupported("tracing.openCensusAgent", "", TRACING),
    Unsupported("tracing.customTags", "", TRACING),
    Unsupported("tracing.tlsSettings", "", TRACING),
    Unsupported("tracing.enableIstioTags", "", TRACING),
    Unsupported("tracingServiceName", "", ENVOY),
    Unsupported("zipkinAddress", "", ENVOY),
];
