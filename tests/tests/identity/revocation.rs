//! Revocation lists and revoked certificates.

use crate::certificates::{channel_showing, renew_on};
use crate::foreign::{Foreign, plugged_in, secret, secrets};
use crate::plane::{Plane, Site, UNAUTHENTICATED};
use anyhow::Context;
use ca::Certificate;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::certificates::{NewCertificate, RequestError, request_certificate};
use runtime::config::ServeArgs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;

/// A mesh with plugged-in key material.
struct Plugged {
    site: Site,
    root: Foreign,
    signing: Foreign,
    secrets: Api<Secret>,
    client: Client,
    args: ServeArgs,
}

impl Plugged {
    async fn new() -> anyhow::Result<Self> {
        let site = Site::new().await?;
        let root = Foreign::root("root")?;
        let signing = root.below("signing")?;
        let secrets = secrets(&site).await?;
        let data = plugged_in(&root, &signing, &signing.key);
        secrets.create(&PostParams::default(), &secret("cacerts", data)).await?;
        let mut args = site.settings()?;
        args.identity.renewal_by_certificate = ca::CertificateRenewal::All;
        // Distinct names: other meshes share the cluster.
        args.identity.root_config_map = format!("roots-of-{}", site.system);
        args.identity.crl_config_map = format!("lists-of-{}", site.system);
        let client = site.server.client().await?;
        Ok(Self { site, root, signing, secrets, client, args })
    }

    /// Adds revocation lists to the key material, or removes them.
    async fn put(&self, lists: Option<&str>) -> anyhow::Result<()> {
        let data = lists.map(|text| k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let change = json!({"data": {"ca-crl.pem": data}});
        self.secrets.patch("cacerts", &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    /// Returns lists of both authorities; the one of the signing authority revokes these certificates.
    fn revoking(&self, serials: &[&str]) -> anyhow::Result<String> {
        Ok(self.root.revoking(&[])? + &self.signing.revoking(serials)?)
    }

    fn maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits until the ConfigMap of a namespace holds these lists.
    async fn holds(&self, namespace: &str, lists: &str) -> anyhow::Result<ConfigMap> {
        let (maps, name) = (self.maps(namespace), &self.args.identity.crl_config_map);
        let found = until(LIMIT, async || {
            let is_right = |map: &ConfigMap| {
                map.data.as_ref().and_then(|data| data.get("ca-crl.pem")).is_some_and(|text| text == lists)
            };
            Ok(maps.get_opt(name).await?.filter(is_right))
        });
        found.await.with_context(|| format!("{namespace} does not hold {lists}"))
    }
}

/// Returns the serving certificate of a control plane.
async fn serving(plane: &Plane) -> anyhow::Result<Vec<u8>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(plane.roots()?.as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(plane.secure).await?;
    let tls =
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect("localhost".try_into()?, stream).await?;
    let chain = tls.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(chain[0].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_lists_are_published_in_every_namespace_as_they_change() -> anyhow::Result<()> {
    let mesh = Plugged::new().await?;
    let (shop, name) = (mesh.site.shop.as_str(), &mesh.args.identity.crl_config_map);
    let plane = Plane::open(&mesh.args).await?;
    // There are no lists yet: the published text is empty.
    for namespace in [mesh.site.system.as_str(), shop, "kube-system"] {
        let map = mesh.holds(namespace, "").await?;
        let labels = map.metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("istio.io/config").map(String::as_str), Some("true"));
    }
    let roots = mesh.maps(shop);
    let has_roots = async || Ok(roots.get_opt(&mesh.args.identity.root_config_map).await?);
    let before = until(LIMIT, has_roots).await?.metadata.resource_version;
    let (issuer, certificate) = (plane.identity.authority.current(), serving(&plane).await?);

    let lists = mesh.revoking(&["07"])?;
    mesh.put(Some(&lists)).await?;
    for namespace in [mesh.site.system.as_str(), shop, "kube-system"] {
        mesh.holds(namespace, &lists).await?;
    }
    let edit = Patch::Merge(json!({"data": {"ca-crl.pem": "forged", "other": "kept"}}));
    mesh.maps(shop).patch(name, &PatchParams::default(), &edit).await?;
    let repaired = mesh.holds(shop, &lists).await?;
    assert_eq!(repaired.data.unwrap_or_default().get("other").map(String::as_str), Some("kept"));
    mesh.maps(shop).delete(name, &DeleteParams::default()).await?;
    mesh.holds(shop, &lists).await?;

    // An invalid update is refused as a whole.
    let uncovering = mesh.root.revoking(&["07"])?;
    for (text, part) in
        [("nonsense", "is not valid PEM"), (&uncovering, "no revocation list is signed by CN=signing")]
    {
        mesh.put(Some(text)).await?;
        plane.problem(part).await?;
        mesh.holds(shop, &lists).await?;
    }
    let lists = mesh.revoking(&["08"])?;
    mesh.put(Some(&lists)).await?;
    mesh.holds(shop, &lists).await?;
    assert_eq!(plane.identity.authority.status().problem, None);

    // Nothing else was touched on the way.
    let now = plane.identity.authority.current();
    assert!(issuer.zip(now).is_some_and(|(before, now)| Arc::ptr_eq(&before, &now)));
    assert!(serving(&plane).await? == certificate, "the serving certificate is another one");
    assert_eq!(has_roots().await?.context("no roots")?.metadata.resource_version, before);
    mesh.put(None).await?;
    mesh.holds(shop, "").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn client_with_a_revoked_certificate_is_refused_and_another_is_not() -> anyhow::Result<()> {
    let mesh = Plugged::new().await?;
    let plane = Plane::open(&mesh.args).await?;
    let mut blind = mesh.args.clone();
    blind.identity.revocation_lists = false;
    let blind = Plane::open(&blind).await?;
    let (one, two) = (mesh.site.ztunnel("n1").await?, mesh.site.ztunnel("n2").await?);
    let bad = plane.certificate(&one, None).await?;
    let good = plane.certificate(&two, None).await?;
    let serial = Certificate::all_from_pem(bad.chain[0].as_bytes())?[0].serial().to_owned();
    let refused_calls = AtomicU64::new(0);
    let is_accepted = async |plane: &Plane, of: &NewCertificate| {
        let mut target = plane.target("")?;
        let chain = of.chain[..of.chain.len() - 1].concat();
        target.client = Some((chain.into_bytes(), of.key_pem.clone().into_bytes()));
        match request_certificate(&target, None, 0).await {
            Ok(_) => anyhow::Ok(true),
            Err(RequestError::Connect { .. } | RequestError::Call { .. }) => Ok(false),
            // The lists changed between the handshake and the call.
            Err(RequestError::Refused { code, message }) => {
                anyhow::ensure!(code == UNAUTHENTICATED, "{message}");
                refused_calls.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
        }
    };
    assert!(is_accepted(&plane, &bad).await? && is_accepted(&plane, &good).await?);
    // The lists also apply to established connections.
    let (connected_bad, connected_good) =
        (channel_showing(&plane, &bad).await?, channel_showing(&plane, &good).await?);
    for connection in [&connected_bad, &connected_good] {
        assert_eq!(renew_on(connection, 0).await?.err(), None);
    }

    mesh.put(Some(&mesh.revoking(&[&serial])?)).await?;
    until(LIMIT, async || Ok((!is_accepted(&plane, &bad).await?).then_some(()))).await?;
    let code = until(LIMIT, async || Ok(renew_on(&connected_bad, 0).await?.err())).await?;
    let refused = 1 + refused_calls.load(Ordering::Relaxed);
    assert_eq!((code, plane.refused("certificate_revoked")), (UNAUTHENTICATED, refused));
    assert_eq!(renew_on(&connected_good, 0).await?.err(), None);
    assert!(is_accepted(&plane, &good).await?);
    let is_counted = async || {
        let counts = plane.stats().handshakes.list();
        Ok(counts.iter().any(|(outcome, count)| *outcome == "revoked" && *count > 0).then_some(()))
    };
    until(LIMIT, is_counted).await?;
    assert!(is_accepted(&blind, &bad).await?, "lists are not read if they are disabled");

    mesh.put(Some(&mesh.revoking(&[])?)).await?;
    until(LIMIT, async || Ok(is_accepted(&plane, &bad).await?.then_some(()))).await
}
