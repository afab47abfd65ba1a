//! What the log says of the mesh: what a commit changed, and which findings began and ended.
//!
//! ```text
//! engine thread ── commits, findings ──┐            ┌─▶ a line each, while there are few
//! folder source ── findings of files ──┴─▶ MeshLog ─┤
//!                                                   └─▶ held back, and summed up in one line a while later
//! ```
//!
//! Whoever tells writes its lines itself and waits for nothing. Only sums are written by a task of their own,
//! [`MeshLog::run`].

mod budget;
mod changes;
mod findings;
mod line;

use crate::source::Places;
use changes::Changes;
pub use changes::{Commit, EventCounts};
use findings::{FindingLines, level};
use line::Line;
use model::{Diagnostic, Severity};
use parking_lot::Mutex;
use plane::Findings;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long lines are held back before they are summed up.
const SUM_AFTER: Duration = Duration::from_secs(5);

/// The log of the mesh, and what stands of its findings.
#[derive(Debug, Default)]
pub struct MeshLog {
    changes: Mutex<Changes>,
    findings: Mutex<FindingLines>,
    /// What keeps the mesh from being served.
    waits_for: Mutex<Option<Diagnostic>>,
    places: Places,
    held_back: Notify,
}

impl MeshLog {
    /// Tells of a commit that changed resources.
    pub fn committed(&self, commit: &Commit<'_>) {
        match self.changes.lock().line(commit, Instant::now()) {
            Some(line) => line.write(),
            None => self.held_back.notify_one(),
        }
    }

    /// Tells of findings that began and ended.
    pub fn found(&self, found: &Findings) {
        if found.is_empty() {
            return;
        }
        let (lines, is_all) = self.findings.lock().lines(found, &self.places, Instant::now());
        lines.into_iter().for_each(Line::write);
        if !is_all {
            self.held_back.notify_one();
        }
    }

    /// Tells what keeps the mesh from being served though everything is listed, if anything does. It stands
    /// as a finding meanwhile.
    pub fn waits_for(&self, why: Option<Diagnostic>) {
        let before = std::mem::replace(&mut *self.waits_for.lock(), why.clone());
        if before == why {
            return;
        }
        if let Some(why) = &why {
            let text = format!("nothing is served until this is fixed: {}", self.places.placed(why.clone()));
            Line { level: level(why.severity), code: Some(why.code), text }.write();
        }
        let began = Findings { began: why.into_iter().collect(), ended: Vec::new() };
        // It counts as a finding, of which the line above is the line.
        self.findings.lock().lines(&began, &self.places, Instant::now());
        self.found(&Findings { began: Vec::new(), ended: before.into_iter().collect() });
    }

    /// Returns what keeps the mesh from being served though everything is listed.
    pub fn awaited(&self) -> Option<Diagnostic> {
        self.waits_for.lock().clone()
    }

    /// Returns where the objects that findings are about are written.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Returns how many findings stand, by code and severity; 0 for those that have ended.
    pub fn active(&self) -> Vec<(&'static str, Severity, u64)> {
        self.findings.lock().active()
    }

    /// Returns how many objects and files were refused so far.
    pub fn refused(&self) -> u64 {
        self.findings.lock().refused()
    }

    /// Sums up what is held back, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.held_back.notified() => {}
                () = stop.cancelled() => {}
            }
            tokio::select! {
                () = tokio::time::sleep(SUM_AFTER) => {}
                () = stop.cancelled() => {}
            }
            let lines = [self.changes.lock().sum(), self.findings.lock().sum()];
            lines.into_iter().flatten().for_each(Line::write);
            if stop.is_cancelled() {
                return;
            }
        }
    }
}
