//! Fields of the kinds whose definitions are ours too (`crate::crd`), as of Istio 1.31.

use super::line::Line::{self, Outside, Read, Unsupported, Within};

const WRITTEN: &str = "conditions are written here; nothing of them is read";

pub(super) const AUTHORIZATION_POLICY: &[Line] = &[
    Read("spec", "selector.matchLabels.* action provider.name"),
    Within("spec.targetRef", TARGET),
    Within("spec.targetRefs[]", TARGET),
    Read(
        "spec.rules[].from[].source",
        "principals[] notPrincipals[] requestPrincipals[] notRequestPrincipals[] namespaces[] notNamespaces[] \
         serviceAccounts[] notServiceAccounts[] trustDomains[] notTrustDomains[] ipBlocks[] notIpBlocks[] \
         remoteIpBlocks[] notRemoteIpBlocks[]",
    ),
    Read(
        "spec.rules[].to[].operation",
        "hosts[] notHosts[] ports[] notPorts[] methods[] notMethods[] paths[] notPaths[]",
    ),
    Read("spec.rules[].when[]", "key values[] notValues[]"),
    Outside("status", "", WRITTEN),
];

const TARGET: &[Line] = &[Read("", "group kind name namespace")];

pub(super) const PEER_AUTHENTICATION: &[Line] = &[
    Read("spec", "selector.matchLabels.* mtls.mode portLevelMtls.*.mode"),
    Outside("status", "", "conditions are written by nobody; nothing of them is read"),
];

pub(super) const REQUEST_AUTHENTICATION: &[Line] = &[
    Read("spec", "selector.matchLabels.*"),
    Within("spec.targetRef", TARGET),
    Within("spec.targetRefs[]", TARGET),
    Read(
        "spec.jwtRules[]",
        "issuer audiences[] jwks jwksUri jwks_uri fromHeaders[].name fromHeaders[].prefix fromParams[] fromCookies[] \
         forwardOriginalToken outputPayloadToHeader outputClaimToHeaders[].header outputClaimToHeaders[].claim timeout \
         spaceDelimitedClaims[]",
    ),
    Outside("status", "", WRITTEN),
];

pub(super) const TELEMETRY: &[Line] = &[
    Read("spec", "selector.matchLabels.*"),
    Within("spec.targetRef", TARGET),
    Within("spec.targetRefs[]", TARGET),
    Read("spec.accessLogging[]", "match.mode providers[].name disabled filter.expression"),
    Read("spec.metrics[]", "providers[].name"),
    Read(
        "spec.metrics[].overrides[]",
        "match.metric match.customMetric match.mode disabled tagOverrides.*.operation tagOverrides.*.value",
    ),
    Unsupported(
        "spec.metrics[].reportingInterval",
        "",
        "bytes of a stream are counted when it ends: leave it out",
    ),
    Read(
        "spec.tracing[]",
        "match.mode providers[].name randomSamplingPercentage disableSpanReporting enableIstioTags \
         disableContextPropagation useRequestIdForTraceSampling",
    ),
    Read(
        "spec.tracing[].customTags.*",
        "literal.value environment.name environment.defaultValue header.name header.defaultValue formatter.value",
    ),
    Outside("status", "", WRITTEN),
];

pub(super) const WASM_PLUGIN: &[Line] = &[
    Read("spec", "selector.matchLabels.* phase priority match[].mode match[].ports[].number"),
    Within("spec.targetRef", TARGET),
    Within("spec.targetRefs[]", TARGET),
    Within("spec", MODULE),
    Outside("status", "", WRITTEN),
];

pub(super) const TRAFFIC_EXTENSION: &[Line] = &[
    Read("spec", "selector.matchLabels.* phase priority match[].mode match[].ports[].number lua.inlineCode"),
    Within("spec.targetRefs[]", TARGET),
    Within("spec.wasm", MODULE),
    Read("spec.extProc", "service port timeout failStrategy"),
    Read("spec.extProc", "requestHeaders responseHeaders requestBody responseBody"),
    Outside("status", "", WRITTEN),
];

const MODULE: &[Line] = &[
    Read("", "url sha256 pluginConfig pluginName failStrategy type"),
    Read("vmConfig.env[]", "name value valueFrom"),
    Unsupported("imagePullPolicy", "", IMAGE),
    Unsupported("imagePullSecret", "", IMAGE),
    Unsupported("verificationKey", "", "write sha256, by which the module is verified"),
];

const IMAGE: &str = "a module is fetched by its URL, and again when its sha256 changes";

pub(super) const SERVICE_ENTRY: &[Line] = &[
    Read("spec", "hosts[] addresses[] resolution subjectAltNames[] workloadSelector.labels.*"),
    Read("spec.ports[]", "number name protocol targetPort"),
    Within("spec.endpoints[]", ENTRY),
    Outside("spec", "location", "a ztunnel treats hosts inside and outside of the mesh alike; it is checked"),
    Unsupported(
        "spec.exportTo",
        "",
        "who sees the entry is not restricted by it: use serviceEntryVisibility of the mesh settings",
    ),
    Read("status.addresses[]", "value host"),
    Outside("status", "", WRITTEN),
];

pub(super) const WORKLOAD_ENTRY: &[Line] = &[Within("spec", ENTRY), Outside("status", "", WRITTEN)];

const ENTRY: &[Line] = &[Read("", "address ports.* labels.* network locality weight serviceAccount")];

pub(super) const VIRTUAL_SERVICE: &[Line] = &[
    Read("spec", "hosts[] gateways[] exportTo[]"),
    Within("spec.http[]", HTTP_RULE),
    Read("spec.tls[].match[]", "sniHosts[]"),
    Within("spec.tls[]", STREAM_RULE),
    Read("spec.tcp[].match[]", "sourceSubnet"),
    Within("spec.tcp[]", STREAM_RULE),
    Outside("status", "", WRITTEN),
];

const HTTP_RULE: &[Line] = &[
    Read("", "name timeout"),
    Within("match[]", MATCH),
    Read("match[]", "ignoreUriCase"),
    Within("match[].uri", TEXT),
    Within("match[].scheme", TEXT),
    Within("match[].method", TEXT),
    Within("match[].authority", TEXT),
    Within("match[].headers.*", TEXT),
    Within("match[].withoutHeaders.*", TEXT),
    Within("match[].queryParams.*", TEXT),
    Outside("match[]", "name", "it is for access logs, which have the name of the rule"),
    Unsupported(
        "match[].statPrefix",
        "",
        "statistics are those of services: tell them apart by the labels of metrics",
    ),
    Within("route[].destination", DESTINATION),
    Read("route[]", "weight"),
    Within("route[].headers", HEADERS),
    Read("redirect", "uri prefixRewrite authority port derivePort scheme redirectCode"),
    Read("directResponse", "status body.string body.bytes"),
    Unsupported("delegate", "", "write the rules of the other object in this one"),
    Read("rewrite", "uri authority uriRegexRewrite.match uriRegexRewrite.rewrite"),
    Read("retries", "attempts perTryTimeout retryOn retryRemoteLocalities retryIgnorePreviousHosts backoff"),
    Read("fault.delay", "percent percentage.value fixedDelay"),
    Unsupported("fault.delay.exponentialDelay", "", "use fixedDelay"),
    Read("fault.abort", "percentage.value httpStatus grpcStatus"),
    Unsupported("fault.abort.http2Error", "", "use httpStatus or grpcStatus"),
    Within("mirror", DESTINATION),
    Read("", "mirrorPercent mirror_percent mirrorPercentage.value"),
    Within("mirrors[].destination", DESTINATION),
    Read("mirrors[]", "percentage.value"),
    Within("corsPolicy.allowOrigins[]", TEXT),
    Read(
        "corsPolicy",
        "allowOrigin[] allowMethods[] allowHeaders[] exposeHeaders[] maxAge allowCredentials unmatchedPreflights",
    ),
    Within("headers", HEADERS),
];

const STREAM_RULE: &[Line] = &[
    Within("match[]", MATCH),
    Read("match[]", "destinationSubnets[]"),
    Within("route[].destination", DESTINATION),
    Read("route[]", "weight"),
];

const MATCH: &[Line] = &[Read("", "port sourceLabels.* sourceNamespace gateways[]")];

const TEXT: &[Line] = &[Read("", "exact prefix regex")];

const DESTINATION: &[Line] = &[Read("", "host subset port.number")];

const HEADERS: &[Line] = &[Read("request", "set.* add.* remove[]"), Read("response", "set.* add.* remove[]")];

pub(super) const DESTINATION_RULE: &[Line] = &[
    Read("spec", "host exportTo[]"),
    Within("spec.trafficPolicy", TRAFFIC_POLICY),
    Read("spec.subsets[]", "name labels.*"),
    Within("spec.subsets[].trafficPolicy", TRAFFIC_POLICY),
    Unsupported("spec.workloadSelector", "", "a waypoint stands for all callers: leave it out"),
    Outside("status", "", WRITTEN),
];

const TRAFFIC_POLICY: &[Line] = &[
    Within("", PORT_POLICY),
    Read("portLevelSettings[]", "port.number"),
    Within("portLevelSettings[]", PORT_POLICY),
    Unsupported("tunnel", "", "write a ServiceEntry with a waypoint, through which calls leave the mesh"),
    Unsupported(
        "proxyProtocol",
        "",
        "leave it out: what is behind a waypoint is told who calls by headers of requests",
    ),
    Read("retryBudget", "percent minRetryConcurrency budgetInterval"),
];

/// What is preferred by where it is.
pub(super) const LOCALITY: &[Line] = &[
    Read("", "enabled failoverPriority[]"),
    Read("distribute[]", "from to.*"),
    Read("failover[]", "from to"),
];

const PORT_POLICY: &[Line] = &[
    Read("loadBalancer", "simple warmupDurationSecs"),
    Read("loadBalancer.warmup", "duration minimumPercent aggression"),
    Read(
        "loadBalancer.consistentHash",
        "httpHeaderName useSourceIp httpQueryParameterName minimumRingSize ringHash.minimumRingSize maglev.tableSize",
    ),
    Read("loadBalancer.consistentHash.httpCookie", "name path ttl attributes[].name attributes[].value"),
    Within("loadBalancer.localityLbSetting", LOCALITY),
    Unsupported(
        "loadBalancer.zoneAwareLbSetting",
        "",
        "use localityLbSetting, or trafficDistribution of the Service",
    ),
    Read("connectionPool.tcp", "maxConnections connectTimeout maxConnectionDuration idleTimeout"),
    Read("connectionPool.tcp.tcpKeepalive", "probes time interval"),
    Read(
        "connectionPool.http",
        "http1MaxPendingRequests http2MaxRequests maxRequestsPerConnection maxRetries idleTimeout h2UpgradePolicy \
         useClientProtocol maxConcurrentStreams http2KeepAlive.interval http2KeepAlive.timeout",
    ),
    Read(
        "outlierDetection",
        "consecutive5xxErrors consecutiveGatewayErrors consecutiveLocalOriginFailures splitExternalLocalOriginErrors \
         interval baseEjectionTime maxEjectionPercent minHealthPercent",
    ),
    Unsupported("outlierDetection.consecutiveErrors", "", "use consecutive5xxErrors"),
    Unsupported(
        "outlierDetection.outlierDetectionHttpErrorCodes",
        "",
        "use consecutive5xxErrors or consecutiveGatewayErrors",
    ),
    Read(
        "tls",
        "mode clientCertificate privateKey caCertificates caCrl credentialName subjectAltNames[] sni \
         insecureSkipVerify",
    ),
];
