//! The chart of the dashboard and the alert rules. What they ask is tried in `tests/tests/dashboards.rs`.

use crate::dry_run;
use anyhow::{Context, bail};
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::helm::{chart, lint, render};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn objects(values: &Value) -> anyhow::Result<Vec<Value>> {
    Ok(render(&chart("dashboards"), "monitoring", values)?.objects)
}

/// Returns the text that a ConfigMap has under a key.
fn data<'a>(objects: &'a [Value], key: &str) -> anyhow::Result<&'a str> {
    objects.iter().find_map(|object| object["data"][key].as_str()).with_context(|| format!("no {key}"))
}

fn alerts(groups: &Value) -> anyhow::Result<Vec<&Value>> {
    let groups = groups["groups"].as_array().context("no groups")?;
    Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect())
}

#[tokio::test]
async fn config_maps_are_taken_by_the_api_server() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let namespace = server.namespace("dashboards").await?;
    let client = server.client().await?;
    let texts = json!({"a": "b"});
    for values in [
        json!({}),
        json!({
            "dashboard": {"labels": texts, "annotations": texts},
            "rules": {"labels": texts, "annotations": texts, "alertLabels": texts},
        }),
    ] {
        let rendered = render(&chart("dashboards"), &namespace, &values)?;
        assert_eq!(rendered.objects.len(), 2);
        for object in &rendered.objects {
            dry_run(&client, object).await.with_context(|| format!("with {values}"))?;
        }
    }
    Ok(())
}

#[test]
fn files_are_rendered_as_they_are_unless_values_say_otherwise() -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(chart("dashboards").join("files").join(file));
    let (dashboard, rules) = (read("control-plane.json")?, read("rules.yaml")?);
    let plain = objects(&json!({}))?;
    assert_eq!(data(&plain, "pilothouse-control-plane.json")?, dashboard.trim_end());
    assert_eq!(plain[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    let rules: Value = serde_yaml::from_str(&rules)?;
    let rendered: Value = serde_yaml::from_str(data(&plain, "pilothouse.rules.yaml")?)?;
    assert_eq!(rendered, rules);

    let selector = "job=\"istiod\", cluster=~\"a|b\"";
    let other = objects(&json!({
        "selector": selector,
        "rules": {
            "asPrometheusRule": true, "disabled": ["PilothouseNoLeader"], "alertLabels": {"team": "mesh"},
            "labels": {"release": "monitoring"}, "runbookPage": "https://runbooks.example/mesh",
        },
    }))?;
    let shown: Value = serde_json::from_str(data(&other, "pilothouse-control-plane.json")?)?;
    let expected = dashboard.replace("app=\\\"istiod\\\"", &selector.replace('"', "\\\""));
    assert_eq!(shown, serde_json::from_str::<Value>(&expected)?);
    let rule = other.iter().find(|object| object["kind"] == "PrometheusRule").context("no rule")?;
    assert_eq!(
        (&rule["apiVersion"], &rule["metadata"]["labels"]["release"]),
        (&json!("monitoring.coreos.com/v1"), &json!("monitoring"))
    );
    let (changed, all) = (alerts(&rule["spec"])?, alerts(&rules)?);
    let kept: Vec<&&Value> = all.iter().filter(|alert| alert["alert"] != "PilothouseNoLeader").collect();
    assert_eq!((changed.len(), kept.len()), (all.len() - 1, all.len() - 1));
    for (changed, of) in changed.into_iter().zip(kept) {
        let mut expected = (*of).clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        expected["expr"] = text(&of["expr"]).replace("app=\"istiod\"", selector).into();
        expected["labels"]["team"] = "mesh".into();
        let page = text(&of["annotations"]["runbook_url"]);
        let page = page.replace("docs/runbooks.md", "https://runbooks.example/mesh");
        expected["annotations"]["runbook_url"] = page.into();
        assert_eq!(*changed, expected);
    }

    let off = json!({"dashboard": {"enabled": false}, "rules": {"enabled": false}});
    assert_eq!(objects(&off)?, Vec::<Value>::new());
    Ok(())
}

#[test]
fn each_alert_says_what_it_means_and_has_its_runbook() -> anyhow::Result<()> {
    let rules = std::fs::read_to_string(chart("dashboards").join("files/rules.yaml"))?;
    let rules: Value = serde_yaml::from_str(&rules)?;
    let mut names = BTreeSet::new();
    for alert in alerts(&rules)? {
        let name = alert["alert"].as_str().context("no name")?;
        assert!(names.insert(name.to_owned()), "{name} twice");
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap_or("")));
        for annotation in ["summary", "description"] {
            let said = alert["annotations"][annotation].as_str().unwrap_or_default();
            assert!(said.ends_with('.'), "{name}: {annotation}");
        }
        let anchor = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], anchor, "{name}");
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks.md"))?;
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings: BTreeSet<String> = headings.map(str::to_owned).collect();
    assert_eq!(headings, names);
    Ok(())
}

#[test]
fn lint_is_silent_and_values_that_mean_nothing_are_refused_by_name() -> anyhow::Result<()> {
    assert_eq!(lint(&chart("dashboards"), &json!({}))?, Vec::<String>::new());
    for (values, named) in [
        (json!({"dashboards": {}}), "dashboards"),
        (json!({"selector": "istiod"}), "selector"),
        (json!({"selector": "{app=\"istiod\"}"}), "selector"),
        (json!({"dashboard": {"labels": {"a": 1}}}), "labels"),
        (json!({"rules": {"asPrometheusRule": "yes"}}), "asPrometheusRule"),
        (json!({"rules": {"disabled": ["NoSuchAlert"]}}), "disabled"),
        (json!({"rules": {"disabled": ["PilothouseNoSuchAlert"]}}), "PilothouseNoSuchAlert"),
        (json!({"rules": {"runbookPage": "docs/runbooks.md#"}}), "runbookPage"),
    ] {
        let Err(refusal) = objects(&values) else { bail!("{values} is taken") };
        assert!(refusal.to_string().contains(named), "{values}: {refusal}");
    }
    Ok(())
}

#[test]
fn every_value_has_a_default_and_a_place_in_the_schema() -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(chart("dashboards").join(file));
    let values: Value = serde_yaml::from_str(&read("values.yaml")?)?;
    let schema: Value = serde_json::from_str(&read("values.schema.json")?)?;
    let keys = |value: &Value| -> anyhow::Result<BTreeSet<String>> {
        Ok(value.as_object().context("no object")?.keys().cloned().collect())
    };
    let mut described = keys(&schema["properties"])?;
    // Not ours: helm gives it to every chart.
    assert!(described.remove("global"));
    assert_eq!(keys(&values)?, described);
    for key in ["dashboard", "rules"] {
        assert_eq!(keys(&values[key])?, keys(&schema["properties"][key]["properties"])?, "{key}");
    }
    Ok(())
}
