//! One watch of the requests of this control plane: it tells those who wait, and finds what nobody
//! waits for any more.
//!
//! A request lives for no longer than the limit, whichever replica made it. One that is there for
//! twice as long was left behind, by a replica that crashed or a deletion that failed, and is deleted.
//! No clocks are compared: its age counts from when it was first seen here.

use super::super::refused::Refused;
use super::desk::{Desk, verdict_of};
use crate::source::kube::answer;
use ca::Code;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How soon a watch that was cut is taken up again.
const AGAIN: Duration = Duration::from_secs(1);

/// How many requests are remembered. Those beyond are met again when they are listed anew.
const MOST: usize = 16 * 1024;

/// A request that is there.
struct Seen {
    name: String,
    /// When it is nobody's any more.
    stale: Instant,
    /// Met in the listing that goes on.
    met: bool,
}

impl Desk {
    /// Follows all requests of this control plane, for ever.
    pub(super) async fn follow(&self) {
        let only = Config::default().labels(&self.selector());
        let mut events = pin!(watcher(self.requests.clone(), only));
        let mut seen = HashMap::<String, Seen>::new();
        let mut trouble = String::new();
        // One at a time: nobody waits for it, and many wait for events.
        let mut clearing = FuturesUnordered::new();
        loop {
            let next = seen.values().map(|seen| seen.stale).min().filter(|_| clearing.is_empty());
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        trouble.clear();
                        self.take(event, &mut seen);
                    }
                    Some(Err(error)) => {
                        let said = explain(&error);
                        if trouble != said {
                            tracing::warn!("{said}; what external signers answer is not seen meanwhile");
                            trouble = said;
                        }
                        sleep(AGAIN).await;
                    }
                    None => return,
                },
                () = due => {
                    clearing.extend(self.stale(&mut seen).map(|(name, uid)| self.clear_up(name, uid)));
                }
                Some(()) = clearing.next() => {}
            }
        }
    }

    fn take(&self, event: Event<CertificateSigningRequest>, seen: &mut HashMap<String, Seen>) {
        match event {
            Event::Init => seen.values_mut().for_each(|seen| seen.met = false),
            Event::InitApply(request) | Event::Apply(request) => {
                let uid = request.metadata.uid.clone().unwrap_or_default();
                if let Some(verdict) = verdict_of(&request) {
                    self.tell(&uid, verdict);
                }
                if let Some(known) = seen.get_mut(&uid) {
                    known.met = true;
                } else if seen.len() < MOST {
                    let name = request.metadata.name.unwrap_or_default();
                    let stale = Instant::now() + 2 * self.settings.limit;
                    seen.insert(uid, Seen { name, stale, met: true });
                }
            }
            Event::InitDone => seen.retain(|_, seen| seen.met),
            Event::Delete(request) => {
                let uid = request.metadata.uid.unwrap_or_default();
                seen.remove(&uid);
                let detail = "somebody deleted the CertificateSigningRequest".to_owned();
                self.tell(&uid, Err(Refused { code: Code::Internal, reason: "signer_failed", detail }));
            }
        }
    }

    /// Returns name and UID of a request that nobody waits for any more.
    fn stale(&self, seen: &mut HashMap<String, Seen>) -> Option<(String, String)> {
        let now = Instant::now();
        let (uid, stale) = seen.iter_mut().find(|(_, seen)| seen.stale <= now)?;
        // The watch tells when it is gone; else it is tried again.
        stale.stale = now + 2 * self.settings.limit;
        Some((stale.name.clone(), uid.clone()))
    }

    async fn clear_up(&self, name: String, uid: String) {
        tracing::info!(name, "a CertificateSigningRequest was left behind and is deleted");
        self.delete(&name, &uid).await;
    }
}

fn explain(error: &Error) -> String {
    let said = match error {
        Error::InitialListFailed(source) | Error::WatchStartFailed(source) | Error::WatchFailed(source) => {
            answer(source)
        }
        Error::WatchError(status) => status.message.clone(),
        Error::NoResourceVersion => "a list has no version".to_owned(),
    };
    format!("cannot watch CertificateSigningRequests: {said}")
}
