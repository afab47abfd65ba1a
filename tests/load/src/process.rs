//! CPU time and memory of another process, from `/proc`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::report::Process;

/// How often memory is looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// Ticks per second of the times in `/proc`: 100 on every Linux architecture.
const TICKS: f64 = 100.0;

/// Measures a process from its making to [`Meter::finish`]; measures nothing without a process.
pub struct Meter(Option<Running>);

struct Running {
    pid: u32,
    begun: std::time::Instant,
    cpu: f64,
    peak: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Meter {
    /// Begins to measure.
    pub fn of(pid: Option<u32>) -> Self {
        Self(pid.map(|pid| {
            let peak = Arc::new(AtomicU64::new(0));
            let seen = Arc::clone(&peak);
            let task = tokio::spawn(async move {
                let mut ticks = tokio::time::interval(PERIOD);
                loop {
                    ticks.tick().await;
                    seen.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                }
            });
            Running { pid, begun: std::time::Instant::now(), cpu: cpu(pid).unwrap_or(0.0), peak, task }
        }))
    }

    /// Ends measuring; nothing if there is no such process any more.
    pub fn finish(self) -> Option<Process> {
        let running = self.0?;
        running.task.abort();
        let (cpu, rss) = (cpu(running.pid)?, resident(running.pid)?);
        Some(Process {
            pid: running.pid,
            seconds: running.begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu - running.cpu,
            rss_bytes: rss,
            peak_rss_bytes: running.peak.load(Ordering::Relaxed).max(rss),
        })
    }
}

/// User and system time so far, in seconds.
fn cpu(pid: u32) -> Option<f64> {
    cpu_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn cpu_of(stat: &str) -> Option<f64> {
    // the name, in parentheses, may hold anything: fields count from its end
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// Resident memory, in bytes.
fn resident(pid: u32) -> Option<u64> {
    resident_of(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_of(stat), Some(3.0));
        assert_eq!(cpu_of("42"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
    }

    #[tokio::test]
    async fn this_process_has_memory() {
        let process = Meter::of(Some(std::process::id())).finish();
        assert!(process.is_some_and(|process| process.rss_bytes > 0));
        assert!(Meter::of(None).finish().is_none());
    }
}
