//! Without a cluster: a folder of manifests and a state folder.

use crate::laptop::{Laptop, token};
use crate::plane::{Plane, UNAUTHENTICATED, openssl};
use clap::Parser as _;
use identity::StateDir;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::request_certificate;
use pilothouse_tests::client::{Client, Node, Options, State};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn proxy_on_a_laptop_gets_certificates_and_the_mesh() -> anyhow::Result<()> {
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

    // A restart keeps the root and the key: what was issued stays good.
    let before = plane.roots()?;
    plane.stop().await?;
    let plane = Plane::open(&laptop.args).await?;
    assert_eq!(plane.roots()?, before);
    plane.certificate(&ztunnel, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secure_port_stays_closed_while_the_root_is_broken() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    Plane::open(&laptop.args).await?.stop().await?;
    let key = laptop.state().join("ca/ca-key.pem");
    let good = std::fs::read(&key)?;
    std::fs::write(&key, "broken")?;
    let plane = Plane::start(&laptop.args).await?;
    until(LIMIT, async || Ok(plane.identity.authority.status().trouble.map(|trouble| trouble.text))).await?;
    assert!(tokio::net::TcpStream::connect(plane.secure).await.is_err(), "the port is closed");
    assert_eq!(std::fs::read(&key)?, b"broken", "what is there is left alone");
    std::fs::write(&key, good)?;
    plane.opened().await
}

#[tokio::test(flavor = "multi_thread")]
async fn root_of_a_state_folder_is_renewed_before_it_ends() -> anyhow::Result<()> {
    let mut laptop = Laptop::new()?;
    // Renewed when a fifth of it is left.
    laptop.args.identity.root_ttl = Duration::from_secs(20);
    let plane = Plane::open(&laptop.args).await?;
    let ztunnel = laptop.ztunnel()?;
    let before = plane.target(&ztunnel)?;
    let read = |plane: &Plane| anyhow::Ok(ca::Certificate::all_from_pem(plane.roots()?.as_bytes())?);
    let old = read(&plane)?;
    let both = until(LIMIT, async || Ok(Some(read(&plane)?).filter(|roots| *roots != old))).await?;
    assert!(both.len() == 2 && both[1] == old[0], "the old one is trusted still: {both:?}");
    // Who trusts nothing but the old one is served.
    request_certificate(&before, None, 0).await?;
    let new = until(LIMIT, async || Ok(Some(read(&plane)?).filter(|roots| *roots != both))).await?;
    assert_eq!(new, both[..1], "the old one has ended");
    plane.stop().await?;
    let kept = StateDir::open(&laptop.state())?.load_root()?;
    assert_eq!(kept.map(|root| root.active().certificate().clone()).as_ref(), new.first());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_of_the_trust_domain_that_workloads_are_told() -> anyhow::Result<()> {
    let laptop = Laptop::new()?;
    let settings = laptop.dir().join("manifests/mesh.yaml");
    std::fs::write(
        &settings,
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: \"trustDomain: example.org\"}
",
    )?;
    laptop.write(
        "told.yaml",
        "
apiVersion: v1
kind: Pod
metadata: {name: told, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
status: {phase: Running, podIP: 10.9.9.8}
",
    )?;
    let plane = Plane::open(&laptop.args).await?;
    let ztunnel = laptop.ztunnel()?;
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&ztunnel)? };
    let client = Client::connect(options).await?;
    let told = "Kubernetes//Pod/shop/told";
    let of = |domain: &str| format!("spiffe://{domain}/ns/shop/sa/web");
    // Settings that are deleted are the default ones, for both at once.
    for (sent, domain, other) in
        [("example.org", "example.org", "cluster.local"), ("", "cluster.local", "example.org")]
    {
        let is_told = |state: &State| state.workload(told).is_some_and(|w| w.trust_domain == sent);
        client.until(domain, is_told).await?;
        plane.certificate(&ztunnel, Some(&of(domain))).await?;
        assert_eq!(plane.refusal(&ztunnel, Some(&of(other))).await?, UNAUTHENTICATED, "{other}");
        if settings.exists() {
            std::fs::remove_file(&settings)?;
        }
    }
    Ok(())
}

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    serve: runtime::config::ServeArgs,
}

#[test]
fn trusted_accounts_of_another_form_are_an_error_at_start() -> anyhow::Result<()> {
    let args = Command::try_parse_from(["serve", "--trusted-node-accounts=ztunnel"])?.serve;
    let home = tempfile::tempdir()?;
    let home = identity::Home::StateDir(StateDir::open(home.path())?);
    let refused = identity::Identity::new(&args.identity_settings(), home, args.secure_addr);
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("--trusted-node-accounts"), "{message}");
    Ok(())
}
