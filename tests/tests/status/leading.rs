//! Who writes: one replica at a time, and the next one without a write too many.

use crate::fixture::{Fixture, Summary, entry, service, waypoint};
use crate::replica::{Replica, TIMINGS};
use crate::whole::Whole;
use anyhow::Context;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use runtime::engine_thread::EngineHandle;
use serde_json::json;
use tokio::time::timeout;

const WAY: Summary<'static> = ("istio.io/WaypointBound", "True", "WaypointAccepted");

async fn lease(fixture: &Fixture) -> anyhow::Result<LeaseSpec> {
    let leases = Api::<Lease>::namespaced(fixture.client.clone(), "istio-system");
    leases.get("istio-status-leader").await?.spec.context("an empty lease")
}

async fn holder(fixture: &Fixture) -> anyhow::Result<Option<String>> {
    Ok(lease(fixture).await?.holder_identity)
}

/// Some services that are bound, and entries without addresses.
async fn shop() -> anyhow::Result<Fixture> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    fixture.put_all(&waypoint("shop", "way", "Same")).await?;
    for n in 0..5 {
        let way = json!({"istio.io/use-waypoint": "way"});
        fixture.put(service("shop", &format!("web-{n}"), way)).await?;
        fixture.put(entry("shop", &format!("ext-{n}"), &[&format!("ext-{n}.test")])).await?;
    }
    Ok(fixture)
}

async fn is_written(fixture: &Fixture, mesh: &EngineHandle) -> anyhow::Result<()> {
    for n in 0..5 {
        fixture.until_conditions(mesh, (Kind::Service, "shop", &format!("web-{n}")), &[WAY]).await?;
        let name = format!("ext-{n}");
        let has = async || Ok((fixture.addresses("shop", &name).await?.len() == 2).then_some(()));
        until(LIMIT, has).await.with_context(|| format!("{name} has no addresses"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_takes_over_after_a_crash_and_writes_nothing_twice() -> anyhow::Result<()> {
    let fixture = shop().await?;
    let kubeconfig = &fixture.account;
    let first = Replica::start(kubeconfig, "one").await?;
    first.leading().await?;
    let second = Replica::start(kubeconfig, "two").await?;
    is_written(&fixture, first.engine()).await?;
    // Five conditions, five entries with addresses.
    fixture.has_written(10).await?;
    assert_eq!(second.leads(), (false, false));
    first.has_written((5, 5)).await?;
    assert_eq!(second.written(), (0, 0));

    drop(first);
    let old = lease(&fixture).await?;
    assert_eq!(old.holder_identity.as_deref(), Some("one"));
    second.leading().await?;
    let new = lease(&fixture).await?;
    assert_eq!((new.holder_identity.as_deref(), new.lease_transitions), (Some("two"), Some(1)));
    let time = |of: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| {
        of.map(|time| time.0.as_millisecond()).context("no time")
    };
    // Not while the lease of the first one lasts.
    let term = i128::try_from(TIMINGS.lease_duration.as_millis())?;
    let (renewed, acquired) = (time(old.renew_time)?, time(new.acquire_time)?);
    assert!(i128::from(acquired - renewed) >= term, "renewed at {renewed}, taken at {acquired}");

    // What is new is written; what was right is not touched.
    fixture.put(service("shop", "web-5", json!({"istio.io/use-waypoint": "way"}))).await?;
    fixture.until_conditions(second.engine(), (Kind::Service, "shop", "web-5"), &[WAY]).await?;
    fixture.put(entry("shop", "ext-5", &["ext-5.test"])).await?;
    let has = async || Ok((fixture.addresses("shop", "ext-5").await?.len() == 2).then_some(()));
    until(LIMIT, has).await?;
    fixture.has_written(12).await?;
    second.has_written((1, 1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_gives_the_locks_back() -> anyhow::Result<()> {
    let fixture = shop().await?;
    let first = Replica::start(&fixture.account, "one").await?;
    is_written(&fixture, first.engine()).await?;
    first.stop().await?;
    assert_eq!(holder(&fixture).await?.as_deref(), Some(""));
    let maps = Api::<ConfigMap>::namespaced(fixture.client.clone(), "istio-system");
    let map = maps.get("istio-ip-autoallocate").await?;
    let record = &map.metadata.annotations.context("no record")?["control-plane.alpha.kubernetes.io/leader"];
    let record: serde_json::Value = serde_json::from_str(record)?;
    assert_eq!(record["holderIdentity"], "");
    let second = Replica::start(&fixture.account, "two").await?;
    second.leading().await?;
    fixture.has_written(10).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_another_control_plane_holds_is_left_to_it() -> anyhow::Result<()> {
    let fixture = shop().await?;
    let leases = Api::<Lease>::namespaced(fixture.client.clone(), "istio-system");
    let mut other = Lease::default();
    other.metadata.name = Some("istio-status-leader".to_owned());
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(k8s_openapi::jiff::Timestamp::now());
    other.spec = Some(LeaseSpec {
        holder_identity: Some("istiod-0".to_owned()),
        lease_duration_seconds: Some(3600),
        renew_time: Some(now),
        ..LeaseSpec::default()
    });
    leases.create(&Default::default(), &other).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    // The lock of addresses is free, and its work shows that the elections are going on.
    let gives = async || Ok((replica.written().1 == 5).then_some(()));
    until(LIMIT, gives).await?;
    assert_eq!((replica.leads(), replica.written()), ((false, true), (0, 5)));
    assert_eq!(holder(&fixture).await?.as_deref(), Some("istiod-0"));
    // Given back, it is taken.
    let patch = json!({"spec": {"holderIdentity": ""}});
    leases.patch("istio-status-leader", &Default::default(), &kube::api::Patch::Merge(&patch)).await?;
    replica.leading().await?;
    is_written(&fixture, replica.engine()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_takes_no_lock_and_writes_nothing() -> anyhow::Result<()> {
    let fixture = shop().await?;
    let shadow = Whole::start(&fixture.account, |args| args.shadow = true).await?;
    // One that may write comes later. A shadow that took part would have the locks and renew them, and
    // this one would not lead; or they would share the work, and this one would have less of it.
    let one = Replica::start(&fixture.account, "one").await?;
    one.leading().await?;
    is_written(&fixture, one.engine()).await?;
    let mut snapshots = shadow.engine().snapshots();
    snapshots.mark_unchanged();
    fixture.put(service("shop", "news", json!({"istio.io/use-waypoint": "way"}))).await?;
    timeout(LIMIT, snapshots.changed()).await??;
    fixture.until_conditions(one.engine(), (Kind::Service, "shop", "news"), &[WAY]).await?;
    fixture.has_written(11).await?;
    one.has_written((6, 5)).await?;
    let lock = lease(&fixture).await?;
    assert_eq!((lock.holder_identity.as_deref(), lock.lease_transitions), (Some("one"), Some(0)));
    shadow.stop().await?;
    one.stop().await?;
    assert_eq!(holder(&fixture).await?.as_deref(), Some(""));

    // The same without the setting takes the lock and writes. As the replica before, it configures no waypoints:
    // all that is bound would be told otherwise.
    let whole = Whole::start(&fixture.account, |args| args.mesh.configure_waypoints = Some(false)).await?;
    fixture.put(service("shop", "more", json!({"istio.io/use-waypoint": "way"}))).await?;
    fixture.until_conditions(whole.engine(), (Kind::Service, "shop", "more"), &[WAY]).await?;
    fixture.has_written(12).await?;
    whole.stop().await
}
