//! The root certificates in a ClusterTrustBundle, with the rights that the chart grants.

use crate::own_account::{Replica, Site};
use anyhow::Context;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::json;
use std::collections::BTreeSet;

const NAME: &str = "istio.io:istiod-ca:root-cert";

async fn bundles(site: &Site) -> anyhow::Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::gvk("certificates.k8s.io", "v1", "ClusterTrustBundle");
    Ok(Api::all_with(site.server.client().await?, &ApiResource::from_gvk(&kind)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_bundle_is_written_with_the_rights_of_the_chart_and_stays_right() -> anyhow::Result<()> {
    let values = json!({"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}});
    let site = Site::install(false, &values, None).await?;
    let args = site.settings()?;
    let replica = Replica::start(&site, &args).await?;
    let bundles = bundles(&site).await?;
    let holds = async |expected: Option<&str>| {
        let found = until(LIMIT, async || {
            site.used()?;
            let held = bundles.get_opt(NAME).await?;
            let text = held.and_then(|held| held.data["spec"]["trustBundle"].as_str().map(str::to_owned));
            Ok(text.filter(|text| expected.is_none_or(|expected| expected == text)))
        });
        found.await.context("it does not hold the roots")
    };
    let roots = holds(None).await?;
    let held = bundles.get(NAME).await?;
    assert_eq!(held.data["spec"]["signerName"], "istio.io/istiod-ca");

    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let edit = json!({"spec": {"trustBundle": params.self_signed(&key)?.pem()}});
    bundles.patch(NAME, &PatchParams::default(), &Patch::Merge(edit)).await?;
    holds(Some(&roots)).await?;
    bundles.delete(NAME, &DeleteParams::default()).await?;
    holds(Some(&roots)).await?;

    // It takes the place of ConfigMaps, and nothing granted for it is of no use.
    let used = site.used()?;
    assert!(!used.contains("watch configmaps=istio-ca-root-cert everywhere"), "{used:?}");
    let of_bundles: BTreeSet<_> =
        site.granted.iter().filter(|right| right.contains("clustertrustbundles")).collect();
    assert_eq!(of_bundles.len(), 4);
    let unused: Vec<_> = of_bundles.into_iter().filter(|right| !used.contains(*right)).collect();
    assert!(unused.is_empty(), "of no use are {unused:?}");

    // Without its Secret a replica that starts makes no other root.
    replica.stop().await?;
    let secrets = site.secrets().await?;
    secrets.delete("istio-ca-secret", &DeleteParams::default()).await?;
    let text = Replica::refusal(&args).await?;
    assert!(text.contains(&format!("ClusterTrustBundle {NAME} holds the root of a mesh")), "{text}");
    assert!(secrets.get_opt("istio-ca-secret").await?.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_no_trust_bundles_the_roots_are_in_config_maps() -> anyhow::Result<()> {
    let values = json!({"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}});
    let site = Site::install(false, &values, Some("/clustertrustbundles")).await?;
    let replica = Replica::start(&site, &site.settings()?).await?;
    assert!(site.roots(&site.shop).await?.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(bundles(&site).await?.get_opt(NAME).await?.is_none());
    replica.stop().await
}
