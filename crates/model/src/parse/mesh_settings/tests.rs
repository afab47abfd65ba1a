#![allow(clippy::unwrap_used)]

use super::*;
use crate::Labels;
use serde_json::json;

fn settings(mesh: &str) -> Result<MeshSettings, Wrong> {
    let manifest = json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh, "other": "x"}});
    parse(manifest.to_string().as_bytes())
}

fn default() -> MeshSettings {
    MeshSettings { name: Name::new("istio-system", "istio"), ..MeshSettings::default() }
}

#[test]
fn nothing_written_leaves_the_defaults() {
    for mesh in ["", "# a comment\n", "---\n", "null", "{}", "trustDomain: \"\"\nrootNamespace:\n"] {
        assert_eq!(settings(mesh).unwrap(), default(), "{mesh:?}");
    }
    let without = json!({"metadata": {"name": "istio", "namespace": "istio-system"}});
    assert_eq!(parse(without.to_string().as_bytes()).unwrap(), default());
}

#[test]
fn every_field_that_is_read_is_read() {
    let mesh = "
trustDomain: example.org
trustDomainAliases: [old.example.org, b, old.example.org]
rootNamespace: mesh-root
defaultConfig:
  discoveryAddress: control.example.org:15012
  holdApplicationUntilProxyStarts: true
discoverySelectors:
- matchLabels: {mesh: \"on\"}
- matchExpressions:
  - {key: env, operator: In, values: [prod, stage]}
serviceScopeConfigs:
- servicesSelector: {matchLabels: {istio.io/global: \"true\"}}
  scope: GLOBAL
serviceEntryVisibility:
  defaultVisibility: NAMESPACE
  policies:
  - visibility: NONE
    matchingRules:
    - namespaceSelector: {matchLabels: {team: a}}
    - fromTheFuture: {}
  - {}
caCertificates:
- pem: roots of a
  certSigners: [issuers.example/a, issuers.example/b]
- pem: of no signer
- spiffeBundleUrl: https://example.org
  certSigners: [issuers.example/c]
pathNormalization: {normalization: BASE}
";
    let settings = settings(mesh).unwrap();
    assert_eq!(settings.trust_domain.as_str(), "example.org");
    assert_eq!(
        settings.trust_domain_aliases,
        ["b", "old.example.org"].map(|d| TrustDomain::parse(d).unwrap())
    );
    assert_eq!(settings.root_namespace, "mesh-root");
    assert_eq!(settings.discovery_host, "control.example.org");
    assert!(settings.discovery_selectors[0].matches(&Labels::new([("mesh", "on")])));
    assert!(settings.discovery_selectors[1].matches(&Labels::new([("env", "stage")])));
    assert!(!settings.discovery_selectors[1].matches(&Labels::new([("env", "dev")])));
    let scope = ServiceScope {
        namespaces: Selector::default(),
        services: Selector {
            match_labels: Labels::new([("istio.io/global", "true")]),
            match_expressions: vec![],
        },
        global: true,
    };
    assert_eq!(settings.service_scopes, [scope]);
    let team = Selector { match_labels: Labels::new([("team", "a")]), match_expressions: vec![] };
    let policies = vec![
        VisibilityPolicy {
            visibility: Visibility::None,
            rules: vec![MatchingRule::Namespace(team), MatchingRule::Unknown],
        },
        VisibilityPolicy { visibility: Visibility::Public, rules: vec![] },
    ];
    assert_eq!(settings.service_entry_visibility, Some((Visibility::Namespace, policies)));
    let signers = vec![shared("issuers.example/a"), shared("issuers.example/b")];
    assert_eq!(settings.ca_certificates, [CaCertificate { pem: shared("roots of a"), signers }]);
    assert_eq!(settings.path_normalization, PathNormalization::Base);
}

#[test]
fn a_dot_of_the_trust_domain_may_be_spelled_as_an_at_sign() {
    assert_eq!(settings("trustDomain: corp@test").unwrap().trust_domain.as_str(), "corp.test");
}

#[test]
fn faults_are_named_with_their_path() {
    for (mesh, code, field) in [
        ("trustDomain: [", "MS001", "data.mesh.trustDomain"),
        ("- a\n", "MS001", "data.mesh"),
        ("a: 1\n---\nb: 2\n", "MS001", "data.mesh"),
        ("trustDomainAliases: x\n", "MS001", "data.mesh.trustDomainAliases"),
        ("defaultConfig: {discoveryAddress: []}", "MS001", "data.mesh.defaultConfig.discoveryAddress"),
        ("caCertificates: [{pem: {}}]", "MS001", "data.mesh.caCertificates[0].pem"),
        (
            "discoverySelectors: [{matchExpressions: [{key: a, operator: Near}]}]",
            "MS002",
            "data.mesh.discoverySelectors[0].matchExpressions[0].operator",
        ),
        (
            "discoverySelectors: [{}, {matchExpressions: [{key: a, operator: In}]}]",
            "MS002",
            "data.mesh.discoverySelectors[1].matchExpressions[0].values",
        ),
        (
            "serviceScopeConfigs: [{servicesSelector: {matchExpressions: [{operator: Exists}]}}]",
            "MS002",
            "data.mesh.serviceScopeConfigs[0].servicesSelector.matchExpressions[0].key",
        ),
        ("serviceScopeConfigs: [{scope: EVERYWHERE}]", "MS003", "data.mesh.serviceScopeConfigs[0].scope"),
        (
            "serviceEntryVisibility: {defaultVisibility: SOME}",
            "MS003",
            "data.mesh.serviceEntryVisibility.defaultVisibility",
        ),
        (
            "serviceEntryVisibility: {policies: [{visibility: SOME}]}",
            "MS003",
            "data.mesh.serviceEntryVisibility.policies[0].visibility",
        ),
        ("pathNormalization: {normalization: SOME}", "MS003", "data.mesh.pathNormalization.normalization"),
        ("trustDomain: Corp.Test", "MS005", "data.mesh.trustDomain"),
        ("trustDomain: corp test", "MS005", "data.mesh.trustDomain"),
        ("trustDomainAliases: [old.test, '*']", "MS005", "data.mesh.trustDomainAliases[1]"),
        ("rootNamespace: istio_system", "MS005", "data.mesh.rootNamespace"),
        (
            "defaultConfig: {discoveryAddress: 'https://control.example.org'}",
            "MS005",
            "data.mesh.defaultConfig.discoveryAddress",
        ),
    ] {
        let diagnostic = match settings(mesh) {
            Ok(mut settings) => settings.refused.remove(0).diagnostic,
            Err(wrong) => wrong.into_diagnostic(None),
        };
        assert_eq!((diagnostic.code, diagnostic.field.as_str()), (code, field), "{mesh}");
    }
}

/// The settings of the issue that this is about: only the selector is wrong.
const HALF: &str = "
trustDomain: corp.test
rootNamespace: mesh-root
serviceEntryVisibility:
  defaultVisibility: NONE
  policies:
  - visibility: PUBLIC
    matchingRules: [{namespaceSelector: {matchExpressions: [{key: team, operator: Near}]}}]
";

fn parts(settings: &MeshSettings) -> Vec<SettingsPart> {
    settings.refused.iter().map(|of| of.part).collect()
}

#[test]
fn a_part_that_is_wrong_is_refused_alone_and_fails_closed() {
    let half = settings(HALF).unwrap();
    assert_eq!((half.trust_domain.as_str(), &*half.root_namespace), ("corp.test", "mesh-root"));
    assert_eq!(parts(&half), [SettingsPart::ServiceEntryVisibility]);
    assert_eq!(half.service_entry_visibility, Some((Visibility::Namespace, Vec::new())));
    assert_eq!(half.unusable(), None);
    let many = settings(
        "{trustDomainAliases: x, discoverySelectors: {}, serviceScopeConfigs: [{scope: ALL}, {scope: GLOBAL}],
          defaultConfig: {discoveryAddress: ':'}, caCertificates: no, trustDomain: corp.test}",
    );
    let many = many.unwrap();
    assert_eq!(
        parts(&many),
        [
            SettingsPart::TrustDomainAliases,
            SettingsPart::DefaultConfig,
            SettingsPart::DiscoverySelectors,
            SettingsPart::ServiceScopeConfigs,
            SettingsPart::CaCertificates,
        ]
    );
    let domain = TrustDomain::parse("corp.test").unwrap();
    let expected = MeshSettings { trust_domain: domain, refused: many.refused.clone(), ..default() };
    assert_eq!(many, expected);
}

#[test]
fn what_is_in_front_of_gateways_is_read_and_kept() {
    let last = "defaultConfig: {gatewayTopology: {numTrustedProxies: 2, proxyProtocol: {}, \
                forwardClientCertDetails: FORWARD_ONLY}}";
    let last = settings(last).unwrap();
    let expected = GatewayTopology {
        trusted_proxies: 2,
        client_certificates: ForwardedCertificates::Kept,
        has_proxy_protocol: true,
    };
    assert_eq!((last.gateway_topology, last.unread.len()), (expected, 0));
    for wrong in ["{numTrustedProxies: -1}", "{numTrustedProxies: many}", "{forwardClientCertDetails: MAYBE}"]
    {
        let wrong = settings(&format!("defaultConfig: {{gatewayTopology: {wrong}}}")).unwrap();
        assert_eq!(parts(&wrong), [SettingsPart::DefaultConfig]);
        assert_eq!(wrong.gateway_topology, GatewayTopology::default());
        assert_eq!(wrong.keep(&last).gateway_topology, expected);
    }
}

#[test]
fn a_part_that_is_wrong_keeps_its_last_good_value() {
    let last =
        "{trustDomain: corp.test, rootNamespace: mesh-root, discoverySelectors: [{matchLabels: {a: b}}]}";
    let last = settings(last).unwrap();
    let wrong = "{trustDomain: Corp.Test, rootNamespace: other, discoverySelectors: 1}";
    let kept = settings(wrong).unwrap().keep(&last);
    assert_eq!((kept.trust_domain.as_str(), &*kept.root_namespace), ("corp.test", "other"));
    assert_eq!(kept.discovery_selectors, last.discovery_selectors);
    assert_eq!(kept.unusable(), None);
    // It is kept for as long as it is wrong.
    assert_eq!(settings(wrong).unwrap().keep(&kept), kept);
    assert_eq!(settings("trustDomain: corp.test").unwrap().keep(&kept).refused, []);
}

#[test]
fn nothing_stands_in_for_a_trust_domain_or_a_root_namespace() {
    for wrong in ["trustDomain: Corp.Test", "rootNamespace: istio_system", "trustDomain: [a]"] {
        let first = settings(wrong).unwrap();
        assert!(first.unusable().is_some(), "{wrong}");
        assert!(settings(wrong).unwrap().keep(&first).unusable().is_some(), "{wrong}: there was no good one");
    }
}

#[test]
fn an_access_log_is_what_proxies_can_write() {
    let log = |mesh: &str| settings(mesh).unwrap().access_log;
    let of = |format| Some(AccessLog { file: "/dev/stdout".into(), format });
    assert_eq!(log("accessLogFormat: '%PROTOCOL%'"), None);
    assert_eq!(log("accessLogFile: /dev/stdout"), of(LogFormat::Text(None)));
    let text = log("{accessLogFile: /dev/stdout, accessLogFormat: '%PROTOCOL%'}");
    assert_eq!(text, of(LogFormat::Text(Some("%PROTOCOL%\n".into()))));
    assert_eq!(log("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}"), of(LogFormat::Json(None)));
    let json = "{accessLogFile: /dev/stdout, accessLogEncoding: 1, accessLogFormat: '{\"b\": \"%PROTOCOL%\", \"a\": \"\"}'}";
    let fields = vec![("a".into(), "".into()), ("b".into(), "%PROTOCOL%".into())];
    assert_eq!(log(json), of(LogFormat::Json(Some(fields))));
    for wrong in [
        "{accessLogFile: /var/log/access}",
        "{accessLogFile: /dev/stdout, accessLogFormat: '%NONE%'}",
        "{accessLogFile: /dev/stdout, accessLogEncoding: XML}",
        "{accessLogFile: /dev/stdout, accessLogEncoding: JSON, accessLogFormat: '%PROTOCOL%'}",
    ] {
        let settings = settings(wrong).unwrap();
        assert_eq!((parts(&settings), settings.access_log), (vec![SettingsPart::AccessLog], None), "{wrong}");
    }
}

#[test]
fn fields_that_are_not_read_are_told() {
    let settings = settings(
        "{enableEnvoyAccessLogService: true, enable_tracing: true, trustdomain: a.test, somethingElse: 1, trust_domain: b.test,
          accessLogFormat: '', defaultConfig: {discoveryAddress: 'a:1', concurrency: 2}, tlsDefaults: {},
          caCertificates: [{pem: x}, {spiffe_bundle_url: 'https://example.org'}]}",
    );
    let told = settings.unwrap().unread;
    let told: Vec<_> = told.iter().map(|d| (d.code, d.severity, d.field.as_str(), d.help.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                "KO007",
                Severity::Info,
                "data.mesh.enableEnvoyAccessLogService",
                "write a provider with envoyHttpAls, and name it in defaultProviders.accessLogging"
            ),
            (
                "KO007",
                Severity::Info,
                "data.mesh.enable_tracing",
                "write defaultProviders.tracing, or a Telemetry in the root namespace"
            ),
            ("KO004", Severity::Warning, "data.mesh.trustdomain", "did you mean `trustDomain`?"),
            ("KO004", Severity::Warning, "data.mesh.somethingElse", ""),
            (
                "KO007",
                Severity::Info,
                "data.mesh.defaultConfig.concurrency",
                "it is for Envoys, and no waypoint of this version reads it"
            ),
            (
                "KO007",
                Severity::Info,
                "data.mesh.caCertificates[1].spiffe_bundle_url",
                "write the roots into pem"
            ),
        ]
    );
}

#[test]
fn a_field_has_one_spelling_at_a_time() {
    let settings = settings("{root_namespace: a, trust_domain: b.test, trustDomain: c.test}").unwrap();
    assert_eq!(&*settings.root_namespace, "a");
    assert_eq!(parts(&settings), [SettingsPart::TrustDomain]);
}
