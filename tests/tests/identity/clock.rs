//! A clock that tests advance.

use identity::{Clock, Timer};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::timeout;

/// A clock that can be advanced. Its wall-clock time runs like that of the system, ahead by what it was
/// advanced.
#[derive(Debug, Clone)]
pub struct FakeClock {
    origin: Instant,
    ahead: Arc<watch::Sender<Duration>>,
    /// Whether timers and ages run too.
    runs: bool,
}

impl FakeClock {
    /// A clock whose timers run, and complete at once when it is advanced beyond them.
    pub fn running() -> Self {
        Self { origin: Instant::now(), ahead: Arc::new(watch::Sender::new(Duration::ZERO)), runs: true }
    }

    /// A clock whose timers and ages run only when it is advanced.
    pub fn stopped() -> Self {
        Self { runs: false, ..Self::running() }
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        self.ahead.send_modify(|ahead| *ahead += by);
    }

    /// Advances the clock by seconds.
    pub fn advance_seconds(&self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    /// Returns the clock for a control plane.
    pub fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    /// Returns the clock for TLS.
    pub fn time(&self) -> Arc<dyn TimeProvider> {
        Arc::new(self.clone())
    }
}

impl Clock for FakeClock {
    fn now(&self) -> UnixTime {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::since_unix_epoch(system + *self.ahead.borrow())
    }

    fn monotonic(&self) -> Duration {
        let run = if self.runs { self.origin.elapsed() } else { Duration::ZERO };
        run + *self.ahead.borrow()
    }

    fn sleep(&self, duration: Duration) -> Timer {
        let clock = self.clone();
        let deadline = self.monotonic() + duration;
        Box::pin(async move {
            let mut advanced = clock.ahead.subscribe();
            loop {
                let left = deadline.saturating_sub(clock.monotonic());
                if left.is_zero() {
                    return;
                }
                // The sender lives as long as this clock. A timeout is a timer that has run off.
                if clock.runs {
                    let _ = timeout(left, advanced.changed()).await;
                } else {
                    let _ = advanced.changed().await;
                }
            }
        })
    }
}

impl TimeProvider for FakeClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}
