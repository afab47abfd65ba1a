//! The serving certificate, as clients see it.

use crate::clock::FakeClock;
use crate::laptop::Laptop;
use crate::plane::Plane;
use anyhow::Context;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::client::transport::dial;
use pilothouse_tests::client::{Client, Node, Options, Target, Tls};
use std::time::Duration;

fn mesh(discovery_address: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    defaultConfig: {{discoveryAddress: \"{discovery_address}\"}}
"
    )
}

const NEW_POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
status: {phase: Running, podIP: 10.9.9.9}
";

/// Connects to the server, verifying a name, and returns its certificate (DER).
async fn connect(plane: &Plane, name: &str) -> anyhow::Result<Vec<u8>> {
    let tls = Tls { roots_pem: plane.roots()?.into_bytes(), server_name: Some(name.to_owned()) };
    let target =
        Target { address: plane.secure.to_string(), tls: Some(tls), time: plane.time(), ..Target::default() };
    let stream = dial(&target).await?;
    let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("an empty chain")?.to_vec())
}

/// A ztunnel with a stream that has received its resources.
async fn ztunnel(laptop: &Laptop, plane: &Plane) -> anyhow::Result<Client> {
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&laptop.ztunnel()?)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    Ok(client)
}

/// Checks that the stream has stayed open and receives an update.
async fn stays_open(laptop: &Laptop, client: &Client, pod: &str) -> anyhow::Result<()> {
    laptop.write("new.yaml", &NEW_POD.replace("NAME", pod))?;
    let uid = format!("Kubernetes//Pod/shop/{pod}");
    client.until(&uid, |state| state.workload(&uid).is_some()).await?;
    assert_eq!(client.with(|state| state.streams()), 1, "the connection stayed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_host_is_added_to_the_certificate_without_a_restart() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let client = ztunnel(&laptop, &plane).await?;
    let before = connect(&plane, "localhost").await?;
    assert!(connect(&plane, "control.example.org").await.is_err());

    laptop.write("mesh.yaml", &mesh("control.example.org:15012"))?;
    let named = async |name: &str| until(LIMIT, async || Ok(connect(&plane, name).await.ok())).await;
    let after = named("control.example.org").await?;
    assert_ne!(before, after);
    assert_eq!(connect(&plane, "localhost").await?, after, "the other names stay");
    stays_open(&laptop, &client, "one").await?;

    // An invalid setting keeps the last valid one. The pod that is written after it tells when it was read.
    laptop.write("mesh.yaml", &mesh("no name"))?;
    laptop.write(
        "later.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: later, namespace: shop}, spec: {nodeName: node-2, \
         serviceAccountName: later, containers: [{name: later, image: later}]}, \
         status: {podIP: 10.9.9.9, phase: Running}}",
    )?;
    until(LIMIT, async || Ok(plane.identity.uid_of("shop", "later"))).await?;
    assert_eq!(connect(&plane, "control.example.org").await?, after);
    connect(&plane, "istiod.istio-system.svc").await?;
    laptop.write("mesh.yaml", &mesh("[fd00::7]:15012"))?;
    named("fd00::7").await?;
    assert!(connect(&plane, "control.example.org").await.is_err());
    stays_open(&laptop, &client, "two").await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_renewed_half_way_under_the_same_root() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    // The certificate expires with the root after 2000 s and is renewed after about 940 s, the root after
    // 1600 s.
    laptop.args.identity.root_ttl = Duration::from_secs(2000);
    let clock = FakeClock::running();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let client = ztunnel(&laptop, &plane).await?;
    let (root, first) = (plane.roots()?, connect(&plane, "localhost").await?);
    clock.advance_seconds(1000);
    let renewed = until(LIMIT, async || {
        let newer = connect(&plane, "localhost").await?;
        anyhow::ensure!(plane.roots()? == root, "the root was renewed first");
        Ok((newer != first).then_some(newer))
    });
    renewed.await?;
    stays_open(&laptop, &client, "three").await
}
