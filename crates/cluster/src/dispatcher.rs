//! Runs what a work queue hands out as tasks: a bounded number at once, at a bounded rate.

use crate::stats::WriterStats;
use crate::work_queue::{Completion, Lane, WorkQueue};
use limits::{Rate, TokenBucket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// How much is started.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// How often an attempt begins.
    pub(crate) rate: Rate,
    /// How many run at once.
    pub(crate) concurrent: usize,
}

/// What each key is to become, the tasks that bring it there, and, as `O`, how they ended.
///
/// `D` is the desired state, `S` the part of an object that it is compared with.
pub(crate) struct Dispatcher<'a, K, D, S, O> {
    stats: &'a WriterStats,
    queue: WorkQueue<K, (D, Option<Arc<S>>)>,
    bucket: TokenBucket,
    started: Instant,
    running: JoinSet<(K, O)>,
    max_concurrent: usize,
}

impl<'a, K, D, S, O> Dispatcher<'a, K, D, S, O>
where
    K: Ord + Clone + Send + 'static,
    D: Clone,
    O: Send + 'static,
{
    /// Makes one with nothing to do, which keeps the length of its queue in `stats`.
    pub(crate) fn new(stats: &'a WriterStats, bounds: Bounds) -> Self {
        Self {
            stats,
            queue: WorkQueue::new(),
            bucket: TokenBucket::new(bounds.rate, Duration::ZERO),
            started: Instant::now(),
            running: JoinSet::new(),
            max_concurrent: bounds.concurrent,
        }
    }

    /// Queues a key, with what was read of its object a moment ago, if anything was.
    pub(crate) fn add(&mut self, key: K, desired: D, stored: Option<Arc<S>>, lane: Lane) {
        self.queue.add(key, (desired, stored), lane, Instant::now());
        self.count_waiting();
    }

    /// Starts what is ready and waits until something can be done again; returns what ended, for which
    /// [`Dispatcher::done`] is to be called. Dropping the future loses nothing; dropping the dispatcher ends
    /// every task.
    pub(crate) async fn next<F>(&mut self, start: impl Fn(K, D, Option<Arc<S>>) -> F) -> Option<(K, O)>
    where
        F: Future<Output = O> + Send + 'static,
    {
        let mut wake = None;
        while self.running.len() < self.max_concurrent {
            let ready = self.queue.get_limited(&mut self.bucket, self.started, Instant::now());
            let (key, (desired, stored), is_first) = match ready {
                Ok(ready) => ready,
                Err(ready_at) => {
                    wake = ready_at;
                    break;
                }
            };
            // Somebody else may have written since an attempt failed.
            let task = start(key.clone(), desired, stored.filter(|_| is_first));
            self.running.spawn(async move { (key, task.await) });
        }
        let due = async {
            match wake {
                Some(wake) => sleep_until(wake.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A task that panicked is reported by the runtime; its key stays in processing for good.
            Some(ended) = self.running.join_next() => ended.ok(),
            () = due => None,
        }
    }

    /// Records how an attempt ended; tells whether its key was given up.
    pub(crate) fn done(&mut self, key: &K, completion: Completion) -> bool {
        let is_given_up = self.queue.done(key, completion, Instant::now());
        self.count_waiting();
        is_given_up
    }

    /// Drops everything that waits and meets the condition.
    pub(crate) fn drop_waiting(&mut self, condition: impl Fn(&K) -> bool) {
        self.queue.drop_waiting(condition);
        self.count_waiting();
    }

    fn count_waiting(&self) {
        self.stats.waiting.store(self.queue.len() as u64, Ordering::Relaxed);
    }
}
