//! The process as the kernel and the allocator see it.

use super::samples::Samples;
use std::fmt;
use tikv_jemalloc_ctl::{epoch, stats};

pub(super) fn encode(out: &mut Samples<'_>) -> fmt::Result {
    if epoch::advance().is_ok()
        && let (Ok(allocated), Ok(resident)) = (stats::allocated::read(), stats::resident::read())
    {
        out.gauge("pilothouse_heap_allocated_bytes", "Bytes that the program holds.", allocated)?;
        out.gauge("pilothouse_heap_resident_bytes", "Bytes that the allocator holds.", resident)?;
    }
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Ok(()) };
    // The name may hold spaces; what follows its closing bracket does not.
    let Some((_, fields)) = stat.rsplit_once(')') else { return Ok(()) };
    let field = |n: usize| fields.split_whitespace().nth(n).and_then(|v| v.parse::<u64>().ok());
    // Fields 14, 15 (ticks of 1/100 s), 23 (bytes) and 24 (pages of 4 KiB) of proc(5), which counts from 1.
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        out.counter("process_cpu_seconds_total", "CPU time spent.", (user + system) as f64 / 100.0)?;
    }
    if let (Some(virtual_bytes), Some(pages)) = (field(20), field(21)) {
        out.gauge("process_virtual_memory_bytes", "Virtual memory.", virtual_bytes)?;
        out.gauge("process_resident_memory_bytes", "Resident memory.", pages * 4096)?;
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        out.gauge("process_open_fds", "Open file descriptors.", descriptors.count())?;
    }
    Ok(())
}
