//! What is said and done when key material goes wrong under a control plane that runs.

use crate::foreign::{Foreign, plugged_in, secret, secrets};
use crate::plane::{Plane, Site};
use anyhow::Context;
use ca::{Certificate, TrustBundle, verify_chain};
use identity::TroubleKind;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use rustls::pki_types::UnixTime;
use serde_json::json;
use std::collections::BTreeMap;

/// The events of a control plane's namespace.
struct Told(Api<Event>);

impl Told {
    async fn of(site: &Site) -> anyhow::Result<Self> {
        Ok(Self(Api::namespaced(site.server.client().await?, &site.system)))
    }

    async fn all(&self) -> anyhow::Result<Vec<Event>> {
        Ok(self.0.list(&ListParams::default()).await?.items)
    }

    /// Waits for an event of this reason whose note has this in it.
    async fn find(&self, reason: &str, part: &str) -> anyhow::Result<Event> {
        let found = until(LIMIT, async || {
            let is_it = |event: &Event| {
                event.reason.as_deref() == Some(reason)
                    && event.note.as_ref().is_some_and(|note| note.contains(part))
            };
            Ok(self.all().await?.into_iter().find(is_it))
        });
        match found.await {
            Ok(event) => Ok(event),
            Err(error) => Err(error.context(format!("no {reason} {part:?} among {:#?}", self.all().await?))),
        }
    }
}

fn is_about(event: &Event, kind: &str, name: &str) -> bool {
    let regarding = event.regarding.as_ref();
    regarding.is_some_and(|it| it.kind.as_deref() == Some(kind) && it.name.as_deref() == Some(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_update_and_its_end_are_told_on_the_secret() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let root = Foreign::root("root")?;
    let (first, second) = (root.below("first")?, root.below("second")?);
    let good = plugged_in(&root, &first, &first.key);
    let broken = plugged_in(&root, &second, &first.key);
    api.create(&PostParams::default(), &secret("cacerts", good.clone())).await?;
    let mut args = site.settings()?;
    args.replica_name = Some("istiod-1".to_owned());
    let plane = Plane::open(&args).await?;
    args.shadow = true;
    let shadow = Plane::open(&args).await?;
    let told = Told::of(&site).await?;
    let put = async |data: &BTreeMap<String, Vec<u8>>| {
        let change = Patch::Merge(json!({ "data": secret("cacerts", data.clone()).data }));
        api.patch("cacerts", &PatchParams::default(), &change).await.map(drop)
    };

    put(&broken).await?;
    let refused = told.find("KeyMaterialRefused", "does not match").await?;
    assert!(is_about(&refused, "Secret", "cacerts"), "{refused:#?}");
    assert_eq!(refused.type_.as_deref(), Some("Warning"));
    assert_eq!(refused.reporting_instance.as_deref(), Some("istiod-1"));
    put(&good).await?;
    let over = told.find("KeyMaterialInForce", "cacerts").await?;
    assert!(is_about(&over, "Secret", "cacerts") && over.type_.as_deref() == Some("Normal"), "{over:#?}");

    // The same again is counted, not told anew; and something else is something else.
    put(&broken).await?;
    let is_counted = async || {
        let event = told.find("KeyMaterialRefused", "does not match").await?;
        Ok(event.series.filter(|series| series.count == 2))
    };
    until(LIMIT, is_counted).await.context("it is not counted")?;
    api.delete("cacerts", &DeleteParams::default()).await?;
    told.find("KeyMaterialMissing", "is gone").await?;
    shadow.trouble("is gone").await?;

    let all = told.all().await?;
    let mut reasons: Vec<_> = all.iter().filter_map(|event| event.reason.as_deref()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["KeyMaterialInForce", "KeyMaterialMissing", "KeyMaterialRefused"]);
    let text = serde_json::to_string(&all)?;
    let key_lines = first.key.lines().chain(second.key.lines()).filter(|line| !line.starts_with('-'));
    assert!(key_lines.into_iter().all(|line| !text.contains(line)), "a key is told");
    let count = |kind: TroubleKind| {
        let counts = plane.identity.authority.troubles().list();
        counts.iter().find(|(name, _)| *name == kind.name()).map_or(0, |(_, count)| *count)
    };
    assert_eq!((count(TroubleKind::Refused), count(TroubleKind::Missing)), (2, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_files_is_told_on_the_pod_that_has_them() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let pod = site.pod(&site.system, "istiod-1", "istiod", "n1").await?;
    let dir = tempfile::tempdir()?;
    let root = Foreign::root("root")?;
    for (name, content) in plugged_in(&root, &root, &root.key) {
        std::fs::write(dir.path().join(name), content)?;
    }
    let mut args = site.settings()?;
    args.identity.ca_dir = Some(dir.path().to_owned());
    args.replica_name = Some("istiod-1".to_owned());
    let _plane = Plane::open(&args).await?;
    std::fs::write(dir.path().join("ca-key.pem"), "nothing")?;
    let told = Told::of(&site).await?.find("KeyMaterialRefused", "ca-key.pem").await?;
    assert!(is_about(&told, "Pod", "istiod-1"), "{told:#?}");
    let regarding = told.regarding.context("it is about nothing")?;
    assert_eq!(regarding.uid, pod.metadata.uid);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_root_is_put_back_by_one_of_the_replicas_that_remember_it() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let args = site.settings()?;
    let (one, two) = (Plane::open(&args).await?, Plane::open(&args).await?);
    let token = site.ztunnel("n1").await?;
    let before = one.certificate(&token, None).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "mesh"}}}));
    let kept = api.patch("istio-ca-secret", &PatchParams::default(), &label).await?;
    let troubles = || -> u64 {
        let missing = [&one, &two].map(|plane| {
            let counts = plane.identity.authority.troubles().list();
            counts.iter().find(|(kind, _)| *kind == "missing").map_or(0, |(_, count)| *count)
        });
        missing.iter().sum()
    };

    for round in 1..=3 {
        api.delete("istio-ca-secret", &DeleteParams::default()).await?;
        let restored = until(LIMIT, async || Ok(api.get_opt("istio-ca-secret").await?)).await?;
        assert_eq!((&restored.data, &restored.type_), (&kept.data, &kept.type_), "round {round}");
        assert!(troubles() >= round, "it is said");
    }
    let is_over = async || {
        let is_fine = |plane: &Plane| plane.identity.authority.status().trouble.is_none();
        Ok((is_fine(&one) && is_fine(&two)).then_some(()))
    };
    until(LIMIT, is_over).await?;
    let told = Told::of(&site).await?;
    let missing = told.find("KeyMaterialMissing", "was deleted; it is put back from memory").await?;
    assert!(is_about(&missing, "Secret", "istio-ca-secret"));
    told.find("KeyMaterialInForce", "istio-ca-secret").await?;

    // One root, before and after, for whoever asks.
    let third = Plane::open(&args).await?;
    assert_eq!(one.roots()?, third.roots()?);
    assert_eq!(two.roots()?, third.roots()?);
    let trust = TrustBundle::from_pem(third.roots()?.as_bytes())?;
    let after = two.certificate(&token, None).await?;
    for new in [before, after] {
        let leaf = &Certificate::all_from_pem(new.chain[0].as_bytes())?[0];
        verify_chain(leaf, &[], trust.roots(), UnixTime::now())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_in_place_of_the_one_in_force_is_refused_and_told() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let plane = Plane::open(&site.settings()?).await?;
    let roots = plane.roots()?;
    let stranger = Foreign::root("stranger")?;
    let put = async |secret: &Secret| {
        let change = Patch::Merge(json!({ "data": secret.data }));
        api.patch("istio-ca-secret", &PatchParams::default(), &change).await.map(drop)
    };
    let kept = api.get("istio-ca-secret").await?;
    let data = [("ca-cert.pem", &stranger.pem), ("ca-key.pem", &stranger.key)];
    let data = data.map(|(name, text)| (name.to_owned(), text.clone().into_bytes()));
    put(&secret("istio-ca-secret", data.into())).await?;
    let told = Told::of(&site).await?;
    told.find("KeyMaterialRefused", "neither contain the old ones").await?;
    assert_eq!(plane.roots()?, roots, "it is signed with what was in force");
    put(&kept).await?;
    told.find("KeyMaterialInForce", "istio-ca-secret").await?;
    assert_eq!(plane.identity.authority.status().trouble, None);
    Ok(())
}
