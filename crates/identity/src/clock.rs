//! The clock, which settings inject so that tests control time.
//!
//! Everything that expires, ages, is polled or is rate limited uses it. Timeouts of network I/O do not: they
//! bound how long another process may take.

use rustls::pki_types::UnixTime;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A timer: completes when its time is over.
pub type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the wall-clock time, against which certificates and tokens are checked.
    fn now(&self) -> UnixTime;

    /// Returns the monotonic time since an arbitrary origin, for ages and rate limits.
    fn monotonic(&self) -> Duration;

    /// Returns a timer that completes after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> Timer;
}

/// The clock of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        UnixTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Timer {
        Box::pin(sleep(duration))
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use super::{Clock, Timer};
    use rustls::pki_types::UnixTime;
    use std::time::Duration;
    use tokio::sync::watch;

    /// A clock that stands still until it is advanced.
    #[derive(Debug, Clone, Default)]
    pub struct FakeClock(watch::Sender<Duration>);

    impl FakeClock {
        /// Advances the clock; timers that are due complete.
        pub fn advance(&self, by: Duration) {
            self.0.send_modify(|time| *time += by);
        }
    }

    impl Clock for FakeClock {
        fn now(&self) -> UnixTime {
            UnixTime::since_unix_epoch(self.monotonic())
        }

        fn monotonic(&self) -> Duration {
            *self.0.borrow()
        }

        fn sleep(&self, duration: Duration) -> Timer {
            let (clock, deadline) = (self.clone(), self.monotonic() + duration);
            Box::pin(async move {
                // The sender is not dropped before.
                let _ = clock.0.subscribe().wait_for(|time| *time >= deadline).await;
            })
        }
    }
}
