//! The whole program against a real API server and a control plane of one page: what is written
//! arrives on the streams, and every change is seen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Stdio;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use pilothouse_tests::apiserver::ApiServer;
use pilothouse_tests::client::scripted::{ScriptedServer, ScriptedStream};
use prost::Message as _;
use proto::discovery::{DeltaDiscoveryResponse, Resource};
use proto::type_url;
use proto::workload::address::Type;
use proto::workload::{Address, Workload, WorkloadStatus};
use serde_json::Value;

const MESH: [&str; 8] = ["--namespaces", "2", "--services", "3", "--pods", "4", "--nodes", "2"];
const PODS: u64 = 24;

async fn client(kubeconfig: &Path) -> kube::Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

/// Sends every pod that has an address, then its changes, as they come from the API server.
async fn serve(stream: ScriptedStream, client: kube::Client) {
    let mut responses = 0;
    let mut send = |url: &str, resources: Vec<bytes::Bytes>, removed_resources: Vec<String>| {
        responses += 1;
        let nonce = responses.to_string();
        let type_url = url.to_owned();
        stream.respond(DeltaDiscoveryResponse {
            type_url,
            nonce,
            resources,
            removed_resources,
            ..Default::default()
        });
    };
    let events = watcher::watcher(Api::<Pod>::all(client), watcher::Config::default());
    futures::pin_mut!(events);
    let mut first = Vec::new();
    while let Some(event) = events.try_next().await.unwrap() {
        match event {
            Event::Init => {}
            Event::InitApply(pod) => first.extend(resource(&pod)),
            Event::InitDone => {
                send(type_url::ADDRESS, std::mem::take(&mut first), Vec::new());
                send(type_url::AUTHORIZATION, Vec::new(), Vec::new());
            }
            Event::Apply(pod) => {
                if let Some(resource) = resource(&pod) {
                    send(type_url::ADDRESS, vec![resource], Vec::new());
                }
            }
            Event::Delete(pod) => send(type_url::ADDRESS, Vec::new(), vec![name(&pod)]),
        }
    }
}

fn name(pod: &Pod) -> String {
    let part = |part: &Option<String>| part.clone().unwrap();
    format!("Kubernetes//Pod/{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

fn resource(pod: &Pod) -> Option<bytes::Bytes> {
    let status = pod.status.as_ref()?;
    let ip: std::net::Ipv4Addr = status.pod_ip.as_ref()?.parse().unwrap();
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    let health = if ready { WorkloadStatus::Healthy } else { WorkloadStatus::Unhealthy };
    let workload = Workload {
        uid: name(pod),
        addresses: vec![ip.octets().to_vec().into()],
        status: health.into(),
        ..Default::default()
    };
    let value = Address { r#type: Some(Type::Workload(workload)) }.encode_to_vec();
    let any = prost_types::Any { type_url: type_url::ADDRESS.to_owned(), value };
    let resource = Resource { name: name(pod), resource: Some(any), ..Default::default() };
    Some(resource.encode_to_vec().into())
}

async fn run(arguments: &[&str]) -> Value {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_pilothouse-load"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_written_arrives_and_every_change_is_seen() {
    let api = ApiServer::start().await.unwrap();
    let kubeconfig = api.kubeconfig();
    let server = ScriptedServer::start().await.unwrap();
    let address = server.address.to_string();
    let cluster = client(&kubeconfig).await;
    tokio::spawn(async move {
        while let Some(stream) = server.accept().await {
            tokio::spawn(serve(stream, cluster.clone()));
        }
    });
    let place = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let pid = std::process::id().to_string();

    let filled = run(&[&["fill"][..], &MESH, &place].concat()).await;
    // nodes; namespaces and accounts (a controller may be first with these); services, slices,
    // pods, and the status of each pod
    let writes = filled["fill"]["writes"].as_u64().unwrap();
    assert!((2 + 2 + 6 + 6 + 2 * PODS..=2 + 4 + 6 + 6 + 2 * PODS).contains(&writes), "{filled}");
    let again = run(&[&["fill"][..], &MESH, &place].concat()).await;
    assert_eq!(again["fill"]["writes"], 0, "{again}");

    let pods = PODS.to_string();
    let streams =
        ["--address", &address, "--streams", "3", "--sample", "2", "--expect", &pods, "--pid", &pid];
    let synced = run(&[&["sync"][..], &streams].concat()).await;
    assert_eq!(synced["sync"]["addresses_per_stream"], PODS, "{synced}");
    assert!(synced["sync"]["process"]["rss_bytes"].as_u64().unwrap() > 0, "{synced}");

    for change in ["ip", "ready", "replace"] {
        let pace = ["--change", change, "--rate", "40", "--duration", "3"];
        let report = run(&[&["churn"][..], &MESH, &place, &streams, &pace].concat()).await;
        let churn = &report["churn"];
        let count = |field: &str| churn[field].as_u64().unwrap();
        assert_eq!((count("failed"), count("missing"), count("lost_streams")), (0, 0, 0), "{report}");
        let seen = churn["update"]["count"].as_u64().unwrap() + churn["removal"]["count"].as_u64().unwrap();
        assert!(count("changes") > 0, "{report}");
        assert_eq!(seen, 2 * count("changes"), "{report}");
        assert_eq!(churn["removal"]["count"].as_u64().unwrap() > 0, change == "replace", "{report}");
    }
    // the runs left the mesh as they found it, for the next to start from
    let synced = run(&[&["sync"][..], &streams].concat()).await;
    assert_eq!(synced["sync"]["addresses_per_stream"], PODS, "{synced}");
}
