//! Waypoints and their configuration as `dump` shows them.

use super::gateways::listed;
use super::{Server, bookinfo, copy_of_bookinfo, dump, edit, run, text};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_waypoint_has_its_services_and_each_of_its_resources() -> anyhow::Result<()> {
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    let server = Server::of_folder(&bookinfo()).await?;
    let mut seen = BTreeSet::new();
    for source in [["--from", from], ["--server", &server.monitoring]] {
        let waypoints = listed(&[&["waypoints"], source.as_slice()].concat()).await?;
        // A gateway at the edge, too.
        let names: Vec<&str> = waypoints.iter().map(|of| text(of, "name")).collect();
        assert_eq!(names, ["bookinfo-gateway", "waypoint"]);
        for (of, service) in waypoints.iter().zip(["productpage", "reviews"]) {
            assert_eq!(text(of, "namespace"), "bookinfo");
            assert_eq!(of["services"], json!([format!("{service}.bookinfo.svc.cluster.local")]));
            assert_eq!(of["replicas"], json!([]), "no Envoy is connected");
            let name = text(of, "name");
            let args = ["config".to_owned(), format!("bookinfo/{name}")];
            let args = args.iter().map(String::as_str).chain(source);
            let config = listed(&args.collect::<Vec<_>>()).await?;
            let bytes: u64 = config.iter().filter_map(|of| of["bytes"].as_u64()).sum();
            assert_eq!(of["bytes"], json!(bytes));
            for (part, count) in of["resources"].as_object().context("resources by type")? {
                let args = [&["config", name, part, "-n", "bookinfo"], source.as_slice()].concat();
                let listed = listed(&args).await?;
                assert_eq!(json!(listed.len()), *count, "{part}");
                ensure!(listed.iter().all(|of| of["type"] == json!(part)), "{listed:?}");
            }
        }
        let config = listed(&[&["config", "bookinfo/waypoint"], source.as_slice()].concat()).await?;
        // Whole messages, and the versions that Envoys know them by.
        let route =
            config.iter().find(|of| text(of, "type") == "routes" && text(of, "name").contains("reviews"));
        let route = route.context("requests to reviews have routes")?;
        ensure!(route["resource"].to_string().contains("reviews-v3"), "{route}");
        seen.insert(serde_json::to_string(&config)?);

        let table = dump(&[&["config", "bookinfo/waypoint", "routes"], source.as_slice()].concat()).await?;
        ensure!(table.contains("prefix / + end-user → "), "{table}");
    }
    assert_eq!(seen.len(), 1, "a folder and a server show the same");
    Ok(())
}

#[tokio::test]
async fn a_waypoint_that_is_not_there_is_told_with_those_that_are() -> anyhow::Result<()> {
    let folder = copy_of_bookinfo()?;
    let from = folder.path().to_str().context("a path of text")?.to_owned();
    let server = Server::of_folder(folder.path()).await?;
    for source in [["--from", from.as_str()], ["--server", &server.monitoring]] {
        for (args, told) in [
            (&["config"][..], "of which waypoint?"),
            (&["config", "waypoint"], "write NAMESPACE/waypoint"),
            (&["config", "bookinfo/waypint"], "did you mean \"bookinfo/waypoint\"?"),
            (&["config", "x"], "write NAMESPACE/x"),
            (&["gateways", "-n", "bookinfo", "x", "routes"], "`dump status` takes a kind"),
            (&["status", "gateways", "routes"], "only `dump config` takes a type"),
        ] {
            let output = run(["dump"].iter().chain(args).chain(&source)).await?;
            let errors = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
            ensure!(errors.contains(told) && errors.lines().count() == 1, "{args:?}: {errors}");
        }
    }
    // Without a waypoint of its own, a service is at none.
    edit(&folder.path().join("waypoint.yaml"), "istio-waypoint", "istio-remote")?;
    let output = run(["dump", "waypoints", "-o", "json", "--from", &from]).await?;
    let all: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    assert_eq!(all.iter().map(|of| text(of, "name")).collect::<Vec<_>>(), ["bookinfo-gateway"]);
    Ok(())
}
