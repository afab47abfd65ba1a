//! A response: a small header and stretches of shared frames, cut as they are asked for.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::log::{Frame, Position, View};
use crate::wire::{self, Form};

/// Stretches shorter than this are copied together: a frame of the transport costs more.
const SMALL: usize = 4 * 1024;
/// Size at which copied stretches are handed out.
const GATHERED: usize = 16 * 1024;

/// A stretch of a view: segment, first entry, entry after the last.
pub(super) type Run = (usize, u32, u32);

/// Which frames of a view go out.
#[derive(Debug)]
pub(in crate::session) enum Pick {
    /// All live entries from a place on.
    From(Position),
    /// These stretches.
    Runs(std::vec::IntoIter<Run>),
}

enum Part {
    /// Bytes made for this response.
    Made(Bytes),
    /// Frames that others may send, too.
    Frames(std::vec::IntoIter<Bytes>),
    /// Resources of a proxy, and the content of the one whose head went out last.
    Resources { frames: std::vec::IntoIter<Frame>, form: Form, body: Option<Bytes> },
    /// Frames as they stand in the log.
    Shared { view: View, pick: Pick },
    /// Workloads of the address log, taken out of their `Address`.
    Bare { view: View, pick: Pick, run: Option<Run> },
}

/// One encoded `DeltaDiscoveryResponse` or `DiscoveryResponse`, as an iterator of chunks.
///
/// The length is known before the first chunk. Chunks of the log are shared, not copied: until
/// it is read or dropped, a response keeps the segments of its snapshot alive, which it shares
/// with all others of that snapshot and mostly with newer ones.
pub struct Response {
    type_url: String,
    nonce: String,
    parts: VecDeque<Part>,
    /// A stretch too large to gather, next to go out.
    waiting: Option<Bytes>,
    len: u64,
    remaining: u64,
}

/// Never its content: that may have private keys.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("type_url", &self.type_url)
            .field("nonce", &self.nonce)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Response {
    pub(in crate::session) fn new(step: u64, type_url: &str, nonce: &str) -> Self {
        let mut header = Vec::new();
        wire::put_header(&mut header, &step.to_string(), type_url, nonce);
        let len = header.len() as u64;
        Self {
            type_url: type_url.to_owned(),
            nonce: nonce.to_owned(),
            parts: [Part::Made(header.into())].into(),
            waiting: None,
            len,
            remaining: len,
        }
    }

    /// Type of the resources.
    pub fn type_url(&self) -> &str {
        &self.type_url
    }

    /// Name of this response, which the client's answer carries.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Length of the whole message in bytes.
    pub fn message_len(&self) -> u64 {
        self.len
    }

    /// Bytes not handed out yet.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn push(&mut self, part: Part, len: u64) {
        self.parts.push_back(part);
        self.len += len;
        self.remaining += len;
    }

    pub(in crate::session) fn push_made(&mut self, bytes: Vec<u8>) {
        let len = bytes.len() as u64;
        if len > 0 {
            self.push(Part::Made(bytes.into()), len);
        }
    }

    pub(in crate::session) fn push_frames(&mut self, frames: Vec<Bytes>) {
        let len = frames.iter().map(|frame| frame.len() as u64).sum();
        self.push(Part::Frames(frames.into_iter()), len);
    }

    /// Adds resources of a proxy.
    pub(in crate::session) fn push_resources(&mut self, frames: Vec<Frame>, form: Form) {
        let len = frames.iter().map(|frame| frame.len_as(form) as u64).sum();
        self.push(Part::Resources { frames: frames.into_iter(), form, body: None }, len);
    }

    /// Adds the frames of a view that are newer than a step.
    pub(in crate::session) fn push_after(&mut self, view: &View, step: u64) {
        let pick = Pick::From(view.start_after(step));
        let len = view.bytes_after(step);
        self.push(Part::Shared { view: view.clone(), pick }, len);
    }

    /// Adds some stretches of a view.
    pub(in crate::session) fn push_runs(&mut self, view: &View, runs: Vec<Run>) {
        let bytes = |&(segment, first, end): &Run| {
            view.segment(segment).map_or(0, |segment| segment.len_of(first, end) as u64)
        };
        let len = runs.iter().map(bytes).sum();
        self.push(Part::Shared { view: view.clone(), pick: Pick::Runs(runs.into_iter()) }, len);
    }

    /// Adds the bare workloads among the addresses that are newer than a step.
    pub(in crate::session) fn push_bare_after(&mut self, view: &View, step: u64) {
        let len = view.frames_after(step).map(bare_len).sum();
        let pick = Pick::From(view.start_after(step));
        self.push(Part::Bare { view: view.clone(), pick, run: None }, len);
    }

    /// Adds the bare workloads among some stretches of addresses.
    pub(in crate::session) fn push_bare_runs(&mut self, view: &View, runs: Vec<Run>) {
        let mut len = 0;
        for &(segment, first, end) in &runs {
            if let Some(segment) = view.segment(segment) {
                len += (first..end).map(|entry| bare_len(segment.frame(entry))).sum::<u64>();
            }
        }
        self.push(Part::Bare { view: view.clone(), pick: Pick::Runs(runs.into_iter()), run: None }, len);
    }

    /// The next stretch in order, however small.
    fn next_stretch(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.waiting.take() {
            return Some(bytes);
        }
        loop {
            let bytes = match self.parts.front_mut()? {
                Part::Made(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
                Part::Frames(frames) => frames.next(),
                Part::Resources { frames, form, body } => body.take().or_else(|| {
                    let frame = frames.next()?;
                    *body = Some(frame.body()).filter(|body| !body.is_empty());
                    Some(frame.head(*form))
                }),
                Part::Shared { view, pick } => next_run(view, pick).and_then(|(segment, first, end)| {
                    view.segment(segment).map(|segment| segment.slice(first, end))
                }),
                Part::Bare { view, pick, run } => next_bare(view, pick, run),
            };
            match bytes {
                Some(bytes) => return Some(bytes),
                None => self.parts.pop_front(),
            };
        }
    }
}

fn next_run(view: &View, pick: &mut Pick) -> Option<Run> {
    match pick {
        Pick::From(position) => view.next_run(position),
        Pick::Runs(runs) => runs.next(),
    }
}

fn bare_len(frame: &[u8]) -> u64 {
    let address = wire::read_frame(frame);
    wire::workload_of_address(address.body).map_or(0, |body| {
        let workload = wire::ResourceRef { body, ..address };
        wire::resource_frame_len(workload, proto::type_url::WORKLOAD) as u64
    })
}

/// Some bare workloads, as frames.
fn next_bare(view: &View, pick: &mut Pick, run: &mut Option<Run>) -> Option<Bytes> {
    let mut out = Vec::new();
    while out.len() < GATHERED {
        match run {
            Some((segment, next, end)) if *next < *end => {
                if let Some(segment) = view.segment(*segment) {
                    let address = wire::read_frame(segment.frame(*next));
                    if let Some(body) = wire::workload_of_address(address.body) {
                        let workload = wire::ResourceRef { body, ..address };
                        wire::put_resource_frame(&mut out, workload, proto::type_url::WORKLOAD);
                    }
                }
                *next += 1;
            }
            _ => match next_run(view, pick) {
                Some(next) => *run = Some(next),
                None => break,
            },
        }
    }
    (!out.is_empty()).then(|| out.into())
}

impl Iterator for Response {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let first = self.next_stretch()?;
        let chunk = if first.len() >= SMALL {
            first
        } else {
            let mut gathered = BytesMut::new();
            let mut next = Some(first);
            while let Some(bytes) = next {
                if bytes.len() >= SMALL && !gathered.is_empty() {
                    self.waiting = Some(bytes);
                    break;
                }
                gathered.extend_from_slice(&bytes);
                if gathered.len() >= GATHERED {
                    break;
                }
                next = self.next_stretch();
            }
            gathered.freeze()
        };
        self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
        Some(chunk)
    }
}
