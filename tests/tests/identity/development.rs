//! Without a cluster: a folder of manifests and a state folder.

use crate::clock::FakeClock;
use crate::laptop::{Laptop, token};
use crate::plane::{Plane, UNAUTHENTICATED, openssl};
use clap::Parser as _;
use identity::StateDir;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::request_certificate;
use pilothouse_tests::client::{Client, Node, Options, State};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn proxy_without_a_cluster_gets_certificates_and_the_mesh() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let (dir, state) = (laptop.dir(), laptop.state());
    let plane = Plane::open(&laptop.args).await?;

    let ztunnel = token(&state, "ztunnel", Some("laptop"), 3600)?;
    let new = plane.certificate(&ztunnel, Some("spiffe://cluster.local/ns/shop/sa/web")).await?;
    std::fs::write(dir.join("leaf.pem"), &new.chain[0])?;
    let roots = StateDir::open(&state)?.root_file();
    openssl(&["verify", "-CAfile", &roots.display().to_string(), "leaf.pem"], dir)?;
    for (token, identity) in [
        (&ztunnel, Some("spiffe://cluster.local/ns/shop/sa/api")),
        (&token(&state, "ztunnel", None, 3600)?, Some("spiffe://cluster.local/ns/shop/sa/web")),
        (&token(&state, "web", Some("laptop"), 3600)?, Some("spiffe://cluster.local/ns/shop/sa/web")),
        (&token(&dir.join("other-state"), "ztunnel", Some("laptop"), 3600)?, None),
    ] {
        assert_eq!(plane.refusal(token, identity).await?, UNAUTHENTICATED, "{identity:?}");
    }
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&ztunnel)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;

    // A restart keeps the root and the token key: issued tokens and certificates stay valid.
    let before = plane.roots()?;
    plane.stop().await?;
    let plane = Plane::open(&laptop.args).await?;
    assert_eq!(plane.roots()?, before);
    plane.certificate(&ztunnel, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secure_port_stays_closed_while_the_root_is_invalid() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    Plane::open(&laptop.args).await?.stop().await?;
    let key = laptop.state().join("ca/ca-key.pem");
    let good = std::fs::read(&key)?;
    std::fs::write(&key, "broken")?;
    let plane = Plane::start(&laptop.args).await?;
    until(LIMIT, async || Ok(plane.identity.authority.status().problem.map(|problem| problem.text))).await?;
    assert!(tokio::net::TcpStream::connect(plane.secure).await.is_err(), "the port is closed");
    assert_eq!(std::fs::read(&key)?, b"broken", "the invalid root is not overwritten");
    std::fs::write(&key, good)?;
    plane.opened().await
}

#[tokio::test(flavor = "multi_thread")]
async fn root_of_a_state_folder_is_renewed_before_it_expires() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    // Renewed when a fifth of its lifetime is left.
    laptop.args.identity.root_ttl = Duration::from_secs(2000);
    let clock = FakeClock::running();
    let plane = Plane::open_at(&laptop.args, &clock).await?;
    let ztunnel = laptop.ztunnel()?;
    let before = plane.target(&ztunnel)?;
    let read = |plane: &Plane| anyhow::Ok(ca::Certificate::all_from_pem(plane.roots()?.as_bytes())?);
    let old = read(&plane)?;
    clock.advance_seconds(1700);
    let both = until(LIMIT, async || Ok(Some(read(&plane)?).filter(|roots| *roots != old))).await?;
    assert!(both.len() == 2 && both[1] == old[0], "the old root is still trusted: {both:?}");
    // A client that trusts only the old root is served.
    request_certificate(&before, None, 0).await?;
    clock.advance_seconds(400);
    let new = until(LIMIT, async || Ok(Some(read(&plane)?).filter(|roots| *roots != both))).await?;
    assert_eq!(new, both[..1], "the old root is retired");
    plane.stop().await?;
    let kept = StateDir::open(&laptop.state())?.load_root()?;
    assert_eq!(kept.map(|root| root.active().certificate().clone()).as_ref(), new.first());
    Ok(())
}

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: \"trustDomain: DOMAIN\"}
";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
status: {phase: Running, podIP: 10.9.9.8}
";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_have_the_trust_domain_that_workloads_are_sent() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let settings = laptop.dir().join("manifests/mesh.yaml");
    std::fs::write(&settings, SETTINGS.replace("DOMAIN", "example.org"))?;
    laptop.write("added.yaml", &POD.replace("NAME", "added"))?;
    let plane = Plane::open(&laptop.args).await?;
    let ztunnel = laptop.ztunnel()?;
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&ztunnel)? };
    let client = Client::connect(options).await?;
    let of = |domain: &str| format!("spiffe://{domain}/ns/shop/sa/web");
    let holds = async |pod: &str, sent: &str, domain: &str, other: &str| {
        let pod = format!("Kubernetes//Pod/shop/{pod}");
        let has_domain = |state: &State| state.workload(&pod).is_some_and(|w| w.trust_domain == sent);
        client.until(domain, has_domain).await?;
        plane.certificate(&ztunnel, Some(&of(domain))).await?;
        assert_eq!(plane.refusal(&ztunnel, Some(&of(other))).await?, UNAUTHENTICATED, "{other}");
        anyhow::Ok(())
    };
    holds("added", "example.org", "example.org", "cluster.local").await?;
    // An invalid one keeps the last valid one, for both. The pod comes after it.
    std::fs::write(&settings, SETTINGS.replace("DOMAIN", "Corp.Test"))?;
    laptop.write("later.yaml", &POD.replace("NAME", "later"))?;
    holds("later", "example.org", "example.org", "cluster.local").await?;
    // Deleted settings fall back to the defaults, for both.
    std::fs::remove_file(&settings)?;
    holds("added", "", "cluster.local", "example.org").await
}

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    serve: runtime::config::ServeArgs,
}

#[test]
fn malformed_trusted_accounts_are_an_error_at_start() -> anyhow::Result<()> {
    let args = Command::try_parse_from(["serve", "--trusted-node-accounts=ztunnel"])?.serve;
    let dir = tempfile::tempdir()?;
    let store = identity::KeyStore::StateDir(StateDir::open(dir.path())?);
    let refused = identity::Identity::new(&args.identity_settings(), store, args.secure_addr);
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("--trusted-node-accounts"), "{message}");
    Ok(())
}
