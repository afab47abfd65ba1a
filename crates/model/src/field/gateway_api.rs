//! Fields of the kinds of the Gateway API, of both channels. Fields that are newer than the published definitions of
//! the tests stand here as well.

use super::line::Line::{self, Deprecated, Outside, Read, Unsupported, Within};

const STATUS: &str = "it is written, and nothing of it is read";
const DEFAULT_GATEWAYS: &str = "name the gateways in parentRefs";

pub(super) const GATEWAY_CLASS: &[Line] = &[
    Read("spec", "controllerName"),
    Unsupported(
        "spec.parametersRef",
        "",
        "gateways of a class differ by what each says itself: classes have no parameters here",
    ),
    Outside("spec", "description", "it is for people"),
    Outside("status", "", STATUS),
];

pub(super) const GATEWAY: &[Line] = &[
    Read("spec", "gatewayClassName addresses[].type addresses[].value"),
    Within("spec.listeners[]", LISTENER),
    Within("spec.allowedListeners.namespaces", NAMESPACES),
    Read("spec.infrastructure.parametersRef", "group kind name"),
    Read("spec.infrastructure", "labels.* annotations.*"),
    Within("spec.tls.backend.clientCertificateRef", REFERENCE),
    Within("spec.tls.frontend.default.validation", VALIDATION),
    Read("spec.tls.frontend.perPort[]", "port"),
    Within("spec.tls.frontend.perPort[].tls.validation", VALIDATION),
    Unsupported("spec.defaultScope", "None", "name the gateway in parentRefs of each route"),
    Read("status.addresses[]", "type value"),
    Outside("status", "", STATUS),
];

pub(super) const LISTENER_SET: &[Line] = &[
    Within("spec.parentRef", REFERENCE),
    Within("spec.listeners[]", LISTENER),
    Outside("status", "", STATUS),
];

const LISTENER: &[Line] = &[
    Read("", "name hostname port protocol tls.mode tls.options.*"),
    Within("tls.certificateRefs[]", REFERENCE),
    Read("allowedRoutes.kinds[]", "group kind"),
    Within("allowedRoutes.namespaces", NAMESPACES),
];

const NAMESPACES: &[Line] =
    &[Read("", "from selector.matchLabels.*"), Read("selector.matchExpressions[]", "key operator values[]")];

const VALIDATION: &[Line] = &[Within("caCertificateRefs[]", REFERENCE), Read("", "mode")];

const REFERENCE: &[Line] = &[Read("", "group kind name namespace")];

pub(super) const HTTP_ROUTE: &[Line] = &[
    Within("spec", PARENTS),
    Read("spec", "hostnames[]"),
    Read("spec.rules[]", "name"),
    Read("spec.rules[].matches[]", "method path.type path.value"),
    Read("spec.rules[].matches[].headers[]", "name type value"),
    Read("spec.rules[].matches[].queryParams[]", "name type value"),
    Within("spec.rules[].filters[]", HTTP_FILTER),
    Within("spec.rules[].backendRefs[]", BACKEND),
    Within("spec.rules[].backendRefs[].filters[]", HTTP_BACKEND_FILTER),
    Read("spec.rules[]", "timeouts.request timeouts.backendRequest"),
    Read("spec.rules[].retry", "attempts backoff codes[]"),
    Within("spec.rules[].sessionPersistence", SESSION),
    Outside("status", "", STATUS),
];

pub(super) const GRPC_ROUTE: &[Line] = &[
    Within("spec", PARENTS),
    Read("spec", "hostnames[]"),
    Read("spec.rules[]", "name"),
    Read("spec.rules[].matches[].method", "type service method"),
    Read("spec.rules[].matches[].headers[]", "name type value"),
    Within("spec.rules[].filters[]", FILTER),
    Within("spec.rules[].backendRefs[]", BACKEND),
    Within("spec.rules[].backendRefs[].filters[]", BACKEND_FILTER),
    Within("spec.rules[].sessionPersistence", SESSION),
    Outside("status", "", STATUS),
];

pub(super) const TLS_ROUTE: &[Line] = &[Read("spec", "hostnames[]"), Within("", STREAM_ROUTE)];

pub(super) const STREAM_ROUTE: &[Line] = &[
    Within("spec", PARENTS),
    Read("spec.rules[]", "name"),
    Within("spec.rules[].backendRefs[]", BACKEND),
    Outside("status", "", STATUS),
];

const PARENTS: &[Line] = &[
    Read("parentRefs[]", "group kind namespace name sectionName port"),
    Unsupported("useDefaultGateways", "None", DEFAULT_GATEWAYS),
];

const BACKEND: &[Line] = &[Read("", "group kind namespace name port weight")];

/// The filters that HTTPRoutes and GRPCRoutes have, of rules and of backends.
const ANY_FILTER: &[Line] = &[
    Read("", "type"),
    Within("requestHeaderModifier", HEADERS),
    Within("responseHeaderModifier", HEADERS),
    Unsupported("extensionRef", "", "use a filter that the Gateway API defines: no other is known"),
];

const FILTER: &[Line] = &[
    Within("", ANY_FILTER),
    Read("requestMirror.backendRef", "group kind namespace name port"),
    Read("requestMirror", "percent fraction.numerator fraction.denominator"),
];

const BACKEND_FILTER: &[Line] = &[Within("", ANY_FILTER), Outside("requestMirror", "", OF_RULES)];

/// Why a backend has no such filter. Its type is refused where it is written.
const OF_RULES: &str = "is for rules, and its type is refused for a backend";

const HTTP_FILTER: &[Line] = &[
    Within("", FILTER),
    Within("", HTTP_ONLY),
    Read("requestRedirect", "scheme hostname port statusCode"),
    Within("requestRedirect.path", PATH),
    Read("cors", "allowOrigins[] allowMethods[] allowHeaders[] exposeHeaders[] allowCredentials maxAge"),
];

const HTTP_BACKEND_FILTER: &[Line] = &[
    Within("", BACKEND_FILTER),
    Within("", HTTP_ONLY),
    Outside("requestRedirect", "", OF_RULES),
    Outside("cors", "", OF_RULES),
];

/// What only HTTPRoutes have, of rules and of backends.
const HTTP_ONLY: &[Line] = &[
    Read("urlRewrite", "hostname"),
    Within("urlRewrite.path", PATH),
    Unsupported("externalAuth", "", "let the application check who calls: no other server is asked"),
];

const HEADERS: &[Line] = &[Read("", "set[].name set[].value add[].name add[].value remove[]")];

const PATH: &[Line] = &[Read("", "type replaceFullPath replacePrefixMatch")];

const SESSION: &[Line] = &[
    Read("", "type absoluteTimeout cookie.name cookie.lifetimeType header.name"),
    // Gateway API 1.7 has them no more.
    Deprecated("sessionName", "write cookie.name or header.name, which Gateway API 1.7 has instead"),
    Deprecated("cookieConfig.lifetimeType", "write cookie.lifetimeType, which Gateway API 1.7 has instead"),
];

pub(super) const REFERENCE_GRANT: &[Line] =
    &[Read("spec.from[]", "group kind namespace"), Read("spec.to[]", "group kind name")];

pub(super) const BACKEND_TLS_POLICY: &[Line] = &[
    Read("spec.targetRefs[]", "group kind name sectionName"),
    Read("spec.validation", "hostname wellKnownCACertificates"),
    Read("spec.validation.caCertificateRefs[]", "group kind name"),
    Read("spec.validation.subjectAltNames[]", "type hostname uri"),
    Read("spec", "options.*"),
    Outside("status", "", STATUS),
];

pub(super) const BACKEND_TRAFFIC_POLICY: &[Line] = &[
    Read("spec.targetRefs[]", "group kind name"),
    Read("spec.retryConstraint.budget", "percent interval"),
    Read("spec.retryConstraint.minRetryRate", "count interval"),
    Within("spec.sessionPersistence", SESSION),
    Outside("status", "", STATUS),
];
