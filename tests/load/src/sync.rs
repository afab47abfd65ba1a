//! How long streams take to hold the whole mesh.

use anyhow::bail;

use crate::args::Streams;
use crate::feed::Feeds;
use crate::process::Meter;
use crate::report::{Spread, Sync};

/// Waits until every stream is synchronised and tells how that went.
///
/// # Errors
/// If a stream ends, or the time is over.
pub async fn measure(feeds: &Feeds, streams: &Streams, meter: Meter) -> anyhow::Result<Sync> {
    let all = async {
        for (index, progress) in feeds.progress.iter().enumerate() {
            let mut progress = progress.clone();
            let done = progress.wait_for(|now| now.synced.is_some() || now.error.is_some()).await;
            if let Some(error) = done.ok().and_then(|now| now.error.clone()) {
                bail!("stream {} to {}: {error}", index + 1, streams.address);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(streams.timeout, all).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            let now = feeds.now();
            let synced = now.iter().filter(|one| one.synced.is_some()).count();
            let least = now.iter().map(|one| one.addresses).min().unwrap_or(0);
            bail!(
                "{synced} of {} streams were synchronised after {:?}; the least had {least} addresses: is --expect right?",
                now.len(),
                streams.timeout,
            );
        }
    }
    let process = meter.finish();
    let now = feeds.now();
    let seconds = |of: fn(&crate::feed::Progress) -> Option<std::time::Duration>| {
        Spread::of(now.iter().filter_map(of).map(|time| time.as_secs_f64()))
    };
    Ok(Sync {
        streams: now.len(),
        opened_seconds: seconds(|one| one.opened),
        first_seconds: seconds(|one| one.first),
        synced_seconds: seconds(|one| one.synced),
        responses: now.iter().map(|one| one.responses).sum(),
        bytes: now.iter().map(|one| one.bytes).sum(),
        bytes_per_stream: now.iter().map(|one| one.bytes).sum::<u64>() / now.len().max(1) as u64,
        addresses_per_stream: now.iter().map(|one| one.addresses).min().unwrap_or(0),
        authorizations_per_stream: now.iter().map(|one| one.authorizations).min().unwrap_or(0),
        process,
    })
}
