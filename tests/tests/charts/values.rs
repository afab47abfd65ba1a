//! What values do, and which are refused.

use crate::deployment::{container, environment};
use crate::rights::granted;
use anyhow::{Context, bail};
use model::Kind;
use model::facts::Object;
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::helm::{Rendered, chart, lint, render, render_in, render_on, render_pilothouse};
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
        (json!({"gateways": {"image": "envoy"}}), "image"),
        (json!({"gateways": {"enabled": "no"}}), "gateways"),
        (json!({"listenAddress": "::"}), "listenAddress"),
        (json!({"listenAddress": "0.0.0.0:15010"}), "listenAddress"),
        (json!({"plaintextXds": "no"}), "plaintextXds"),
        (json!({"env": {"POD_NAMESPACE": "a"}}), "POD_NAMESPACE"),
        (json!({"env": {"A": {"b": "c"}}}), "env"),
        (json!({"log": {"format": "json"}}), "format"),
        (json!({"rollingMaxSurge": "1/2"}), "rollingMaxSurge"),
        (json!({"configValidation": "no"}), "configValidation"),
        (json!({"autoscaleMin": 0}), "autoscaleMin"),
        (json!({"cpu": {"target": 80}}), "target"),
        (json!({"ipFamilies": ["IPv5"]}), "ipFamilies"),
        (json!({"extraContainerArgs": "--log=debug"}), "extraContainerArgs"),
        (json!({"resources": {"request": {}}}), "request"),
        (json!({"runAsUser": 0}), "runAsUser"),
        (json!({"podLabels": {"a": true}}), "podLabels"),
        (json!({"networkPolicy": {"monitoringFrom": {}}}), "monitoringFrom"),
        (json!({"trustedZtunnelNamespace": "Nodes"}), "trustedZtunnelNamespace"),
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
    for key in ["shadow", "gateways", "log", "podDisruptionBudget", "networkPolicy"] {
        assert_eq!(keys(&values[key])?, keys(&schema["properties"][key]["properties"])?, "{key}");
    }
    Ok(())
}

#[test]
fn mesh_settings_are_what_the_control_plane_reads() -> anyhow::Result<()> {
    let settings = |values: Value| -> anyhow::Result<model::facts::MeshSettings> {
        let rendered = render_pilothouse("mesh", &values)?;
        let map = rendered.only("ConfigMap")?.to_string();
        match model::parse(Kind::ConfigMap, map.as_bytes()) {
            Ok(Object::ConfigMap(settings)) => Ok((*settings).clone()),
            Ok(_) => bail!("no settings"),
            Err(diagnostic) => bail!("{diagnostic}"),
        }
    };
    let plain = settings(json!({}))?;
    assert_eq!((&*plain.root_namespace, plain.trust_domain.as_str()), ("mesh", "cluster.local"));
    let odd = settings(json!({"meshConfig": {
        "rootNamespace": "policies", "trustDomain": "example.org",
        "discoverySelectors": [{"matchLabels": {"mesh": "on"}}],
        "accessLogFormat": "a: b\n# c\n",
    }}))?;
    assert_eq!((&*odd.root_namespace, odd.trust_domain.as_str()), ("policies", "example.org"));
    assert_eq!(odd.discovery_selectors.len(), 1);
    Ok(())
}

#[test]
fn a_variable_of_the_values_wins_and_stands_once() -> anyhow::Result<()> {
    let values = json!({"env": {"CLUSTER_ID": "west", "PILOTHOUSE_LOG_JSON": false, "MORE": 3}});
    let rendered = render_pilothouse("mesh", &values)?;
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
fn without_an_image_nothing_is_rendered() -> anyhow::Result<()> {
    for values in [json!({}), json!({"image": "pilothouse"}), json!({"hub": "", "tag": "1.0"})] {
        let Err(refusal) = render(&chart("pilothouse"), "istio-system", &values) else {
            bail!("{values} is taken");
        };
        let refusal = refusal.to_string();
        assert!(refusal.contains("hub is not set") && refusal.contains("--set hub="), "{refusal}");
    }
    let image = |values: Value| -> anyhow::Result<String> {
        let rendered = render(&chart("pilothouse"), "istio-system", &values)?;
        Ok(container(&rendered)?["image"].as_str().context("no image")?.to_owned())
    };
    assert_eq!(image(json!({"hub": "r.example/m", "tag": "1.0"}))?, "r.example/m/pilothouse:1.0");
    assert_eq!(image(json!({"image": "r.example/m/p@sha256:1"}))?, "r.example/m/p@sha256:1");
    Ok(())
}

#[test]
fn api_servers_that_were_built_in_any_way_are_taken_and_old_ones_refused() -> anyhow::Result<()> {
    let values = |name: &str| if name == "base" { json!({}) } else { json!({"hub": "registry.example"}) };
    for name in ["base", "pilothouse"] {
        for version in [
            "v1.29.0",
            "v1.29.0-rc.1",
            "v1.36.0-alpha.1+abc",
            "v1.36.0-alpha.1.12+0d2b1c5e8f-dirty",
            "v1.33.4-gke.1245000",
            "v1.37+",
            // built without the scripts that tell a version
            "v0.0.0-master+$Format:%H$",
            "unknown",
        ] {
            render_on(&chart(name), version, &values(name))
                .with_context(|| format!("{name} on {version}"))?;
        }
        for version in ["v1.28.9", "v1.28.15-eks-1", "v1.9.0"] {
            let Err(refusal) = render_on(&chart(name), version, &values(name)) else {
                bail!("{name} is taken on {version}");
            };
            let refusal = refusal.to_string();
            assert!(refusal.contains(version) && refusal.contains("1.29 or later"), "{refusal}");
        }
    }
    Ok(())
}

#[test]
fn ports_that_need_no_credential_are_closed_unless_asked_for() -> anyhow::Result<()> {
    let rendered = render_pilothouse("mesh", &json!({}))?;
    let policy = &rendered.only("NetworkPolicy")?["spec"];
    let ports = json!([{"ports": [{"port": 15012}, {"port": 15017}, {"port": 8080}]}]);
    assert_eq!((&policy["policyTypes"], &policy["ingress"]), (&json!(["Ingress"]), &ports));
    assert!(rendered.notes.contains("networkPolicy.monitoringFrom"), "{}", rendered.notes);

    let open =
        render_pilothouse("mesh", &json!({"plaintextXds": true, "networkPolicy": {"enabled": false}}))?;
    assert!(!open.has("NetworkPolicy"));
    assert!(open.only("Service")?.to_string().contains("15010"));
    assert!(open.notes.contains("plaintextXds=false"), "{}", open.notes);
    Ok(())
}

#[test]
fn plaintext_is_closed_to_everyone() -> anyhow::Result<()> {
    let rendered = render_pilothouse("mesh", &json!({}))?;
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
        let rendered = render_pilothouse("mesh", &values)?;
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
        let rendered = render_pilothouse("mesh", &json!({"replicaCount": replicas}))?;
        assert_eq!(rendered.has("PodDisruptionBudget"), has_budget, "{replicas}");
        let autoscaled = json!({"autoscaleEnabled": true, "autoscaleMin": replicas, "replicaCount": 1});
        assert_eq!(
            render_pilothouse("mesh", &autoscaled)?.has("PodDisruptionBudget"),
            has_budget,
            "{replicas}"
        );
    }
    Ok(())
}

#[test]
fn who_scales_replicas_alone_says_how_many() -> anyhow::Result<()> {
    let plain = render_pilothouse("mesh", &json!({}))?;
    assert!(!plain.has("HorizontalPodAutoscaler"));
    assert_eq!(plain.only("Deployment")?["spec"]["replicas"], 2);
    let scaled = render_pilothouse("mesh", &json!({"autoscaleEnabled": true, "autoscaleMin": 7}))?;
    let scaler = &scaled.only("HorizontalPodAutoscaler")?["spec"];
    assert_eq!((&scaler["minReplicas"], &scaler["maxReplicas"]), (&json!(7), &json!(7)));
    let metrics = scaler["metrics"].as_array().context("no metrics")?;
    assert_eq!(metrics.iter().map(|of| &of["resource"]["name"]).collect::<Vec<_>>(), ["cpu"]);
    let deployment = scaled.only("Deployment")?;
    assert_eq!(deployment["spec"]["replicas"], Value::Null);
    assert_eq!(scaler["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    Ok(())
}

/// Which objects an entry of a configuration is for, by their label of the revision.
fn selected(rendered: &Rendered) -> anyhow::Result<(String, Value, Value)> {
    let config = rendered.only("ValidatingWebhookConfiguration")?;
    let entry = &config["webhooks"][0];
    assert_eq!(entry["failurePolicy"], "Ignore", "nobody has seen that it works");
    assert_eq!(entry["clientConfig"]["service"]["path"], "/validate");
    let name = config["metadata"]["name"].as_str().context("no name")?.to_owned();
    let service = entry["clientConfig"]["service"]["name"].clone();
    Ok((name, service, entry["objectSelector"]["matchExpressions"].clone()))
}

#[test]
fn each_object_is_validated_by_one_revision() -> anyhow::Result<()> {
    let of_revision = |values: Value| selected(&render_pilothouse("mesh", &values)?);
    let named = |revision: &str| json!([{"key": "istio.io/rev", "operator": "In", "values": [revision]}]);
    let (name, service, objects) = of_revision(json!({}))?;
    assert_eq!(
        (name.as_str(), service, objects),
        ("istio-validator-mesh", json!("istiod"), named("default"))
    );
    let (name, service, objects) = of_revision(json!({"revision": "blue"}))?;
    assert_eq!((name.as_str(), service), ("istio-validator-blue-mesh", json!("istiod-blue")));
    assert_eq!(objects, named("blue"));
    for (revision, service) in [("default", "istiod"), ("blue", "istiod-blue")] {
        let base = render(&chart("base"), "mesh", &json!({"defaultRevision": revision}))?;
        let (name, leads_to, objects) = selected(&base)?;
        assert_eq!((name.as_str(), leads_to), ("istiod-default-validator", json!(service)));
        assert_eq!(objects, json!([{"key": "istio.io/rev", "operator": "DoesNotExist"}]));
    }
    for values in [json!({"configValidation": false}), json!({"shadow": {"enabled": true}})] {
        assert!(!render_pilothouse("mesh", &values)?.has("ValidatingWebhookConfiguration"), "{values}");
    }
    let off = json!({"configValidation": false});
    assert_eq!(variable("mesh", &off, "VALIDATION_WEBHOOK_CONFIG_NAME")?, "");
    Ok(())
}

#[tokio::test]
async fn an_upgrade_leaves_closed_what_the_control_plane_has_closed() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let namespace = server.namespace("closed").await?;
    let policy = async || {
        let (cluster, namespace) = (server.kubeconfig(), namespace.clone());
        let render = move || render_in(&cluster, "mesh", &namespace, &json!({}));
        let rendered = tokio::task::spawn_blocking(render).await??;
        let config = rendered.only("ValidatingWebhookConfiguration")?.clone();
        anyhow::Ok((config["webhooks"][0]["failurePolicy"].clone(), config))
    };
    let (first, mut config) = policy().await?;
    assert_eq!(first, "Ignore");
    config["webhooks"][0]["failurePolicy"] = "Fail".into();
    server.apply(&config.to_string()).await?;
    assert_eq!(policy().await?.0, "Fail");
    Ok(())
}

/// A variable of the container.
fn variable(namespace: &str, values: &Value, name: &str) -> anyhow::Result<String> {
    let rendered = render_pilothouse(namespace, values)?;
    let all = environment(container(&rendered)?, namespace)?;
    all.into_iter().find(|(n, _)| n == name).map(|(_, value)| value).with_context(|| format!("no {name}"))
}

#[test]
fn the_ztunnel_that_is_trusted_is_that_of_the_control_plane_which_is_followed() -> anyhow::Result<()> {
    let shadow = json!({"enabled": true, "namespace": "istio-system"});
    for (values, account) in [
        (json!({}), "pilothouse/ztunnel"),
        (json!({"shadow": {"enabled": true}}), "pilothouse/ztunnel"),
        (json!({"shadow": shadow}), "istio-system/ztunnel"),
        // Its own settings, so its own ztunnel.
        (json!({"shadow": {"enabled": false, "namespace": "istio-system"}}), "pilothouse/ztunnel"),
        (json!({"shadow": shadow, "trustedZtunnelNamespace": "nodes"}), "nodes/ztunnel"),
        (json!({"shadow": shadow, "trustedZtunnelName": "zt"}), "istio-system/zt"),
    ] {
        assert_eq!(variable("pilothouse", &values, "CA_TRUSTED_NODE_ACCOUNTS")?, account, "{values}");
    }
    Ok(())
}

#[test]
fn the_serving_certificate_is_for_the_service() -> anyhow::Result<()> {
    let shadow = json!({"enabled": true, "namespace": "istio-system"});
    for (values, names) in [
        (json!({}), "istiod.mesh.svc,istiod.mesh.svc.cluster.local"),
        (json!({"shadow": shadow}), "istiod.mesh.svc,istiod.mesh.svc.cluster.local"),
        (
            json!({"shadow": shadow, "revision": "blue"}),
            "istiod-blue.mesh.svc,istiod-blue.mesh.svc.cluster.local",
        ),
        (
            json!({"env": {"PILOTHOUSE_DOMAIN": "corp.test", "ISTIOD_CUSTOM_HOST": "mesh.example,m2.example"}}),
            "istiod.mesh.svc,istiod.mesh.svc.corp.test,mesh.example,m2.example",
        ),
    ] {
        assert_eq!(variable("mesh", &values, "ISTIOD_CUSTOM_HOST")?, names, "{values}");
        let service = render_pilothouse("mesh", &values)?.only("Service")?["metadata"]["name"].clone();
        let host = format!("{}.mesh.svc", service.as_str().context("no name")?);
        assert!(names.split(',').any(|name| name == host), "{host} is not among {names}");
    }
    Ok(())
}

#[test]
fn a_shadow_follows_the_other_and_brings_no_settings_of_its_own() -> anyhow::Result<()> {
    let values = json!({"shadow": {"enabled": true, "namespace": "istio-system"}});
    let rendered = render_pilothouse("shadow", &values)?;
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
