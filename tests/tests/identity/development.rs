//! Without a cluster: a folder of manifests and a state folder.

use crate::plane::{Plane, UNAUTHENTICATED, openssl, settings};
use ca::token::DevelopmentToken;
use clap::Parser as _;
use pilothouse_tests::client::{Client, Node, Options};
use runtime::config::SourceArgs;
use runtime::identity::{NO_UID, StateDir, development_token};
use std::path::Path;
use std::time::Duration;

const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop}
spec: {serviceAccountName: api, nodeName: elsewhere, containers: [{name: api, image: api}]}
";

fn token(state: &Path, account: &str, node: Option<&str>, life: u64) -> anyhow::Result<String> {
    let token = DevelopmentToken {
        namespace: "istio-system".to_owned(),
        service_account: account.to_owned(),
        pod: Some((account.to_owned(), NO_UID.to_owned())),
        node: node.map(str::to_owned),
        audiences: vec!["istio-ca".to_owned()],
        life: Duration::from_secs(life),
    };
    Ok(development_token(&StateDir::open(state)?, &token)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_on_a_laptop_gets_certificates_and_the_mesh() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (manifests, state) = (dir.path().join("manifests"), dir.path().join("state"));
    std::fs::create_dir(&manifests)?;
    std::fs::write(manifests.join("pods.yaml"), PODS)?;
    let source = SourceArgs { from: vec![manifests], ..SourceArgs::default() };
    let mut args = settings(source, "istio-system")?;
    args.state_dir = Some(state.clone());
    let plane = Plane::open(&args).await?;

    let ztunnel = token(&state, "ztunnel", Some("laptop"), 3600)?;
    let new = plane.certificate(&ztunnel, Some("spiffe://cluster.local/ns/shop/sa/web")).await?;
    std::fs::write(dir.path().join("leaf.pem"), &new.chain[0])?;
    let roots = StateDir::open(&state)?.root_file();
    openssl(&["verify", "-CAfile", &roots.display().to_string(), "leaf.pem"], dir.path())?;
    for (token, identity) in [
        (&ztunnel, Some("spiffe://cluster.local/ns/shop/sa/api")),
        (&token(&state, "ztunnel", None, 3600)?, Some("spiffe://cluster.local/ns/shop/sa/web")),
        (&token(&state, "web", Some("laptop"), 3600)?, Some("spiffe://cluster.local/ns/shop/sa/web")),
        (&token(&dir.path().join("other-state"), "ztunnel", Some("laptop"), 3600)?, None),
    ] {
        assert_eq!(plane.refusal(token, identity).await?, UNAUTHENTICATED, "{identity:?}");
    }
    let options = Options { node: Node::ztunnel("laptop"), ..plane.client_options(&ztunnel)? };
    let client = Client::connect(options).await?;
    client.until("both types answered", |state| state.is_ready()).await?;

    // A restart keeps the root and the key: what was issued stays good.
    let before = plane.roots()?;
    plane.stop().await?;
    let plane = Plane::open(&args).await?;
    assert_eq!(plane.roots()?, before);
    plane.certificate(&ztunnel, None).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secure_port_stays_closed_while_the_root_is_broken() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (manifests, state) = (dir.path().join("manifests"), dir.path().join("state"));
    std::fs::create_dir(&manifests)?;
    std::fs::write(manifests.join("pods.yaml"), PODS)?;
    let source = SourceArgs { from: vec![manifests], ..SourceArgs::default() };
    let mut args = settings(source, "istio-system")?;
    args.state_dir = Some(state.clone());
    Plane::open(&args).await?.stop().await?;
    let key = state.join("ca/ca-key.pem");
    let good = std::fs::read(&key)?;
    std::fs::write(&key, "broken")?;
    let plane = Plane::start(&args).await?;
    pilothouse_tests::apiserver::until(pilothouse_tests::apiserver::LIMIT, async || {
        Ok(plane.identity.authority.status().trouble.map(|trouble| trouble.text))
    })
    .await?;
    assert!(tokio::net::TcpStream::connect(plane.secure).await.is_err(), "the port is closed");
    assert_eq!(std::fs::read(&key)?, b"broken", "what is there is left alone");
    std::fs::write(&key, good)?;
    plane.opened().await
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
    let home = runtime::identity::Home::StateDir(StateDir::open(home.path())?);
    let refused = runtime::identity::Identity::new(&args, home, args.secure_addr);
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("--trusted-node-accounts"), "{message}");
    Ok(())
}
