//! What benchmarks measure by.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tikv_jemalloc_ctl::{epoch, stats};

/// Returns the bytes that are allocated, in a program whose allocator is jemalloc.
///
/// # Panics
/// When jemalloc keeps no statistics.
pub fn heap() -> usize {
    match epoch::advance().and_then(|_| stats::allocated::read()) {
        Ok(bytes) => bytes,
        Err(why) => panic!("jemalloc has no statistics: {why}"),
    }
}

/// Returns the time of the processor that this thread has taken, which other processes do not add to.
pub fn processor() -> Duration {
    let taken = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(taken.tv_sec.unsigned_abs(), taken.tv_nsec.unsigned_abs() as u32)
}

/// Returns times, at least one, as `p50 / p99 / max`.
pub fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let [p50, p99, max] = [times.len() / 2, times.len() * 99 / 100, times.len() - 1].map(|at| times[at]);
    format!("{p50:?} / {p99:?} / {max:?}")
}
