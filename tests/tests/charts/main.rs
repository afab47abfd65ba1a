//! The charts, rendered by helm's own packages and held against a real API server.
//!
//! ```text
//! charts/* ──(tests/helm)──▶ objects ──▶ server-side dry run      does a cluster take them?
//!                               ├──────▶ roles = kinds + writes    is a right missing or too many?
//!                               └──────▶ Pilothouse with these settings as this account, through a
//!                                        proxy that records: does it work, which rights does it use?
//! ```

mod dashboards;
mod deployment;
mod own_account;
mod rights;
mod root_secret;
mod trust_bundle;
mod upstream;
mod values;

use anyhow::Context;
use deployment::{container, environment};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, api::ValidationDirective};
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::helm::{Rendered, chart, render, render_pilothouse};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Values of many kinds of installation.
fn installations() -> Vec<Value> {
    vec![
        json!({}),
        json!({"revision": "default", "replicaCount": 1, "plaintextXds": true}),
        json!({"revision": "1-29", "hub": "example.com/mesh", "tag": "1.20", "imagePullSecrets": ["a", "b"]}),
        json!({
            "image": "example.com/mesh/pilothouse@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "runAsUser": null,
            "resources": {"requests": {"cpu": 2}, "limits": {"memory": "8Gi"}},
            "rollingMaxSurge": "100%", "rollingMaxUnavailable": "25%",
        }),
        json!({
            "listenAddress": "[::]",
            "clusterName": "east: \"1\" # {{ not }} a template",
            "log": {"level": "info,pilothouse_server=debug", "json": false},
            "env": {"PILOT_AUTO_ALLOW_WAYPOINT_POLICY": true, "MAX_WORKLOAD_CERT_TTL": "48h", "CLUSTER_ID": "west"},
            "meshConfig": {
                "rootNamespace": "policies", "trustDomain": "mesh: example",
                "discoverySelectors": [{"matchLabels": {"mesh": "on"}}],
                "defaultConfig": {"proxyMetadata": {"A": "yes"}},
                "accessLogFormat": "a: b\n# c\n",
            },
        }),
        json!({
            "podLabels": {"team": "mesh"}, "podAnnotations": {"a": "true"},
            "serviceAnnotations": {"b": "1"}, "serviceAccountAnnotations": {"c": "{\"d\": 1}"},
            "nodeSelector": {"pool": "mesh"}, "priorityClassName": "system-cluster-critical",
            "affinity": {"nodeAffinity": {}}, "tolerations": [],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                 "labelSelector": {"matchLabels": {"app": "istiod"}}},
            ],
            "networkPolicy": {
                "enabled": true,
                "monitoringFrom": [{"namespaceSelector": {"matchLabels": {"monitoring": "on"}}}],
            },
            "podDisruptionBudget": {"enabled": false},
        }),
        json!({
            "autoscaleEnabled": true, "autoscaleMin": 3, "autoscaleMax": 9,
            "autoscaleBehavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
            "cpu": {"targetAverageUtilization": 70}, "memory": {"targetAverageUtilization": 90},
            "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"],
            "deploymentLabels": {"team": "mesh"}, "deploymentAnnotations": {"a": "b"},
            "envVarFrom": [{"configMapRef": {"name": "more", "optional": true}}],
            "volumes": [{"name": "keys", "secret": {"secretName": "cacerts", "optional": true}}],
            "volumeMounts": [{"name": "keys", "mountPath": "/etc/cacerts", "readOnly": true}],
            "configValidation": false,
        }),
        json!({"networkPolicy": {"enabled": false}, "trustedZtunnelName": "zt", "trustedZtunnelNamespace": "nodes"}),
        json!({"shadow": {"enabled": true}, "revision": "blue"}),
        json!({"shadow": {"enabled": true, "namespace": "default"}}),
    ]
}

/// Asks the API server whether it would take an object, every field of it.
async fn dry_run(client: &Client, object: &Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.as_ref().context("no apiVersion and kind")?;
    let name = object.metadata.name.as_deref().context("no name")?;
    let what = || format!("{} {name}", types.kind);
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = pinned_kind(client, &kind).await.with_context(what)?;
    let namespace = object.metadata.namespace.as_deref();
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace.with_context(what)?, &resource),
    };
    let mut params = PatchParams::apply("helm").dry_run();
    params.field_validation = Some(ValidationDirective::Strict);
    api.patch(name, &params, &Patch::Apply(&object)).await.with_context(what)?;
    Ok(())
}

#[tokio::test]
async fn every_object_is_taken_by_the_api_server_whatever_the_values() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let namespace = server.namespace("dry").await?;
    let client = server.client().await?;
    for revision in ["default", "blue", ""] {
        let base = render(&chart("base"), &namespace, &json!({"defaultRevision": revision}))?;
        assert_eq!(base.objects.len(), usize::from(!revision.is_empty()), "{revision}");
        for object in base.definitions.iter().chain(&base.objects) {
            dry_run(&client, object).await?;
        }
    }
    for values in installations() {
        let rendered = render_pilothouse(&namespace, &values)?;
        for object in &rendered.objects {
            dry_run(&client, object).await.with_context(|| format!("with {values}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_definitions_of_base_can_be_installed_and_brought_up_to_date() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let rendered = render(&chart("base"), "istio-system", &json!({}))?;
    assert!(!rendered.definitions.is_empty());
    for _install_then_update in 0..2 {
        for definition in &rendered.definitions {
            server.apply(&definition.to_string()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pods_are_admitted_where_the_restricted_standard_is_enforced() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let namespace = server.namespace("restricted").await?;
    let label = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let enforce = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": label},
    });
    server.apply(&enforce.to_string()).await?;
    let client = server.client().await?;
    for values in installations() {
        let rendered = render_pilothouse(&namespace, &values)?;
        server.apply(&rendered.only("ServiceAccount")?.to_string()).await?;
        let template = &rendered.only("Deployment")?["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "istiod-0", "namespace": namespace, "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        });
        // A class of this name may be had in kube-system only, whatever the chart.
        pod["spec"].as_object_mut().context("no spec")?.remove("priorityClassName");
        dry_run(&client, &pod).await.with_context(|| format!("with {values}"))?;

        pod["spec"]["containers"][0]["securityContext"] = json!({});
        let refused = dry_run(&client, &pod).await;
        assert!(refused.is_err(), "the standard is not enforced here: this shows nothing");
    }
    Ok(())
}

/// Returns the ports of a service by name.
fn ports(rendered: &Rendered) -> anyhow::Result<Vec<(String, u64)>> {
    let ports = rendered.only("Service")?["spec"]["ports"].as_array().context("no ports")?;
    let named = |port: &Value| Some((port["name"].as_str()?.to_owned(), port["port"].as_u64()?));
    ports.iter().map(|port| named(port).context("a port without a name")).collect()
}

#[test]
fn names_are_those_that_ztunnels_dashboards_and_istioctl_look_for() -> anyhow::Result<()> {
    let rendered = render_pilothouse("istio-system", &json!({}))?;
    for kind in ["Deployment", "Service", "ServiceAccount"] {
        assert_eq!(rendered.only(kind)?["metadata"]["name"], "istiod", "{kind}");
    }
    assert_eq!(container(&rendered)?["name"], "discovery");
    assert_eq!(rendered.only("ConfigMap")?["metadata"]["name"], "istio");
    let named = |ports: &[(&str, u64)]| -> Vec<(String, u64)> {
        ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect()
    };
    assert_eq!(
        ports(&rendered)?,
        named(&[("https-dns", 15012), ("https-webhook", 443), ("http-monitoring", 15014)])
    );
    let plaintext = render_pilothouse("istio-system", &json!({"plaintextXds": true}))?;
    let all = [("grpc-xds", 15010), ("https-dns", 15012), ("https-webhook", 443), ("http-monitoring", 15014)];
    assert_eq!(ports(&plaintext)?, named(&all));
    let pod = &rendered.only("Deployment")?["spec"]["template"]["metadata"];
    assert_eq!(
        (&pod["labels"]["app"], &pod["labels"]["istio.io/rev"]),
        (&json!("istiod"), &json!("default"))
    );
    assert_eq!(pod["annotations"]["prometheus.io/port"], "15014");
    Ok(())
}

#[test]
fn every_port_of_the_service_is_one_that_the_pods_listen_on() -> anyhow::Result<()> {
    for values in installations() {
        let rendered = render_pilothouse("istio-system", &values)?;
        let container = container(&rendered)?;
        let listening: BTreeSet<u64> = environment(container, "istio-system")?
            .iter()
            .filter(|(name, value)| name.ends_with("_ADDR") && !value.starts_with("127."))
            .filter_map(|(_, value)| value.rsplit(':').next()?.parse().ok())
            .collect();
        let declared: Vec<(String, u64)> = container["ports"]
            .as_array()
            .context("no ports")?
            .iter()
            .filter_map(|port| Some((port["name"].as_str()?.to_owned(), port["containerPort"].as_u64()?)))
            .collect();
        assert_eq!(declared.iter().map(|(_, port)| *port).collect::<BTreeSet<u64>>(), listening, "{values}");
        for (name, port) in ports(&rendered)? {
            // The one that API servers expect is none that a process without rights may have.
            let port = if port == 443 { 15017 } else { port };
            assert!(declared.contains(&(name.clone(), port)), "{name} {port} in {declared:?} with {values}");
        }
        for probe in ["readinessProbe", "livenessProbe"] {
            let port = container[probe]["httpGet"]["port"].as_str().context("no port")?;
            assert!(declared.iter().any(|(name, _)| name == port), "{probe} {port}");
        }
        let labels = &rendered.only("Deployment")?["spec"]["template"]["metadata"]["labels"];
        let selector = rendered.only("Service")?["spec"]["selector"].as_object().context("no selector")?;
        assert!(selector.iter().all(|(key, value)| &labels[key] == value), "{selector:?} {labels}");
    }
    Ok(())
}

#[test]
fn releases_of_two_revisions_and_of_two_namespaces_own_nothing_in_common() -> anyhow::Result<()> {
    let mut owned = BTreeSet::new();
    let shadow = json!({"shadow": {"enabled": true, "namespace": "istio-system"}});
    for (namespace, values) in [
        ("istio-system", json!({})),
        ("istio-system", json!({"revision": "blue"})),
        ("elsewhere", json!({})),
        ("watching", shadow.clone()),
        ("watching-too", shadow),
    ] {
        for object in render_pilothouse(namespace, &values)?.objects {
            let metadata = &object["metadata"];
            // The one Secret of the root is that of whoever is first: `root_secret` has the rest.
            if object["kind"] == "Secret" && values == json!({"revision": "blue"}) {
                continue;
            }
            let name = format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"]);
            assert!(owned.insert(name.clone()), "{name} twice");
        }
    }
    Ok(())
}
