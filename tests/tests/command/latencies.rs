//! Latencies in `/metrics` of a server that has a client.

use super::{Server, copy_of_bookinfo, edit, get};
use anyhow::ensure;
use pilothouse_tests::apiserver::{LIMIT, until};
use std::collections::BTreeMap;

/// How much each histogram has counted, by name and labels.
async fn counted(server: &Server) -> anyhow::Result<BTreeMap<String, u64>> {
    let (status, text) = get(&server.monitoring, "/metrics").await?;
    ensure!(status == 200, "{status}");
    let counts = text.lines().filter_map(|line| {
        let (name, count) = line.rsplit_once(' ')?;
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let labels = labels.trim_end_matches('}');
        Some((format!("{} {labels}", name.strip_suffix("_count")?), count.parse().ok()?))
    });
    Ok(counts.map(|(name, count)| (name.trim_end().to_owned(), count)).collect())
}

#[tokio::test]
async fn a_change_is_timed_on_its_way_to_a_stream_and_back() -> anyhow::Result<()> {
    const CONVERGENCE: &str = "pilot_proxy_convergence_time";
    let folder = copy_of_bookinfo()?;
    let server = Server::of_folder(folder.path()).await?;
    let client = server.client().await?;
    let is_acked = |type_label| format!("pilothouse_xds_ack_seconds type=\"{type_label}\"");
    let begun = async || {
        let counts = counted(&server).await?;
        let both = ["wds", "wads"].map(is_acked);
        Ok(both.iter().all(|name| counts.get(name) >= Some(&1)).then_some(counts))
    };
    let before = until(LIMIT, begun).await?;
    assert_eq!(before.get(CONVERGENCE), Some(&0), "what a client gets first answers no event");

    let pods = client.with(|state| state.workloads().count());
    edit(&folder.path().join("details.yaml"), "replicas: 1", "replicas: 3")?;
    client.until("two more pods", |state| state.workloads().count() == pods + 2).await?;
    let names = [
        CONVERGENCE.to_owned(),
        "pilot_xds_push_time type=\"wds\"".to_owned(),
        is_acked("wds"),
        "pilothouse_commit_seconds".to_owned(),
        "pilothouse_publish_seconds".to_owned(),
    ];
    let moved = async || {
        let counts = counted(&server).await?;
        Ok(names.iter().all(|name| counts.get(name) > before.get(name)).then_some(()))
    };
    until(LIMIT, moved).await
}
