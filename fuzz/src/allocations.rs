//! How much memory a thread has, and has had at most: an allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread. A program that wants to count declares it as its own:
/// `#[global_allocator] static COUNTING: pilothouse_fuzz::allocations::Counting = pilothouse_fuzz::allocations::Counting;`
pub struct Counting;

fn add(bytes: i64) {
    // A thread that ends has none any more.
    let _ = LIVE.try_with(|live| {
        let now = live.get() + bytes;
        live.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

// SAFETY: each call is passed on as it is; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as i64);
        // SAFETY: as for this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        add(-(layout.size() as i64));
        // SAFETY: as for this call.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Bytes that this thread has taken and not given back; 0 where nothing counts.
pub fn live() -> i64 {
    LIVE.with(Cell::get)
}

/// Runs something, and returns the most that this thread had meanwhile beyond what it has now.
pub fn peak_of<R>(run: impl FnOnce() -> R) -> (R, i64) {
    let before = live();
    PEAK.with(|peak| peak.set(before));
    let result = run();
    (result, PEAK.with(Cell::get) - before)
}
