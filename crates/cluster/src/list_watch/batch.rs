//! What a source sends.

use model::Event;
use tokio::sync::mpsc;

/// Events that belong together (one save of a file, one page of a list): they become part of one commit.
#[derive(Debug)]
pub struct Batch {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// When the source learned of the first of them.
    pub arrived: std::time::Instant,
}

impl From<Vec<Event>> for Batch {
    /// A batch that has arrived just now.
    fn from(events: Vec<Event>) -> Self {
        Self { events, arrived: std::time::Instant::now() }
    }
}

/// Where a source sends its batches. A full channel holds the source back.
pub type Batches = mpsc::Sender<Batch>;
