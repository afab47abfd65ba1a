//! Watches the CertificateSigningRequests of this control plane: delivers decisions to waiting requests,
//! and deletes orphaned objects.
//!
//! No replica keeps a request for longer than the timeout. An object that exists for twice as long is
//! orphaned, because a replica crashed or a deletion failed, and is deleted. Its age is measured from when
//! this process first saw it, so clocks need not agree.

use super::csr_client::{CsrClient, decision_of};
use crate::refused::Refused;
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
use tokio::time::sleep;

/// Delay before a failed watch is retried.
const RETRY: Duration = Duration::from_secs(1);

/// Maximum number of tracked requests. Others are tracked again at the next relist.
const MAX_TRACKED: usize = 16 * 1024;

/// The requests that exist, by UID and by the time at which they become orphaned.
#[derive(Default)]
struct Tracked {
    by_uid: HashMap<Arc<str>, Request>,
    by_deadline: BTreeSet<(Duration, Arc<str>)>,
}

struct Request {
    name: String,
    orphaned_at: Duration,
    /// Whether the current relist has included it.
    listed: bool,
}

impl Tracked {
    /// Tracks a request; the age of one that is tracked already does not change.
    fn insert(&mut self, uid: &str, name: String, orphaned_at: Duration) {
        if let Some(known) = self.by_uid.get_mut(uid) {
            known.listed = true;
        } else if self.by_uid.len() < MAX_TRACKED {
            let uid = Arc::<str>::from(uid);
            self.by_deadline.insert((orphaned_at, Arc::clone(&uid)));
            self.by_uid.insert(uid, Request { name, orphaned_at, listed: true });
        }
    }

    fn remove(&mut self, uid: &str) {
        if let Some((uid, request)) = self.by_uid.remove_entry(uid) {
            self.by_deadline.remove(&(request.orphaned_at, uid));
        }
    }

    fn begin_relist(&mut self) {
        self.by_uid.values_mut().for_each(|request| request.listed = false);
    }

    /// Removes the requests that the relist did not include.
    fn end_relist(&mut self) {
        let Self { by_uid, by_deadline } = self;
        by_uid.retain(|uid, request| {
            if !request.listed {
                by_deadline.remove(&(request.orphaned_at, Arc::clone(uid)));
            }
            request.listed
        });
    }

    /// Returns when the next request becomes orphaned.
    fn next_deadline(&self) -> Option<Duration> {
        self.by_deadline.first().map(|(orphaned_at, _)| *orphaned_at)
    }

    /// Returns name and UID of the oldest request if it is orphaned, and schedules a retry.
    fn pop_orphaned(&mut self, now: Duration, retry: Duration) -> Option<(String, String)> {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let (_, uid) = self.by_deadline.pop_first()?;
        let request = self.by_uid.get_mut(&uid)?;
        request.orphaned_at = retry;
        self.by_deadline.insert((retry, Arc::clone(&uid)));
        Some((request.name.clone(), uid.to_string()))
    }
}

impl CsrClient {
    /// Watches all requests of this control plane. Does not return.
    pub async fn watch(&self) {
        let only = Config::default().labels(&self.selector());
        let mut events = pin!(watcher(self.requests.clone(), only));
        let mut tracked = Tracked::default();
        let mut last_problem = String::new();
        // One deletion at a time, so that it does not delay events.
        let mut deleting = FuturesUnordered::new();
        loop {
            let next = tracked.next_deadline().filter(|_| deleting.is_empty());
            let due = async {
                match next {
                    Some(at) => self.clock.sleep(at.saturating_sub(self.clock.monotonic())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        last_problem.clear();
                        self.handle(event, &mut tracked);
                    }
                    Some(Err(error)) => {
                        let problem = describe(&error);
                        if last_problem != problem {
                            tracing::warn!("{problem}; decisions of external signers are not received meanwhile");
                            last_problem = problem;
                        }
                        sleep(RETRY).await;
                    }
                    None => return,
                },
                () = due => {
                    let now = self.clock.monotonic();
                    // The watch removes it once it is deleted; otherwise the deletion is retried.
                    let orphaned = tracked.pop_orphaned(now, now + 2 * self.settings.timeout);
                    deleting.extend(orphaned.map(|(name, uid)| self.delete_orphaned(name, uid)));
                }
                Some(()) = deleting.next() => {}
            }
        }
    }

    fn handle(&self, event: Event<CertificateSigningRequest>, tracked: &mut Tracked) {
        match event {
            Event::Init => tracked.begin_relist(),
            Event::InitApply(request) | Event::Apply(request) => {
                let uid = request.metadata.uid.clone().unwrap_or_default();
                if let Some(decision) = decision_of(&request) {
                    self.deliver(&uid, decision);
                }
                let name = request.metadata.name.unwrap_or_default();
                tracked.insert(&uid, name, self.clock.monotonic() + 2 * self.settings.timeout);
            }
            Event::InitDone => tracked.end_relist(),
            Event::Delete(request) => {
                let uid = request.metadata.uid.unwrap_or_default();
                tracked.remove(&uid);
                let detail = "the CertificateSigningRequest was deleted".to_owned();
                self.deliver(&uid, Err(Refused { code: Code::Internal, reason: "signer_failed", detail }));
            }
        }
    }

    async fn delete_orphaned(&self, name: String, uid: String) {
        tracing::info!(name, "deleting an orphaned CertificateSigningRequest");
        self.delete(&name, &uid).await;
    }
}

fn describe(error: &Error) -> String {
    let message = match error {
        Error::InitialListFailed(source) | Error::WatchStartFailed(source) | Error::WatchFailed(source) => {
            error_message(source)
        }
        Error::WatchError(status) => status.message.clone(),
        Error::NoResourceVersion => "a list has no resourceVersion".to_owned(),
    };
    format!("cannot watch CertificateSigningRequests: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_request_is_orphaned_first_and_retried_until_it_is_deleted() {
        let at = Duration::from_secs;
        let mut tracked = Tracked::default();
        for (uid, deadline) in [("b", 2), ("a", 1), ("c", 3), ("a", 9)] {
            tracked.insert(uid, format!("name-{uid}"), at(deadline));
        }
        assert_eq!((tracked.next_deadline(), tracked.pop_orphaned(at(0), at(9))), (Some(at(1)), None));
        let pop =
            |tracked: &mut Tracked, now: u64| tracked.pop_orphaned(at(now), at(now + 4)).map(|(_, uid)| uid);
        assert_eq!(pop(&mut tracked, 2).as_deref(), Some("a"), "tracked before: the age has not changed");
        assert_eq!(pop(&mut tracked, 2).as_deref(), Some("b"));
        assert_eq!((pop(&mut tracked, 2), tracked.next_deadline()), (None, Some(at(3))));
        tracked.remove("b");
        // A relist with all but `a`, and a new one.
        tracked.begin_relist();
        tracked.insert("c", String::new(), at(9));
        tracked.insert("d", String::new(), at(4));
        tracked.end_relist();
        assert_eq!(pop(&mut tracked, 20).as_deref(), Some("c"));
        assert_eq!(pop(&mut tracked, 20).as_deref(), Some("d"));
        assert_eq!(pop(&mut tracked, 20), None);
        for uid in ["c", "d", "never"] {
            tracked.remove(uid);
        }
        assert!(tracked.by_uid.is_empty() && tracked.by_deadline.is_empty());
    }

    #[test]
    fn number_of_tracked_requests_is_bounded() {
        let mut tracked = Tracked::default();
        for number in 0..MAX_TRACKED + 10 {
            tracked.insert(&number.to_string(), String::new(), Duration::ZERO);
        }
        assert_eq!((tracked.by_uid.len(), tracked.by_deadline.len()), (MAX_TRACKED, MAX_TRACKED));
    }
}
