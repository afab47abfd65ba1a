//! One watch of the requests of this control plane: it tells those who wait, and finds what nobody
//! waits for any more.
//!
//! A request lives for no longer than the limit, whichever replica made it. One that is there for
//! twice as long was left behind, by a replica that crashed or a deletion that failed, and is deleted.
//! No clocks are compared: its age counts from when it was first seen here.

use super::super::refused::Refused;
use super::desk::{Desk, verdict_of};
use ca::Code;
use cluster::error_message;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How soon a watch that was cut is taken up again.
const AGAIN: Duration = Duration::from_secs(1);

/// How many requests are remembered. Those beyond are met again when they are listed anew.
const MOST: usize = 16 * 1024;

/// The requests that are there, by their UID and by when they are nobody's any more.
#[derive(Default)]
struct Seen {
    by_uid: HashMap<Arc<str>, Request>,
    by_age: BTreeSet<(Instant, Arc<str>)>,
}

struct Request {
    name: String,
    stale: Instant,
    /// Met in the listing that goes on.
    met: bool,
}

impl Seen {
    /// Notes a request that is there; one that is known stays as old as it is.
    fn meet(&mut self, uid: &str, name: String, stale: Instant) {
        if let Some(known) = self.by_uid.get_mut(uid) {
            known.met = true;
        } else if self.by_uid.len() < MOST {
            let uid = Arc::<str>::from(uid);
            self.by_age.insert((stale, Arc::clone(&uid)));
            self.by_uid.insert(uid, Request { name, stale, met: true });
        }
    }

    fn remove(&mut self, uid: &str) {
        if let Some((uid, request)) = self.by_uid.remove_entry(uid) {
            self.by_age.remove(&(request.stale, uid));
        }
    }

    fn begin_listing(&mut self) {
        self.by_uid.values_mut().for_each(|request| request.met = false);
    }

    /// Forgets what the listing did not have.
    fn end_listing(&mut self) {
        let Self { by_uid, by_age } = self;
        by_uid.retain(|uid, request| {
            if !request.met {
                by_age.remove(&(request.stale, Arc::clone(uid)));
            }
            request.met
        });
    }

    /// When the next one is nobody's any more.
    fn next(&self) -> Option<Instant> {
        self.by_age.first().map(|(stale, _)| *stale)
    }

    /// Returns name and UID of the oldest request if it is nobody's any more, and has it come again.
    fn stale(&mut self, now: Instant, again: Instant) -> Option<(String, String)> {
        if self.next().is_none_or(|stale| stale > now) {
            return None;
        }
        let (_, uid) = self.by_age.pop_first()?;
        let request = self.by_uid.get_mut(&uid)?;
        request.stale = again;
        self.by_age.insert((again, Arc::clone(&uid)));
        Some((request.name.clone(), uid.to_string()))
    }
}

impl Desk {
    /// Follows all requests of this control plane, for ever.
    pub(super) async fn follow(&self) {
        let only = Config::default().labels(&self.selector());
        let mut events = pin!(watcher(self.requests.clone(), only));
        let mut seen = Seen::default();
        let mut trouble = String::new();
        // One at a time: nobody waits for it, and many wait for events.
        let mut clearing = FuturesUnordered::new();
        loop {
            let next = seen.next().filter(|_| clearing.is_empty());
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
                    let now = Instant::now();
                    // The watch tells when it is gone; else it is tried again.
                    let stale = seen.stale(now, now + 2 * self.settings.limit);
                    clearing.extend(stale.map(|(name, uid)| self.clear_up(name, uid)));
                }
                Some(()) = clearing.next() => {}
            }
        }
    }

    fn take(&self, event: Event<CertificateSigningRequest>, seen: &mut Seen) {
        match event {
            Event::Init => seen.begin_listing(),
            Event::InitApply(request) | Event::Apply(request) => {
                let uid = request.metadata.uid.clone().unwrap_or_default();
                if let Some(verdict) = verdict_of(&request) {
                    self.tell(&uid, verdict);
                }
                let name = request.metadata.name.unwrap_or_default();
                seen.meet(&uid, name, Instant::now() + 2 * self.settings.limit);
            }
            Event::InitDone => seen.end_listing(),
            Event::Delete(request) => {
                let uid = request.metadata.uid.unwrap_or_default();
                seen.remove(&uid);
                let detail = "somebody deleted the CertificateSigningRequest".to_owned();
                self.tell(&uid, Err(Refused { code: Code::Internal, reason: "signer_failed", detail }));
            }
        }
    }

    async fn clear_up(&self, name: String, uid: String) {
        tracing::info!(name, "a CertificateSigningRequest was left behind and is deleted");
        self.delete(&name, &uid).await;
    }
}

fn explain(error: &Error) -> String {
    let said = match error {
        Error::InitialListFailed(source) | Error::WatchStartFailed(source) | Error::WatchFailed(source) => {
            error_message(source)
        }
        Error::WatchError(status) => status.message.clone(),
        Error::NoResourceVersion => "a list has no version".to_owned(),
    };
    format!("cannot watch CertificateSigningRequests: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_is_stale_first_and_comes_again_until_it_is_gone() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let at = |seconds: u32| begin + second * seconds;
        let mut seen = Seen::default();
        for (uid, stale) in [("b", 2), ("a", 1), ("c", 3), ("a", 9)] {
            seen.meet(uid, format!("name-{uid}"), at(stale));
        }
        assert_eq!((seen.next(), seen.stale(begin, at(9))), (Some(at(1)), None));
        let gone = |seen: &mut Seen, now: u32| seen.stale(at(now), at(now + 4)).map(|(_, uid)| uid);
        assert_eq!(gone(&mut seen, 2).as_deref(), Some("a"), "known already: as old as it was");
        assert_eq!(gone(&mut seen, 2).as_deref(), Some("b"));
        assert_eq!((gone(&mut seen, 2), seen.next()), (None, Some(at(3))));
        seen.remove("b");
        // A listing that has all but `a`, and one more.
        seen.begin_listing();
        seen.meet("c", String::new(), at(9));
        seen.meet("d", String::new(), at(4));
        seen.end_listing();
        assert_eq!(gone(&mut seen, 20).as_deref(), Some("c"));
        assert_eq!(gone(&mut seen, 20).as_deref(), Some("d"));
        assert_eq!(gone(&mut seen, 20), None);
        for uid in ["c", "d", "never"] {
            seen.remove(uid);
        }
        assert!(seen.by_uid.is_empty() && seen.by_age.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        for number in 0..MOST + 10 {
            seen.meet(&number.to_string(), String::new(), Instant::now());
        }
        assert_eq!((seen.by_uid.len(), seen.by_age.len()), (MOST, MOST));
    }
}
