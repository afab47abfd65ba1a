//! What roles grant, and what requests need, in the same words.
//!
//! A right is written `VERB RESOURCE[.GROUP][/SUBRESOURCE][=NAME] in NAMESPACE|everywhere`, or
//! `VERB /PATH` for what is no resource.

use anyhow::Context;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec,
};
use model::{Kind, KindState, KnownKind, known_kinds};
use pilothouse_tests::helm::{Rendered, render_pilothouse};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const EVERYWHERE: &str = "everywhere";

/// What is asked of the API server beside listing and watching what the mesh is made from. `NS` stands
/// for the namespace of the release, `REV` for the revision.
const FURTHER: [&str; 45] = [
    // who a token is of
    "create tokenreviews.authentication.k8s.io everywhere",
    "get /.well-known/openid-configuration",
    "get /openid/v1/jwks",
    // the root: found, plugged in or written, rotated
    "get secrets=cacerts in NS",
    "get secrets=istio-ca-secret in NS",
    "update secrets=cacerts in NS",
    "update secrets=istio-ca-secret in NS",
    // what is wrong with it
    "create events.events.k8s.io in NS",
    "patch events.events.k8s.io in NS",
    // the root certificate and the revocation lists, in every namespace
    "list configmaps=istio-ca-root-cert everywhere",
    "watch configmaps=istio-ca-root-cert everywhere",
    "create configmaps everywhere",
    "patch configmaps=istio-ca-root-cert everywhere",
    "list configmaps=istio-ca-crl everywhere",
    "watch configmaps=istio-ca-crl everywhere",
    "patch configmaps=istio-ca-crl everywhere",
    // conditions and addresses
    "patch services/status everywhere",
    "patch authorizationpolicies.security.istio.io/status everywhere",
    "patch requestauthentications.security.istio.io/status everywhere",
    "patch telemetries.telemetry.istio.io/status everywhere",
    "patch trafficextensions.extensions.istio.io/status everywhere",
    "patch wasmplugins.extensions.istio.io/status everywhere",
    "patch serviceentries.networking.istio.io/status everywhere",
    "patch workloadentries.networking.istio.io/status everywhere",
    // statuses of the Gateway API, and its classes
    "patch gatewayclasses.gateway.networking.k8s.io/status everywhere",
    "patch gateways.gateway.networking.k8s.io/status everywhere",
    "patch listenersets.gateway.networking.k8s.io/status everywhere",
    "patch httproutes.gateway.networking.k8s.io/status everywhere",
    "patch grpcroutes.gateway.networking.k8s.io/status everywhere",
    "patch tlsroutes.gateway.networking.k8s.io/status everywhere",
    "patch tcproutes.gateway.networking.k8s.io/status everywhere",
    "patch udproutes.gateway.networking.k8s.io/status everywhere",
    "patch backendtlspolicies.gateway.networking.k8s.io/status everywhere",
    "patch xbackendtrafficpolicies.gateway.networking.x-k8s.io/status everywhere",
    "patch virtualservices.networking.istio.io/status everywhere",
    "patch destinationrules.networking.istio.io/status everywhere",
    "create gatewayclasses.gateway.networking.k8s.io everywhere",
    // who writes them
    "create leases.coordination.k8s.io in NS",
    "get leases.coordination.k8s.io=istio-status-leader in NS",
    "update leases.coordination.k8s.io=istio-status-leader in NS",
    "get leases.coordination.k8s.io=istio-gateway-status-leader-REV in NS",
    "update leases.coordination.k8s.io=istio-gateway-status-leader-REV in NS",
    "create configmaps in NS",
    "get configmaps=istio-ip-autoallocate in NS",
    "update configmaps=istio-ip-autoallocate in NS",
];

/// The kinds of what is deployed for gateways.
const DEPLOYED: [&str; 5] = [
    "deployments.apps",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
    "serviceaccounts",
    "services",
];

/// What is asked beside that for an external signer, `SIGNER`.
const OF_SIGNERS: [&str; 6] = [
    "create certificatesigningrequests.certificates.k8s.io everywhere",
    "list certificatesigningrequests.certificates.k8s.io everywhere",
    "watch certificatesigningrequests.certificates.k8s.io everywhere",
    "delete certificatesigningrequests.certificates.k8s.io everywhere",
    "patch certificatesigningrequests.certificates.k8s.io/approval everywhere",
    "approve signers.certificates.k8s.io=SIGNER everywhere",
];

/// Returns what all roles of a chart grant, bound as they are.
pub fn granted(rendered: &Rendered) -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for role in &rendered.objects {
        let place = match role["kind"].as_str() {
            Some("ClusterRole") => EVERYWHERE.to_owned(),
            Some("Role") => format!("in {}", role["metadata"]["namespace"].as_str().context("no namespace")?),
            _ => continue,
        };
        for rule in role["rules"].as_array().context("no rules")? {
            for verb in words(rule, "verbs") {
                for path in words(rule, "nonResourceURLs") {
                    all.insert(format!("{verb} {path}"));
                }
                for group in words(rule, "apiGroups") {
                    for resource in words(rule, "resources") {
                        let resource = qualified(group, resource);
                        let names = words(rule, "resourceNames");
                        if names.is_empty() {
                            all.insert(format!("{verb} {resource} {place}"));
                        }
                        all.extend(names.iter().map(|name| format!("{verb} {resource}={name} {place}")));
                    }
                }
            }
        }
    }
    Ok(all)
}

fn words<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns `pods/status` of group `g` as `pods.g/status`; the core group has no name.
fn qualified(group: &str, resource: &str) -> String {
    match (group, resource.split_once('/')) {
        ("", _) => resource.to_owned(),
        (_, Some((resource, part))) => format!("{resource}.{group}/{part}"),
        (_, None) => format!("{resource}.{group}"),
    }
}

/// Returns the question whether a user has a right.
pub fn question(right: &str, user: &str) -> anyhow::Result<SubjectAccessReviewSpec> {
    let user = Some(user.to_owned());
    let (verb, rest) = right.split_once(' ').context("no verb")?;
    let verb = Some(verb.to_owned());
    if rest.starts_with('/') {
        let of = NonResourceAttributes { path: Some(rest.to_owned()), verb };
        return Ok(SubjectAccessReviewSpec { user, non_resource_attributes: Some(of), ..Default::default() });
    }
    let (what, place) = rest.split_once(' ').context("no place")?;
    let (what, name) = what.split_once('=').map_or((what, None), |(what, name)| (what, Some(name)));
    let (what, part) = what.split_once('/').map_or((what, None), |(what, part)| (what, Some(part)));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let of = ResourceAttributes {
        verb,
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: part.map(str::to_owned),
        name: name.map(str::to_owned),
        // In none of them, it is asked of all.
        namespace: place.strip_prefix("in ").map(str::to_owned),
        ..ResourceAttributes::default()
    };
    Ok(SubjectAccessReviewSpec { user, resource_attributes: Some(of), ..Default::default() })
}

/// Returns the rights of which a request needs one, the least first.
///
/// `path` is the path and query of the request.
pub fn needed(method: &str, path: &str) -> Vec<String> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parameter = |key: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(k, _)| *k == key)
            .map(|(_, value)| value.replace("%3D", "=").replace("%3A", ":"))
            .next()
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return vec![format!("{} {path}", method.to_lowercase())],
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (resource, name, part) = match rest {
        [resource] => (*resource, None, None),
        [resource, name] => (*resource, Some((*name).to_owned()), None),
        [resource, name, part, ..] => (*resource, Some((*name).to_owned()), Some(*part)),
        [] => return Vec::new(),
    };
    let is_watch = parameter("watch").is_some_and(|value| value == "true" || value == "1");
    let verb = match (method, &name) {
        ("GET", None) if is_watch => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", None) => "deletecollection",
        ("DELETE", Some(_)) => "delete",
        (other, _) => other,
    };
    // A list of one object by its name may be granted by that name.
    let selected =
        parameter("fieldSelector").and_then(|s| s.strip_prefix("metadata.name=").map(str::to_owned));
    let resource = qualified(group, &part.map_or(resource.to_owned(), |part| format!("{resource}/{part}")));
    let mut all = Vec::new();
    for place in namespace.map(|ns| format!("in {ns}")).into_iter().chain([EVERYWHERE.to_owned()]) {
        if let Some(name) = name.as_ref().or(selected.as_ref()) {
            all.push(format!("{verb} {resource}={name} {place}"));
        }
        all.push(format!("{verb} {resource} {place}"));
    }
    all
}

/// Returns the rights that the table of kinds asks for: to list and watch those that are read, and to list those
/// whose objects have no effect; what is referred to is read by its name.
pub fn reads(namespace: &str, settings: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for verb in ["list", "watch"] {
        for kind in Kind::ALL {
            all.insert(match kind {
                Kind::ConfigMap => format!("{verb} configmaps={settings} in {namespace}"),
                _ => format!("{verb} {} {EVERYWHERE}", qualified(kind.group(), kind.plural())),
            });
        }
    }
    // What gateways refer to, and the defaults of their classes.
    all.extend(["get", "watch"].map(|verb| format!("{verb} configmaps {EVERYWHERE}")));
    all.extend(["list", "watch"].map(|verb| format!("{verb} configmaps in {namespace}")));
    let told = known_kinds().filter(|kind| kind.state.told().is_some());
    all.extend(told.map(|kind| format!("list {} {EVERYWHERE}", qualified(kind.group, kind.plural))));
    all
}

/// Returns the other rights that are needed by a revision.
pub fn further(namespace: &str, revision: &str) -> BTreeSet<String> {
    let of = |right: &&str| {
        right.replace(" in NS", &format!(" in {namespace}")).replace("-REV ", &format!("-{revision} "))
    };
    let written = FURTHER.iter().map(of);
    let notices = unread_with_conditions()
        .map(|kind| format!("patch {}/status {EVERYWHERE}", qualified(kind.group, kind.plural)));
    written.chain(notices).chain(validating(namespace, revision)).collect()
}

/// Returns the rights that are needed to keep the configurations of the validation webhook.
fn validating(namespace: &str, revision: &str) -> Vec<String> {
    let kind = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let own = match revision {
        "default" => format!("istio-validator-{namespace}"),
        revision => format!("istio-validator-{revision}-{namespace}"),
    };
    let mut all = ["list", "watch"].map(|verb| format!("{verb} {kind} {EVERYWHERE}")).to_vec();
    let names = [own.as_str(), "istiod-default-validator"];
    all.extend(names.map(|name| format!("patch {kind}={name} {EVERYWHERE}")));
    all.push(format!("create telemetries.telemetry.istio.io in {namespace}"));
    all
}

#[test]
fn keeping_webhooks_is_granted_where_it_is_wished_for() -> anyhow::Result<()> {
    let with = granted(&render_pilothouse("mesh", &json!({"revision": "blue"}))?)?;
    let without =
        granted(&render_pilothouse("mesh", &json!({"revision": "blue", "configValidation": false}))?)?;
    let all = validating("mesh", "blue").into_iter().collect();
    is_exactly(&with.difference(&without).cloned().collect(), &all);
    Ok(())
}

/// Returns the rights that are needed to deploy gateways, beside those that others need too.
fn deploying(namespace: &str, revision: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in DEPLOYED {
        let reads = ["list", "watch"].into_iter().filter(|_| kind != "services");
        let verbs = ["create", "patch", "delete"].into_iter().chain(reads);
        all.extend(verbs.map(|verb| format!("{verb} {kind} {EVERYWHERE}")));
    }
    let lease = format!("leases.coordination.k8s.io=istio-gateway-deployment-{revision} in {namespace}");
    all.extend(["get", "update"].map(|verb| format!("{verb} {lease}")));
    all
}

/// Returns the rights that are needed beside those to read, with the settings of the chart.
fn writes(namespace: &str, revision: &str) -> BTreeSet<String> {
    further(namespace, revision).into_iter().chain(deploying(namespace, revision)).collect()
}

/// Returns the kinds that are not read and whose objects say so in a condition.
pub fn unread_with_conditions() -> impl Iterator<Item = &'static KnownKind> {
    known_kinds().filter(|kind| matches!(kind.state, KindState::Unread(_)) && kind.has_open_conditions())
}

/// Tells whether a right lets its owner change something. A review of a token leaves no trace.
fn changes(right: &str) -> bool {
    let verb = right.split(' ').next().unwrap_or_default();
    !matches!(verb, "get" | "list" | "watch") && !right.contains(" tokenreviews.")
}

#[test]
fn roles_grant_what_is_read_and_written_and_nothing_else() -> anyhow::Result<()> {
    for (values, settings, revision) in
        [(json!({}), "istio", "default"), (json!({"revision": "blue"}), "istio-blue", "blue")]
    {
        let rendered = render_pilothouse("mesh", &values)?;
        let expected: BTreeSet<String> =
            reads("mesh", settings).into_iter().chain(writes("mesh", revision)).collect();
        is_exactly(&granted(&rendered)?, &expected);
    }
    Ok(())
}

#[test]
fn what_is_published_under_another_name_is_granted_by_it() -> anyhow::Result<()> {
    let all: BTreeSet<String> = reads("mesh", "istio").into_iter().chain(writes("mesh", "default")).collect();
    let of_chart = |env: Value| granted(&render_pilothouse("mesh", &json!({ "env": env }))?);

    let named = of_chart(json!({"PILOT_CA_CERT_CONFIGMAP": "roots", "PILOT_CRL_CONFIGMAP": "lists"}))?;
    let rename =
        |right: &String| right.replace("=istio-ca-root-cert", "=roots").replace("=istio-ca-crl", "=lists");
    is_exactly(&named, &all.iter().map(rename).collect());

    let without =
        |names: &[&str]| all.iter().filter(|r| !names.iter().any(|n| r.contains(n))).cloned().collect();
    let (roots, lists) = ("=istio-ca-root-cert", "=istio-ca-crl");
    is_exactly(&of_chart(json!({"PILOT_CA_CERT_CONFIGMAP": ""}))?, &without(&[roots]));
    for off in [json!({"PILOT_CRL_CONFIGMAP": ""}), json!({"PILOT_ENABLE_CA_CRL": false})] {
        is_exactly(&of_chart(off)?, &without(&[lists]));
    }
    let neither = of_chart(json!({"PILOT_CA_CERT_CONFIGMAP": "", "PILOT_ENABLE_CA_CRL": "false"}))?;
    is_exactly(&neither, &without(&[roots, lists, "create configmaps everywhere"]));
    Ok(())
}

#[test]
fn deploying_gateways_is_granted_where_it_is_wished_for() -> anyhow::Result<()> {
    let without: BTreeSet<String> =
        reads("mesh", "istio-blue").into_iter().chain(further("mesh", "blue")).collect();
    let with = without.union(&deploying("mesh", "blue")).cloned().collect();
    let (deploys, configures) =
        ("PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER", "PILOTHOUSE_CONFIGURE_WAYPOINTS");
    for (gateways, env, expected) in [
        (json!({}), json!({}), &with),
        (json!({"enabled": true}), json!({}), &with),
        (json!({"enabled": false}), json!({}), &without),
        (json!({"enabled": true}), json!({deploys: false}), &without),
        // Who configures no waypoints deploys none, unless all gateways are to be.
        (json!({"configureWaypoints": false}), json!({}), &without),
        (json!({}), json!({configures: "no"}), &without),
        (json!({"configureWaypoints": false}), json!({configures: true}), &with),
        (json!({"configureWaypoints": false}), json!({deploys: true}), &with),
    ] {
        let values = json!({"revision": "blue", "gateways": gateways, "env": env});
        is_exactly(&granted(&render_pilothouse("mesh", &values)?)?, expected);
    }
    Ok(())
}

#[test]
fn external_signer_is_granted_by_its_name_and_no_secret_is() -> anyhow::Result<()> {
    let of = |signer: &str| OF_SIGNERS.map(|right| right.replace("SIGNER", signer));
    let mut expected = reads("mesh", "istio");
    expected.extend(writes("mesh", "default").into_iter().filter(|right| !right.contains(" secrets")));
    expected.extend(of("issuers.example/mesh"));
    let rendered = |domain: &str, shadow: bool| {
        let signer = json!({"name": "issuers.example/mesh", "domain": domain});
        let values = json!({"externalSigner": signer, "shadow": {"enabled": shadow}});
        render_pilothouse("mesh", &values)
    };
    is_exactly(&granted(&rendered("", false)?)?, &expected);
    expected.extend(of("others.example/*"));
    is_exactly(&granted(&rendered("others.example", false)?)?, &expected);
    let granted = granted(&rendered("", true)?)?;
    assert!(!granted.iter().any(|right| changes(right)), "{granted:?}");
    Ok(())
}

#[test]
fn a_trust_bundle_is_granted_where_it_is_wished_for() -> anyhow::Result<()> {
    let values = json!({"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}});
    let mut expected: BTreeSet<String> =
        reads("mesh", "istio").into_iter().chain(writes("mesh", "default")).collect();
    let kind = "clustertrustbundles.certificates.k8s.io";
    expected.insert(format!("create {kind} everywhere"));
    expected.insert("attest signers.certificates.k8s.io=istio.io/istiod-ca everywhere".to_owned());
    for verb in ["list", "watch", "patch"] {
        expected.insert(format!("{verb} {kind}=istio.io:istiod-ca:root-cert everywhere"));
    }
    is_exactly(&granted(&render_pilothouse("mesh", &values)?)?, &expected);
    Ok(())
}

#[test]
fn secrets_of_gateways_are_granted_in_the_namespaces_that_are_named() -> anyhow::Result<()> {
    let of = |values: Value| granted(&render_pilothouse("mesh", &values)?);
    let without = of(json!({}))?;
    let named = of(json!({"secretNamespaces": ["certs", "shop", "certs"]}))?;
    let added: BTreeSet<String> = named.difference(&without).cloned().collect();
    let expected = ["certs", "shop"]
        .iter()
        .flat_map(|ns| ["get", "watch"].map(|verb| format!("{verb} secrets in {ns}")))
        .collect();
    is_exactly(&added, &expected);
    assert!(without.is_subset(&named));
    Ok(())
}

/// Fails with what is missing and what is too much.
#[track_caller]
fn is_exactly(granted: &BTreeSet<String>, expected: &BTreeSet<String>) {
    let missing: Vec<_> = expected.difference(granted).collect();
    let too_many: Vec<_> = granted.difference(expected).collect();
    assert!(missing.is_empty() && too_many.is_empty(), "missing: {missing:#?}, too many: {too_many:#?}");
}

#[test]
fn a_shadow_is_granted_reading_only() -> anyhow::Result<()> {
    let shadow = json!({"enabled": true, "namespace": "istio-system"});
    let values = json!({"shadow": shadow, "gateways": {"enabled": true}});
    let granted = granted(&render_pilothouse("shadow", &values)?)?;
    let mut expected = reads("istio-system", "istio");
    let of_writers = |right: &String| {
        ["leases", "=istio-ip-autoallocate", "=istio-ca-root-cert", "=istio-ca-crl", "validatingwebhook"]
            .iter()
            .any(|word| right.contains(word))
    };
    expected.extend(further("istio-system", "default").into_iter().filter(|r| !changes(r) && !of_writers(r)));
    is_exactly(&granted, &expected);
    assert!(!granted.iter().any(|right| changes(right)), "{granted:?}");
    Ok(())
}

#[test]
fn requests_are_told_apart_as_the_api_server_does() {
    let first = |method, path| needed(method, path).into_iter().next().unwrap_or_default();
    for (method, path, right) in [
        ("GET", "/api/v1/pods?limit=500", "list pods everywhere"),
        ("GET", "/api/v1/pods?watch=true&resourceVersion=1", "watch pods everywhere"),
        ("GET", "/api/v1/namespaces?", "list namespaces everywhere"),
        ("GET", "/api/v1/namespaces/a", "get namespaces=a everywhere"),
        (
            "GET",
            "/api/v1/namespaces/mesh/configmaps?fieldSelector=metadata.name%3Distio",
            "list configmaps=istio in mesh",
        ),
        ("PATCH", "/api/v1/namespaces/a/services/b/status?force=true", "patch services/status=b in a"),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
            "update leases.coordination.k8s.io=b in a",
        ),
        ("POST", "/api/v1/namespaces/a/configmaps?", "create configmaps in a"),
        ("GET", "/openid/v1/jwks", "get /openid/v1/jwks"),
    ] {
        assert_eq!(first(method, path), right, "{method} {path}");
    }
}
