//! Plugged-in key material of a running control plane: what is activated, and when.

use crate::clock::FakeClock;
use crate::foreign::{Foreign, authority, plugged_in, secret, secrets};
use crate::plane::{Plane, Site};
use crate::workloads::Workloads;
use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The subject of the active signing certificate.
fn signer(plane: &Plane) -> Option<String> {
    plane.identity.authority.current().and_then(|s| s.certificate().map(|c| c.subject().to_owned()))
}

async fn signs(plane: &Plane, subject: &str) -> anyhow::Result<()> {
    let found = until(LIMIT, async || Ok(signer(plane).filter(|found| found == subject))).await;
    found.map(drop).with_context(|| format!("{subject}: {:?}", plane.identity.authority.status()))
}

fn write(dir: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for (name, content) in files {
        std::fs::write(dir.join(name), content)?;
    }
    Ok(())
}

async fn replace(api: &Api<Secret>, data: BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let change = json!({ "data": secret("cacerts", data).data });
    api.patch("cacerts", &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn material_of_an_issuer_whose_clock_is_ahead_is_activated_once_it_is_valid() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let root = Foreign::root("root")?;
    let mut params = authority("ahead");
    params.not_before = (SystemTime::now() + Duration::from_secs(3600)).into();
    let ahead = root.below_of(params)?;
    let files = plugged_in(&root, &ahead, &ahead.key);
    let dir = tempfile::tempdir()?;
    write(dir.path(), &files)?;
    secrets(&site).await?.create(&PostParams::default(), &secret("cacerts", files)).await?;
    let of_secret = site.settings()?;
    let mut of_files = of_secret.clone();
    of_files.identity.ca_dir = Some(dir.path().to_owned());
    // The material is not written again.
    let clock = FakeClock::running();
    let planes = [Plane::start_at(&of_secret, &clock).await?, Plane::start_at(&of_files, &clock).await?];
    for plane in &planes {
        plane.problem("is not valid yet").await?;
        assert_eq!(signer(plane), None);
    }
    clock.advance_seconds(3600);
    for plane in &planes {
        plane.opened().await?;
        assert_eq!(plane.identity.authority.status().problem, None);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn authority_that_peers_would_refuse_is_not_activated() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let mut params = authority("root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    let root = Foreign::root_of(params)?;
    let (first, middle) = (root.below("first")?, root.below("middle")?);
    let second = middle.below("second")?;
    let mut only_servers = authority("servers");
    only_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let only_servers = root.below_of(only_servers)?;
    api.create(&PostParams::default(), &secret("cacerts", plugged_in(&root, &first, &first.key))).await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;

    let mut too_deep = plugged_in(&root, &second, &second.key);
    let chain = format!("{}{}{}", second.pem, middle.pem, root.pem);
    too_deep.insert("cert-chain.pem".to_owned(), chain.into_bytes());
    for (data, what) in [
        (too_deep, "certificate CN=root permits 1 authorities below it (pathLenConstraint), and there are 2"),
        (plugged_in(&root, &only_servers, &only_servers.key), "lacks clientAuth or serverAuth"),
    ] {
        replace(&api, data).await?;
        plane.problem(what).await?;
        let chain = plane.certificate(&token, None).await?.chain;
        let signer = &ca::Certificate::all_from_pem(chain[1].as_bytes())?[0];
        assert_eq!(signer.subject(), "CN=first", "{what}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_secret_of_cert_manager_is_activated_as_it_changes() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let root = Foreign::root("root")?;
    let (first, second) = (root.below("first")?, root.below("second")?);
    let data = |of: &Foreign| -> BTreeMap<String, Vec<u8>> {
        let files = [("tls.crt", &of.pem), ("tls.key", &of.key), ("ca.crt", &root.pem)];
        files.map(|(name, text)| (name.to_owned(), text.clone().into_bytes())).into()
    };
    let mut cacerts = secret("cacerts", data(&first));
    cacerts.type_ = Some("kubernetes.io/tls".to_owned());
    api.create(&PostParams::default(), &cacerts).await?;
    let plane = Plane::open(&site.settings()?).await?;
    let token = site.ztunnel("n1").await?;
    for of in [&first, &second] {
        replace(&api, data(of)).await?;
        let subject = ca::Certificate::all_from_pem(of.pem.as_bytes())?[0].subject().to_owned();
        signs(&plane, &subject).await?;
        let chain = plane.certificate(&token, None).await?.chain;
        assert_eq!(chain[1..], [of.pem.clone(), root.pem.clone(), root.pem.clone()].map(|pem| normal(&pem)));
    }
    assert!(api.get_opt("istio-ca-secret").await?.is_none(), "no root is created");
    assert_eq!(plane.identity.authority.status().problem, None);
    Ok(())
}

/// The same certificate with the line endings of a response.
fn normal(pem: &str) -> String {
    ca::Certificate::all_from_pem(pem.as_bytes()).map(|all| all[0].to_pem()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_grow_and_shrink_without_a_failed_handshake() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let dir = tempfile::tempdir()?;
    let (a, b, other) = (Foreign::root("a")?, Foreign::root("b")?, Foreign::root("other")?);
    let (below_a, below_b) = (a.below("below-a")?, b.below("below-b")?);
    let below_other = other.below("below-other")?;
    let files = |roots: &[&Foreign], root: &Foreign, signing: &Foreign| {
        let mut files = plugged_in(root, signing, &signing.key);
        let pem: String = roots.iter().map(|root| root.pem.as_str()).collect();
        files.insert("root-cert.pem".to_owned(), pem.into_bytes());
        files
    };
    write(dir.path(), &files(&[&a], &a, &below_a))?;
    let mut args = site.settings()?;
    args.identity.ca_dir = Some(dir.path().to_owned());
    args.identity.allow_multiple_roots = true;
    let clock = FakeClock::running();
    let plane = Plane::open_at(&args, &clock).await?;
    let mut workloads = Workloads::new(&clock);
    for node in ["n1", "n2"] {
        workloads.start(plane.target(&site.ztunnel(node).await?)?).await?;
    }

    for (roots, root, signing, subject) in [
        (&[&a, &b][..], &a, &below_a, "CN=below-a"),
        (&[&a, &b][..], &b, &below_b, "CN=below-b"),
        (&[&b][..], &b, &below_b, "CN=below-b"),
    ] {
        write(dir.path(), &files(roots, root, signing))?;
        let is_active = || {
            let found = ca::Certificate::all_from_pem(plane.roots()?.as_bytes())?.len();
            Ok(signer(&plane).as_deref() == Some(subject) && found == roots.len())
        };
        workloads.connect_until(is_active).await?;
        // The next step once each workload has a certificate and roots of this one.
        workloads.renew_all().await?;
        assert!(workloads.chains().all(|chain| is_of(chain, subject, roots.len())), "{subject}");
    }
    let trusted = plane.roots()?;
    write(dir.path(), &files(&[&other], &other, &below_other))?;
    plane.problem("new roots neither contain the old ones").await?;
    assert_eq!((signer(&plane).as_deref(), plane.roots()?), (Some("CN=below-b"), trusted));
    workloads.renew_all().await
}

/// Returns whether a chain is signed by `signer` and ends with `roots` roots.
fn is_of(chain: &[String], signer: &str, roots: usize) -> bool {
    let all = |pem: &String| ca::Certificate::all_from_pem(pem.as_bytes()).unwrap_or_default();
    let signs = chain.get(1).map(all).unwrap_or_default();
    signs.first().is_some_and(|found| found.subject() == signer)
        && chain.last().map(all).is_some_and(|found| found.len() == roots)
}
