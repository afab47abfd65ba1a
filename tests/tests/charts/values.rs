//! What values do, and which are refused.

use crate::deployment::{container, environment};
use crate::rights::granted;
use anyhow::{Context, bail};
use model::Kind;
use model::facts::Object;
use pilothouse_tests::helm::{chart, lint, render};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn lint_has_nothing_to_say() -> anyhow::Result<()> {
    for name in ["base", "pilothouse"] {
        assert_eq!(lint(&chart(name), &json!({}))?, Vec::<String>::new(), "{name}");
    }
    Ok(())
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() -> anyhow::Result<()> {
    for (values, named) in [
        (json!({"replicas": 2}), "replicas"),
        (json!({"replicaCount": 0}), "replicaCount"),
        (json!({"replicaCount": "2"}), "replicaCount"),
        (json!({"revision": "Blue"}), "revision"),
        (json!({"revision": "a".repeat(57)}), "revision"),
        (json!({"clusterName": ""}), "clusterName"),
        (json!({"trustedZtunnelName": ""}), "trustedZtunnelName"),
        (json!({"shadow": true}), "shadow"),
        (json!({"shadow": {"namespaces": "a"}}), "namespaces"),
        (json!({"meshConfig": {"trustDomain": ""}}), "trustDomain"),
        (json!({"meshConfig": {"discoverySelectors": {"a": "b"}}}), "discoverySelectors"),
        (json!({"tag": 1.20}), "tag"),
        (json!({"hub": "example.com/"}), "hub"),
        (json!({"imagePullPolicy": "Sometimes"}), "imagePullPolicy"),
        (json!({"imagePullSecrets": [{"name": "a"}]}), "imagePullSecrets"),
        (json!({"listenAddress": "::"}), "listenAddress"),
        (json!({"listenAddress": "0.0.0.0:15010"}), "listenAddress"),
        (json!({"plaintextXds": "no"}), "plaintextXds"),
        (json!({"env": {"POD_NAMESPACE": "a"}}), "POD_NAMESPACE"),
        (json!({"env": {"A": {"b": "c"}}}), "env"),
        (json!({"log": {"format": "json"}}), "format"),
        (json!({"rollingMaxSurge": "1/2"}), "rollingMaxSurge"),
        (json!({"resources": {"request": {}}}), "request"),
        (json!({"runAsUser": 0}), "runAsUser"),
        (json!({"podLabels": {"a": true}}), "podLabels"),
        (json!({"networkPolicy": {"monitoringFrom": {}}}), "monitoringFrom"),
    ] {
        let Err(refusal) = render(&chart("pilothouse"), "istio-system", &values) else {
            bail!("{values} is taken");
        };
        let refusal = refusal.to_string();
        assert!(refusal.contains("schema") && refusal.contains(named), "{values}: {refusal}");
    }
    assert!(render(&chart("base"), "istio-system", &json!({"a": 1})).is_err());
    Ok(())
}

#[test]
fn every_value_has_a_default_and_a_place_in_the_schema() -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(chart("pilothouse").join(file));
    let values: Value = serde_yaml::from_str(&read("values.yaml")?)?;
    let schema: Value = serde_json::from_str(&read("values.schema.json")?)?;
    let keys = |value: &Value| -> anyhow::Result<BTreeSet<String>> {
        Ok(value.as_object().context("no object")?.keys().cloned().collect())
    };
    let mut described = keys(&schema["properties"])?;
    // Not ours: helm gives it to every chart.
    assert!(described.remove("global"));
    assert_eq!(keys(&values)?, described);
    for key in ["shadow", "log", "podDisruptionBudget", "networkPolicy"] {
        assert_eq!(keys(&values[key])?, keys(&schema["properties"][key]["properties"])?, "{key}");
    }
    Ok(())
}

#[test]
fn mesh_settings_are_what_the_control_plane_reads() -> anyhow::Result<()> {
    let settings = |values: Value| -> anyhow::Result<model::facts::MeshSettings> {
        let rendered = render(&chart("pilothouse"), "mesh", &values)?;
        let map = rendered.only("ConfigMap")?.to_string();
        match model::parse(Kind::ConfigMap, map.as_bytes()) {
            Ok(Object::ConfigMap(settings)) => Ok((*settings).clone()),
            Ok(_) => bail!("no settings"),
            Err(diagnostic) => bail!("{diagnostic}"),
        }
    };
    let plain = settings(json!({}))?;
    assert_eq!((&*plain.root_namespace, &*plain.trust_domain), ("mesh", "cluster.local"));
    let odd = settings(json!({"meshConfig": {
        "rootNamespace": "policies", "trustDomain": "example.org",
        "discoverySelectors": [{"matchLabels": {"mesh": "on"}}],
        "accessLogFormat": "a: b\n# c\n",
    }}))?;
    assert_eq!((&*odd.root_namespace, &*odd.trust_domain), ("policies", "example.org"));
    assert_eq!(odd.discovery_selectors.len(), 1);
    Ok(())
}

#[test]
fn a_variable_of_the_values_wins_and_stands_once() -> anyhow::Result<()> {
    let values = json!({"env": {"CLUSTER_ID": "west", "PILOTHOUSE_LOG_JSON": false, "MORE": 3}});
    let rendered = render(&chart("pilothouse"), "mesh", &values)?;
    let all = environment(container(&rendered)?, "mesh")?;
    let of = |name: &str| -> Vec<&str> {
        all.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of("CLUSTER_ID"), ["west"]);
    assert_eq!(of("PILOTHOUSE_LOG_JSON"), ["false"]);
    assert_eq!(of("MORE"), ["3"]);
    assert_eq!(of("POD_NAMESPACE"), ["mesh"]);
    Ok(())
}

#[test]
fn plaintext_can_be_closed_to_everyone() -> anyhow::Result<()> {
    let values = json!({"plaintextXds": false, "networkPolicy": {"enabled": true}});
    let rendered = render(&chart("pilothouse"), "mesh", &values)?;
    for kind in ["Service", "NetworkPolicy"] {
        assert!(!rendered.only(kind)?.to_string().contains("15010"), "{kind}");
    }
    let all = environment(container(&rendered)?, "mesh")?;
    let address = all.iter().find(|(name, _)| name == "PILOTHOUSE_XDS_ADDR").context("not set")?;
    assert_eq!(address.1, "127.0.0.1:15010");
    assert!(!rendered.notes.contains("15010"), "{}", rendered.notes);
    Ok(())
}

#[test]
fn the_monitoring_port_is_open_to_those_named_only() -> anyhow::Result<()> {
    let open = |values: Value| -> anyhow::Result<Vec<Value>> {
        let rendered = render(&chart("pilothouse"), "mesh", &values)?;
        let rules = rendered.only("NetworkPolicy")?["spec"]["ingress"].as_array().cloned();
        let has_port = |rule: &Value| rule["ports"].to_string().contains("15014");
        Ok(rules.context("no rules")?.into_iter().filter(has_port).collect())
    };
    assert_eq!(open(json!({"networkPolicy": {"enabled": true}}))?, Vec::<Value>::new());
    let from = json!([{"podSelector": {"matchLabels": {"app": "prometheus"}}}]);
    let named = open(json!({"networkPolicy": {"enabled": true, "monitoringFrom": from}}))?;
    assert_eq!(named.iter().map(|rule| &rule["from"]).collect::<Vec<_>>(), [&from]);
    Ok(())
}

#[test]
fn one_replica_has_no_budget_that_would_hold_its_node() -> anyhow::Result<()> {
    for (replicas, has_budget) in [(1, false), (2, true), (5, true)] {
        let rendered = render(&chart("pilothouse"), "mesh", &json!({"replicaCount": replicas}))?;
        assert_eq!(rendered.has("PodDisruptionBudget"), has_budget, "{replicas}");
    }
    Ok(())
}

#[test]
fn a_shadow_follows_the_other_and_brings_no_settings_of_its_own() -> anyhow::Result<()> {
    let values = json!({"shadow": {"enabled": true, "namespace": "istio-system"}});
    let rendered = render(&chart("pilothouse"), "shadow", &values)?;
    assert!(!rendered.has("ConfigMap"));
    let all = environment(container(&rendered)?, "shadow")?;
    for (name, value) in [("POD_NAMESPACE", "istio-system"), ("PILOTHOUSE_SHADOW", "true")] {
        assert!(all.contains(&(name.to_owned(), value.to_owned())), "{name} in {all:?}");
    }
    // Bound where they are: a role in the other's namespace for the account in its own.
    let binding = rendered.only("RoleBinding")?;
    assert_eq!(binding["metadata"]["namespace"], "istio-system");
    assert_eq!(binding["subjects"][0]["namespace"], "shadow");
    assert!(granted(&rendered)?.contains("list configmaps=istio in istio-system"));
    Ok(())
}
