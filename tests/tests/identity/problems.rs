//! Problems with key material of a running control plane: Events, and recovery.

use crate::foreign::{Foreign, plugged_in, secret, secrets};
use crate::plane::{Plane, Site};
use anyhow::Context;
use ca::{Certificate, TrustBundle, verify_chain};
use identity::ProblemKind;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{LIMIT, until};
use rustls::pki_types::UnixTime;
use serde_json::json;
use std::collections::BTreeMap;

/// The Events of a control plane's namespace.
struct Events(Api<Event>);

impl Events {
    async fn of(site: &Site) -> anyhow::Result<Self> {
        Ok(Self(Api::namespaced(site.server.client().await?, &site.system)))
    }

    async fn all(&self) -> anyhow::Result<Vec<Event>> {
        Ok(self.0.list(&ListParams::default()).await?.items)
    }

    /// Waits for an Event with this reason whose note contains `part`.
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

fn regards(event: &Event, kind: &str, name: &str) -> bool {
    let regarding = event.regarding.as_ref();
    regarding.is_some_and(|it| it.kind.as_deref() == Some(kind) && it.name.as_deref() == Some(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_update_and_its_resolution_are_events_of_the_secret() -> anyhow::Result<()> {
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
    let events = Events::of(&site).await?;
    let put = async |data: &BTreeMap<String, Vec<u8>>| {
        let change = Patch::Merge(json!({ "data": secret("cacerts", data.clone()).data }));
        api.patch("cacerts", &PatchParams::default(), &change).await.map(drop)
    };

    put(&broken).await?;
    let refused = events.find("KeyMaterialRefused", "does not match").await?;
    assert!(regards(&refused, "Secret", "cacerts"), "{refused:#?}");
    assert_eq!(refused.type_.as_deref(), Some("Warning"));
    assert_eq!(refused.reporting_instance.as_deref(), Some("istiod-1"));
    put(&good).await?;
    let resolved = events.find("KeyMaterialActive", "cacerts").await?;
    assert!(
        regards(&resolved, "Secret", "cacerts") && resolved.type_.as_deref() == Some("Normal"),
        "{resolved:#?}"
    );

    // The same problem increments the count of its Event; another problem has its own Event.
    put(&broken).await?;
    let is_counted = async || {
        let event = events.find("KeyMaterialRefused", "does not match").await?;
        Ok(event.series.filter(|series| series.count == 2))
    };
    until(LIMIT, is_counted).await.context("the recurrence is not counted")?;
    api.delete("cacerts", &DeleteParams::default()).await?;
    events.find("KeyMaterialMissing", "is gone").await?;
    shadow.problem("is gone").await?;

    let all = events.all().await?;
    let mut reasons: Vec<_> = all.iter().filter_map(|event| event.reason.as_deref()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["KeyMaterialActive", "KeyMaterialMissing", "KeyMaterialRefused"]);
    let text = serde_json::to_string(&all)?;
    let key_lines = first.key.lines().chain(second.key.lines()).filter(|line| !line.starts_with('-'));
    assert!(key_lines.into_iter().all(|line| !text.contains(line)), "an Event contains a key");
    let count = |kind: ProblemKind| {
        let counts = plane.identity.authority.problems().list();
        counts.iter().find(|(name, _)| *name == kind.name()).map_or(0, |(_, count)| *count)
    };
    assert_eq!((count(ProblemKind::Refused), count(ProblemKind::Missing)), (2, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn problem_with_files_is_an_event_of_the_pod_that_mounts_them() -> anyhow::Result<()> {
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
    let event = Events::of(&site).await?.find("KeyMaterialRefused", "ca-key.pem").await?;
    assert!(regards(&event, "Pod", "istiod-1"), "{event:#?}");
    let regarding = event.regarding.context("it regards no object")?;
    assert_eq!(regarding.uid, pod.metadata.uid);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_root_is_restored_by_one_of_the_replicas_that_have_it_in_memory() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let args = site.settings()?;
    let (one, two) = (Plane::open(&args).await?, Plane::open(&args).await?);
    let token = site.ztunnel("n1").await?;
    let before = one.certificate(&token, None).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "mesh"}}}));
    let kept = api.patch("istio-ca-secret", &PatchParams::default(), &label).await?;
    let problems = || -> u64 {
        let missing = [&one, &two].map(|plane| {
            let counts = plane.identity.authority.problems().list();
            counts.iter().find(|(kind, _)| *kind == "missing").map_or(0, |(_, count)| *count)
        });
        missing.iter().sum()
    };

    for round in 1..=3 {
        api.delete("istio-ca-secret", &DeleteParams::default()).await?;
        let restored = until(LIMIT, async || Ok(api.get_opt("istio-ca-secret").await?)).await?;
        assert_eq!((&restored.data, &restored.type_), (&kept.data, &kept.type_), "round {round}");
        assert!(problems() >= round, "the problem is reported");
    }
    let are_resolved = async || {
        let is_resolved = |plane: &Plane| plane.identity.authority.status().problem.is_none();
        Ok((is_resolved(&one) && is_resolved(&two)).then_some(()))
    };
    until(LIMIT, are_resolved).await?;
    let events = Events::of(&site).await?;
    let missing = events.find("KeyMaterialMissing", "was deleted; it is restored from memory").await?;
    assert!(regards(&missing, "Secret", "istio-ca-secret"));
    events.find("KeyMaterialActive", "istio-ca-secret").await?;

    // Every replica has the same root as before.
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
async fn root_that_replaces_the_active_one_is_refused_and_reported() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let api = secrets(&site).await?;
    let plane = Plane::open(&site.settings()?).await?;
    let roots = plane.roots()?;
    let other = Foreign::root("other")?;
    let put = async |secret: &Secret| {
        let change = Patch::Merge(json!({ "data": secret.data }));
        api.patch("istio-ca-secret", &PatchParams::default(), &change).await.map(drop)
    };
    let kept = api.get("istio-ca-secret").await?;
    let data = [("ca-cert.pem", &other.pem), ("ca-key.pem", &other.key)];
    let data = data.map(|(name, text)| (name.to_owned(), text.clone().into_bytes()));
    put(&secret("istio-ca-secret", data.into())).await?;
    let events = Events::of(&site).await?;
    events.find("KeyMaterialRefused", "neither contain the old ones").await?;
    assert_eq!(plane.roots()?, roots, "the active root stays");
    put(&kept).await?;
    events.find("KeyMaterialActive", "istio-ca-secret").await?;
    assert_eq!(plane.identity.authority.status().problem, None);
    Ok(())
}
