//! Upstream's charts of the node agents, installed beside ours as they are.

use crate::deployment::{container, environment};
use anyhow::{Context, bail};
use pilothouse_tests::helm::{chart, render, render_pilothouse, upstream};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Returns the environment of upstream's ztunnel that is written out.
fn variables(daemon_set: &Value) -> Vec<(&str, &str)> {
    let env = daemon_set["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    env.into_iter().flatten().filter_map(|e| Some((e["name"].as_str()?, e["value"].as_str()?))).collect()
}

fn variable<'a>(all: &[(&'a str, &'a str)], name: &str) -> anyhow::Result<&'a str> {
    all.iter().find(|(n, _)| *n == name).map(|(_, value)| *value).with_context(|| format!("no {name}"))
}

#[test]
fn ztunnels_of_upstreams_chart_find_what_they_look_for() -> anyhow::Result<()> {
    for (namespace, values) in [
        ("istio-system", json!({})),
        ("mesh", json!({"istioNamespace": "mesh"})),
        ("mesh", json!({"revision": "blue", "istioNamespace": "mesh"})),
    ] {
        let theirs = render(&upstream("ztunnel")?, namespace, &values)?;
        let revision = values.get("revision").cloned().unwrap_or_else(|| json!(""));
        let ours = render_pilothouse(namespace, &json!({"revision": revision}))?;

        // The address: a port of our service, that the pods serve with TLS.
        let service = ours.only("Service")?;
        let name = service["metadata"]["name"].as_str().context("no name")?;
        let expected = format!("{name}.{namespace}.svc:15012");
        let daemon_set = theirs.only("DaemonSet")?;
        let env = variables(daemon_set);
        assert_eq!(variable(&env, "XDS_ADDRESS")?, expected);
        assert_eq!(variable(&env, "CA_ADDRESS")?, expected);
        let ports = service["spec"]["ports"].as_array().context("no ports")?;
        assert!(ports.iter().any(|port| port["port"] == 15012));

        // The cluster, and the account that may ask for others' certificates.
        let ours_env = environment(container(&ours)?, namespace)?;
        let setting = |name: &str| ours_env.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(setting("CLUSTER_ID"), Some(variable(&env, "ISTIO_META_CLUSTER_ID")?));
        let account = &theirs.only("ServiceAccount")?["metadata"];
        let account = format!("{namespace}/{}", account["name"].as_str().context("no name")?);
        assert_eq!(setting("CA_TRUSTED_NODE_ACCOUNTS"), Some(account.as_str()));

        // What it mounts: a token for the audience that we accept by default, and the root that we write.
        let volumes = daemon_set["spec"]["template"]["spec"]["volumes"].as_array().context("no volumes")?;
        let volume = |name: &str| volumes.iter().find(|volume| volume["name"] == name).context("no volume");
        let token = &volume("istio-token")?["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], "istio-ca");
        assert_eq!(volume("istiod-ca-cert")?["configMap"]["name"], "istio-ca-root-cert");
    }
    Ok(())
}

#[test]
fn upstreams_charts_and_ours_own_nothing_in_common() -> anyhow::Result<()> {
    let mut owned = BTreeSet::new();
    let none = json!({});
    let rendered = |chart: &Path| render(chart, "istio-system", &none);
    for (chart, rendered) in [
        ("base", rendered(&chart("base"))?),
        ("pilothouse", render_pilothouse("istio-system", &none)?),
        ("ztunnel", rendered(&upstream("ztunnel")?)?),
        ("istio-cni", rendered(&upstream("istio-cni")?)?),
    ] {
        for object in rendered.objects {
            let metadata = &object["metadata"];
            let name = format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"]);
            if !owned.insert(name.clone()) {
                bail!("{name} is in {chart} and in another chart");
            }
        }
    }
    Ok(())
}
