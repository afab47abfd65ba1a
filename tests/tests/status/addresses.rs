//! Automatic addresses.

use crate::fixture::{Fixture, addresses_of, collection, entry};
use crate::replica::Replica;
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::Ordering;

/// How many entries there are at once: more than are written without a wait.
const MANY: u64 = 1200;

/// `status.addresses` of an entry: (host, value).
type Addresses = [(String, String)];

async fn all_addresses(fixture: &Fixture) -> anyhow::Result<BTreeMap<String, Vec<(String, String)>>> {
    let request = http::Request::get(collection(Kind::ServiceEntry, "shop")).body(Vec::new())?;
    let list: Value = fixture.client.request(request).await?;
    let items = list["items"].as_array().context("no list")?;
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(items.iter().map(|item| (name(item), addresses_of(item))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_gets_an_address_of_each_family_by_one_write() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let create = futures::stream::iter(0..MANY).map(|n| {
        fixture.put(entry(
            "shop",
            &format!("ext-{n}"),
            &[&format!("also-{n}.test"), &format!("ext-{n}.test")],
        ))
    });
    create.buffer_unordered(32).try_collect::<Vec<_>>().await?;
    let first = Replica::start(&fixture.account, "one").await?;
    until(LIMIT, async || Ok((first.written().1 == MANY).then_some(()))).await?;
    let given = all_addresses(&fixture).await?;
    assert!(given.values().all(|addresses| addresses.len() == 4), "{given:?}");
    assert_eq!(given.len() as u64, MANY);

    let mut seen = BTreeSet::new();
    for (name, addresses) in &given {
        for (host, value) in addresses {
            let ip: IpAddr = value.parse()?;
            let is_in_pool = value.starts_with("240.240.") || value.starts_with("2001:2::");
            ensure!(is_in_pool && seen.insert(ip), "{name}: {value} of {host}");
        }
    }
    fixture.has_written(MANY).await?;
    first.has_written((0, MANY)).await?;

    // Clients are sent them.
    let is_sent = async || {
        let bodies = first.engine().query(|mesh| mesh.resources()).await.context("the engine ended")?;
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
    let second = Replica::start(&fixture.account, "two").await?;
    fixture.put(entry("shop", "late", &["late.test"])).await?;
    let has = async || Ok((fixture.addresses("shop", "late").await?.len() == 2).then_some(()));
    until(LIMIT, has).await?;
    let mut now = all_addresses(&fixture).await?;
    now.remove("late");
    assert_eq!(now, given);
    fixture.has_written(MANY + 1).await?;
    second.has_written((0, 1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_nobody_sees_gets_no_address_and_keeps_the_one_that_it_has() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({})), ("open", json!({"seen": "yes"}))]).await?;
    let set = async |mesh: &str| {
        let metadata = json!({"name": "istio", "namespace": "istio-system"});
        fixture
            .put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": mesh}}))
            .await
            .map(drop)
    };
    let until_given = async |ns: &str, name: &str| {
        until(LIMIT, async || {
            let found = fixture.addresses(ns, name).await?;
            Ok((found.len() == 2).then_some(found))
        })
        .await
    };
    let hidden = "serviceEntryVisibility: {defaultVisibility: NONE, policies: [{visibility: PUBLIC, \
                  matchingRules: [{namespaceSelector: {matchLabels: {seen: \"yes\"}}}]}]}";
    set(hidden).await?;
    fixture.put(entry("shop", "hidden", &["hidden.test"])).await?;
    fixture.put(entry("open", "first", &["first.test"])).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    until_given("open", "first").await?;
    // Both were looked at in one round.
    assert_eq!(fixture.addresses("shop", "hidden").await?, []);
    replica.has_given(1).await?;

    // It is seen now.
    set("").await?;
    let given = until_given("shop", "hidden").await?;
    set(hidden).await?;
    fixture.put(entry("open", "second", &["second.test"])).await?;
    let second = until_given("open", "second").await?;
    assert_eq!(fixture.addresses("shop", "hidden").await?, given);
    assert!(second.iter().all(|(_, ip)| given.iter().all(|(_, other)| other != ip)));
    replica.has_given(3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_user_wrote_wins_and_hosts_that_go_take_theirs_along() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    fixture.put(entry("shop", "two", &["a.test", "b.test"])).await?;
    let mut out = entry("shop", "out", &["out.test"]);
    out["metadata"]["labels"] = json!({"networking.istio.io/enable-autoallocate-ip": "false"});
    fixture.put(out).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let until_addresses = async |is_right: &dyn Fn(&Addresses) -> bool| {
        until(LIMIT, async || {
            let found = fixture.addresses("shop", "two").await?;
            Ok(is_right(&found).then_some(found))
        })
        .await
    };
    let given = until_addresses(&|found| found.len() == 4).await?;

    let mut user = entry("shop", "user", &["user.test"]);
    user["spec"]["addresses"] = json!([given[0].1]);
    fixture.put(user).await?;
    let moved = until_addresses(&|found| found.len() == 4 && !found.contains(&given[0])).await?;
    assert!(given[1..].iter().all(|pair| moved.contains(pair)), "{given:?} became {moved:?}");

    fixture.put(entry("shop", "two", &["b.test"])).await?;
    let left = until_addresses(&|found| found.len() == 2).await?;
    assert!(left.iter().all(|pair| pair.0 == "b.test" && given.contains(pair)));
    assert_eq!(fixture.addresses("shop", "out").await?, []);
    assert_eq!(fixture.addresses("shop", "user").await?, []);
    fixture.has_written(3).await?;
    replica.has_written((0, 3)).await?;
    assert_eq!(replica.stats().address_conflicts.load(Ordering::Relaxed), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_needs_no_address_any_more_gives_back_what_it_has() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let until_count = async |name: &str, count: usize| {
        until(LIMIT, async || {
            let found = fixture.addresses("shop", name).await?;
            Ok((found.len() == count).then_some(found))
        })
        .await
        .with_context(|| format!("{name} has not {count} addresses"))
    };
    for name in ["own", "none", "out", "renamed"] {
        fixture.put(entry("shop", name, &[&format!("{name}.test")])).await?;
        until_count(name, 2).await?;
    }
    let mut own = entry("shop", "own", &["own.test"]);
    own["spec"]["addresses"] = json!(["10.9.8.7"]);
    fixture.put(own).await?;
    until_count("own", 0).await?;
    let mut none = entry("shop", "none", &["none.test"]);
    none["spec"]["resolution"] = json!("NONE");
    none["spec"].as_object_mut().context("no spec")?.remove("endpoints");
    fixture.put(none).await?;
    until_count("none", 0).await?;
    fixture.put(entry("shop", "renamed", &["Other.test"])).await?;
    let is_renamed = async || {
        let found = fixture.addresses("shop", "renamed").await?;
        Ok((found.len() == 2 && found.iter().all(|(host, _)| host == "other.test")).then_some(()))
    };
    until(LIMIT, is_renamed).await?;
    // Whoever opts out keeps what is there: it may be somebody else's to write.
    let mut out = entry("shop", "out", &["out.test"]);
    out["metadata"]["labels"] = json!({"networking.istio.io/enable-autoallocate-ip": "false"});
    fixture.put(out).await?;
    fixture.put(entry("shop", "last", &["last.test"])).await?;
    until_count("last", 2).await?;
    until_count("out", 2).await?;
    fixture.has_written(8).await?;
    replica.has_written((0, 8)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_entries_that_come_with_one_address_the_older_keeps_it() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    let hosts = ["first.test", "second.test"];
    // As after a restore of a copy: both have been told the same. Of one second, the name decides.
    for (name, host) in ["first", "second"].into_iter().zip(hosts) {
        let mut object = entry("shop", name, &[host]);
        let address = |value: &str| json!({"value": value, "host": host});
        object["status"] = json!({"addresses": [address("240.240.0.7"), address("2001:2::7")]});
        fixture.put_all(&object.to_string()).await?;
    }
    let before = 2;
    fixture.has_written(before).await?;
    let replica = Replica::start(&fixture.account, "one").await?;
    let moved = until(LIMIT, async || {
        let found = fixture.addresses("shop", "second").await?;
        let has_both =
            found.len() == 2 && found.iter().all(|(_, ip)| !ip.ends_with(".7") && !ip.ends_with("::7"));
        Ok(has_both.then_some(found))
    });
    let moved = moved.await.context("the second keeps it as well")?;
    assert!(moved.iter().all(|(host, _)| host == hosts[1]), "{moved:?}");
    let kept = ["240.240.0.7", "2001:2::7"].map(|ip| (hosts[0].to_owned(), ip.to_owned()));
    assert_eq!(fixture.addresses("shop", "first").await?, kept);
    fixture.has_written(before + 1).await?;
    assert_eq!(replica.stats().address_conflicts.load(Ordering::Relaxed), 2, "one of each family");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_no_address_left_gets_one_that_another_gives_back() -> anyhow::Result<()> {
    let fixture = Fixture::start(&[("shop", json!({}))]).await?;
    // Of this range there are two addresses to give.
    let pools =
        mesh::Pools { v4: "240.240.0.0/30".parse().map_err(anyhow::Error::msg)?, ..Default::default() };
    let replica = Replica::start_with(&fixture.account, "one", |settings| settings.pools = pools).await?;
    let short = || replica.stats().without_address.load(Ordering::Relaxed);
    let until_given = async |name: &str, count: usize| {
        let has = async || {
            let found = fixture.addresses("shop", name).await?;
            Ok((found.len() == count).then_some(found))
        };
        until(LIMIT, has).await.with_context(|| format!("{name} has not {count} addresses"))
    };
    let v4 = |of: &Addresses| of.iter().map(|(_, ip)| ip.clone()).find(|ip| ip.starts_with("240."));
    let mut given = Vec::new();
    for name in ["a", "b"] {
        fixture.put(entry("shop", name, &[&format!("{name}.test")])).await?;
        given.extend(v4(&until_given(name, 2).await?));
    }
    given.sort();
    assert_eq!(given, ["240.240.0.1", "240.240.0.2"]);
    assert_eq!(short(), 0);

    // One of the other family is left for it; that somebody edits it changes nothing.
    fixture.put(entry("shop", "late", &["late.test"])).await?;
    let found = until_given("late", 1).await?;
    assert_eq!((v4(&found), short()), (None, 1));
    let mut edited = entry("shop", "late", &["late.test"]);
    edited["metadata"]["annotations"] = json!({"note": "edited"});
    fixture.put(edited).await?;
    fixture.put(entry("shop", "later", &["later.test"])).await?;
    until_given("later", 1).await?;
    assert_eq!(short(), 2);
    fixture.has_written(4).await?;

    // What one gives back is the next one's, who waits for longest.
    let freed = v4(&fixture.addresses("shop", "a").await?);
    fixture.delete(Kind::ServiceEntry, "shop", "a").await?;
    assert_eq!(v4(&until_given("late", 2).await?), freed);
    fixture.has_written(5).await?;
    assert_eq!(short(), 1);
    replica.has_written((0, 5)).await
}
