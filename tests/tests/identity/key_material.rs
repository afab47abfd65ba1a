//! Sources of the root.

use crate::foreign::{Foreign, plugged_in, secret, secrets};
use crate::plane::{Plane, Site, openssl};
use anyhow::Context;
use identity::{Identity, KeyStore};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use runtime::secure::SecureServer;
use serde_json::json;
use server::SecurePort;
use server::{Ads, Clients, Service};
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_agree_on_one_root() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let args = site.settings()?;
    let (synced, snapshots) = watch::channel(None);
    let stop = CancellationToken::new();
    let mut views = Vec::new();
    for _ in 0..8 {
        let port = SecurePort::bind(args.secure_addr)?;
        let store = KeyStore::Cluster(site.server.client().await?);
        let (identity, view) = Identity::new(&args.identity_settings(), store, port.address())?;
        let ads = Ads::new(snapshots.clone(), Clients::default());
        let secure = SecureServer { identity, port, roots: None, webhook: None };
        tokio::spawn(secure.run(Service::new(ads), snapshots.clone(), stop.clone()));
        views.push(view);
    }
    // All replicas wait for this snapshot, so that all look for a root at once and find none.
    synced.send_replace(Some(xds::Writer::new().publish()));
    let mut roots = Vec::new();
    for view in &views {
        let issuer = until(LIMIT, async || Ok(view.authority.current())).await;
        let issuer = issuer.with_context(|| format!("no root: {:?}", view.authority.status()))?;
        roots.push(issuer.trust().to_pem());
    }
    stop.cancel();
    assert!(roots.iter().all(|root| *root == roots[0]));
    let stored = secrets(&site).await?.get("istio-ca-secret").await?;
    assert_eq!(stored.type_.as_deref(), Some("istio.io/ca-root"));
    let data = stored.data.unwrap_or_default();
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "key.pem", "root-cert.pem"]);
    assert_eq!(data["root-cert.pem"].0, roots[0].as_bytes());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn root_of_an_existing_mesh_is_adopted_and_not_modified() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let dir = tempfile::tempdir()?;
    // As istiod creates it: an RSA key in PKCS#1, and only an organization as subject.
    openssl(&["genrsa", "-traditional", "-out", "key.pem", "2048"], dir.path())?;
    let request = [
        "req",
        "-x509",
        "-new",
        "-key",
        "key.pem",
        "-subj",
        "/O=cluster.local",
        "-days",
        "3650",
        "-out",
        "cert.pem",
        "-addext",
        "keyUsage=critical,keyCertSign",
    ];
    openssl(&request, dir.path())?;
    let (cert, key) =
        (std::fs::read(dir.path().join("cert.pem"))?, std::fs::read(dir.path().join("key.pem"))?);
    assert!(key.starts_with(b"-----BEGIN RSA PRIVATE KEY-----"));
    let empty = |name: &str| (name.to_owned(), Vec::new());
    let data = BTreeMap::from([
        ("ca-cert.pem".to_owned(), cert.clone()),
        ("ca-key.pem".to_owned(), key),
        ("root-cert.pem".to_owned(), cert.clone()),
        empty("cert-chain.pem"),
        empty("key.pem"),
    ]);
    let api = secrets(&site).await?;
    let before = api.create(&PostParams::default(), &secret("istio-ca-secret", data)).await?;
    let token = site.ztunnel("n1").await?;
    let mut settings = site.settings()?;
    for (intermediate, elements) in [("self-signed", 3), ("never", 2)] {
        settings.identity.signing_intermediate = intermediate.parse().map_err(anyhow::Error::msg)?;
        let plane = Plane::open(&settings).await?;
        let new = plane.certificate(&token, None).await?;
        assert_eq!(new.chain.len(), elements, "{intermediate}");
        std::fs::write(dir.path().join("leaf.pem"), &new.chain[0])?;
        std::fs::write(dir.path().join("between.pem"), new.chain[..elements - 1].concat())?;
        openssl(&["verify", "-CAfile", "cert.pem", "-untrusted", "between.pem", "leaf.pem"], dir.path())?;
        let after = api.get("istio-ca-secret").await?;
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_root_is_never_overwritten_and_the_port_stays_closed() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let data = BTreeMap::from([("ca-cert.pem".to_owned(), b"broken".to_vec())]);
    let before = api.create(&PostParams::default(), &secret("istio-ca-secret", data)).await?;
    let plane = Plane::start(&site.settings()?).await?;
    let problem = plane.problem("istio-ca-secret").await?;
    assert!(problem.contains("refused"), "{problem}");
    assert!(tokio::net::TcpStream::connect(plane.secure).await.is_err(), "the port is closed");
    let after = api.get("istio-ca-secret").await?;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    // Once the Secret is deleted, a root is created.
    api.delete("istio-ca-secret", &DeleteParams::default()).await?;
    plane.opened().await
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_creates_no_root_and_serves_the_one_of_the_other_control_plane() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.shadow = true;
    let shadow = Plane::start(&args).await?;
    shadow.problem("--shadow").await?;
    assert!(tokio::net::TcpStream::connect(shadow.secure).await.is_err(), "the port is closed");
    assert!(secrets(&site).await?.list(&ListParams::default()).await?.items.is_empty());
    args.shadow = false;
    let plane = Plane::open(&args).await?;
    shadow.opened().await?;
    assert_eq!(shadow.roots()?, plane.roots()?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_root_is_created_while_one_is_published() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let mut args = site.settings()?;
    args.identity.root_config_map = format!("roots-of-{}", site.system);
    let plane = Plane::open(&args).await?;
    let roots = plane.roots()?;
    let maps = Api::<ConfigMap>::namespaced(site.server.client().await?, &site.system);
    until(LIMIT, async || Ok(maps.get_opt(&args.identity.root_config_map).await?)).await?;
    plane.stop().await?;
    let api = secrets(&site).await?;
    let kept = api.get("istio-ca-secret").await?;
    api.delete("istio-ca-secret", &DeleteParams::default()).await?;

    // No replica with the root in memory is left.
    let plane = Plane::start(&args).await?;
    plane.problem("holds the root of a mesh").await?;
    assert!(api.get_opt("istio-ca-secret").await?.is_none());
    let data = kept.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    api.create(&PostParams::default(), &secret("istio-ca-secret", data)).await?;
    plane.opened().await?;
    assert_eq!(plane.roots()?, roots);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_update_of_plugged_in_material_leaves_the_old_one_active() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let (root, other_root) = (Foreign::root("root")?, Foreign::root("other-root")?);
    let (first, second) = (root.below("first")?, root.below("second")?);
    let other = other_root.below("other")?;
    api.create(&PostParams::default(), &secret("cacerts", plugged_in(&root, &first, &first.key))).await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    let signer = async |plane: &Plane| {
        let chain = plane.certificate(&token, None).await?.chain;
        anyhow::Ok(ca::Certificate::all_from_pem(chain[1].as_bytes())?[0].subject().to_owned())
    };
    assert_eq!(signer(&plane).await?, "CN=first");
    assert!(api.get_opt("istio-ca-secret").await?.is_none(), "no root is created");

    let replace = async |data: BTreeMap<String, Vec<u8>>| {
        let change = json!({ "data": secret("cacerts", data).data });
        api.patch("cacerts", &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
    };
    for (what, data) in [
        ("key", plugged_in(&root, &second, &first.key)),
        ("cert", plugged_in(&root, &other, &other.key)),
        ("roots may not change", plugged_in(&other_root, &other, &other.key)),
    ] {
        replace(data).await?;
        plane.problem(what).await?;
        assert_eq!(signer(&plane).await?, "CN=first", "{what}");
    }
    replace(plugged_in(&root, &second, &second.key)).await?;
    until(LIMIT, async || Ok((signer(&plane).await? == "CN=second").then_some(()))).await?;
    assert_eq!(plane.identity.authority.status().problem, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_plugged_in_files_are_activated_and_partial_ones_refused() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let dir = tempfile::tempdir()?;
    let root = Foreign::root("root")?;
    let (first, second) = (root.below("first")?, root.below("second")?);
    let write = |of: &Foreign| -> anyhow::Result<()> {
        for (name, content) in plugged_in(&root, of, &of.key) {
            std::fs::write(dir.path().join(name), content)?;
        }
        Ok(())
    };
    std::fs::write(dir.path().join("root-cert.pem"), &root.pem)?;
    let mut args = site.settings()?;
    args.identity.ca_dir = Some(dir.path().to_owned());
    let plane = Plane::start(&args).await?;
    plane.problem("missing").await?;
    assert!(
        secrets(&site).await?.get_opt("istio-ca-secret").await?.is_none(),
        "no root is created beside partial files"
    );
    let signing = |plane: &Plane| {
        plane.identity.authority.current().and_then(|s| s.certificate().map(|c| c.subject().to_owned()))
    };
    for of in [&first, &second] {
        write(of)?;
        let subject = ca::Certificate::all_from_pem(of.pem.as_bytes())?[0].subject().to_owned();
        until(LIMIT, async || Ok(signing(&plane).filter(|found| *found == subject))).await?;
    }
    plane.opened().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_once_the_secure_port_is_open() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let secrets = secrets(&site).await?;
    let invalid = secret("istio-ca-secret", [("ca-cert.pem".to_owned(), b"nonsense".to_vec())].into());
    secrets.create(&PostParams::default(), &invalid).await?;
    let plane = Plane::start(&site.settings()?).await?;
    let not_ready = async || {
        let answer = plane.ready().await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        Ok(answer.contains("the secure port is not open").then_some(()))
    };
    until(LIMIT, not_ready).await?;
    secrets.delete("istio-ca-secret", &DeleteParams::default()).await?;
    plane.opened().await?;
    let is_ready = async || Ok(plane.ready().await?.starts_with("HTTP/1.1 200").then_some(()));
    until(LIMIT, is_ready).await
}
