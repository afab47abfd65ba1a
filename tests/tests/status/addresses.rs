//! Automatic addresses.

use crate::replica::Replica;
use crate::world::{World, addresses_of, collection, entry};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// How many entries: `STATUS_ENTRIES` for a measurement by hand.
fn count() -> usize {
    std::env::var("STATUS_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// `status.addresses` of an entry: (host, value).
type Addresses = [(String, String)];

async fn all_addresses(world: &World) -> anyhow::Result<BTreeMap<String, Vec<(String, String)>>> {
    let request = http::Request::get(collection(Kind::ServiceEntry, "shop")).body(Vec::new())?;
    let list: Value = world.client.request(request).await?;
    let items = list["items"].as_array().context("no list")?;
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(items.iter().map(|item| (name(item), addresses_of(item))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_gets_an_address_of_each_family_by_one_write() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    let count = count();
    let create = futures::stream::iter(0..count)
        .map(|n| world.put(entry("shop", &format!("ext-{n}"), &["same.test", &format!("ext-{n}.test")])));
    create.buffer_unordered(8).try_collect::<Vec<_>>().await?;
    let begin = std::time::Instant::now();
    let first = Replica::start(&world.account, "one").await?;
    let are_written = async || Ok((first.written().1 == count as u64).then_some(()));
    until(LIMIT, are_written).await?;
    println!("{count} entries have addresses after {:?}", begin.elapsed());
    let given = all_addresses(&world).await?;
    assert!(given.values().all(|addresses| addresses.len() == 4), "{given:?}");
    assert_eq!(given.len(), count);

    let mut seen = BTreeSet::new();
    for (name, addresses) in &given {
        for (host, value) in addresses {
            let ip: IpAddr = value.parse()?;
            let is_in_pool = value.starts_with("240.240.") || value.starts_with("2001:2::");
            ensure!(is_in_pool && seen.insert(ip), "{name}: {value} of {host}");
        }
    }
    world.has_written(count as u64).await?;
    assert_eq!(first.written(), (0, count as u64));

    // Clients are sent them.
    let is_sent = async || {
        let bodies = first.pump().ask(|mesh| mesh.resources()).await.context("the engine ended")?;
        let sent = given["ext-0"].iter().filter_map(|(host, value)| {
            let ip = value.parse().ok()?;
            (host == "ext-0.test").then_some(match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            })
        });
        let body = bodies.iter().find(|r| r.name == "shop/ext-0.test").and_then(|r| r.body.clone());
        let body = body.context("not sent")?;
        Ok(sent.into_iter().all(|octets| body.windows(octets.len()).any(|w| w == octets)).then_some(()))
    };
    until(LIMIT, is_sent).await?;

    // The next one to lead keeps them all, and gives one more.
    first.stop().await?;
    let second = Replica::start(&world.account, "two").await?;
    world.put(entry("shop", "late", &["late.test"])).await?;
    let has = async || Ok((world.addresses("shop", "late").await?.len() == 2).then_some(()));
    until(LIMIT, has).await?;
    let mut now = all_addresses(&world).await?;
    now.remove("late");
    assert_eq!(now, given);
    world.has_written(count as u64 + 1).await?;
    assert_eq!(second.written(), (0, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_nobody_sees_gets_no_address_and_keeps_the_one_that_it_has() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({})), ("open", json!({"seen": "yes"}))]).await?;
    let set = async |mesh: &str| {
        let metadata = json!({"name": "istio", "namespace": "istio-system"});
        world
            .put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": mesh}}))
            .await
            .map(drop)
    };
    let until_given = async |ns: &str, name: &str| {
        until(LIMIT, async || {
            let found = world.addresses(ns, name).await?;
            Ok((found.len() == 2).then_some(found))
        })
        .await
    };
    let hidden = "serviceEntryVisibility: {defaultVisibility: NONE, policies: [{visibility: PUBLIC, \
                  matchingRules: [{namespaceSelector: {matchLabels: {seen: \"yes\"}}}]}]}";
    set(hidden).await?;
    world.put(entry("shop", "hidden", &["hidden.test"])).await?;
    world.put(entry("open", "first", &["first.test"])).await?;
    let replica = Replica::start(&world.account, "one").await?;
    until_given("open", "first").await?;
    // Both were looked at in one round.
    assert_eq!((world.addresses("shop", "hidden").await?, replica.written().1), (vec![], 1));

    // It is seen now; no condition of it tells so.
    set("").await?;
    let given = until_given("shop", "hidden").await?;
    set(hidden).await?;
    world.put(entry("open", "second", &["second.test"])).await?;
    let second = until_given("open", "second").await?;
    assert_eq!(world.addresses("shop", "hidden").await?, given);
    assert!(second.iter().all(|(_, ip)| given.iter().all(|(_, other)| other != ip)));
    assert_eq!(replica.written().1, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_user_wrote_wins_and_hosts_that_go_take_theirs_along() -> anyhow::Result<()> {
    let world = World::start(&[("shop", json!({}))]).await?;
    world.put(entry("shop", "two", &["a.test", "b.test"])).await?;
    let mut out = entry("shop", "out", &["out.test"]);
    out["metadata"]["labels"] = json!({"networking.istio.io/enable-autoallocate-ip": "false"});
    world.put(out).await?;
    let replica = Replica::start(&world.account, "one").await?;
    let until_addresses = async |is_right: &dyn Fn(&Addresses) -> bool| {
        until(LIMIT, async || {
            let found = world.addresses("shop", "two").await?;
            Ok(is_right(&found).then_some(found))
        })
        .await
    };
    let given = until_addresses(&|found| found.len() == 4).await?;

    let mut user = entry("shop", "user", &["user.test"]);
    user["spec"]["addresses"] = json!([given[0].1]);
    world.put(user).await?;
    let moved = until_addresses(&|found| found.len() == 4 && !found.contains(&given[0])).await?;
    assert!(given[1..].iter().all(|pair| moved.contains(pair)), "{given:?} became {moved:?}");

    world.put(entry("shop", "two", &["b.test"])).await?;
    let left = until_addresses(&|found| found.len() == 2).await?;
    assert!(left.iter().all(|pair| pair.0 == "b.test" && given.contains(pair)));
    assert_eq!(world.addresses("shop", "out").await?, []);
    assert_eq!(world.addresses("shop", "user").await?, []);
    world.has_written(3).await?;
    assert_eq!(replica.written(), (0, 3));
    Ok(())
}
