//! Which entries of a log a ztunnel is sent.

use crate::capability::{Capabilities, is_withheld};
use crate::log::{LogView, View};
use crate::session::initial::InitialVersions;
use crate::session::response::{Response, Run};
use crate::wire;

/// Adds what a client of these capabilities is sent of a log after a step, as bare workloads or as
/// they are. What is withheld from it it may have had before, so that goes.
pub(super) fn push_permitted(
    response: &mut Response,
    log: &LogView,
    after: u64,
    capabilities: Capabilities,
    bare: bool,
) {
    // Who begins takes them in any order, and bare workloads are no services.
    let is_mixed = !bare && after > 0 && log.is_mixed_after(after);
    if log.is_open_to(capabilities) && !is_mixed {
        return match bare {
            true => response.push_bare_after(&log.present, after),
            false => response.push_after(&log.present, after),
        };
    }
    let (runs, withheld) = select(log, after, capabilities);
    match (bare, is_mixed) {
        (true, _) => response.push_bare_runs(&log.present, runs),
        (false, true) => push_services_first(response, &log.present, &runs),
        (false, false) => response.push_runs(&log.present, runs),
    }
    let mut names = Vec::new();
    // Who begins has none of them.
    for name in withheld.iter().filter(|_| after > 0) {
        wire::put_removed_frame(&mut names, name);
    }
    response.push_made(names);
}

/// Adds some stretches of addresses to what a client has, services first: it judges a workload by the
/// service that it knows.
pub(super) fn push_services_first(response: &mut Response, view: &View, runs: &[Run]) {
    let (mut services, mut workloads): (Vec<Run>, Vec<Run>) = (Vec::new(), Vec::new());
    for &(place, first, end) in runs {
        let Some(segment) = view.segment(place) else { continue };
        for entry in first..end {
            let body = wire::read_frame(segment.frame(entry)).body;
            let is_service = wire::is_service(proto::type_url::ADDRESS, body);
            extend(if is_service { &mut services } else { &mut workloads }, place, entry);
        }
    }
    response.push_runs(view, services);
    response.push_runs(view, workloads);
}

/// What of a view a client lacks that lists what it holds.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Entries to send.
    pub runs: Vec<Run>,
    /// Listed names that exist, by their place in the list.
    pub found: Vec<bool>,
}

/// The stretches after a step that a client of these capabilities is sent, and the names between them
/// that are withheld from it.
fn select(log: &LogView, after: u64, capabilities: Capabilities) -> (Vec<Run>, Vec<Box<str>>) {
    let (mut runs, mut withheld): (Vec<Run>, _) = (Vec::new(), Vec::new());
    let mut at = log.present.start_after(after);
    while let Some((place, first, end)) = log.present.next_run(&mut at) {
        let Some(segment) = log.present.segment(place) else { continue };
        for entry in first..end {
            if is_withheld(segment.required(entry), capabilities) {
                let name = wire::frame_name(segment.frame(entry));
                withheld.push(String::from_utf8_lossy(name).into());
            } else {
                extend(&mut runs, place, entry);
            }
        }
    }
    (runs, withheld)
}

/// Adds an entry to stretches.
fn extend(runs: &mut Vec<Run>, place: usize, entry: u32) {
    match runs.last_mut() {
        Some((last, _, end)) if *last == place && *end == entry => *end += 1,
        _ => runs.push((place, entry, entry + 1)),
    }
}

/// Compares live entries with what a client holds: equal versions are not sent, and what is withheld
/// from a client of these capabilities is not there.
pub(super) fn compare(log: &LogView, initial: &InitialVersions, capabilities: Capabilities) -> Comparison {
    let mut comparison = Comparison { runs: Vec::new(), found: vec![false; initial.len()] };
    for (place, segment) in log.present.segments() {
        for (entry, _, frame) in segment.live_entries() {
            if is_withheld(segment.required(entry), capabilities) {
                continue;
            }
            let (name, version) = wire::frame_version(frame);
            if let Some(at) = initial.find(name) {
                comparison.found[at] = true;
                if !version.is_empty() && initial.version(at) == version {
                    continue;
                }
            }
            extend(&mut comparison.runs, place, entry);
        }
    }
    comparison
}
