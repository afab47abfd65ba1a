//! What dashboards ask for is there: each metric and label of the page, in what a real Envoy serves.

use super::proxy::LIMIT;
use super::telemetry::{get, samples};
use super::traffic::{Http, Waypoint, echo, greeter, objects};
use pilothouse_tests::apiserver::until;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A metric of the page, and the labels that it says a waypoint has.
fn listed() -> Vec<(String, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/dashboards.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.contains("| waypoints, gateways"));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = rows.flat_map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        let labels = names(cells[2]);
        names(cells[1]).into_iter().map(move |metric| (metric, labels.clone()))
    });
    rows.filter(|(metric, _)| metric.starts_with("istio_")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_and_label_of_dashboards_has_data() {
    let (first, stream) = (echo("first").await.unwrap(), greeter().await.unwrap());
    let pod = |service: &str, address: &str, port: u16, protocol: &str, at: u16| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: {service}}}\n\
             spec: {{clusterIP: {address}, selector: {{app: {service}}}, ports: [{{name: {protocol}, port: {port}, targetPort: {at}}}]}}\n\
             ---\napiVersion: v1\nkind: Pod\n\
             metadata: {{namespace: shop, name: {service}-v3-5d9-abcde, labels: {{app: {service}, version: v3}}}}\n\
             spec: {{serviceAccountName: {service}, containers: [{{name: web, image: web}}]}}\n\
             status: {{phase: Running, podIP: 127.0.0.1, conditions: [{{type: Ready, status: \"True\"}}]}}\n"
        )
    };
    let more =
        pod("page", "10.96.0.7", 80, "http", first) + &pod("store", "10.96.0.8", 3306, "mysql", stream);
    let waypoint = Waypoint::of(&(objects(first, first, stream) + &more)).await.unwrap();
    let identity = "spiffe://cluster.local/ns/shop/sa/client";
    let baggage =
        ("baggage", "k8s.cluster.name=east,k8s.deployment.name=client,service.name=front,service.version=v7");
    let requests = waypoint.connect_as(identity, "10.96.0.7:80", &[baggage]).await.unwrap().unwrap();
    let mut page = Http::new(requests.into_inner()).await.unwrap();
    assert_eq!(page.send(get("/", &[])).await.unwrap().status, 200);
    assert_eq!(page.send(get("/", &[("content-type", "application/grpc")])).await.unwrap().status, 200);
    let mut store = waypoint.connect_as(identity, "10.96.0.8:3306", &[baggage]).await.unwrap().unwrap();
    let mut first = [0; 5];
    store.read_exact(&mut first).await.unwrap();
    store.write_all(b"and").await.unwrap();
    store.read_exact(&mut first[..3]).await.unwrap();
    drop(store);

    let listed = listed();
    assert!(listed.len() >= 14, "{listed:?}");
    let missing = async || {
        let samples = samples(&waypoint.metrics().await?);
        let mut missing = Vec::new();
        for (metric, labels) in &listed {
            for label in labels {
                let has = |value: &String| !value.is_empty() && value != "unknown";
                let of_metric = samples.iter().filter(|(of, ..)| of == metric);
                if !of_metric.filter_map(|(_, of, _)| of.get(label)).any(has) {
                    missing.push(format!("{metric}{{{label}}}"));
                }
            }
        }
        anyhow::Ok(missing)
    };
    let complete = until(LIMIT, async || Ok(missing().await?.is_empty().then_some(())));
    if let Err(error) = complete.await {
        panic!("{error}: no data: {:#?}", missing().await);
    }
}
