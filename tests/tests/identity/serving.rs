//! The serving certificate, as clients meet it.

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

/// Meets the server under a name and returns its certificate (DER).
async fn meet(plane: &Plane, name: &str) -> anyhow::Result<Vec<u8>> {
    let tls = Tls { roots_pem: plane.roots()?.into_bytes(), server_name: Some(name.to_owned()) };
    let target = Target { address: plane.secure.to_string(), tls: Some(tls), ..Target::default() };
    let stream = dial(&target).await?;
    let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("an empty chain")?.to_vec())
}

/// A ztunnel with a stream that has been served.
async fn ztunnel(laptop: &Laptop, plane: &Plane) -> anyhow::Result<Client> {
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&laptop.ztunnel()?)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    Ok(client)
}

/// Checks that a stream is still the first, and that it is told of a change.
async fn goes_on(laptop: &Laptop, client: &Client, pod: &str) -> anyhow::Result<()> {
    laptop.write("new.yaml", &NEW_POD.replace("NAME", pod))?;
    let uid = format!("Kubernetes//Pod/shop/{pod}");
    client.until(&uid, |state| state.workload(&uid).is_some()).await?;
    assert_eq!(client.with(|state| state.streams()), 1, "the connection stayed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_takes_the_name_that_proxies_are_told_without_a_restart() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let plane = Plane::open(&laptop.args).await?;
    let client = ztunnel(&laptop, &plane).await?;
    let before = meet(&plane, "localhost").await?;
    assert!(meet(&plane, "control.example.org").await.is_err());

    laptop.write("mesh.yaml", &mesh("control.example.org:15012"))?;
    let named = async |name: &str| until(LIMIT, async || Ok(meet(&plane, name).await.ok())).await;
    let after = named("control.example.org").await?;
    assert_ne!(before, after);
    assert_eq!(meet(&plane, "localhost").await?, after, "the names of before stay");
    goes_on(&laptop, &client, "one").await?;

    // What cannot be a name takes none of the others with it.
    laptop.write("mesh.yaml", &mesh("no name"))?;
    until(LIMIT, async || Ok(meet(&plane, "control.example.org").await.is_err().then_some(()))).await?;
    meet(&plane, "istiod.istio-system.svc").await?;
    laptop.write("mesh.yaml", &mesh("[fd00::7]:15012"))?;
    named("fd00::7").await?;
    goes_on(&laptop, &client, "two").await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_renewed_half_way_under_the_same_root() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    // What the root signs ends with it: the certificate has as long, is backdated by half of that, and
    // so renewed after ten seconds. The root has more than twenty further ones until it is renewed.
    laptop.args.identity.root_ttl = Duration::from_secs(40);
    let plane = Plane::open(&laptop.args).await?;
    let client = ztunnel(&laptop, &plane).await?;
    let (root, first) = (plane.roots()?, meet(&plane, "localhost").await?);
    let renewed = until(LIMIT, async || {
        let newer = meet(&plane, "localhost").await?;
        anyhow::ensure!(plane.roots()? == root, "the root was renewed first");
        Ok((newer != first).then_some(newer))
    });
    renewed.await?;
    goes_on(&laptop, &client, "three").await
}
