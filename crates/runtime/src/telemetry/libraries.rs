use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long a place in a library is silent after it has logged a warning.
const SILENCE: Duration = Duration::from_secs(60);

/// What modules of this project begin with.
const OURS: &str = "pilothouse";

/// What warnings of libraries begin with that are logged here in other words, at the place that is named
/// above each.
const REPLACED: &[&str] = &[
    // `cluster::connect`, once and not for each connection.
    "Server cert bypassed",
    // Whoever asked: an answer without a `Status`, such as of an API that is not there, is no fault of its own.
    "Unsuccessful data error parse",
];

/// Lets warnings and errors of libraries through once in a while, and none that is logged here in other words:
/// a library does not know how often it is asked for the same.
#[derive(Default)]
pub(super) struct LibraryWarnings {
    /// When each place in a library was let through last. There are as many as such places.
    last: Mutex<HashMap<Identifier, Instant>>,
}

impl LibraryWarnings {
    /// Tells whether a place may write a line now, and takes it as written.
    fn is_due(&self, place: Identifier, now: Instant) -> bool {
        let mut last = self.last.lock();
        if last.get(&place).is_some_and(|last| now.saturating_duration_since(*last) < SILENCE) {
            return false;
        }
        last.insert(place, now);
        true
    }
}

impl<S: Subscriber> Layer<S> for LibraryWarnings {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target().starts_with(OURS) {
            return true;
        }
        let mut message = Message::default();
        event.record(&mut message);
        !REPLACED.iter().any(|begin| message.0.starts_with(begin))
            && self.is_due(metadata.callsite(), Instant::now())
    }
}

/// The message of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
