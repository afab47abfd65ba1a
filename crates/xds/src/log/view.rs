//! A view: the content of a chain at one step, immutable and shared.

use std::sync::Arc;

use super::segment::Segment;
use crate::capability::Capabilities;

/// Segments at one step, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct View {
    segments: Arc<[Arc<Segment>]>,
    /// Step of the newest entry ever appended, live or not.
    newest: u64,
}

impl Default for View {
    fn default() -> Self {
        Self { segments: Arc::new([]), newest: 0 }
    }
}

/// A place in a view, between entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    segment: usize,
    entry: u32,
}

impl View {
    pub fn new(segments: Arc<[Arc<Segment>]>, newest: u64) -> Self {
        Self { segments, newest }
    }

    /// Step of the newest entry ever appended, live or not.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Number of live entries.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.live() as usize).sum()
    }

    /// The segment at a place of the list.
    pub fn segment(&self, at: usize) -> Option<&Arc<Segment>> {
        self.segments.get(at)
    }

    /// Segments with their place.
    pub fn segments(&self) -> impl Iterator<Item = (usize, &Segment)> {
        self.segments.iter().enumerate().map(|(at, segment)| (at, segment.as_ref()))
    }

    /// The place before the first entry newer than a step.
    pub fn start_after(&self, step: u64) -> Position {
        let segment = self.segments.partition_point(|segment| segment.last_step() <= step);
        let entry = self.segments.get(segment).map_or(0, |found| found.first_after(step));
        Position { segment, entry }
    }

    /// Bytes of live entries newer than a step.
    pub fn bytes_after(&self, step: u64) -> u64 {
        let Position { segment, entry } = self.start_after(step);
        let Some((first, rest)) = self.segments[segment..].split_first() else { return 0 };
        let rest: u64 = rest.iter().map(|segment| segment.live_bytes() as u64).sum();
        first.live_bytes_from(entry) as u64 + rest
    }

    /// The next stretch of live entries: segment, first entry, entry after the last.
    pub fn next_run(&self, at: &mut Position) -> Option<(usize, u32, u32)> {
        while let Some(segment) = self.segments.get(at.segment) {
            if let Some((first, end)) = segment.run(at.entry) {
                at.entry = end;
                return Some((at.segment, first, end));
            }
            *at = Position { segment: at.segment + 1, entry: 0 };
        }
        None
    }

    /// Live entries newer than a step, oldest first: step, what it requires of a client, and frame.
    pub fn entries_after(&self, step: u64) -> impl Iterator<Item = (u64, Capabilities, &[u8])> {
        let Position { segment, entry } = self.start_after(step);
        self.segments[segment..].iter().enumerate().flat_map(move |(at, segment)| {
            let entries = segment.live_entries_from(if at == 0 { entry } else { 0 });
            entries.map(|(entry, step, frame)| (step, segment.required(entry), frame))
        })
    }

    /// Tells whether a live entry is newer than a step and not newer than another.
    pub fn has_between(&self, after: u64, step: u64) -> bool {
        self.entries_after(after).next().is_some_and(|(of, ..)| of <= step)
    }

    /// Frames of live entries newer than a step, oldest first.
    pub fn frames_after(&self, step: u64) -> impl Iterator<Item = &[u8]> {
        let mut at = self.start_after(step);
        let mut run: Option<(usize, u32, u32)> = None;
        std::iter::from_fn(move || {
            loop {
                match run {
                    Some((segment, next, end)) if next < end => {
                        run = Some((segment, next + 1, end));
                        return self.segments.get(segment).map(|segment| segment.frame(next));
                    }
                    _ => run = Some(self.next_run(&mut at)?),
                }
            }
        })
    }
}
