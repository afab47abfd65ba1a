//! What is held where, and when to write it next.

use model::Str;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first and the longest pause between two writes to one place; it doubles in between.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// How long a place must be left alone until its writes count from the beginning again.
const QUIET: Duration = Duration::from_secs(120);

/// How often a place had to be written of late.
struct Repairs {
    count: u32,
    last: Instant,
}

/// The places of one item: what they are to hold, what they hold, when they are written.
#[derive(Default)]
pub(super) struct Pace {
    places: Arc<BTreeSet<Str>>,
    /// What each place is to hold; nothing while that is not known.
    text: Option<String>,
    /// What each place holds; absent where there is no object, nothing where it is not as it should be.
    found: BTreeMap<String, Option<String>>,
    /// Whether all objects have been listed once.
    listed: bool,
    repairs: BTreeMap<String, Repairs>,
    due: BTreeMap<String, Instant>,
}

impl Pace {
    /// Returns what each place is to hold.
    pub fn text(&self) -> Option<String> {
        self.text.clone()
    }

    /// Notes what each place is to hold.
    pub fn set_text(&mut self, text: Option<String>) {
        if self.text != text {
            self.text = text;
            self.look_at_all();
        }
    }

    /// Notes which places there are.
    pub fn set_places(&mut self, places: Arc<BTreeSet<Str>>) {
        self.places = places;
        self.look_at_all();
    }

    /// Notes that a listing begins: what is known counts no more, and nothing is written until it ends.
    pub fn begin(&mut self) {
        self.found.clear();
        self.listed = false;
    }

    /// Notes that a listing has ended.
    pub fn end(&mut self) {
        self.listed = true;
        self.look_at_all();
    }

    /// Notes what an object holds.
    pub fn hold(&mut self, place: String, text: Option<String>) {
        self.found.insert(place.clone(), text);
        self.look_at(&place);
    }

    /// Notes that there is no object any more.
    pub fn lose(&mut self, place: &str) {
        self.found.remove(place);
        self.look_at(place);
    }

    /// Returns when the next write is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.values().min().copied().filter(|_| self.listed)
    }

    /// Returns the places to be written at `now`, and whether each has an object.
    pub fn due(&self, now: Instant) -> Vec<(String, bool)> {
        let due = self.due.iter().filter(|(_, at)| **at <= now);
        due.map(|(place, _)| (place.clone(), self.found.contains_key(place))).collect()
    }

    /// Notes that a place was written, or that it was tried.
    pub fn written(&mut self, place: &str, now: Instant) {
        self.due.remove(place);
        let repairs = self.repairs.entry(place.to_owned()).or_insert(Repairs { count: 0, last: now });
        repairs.count = if now.duration_since(repairs.last) > QUIET { 1 } else { repairs.count + 1 };
        repairs.last = now;
    }

    fn look_at_all(&mut self) {
        let places = Arc::clone(&self.places);
        self.repairs.retain(|place, _| places.contains(place.as_str()));
        self.due.retain(|place, _| places.contains(place.as_str()));
        for place in places.iter() {
            self.look_at(place);
        }
    }

    /// Notes when to write to a place, if at all.
    pub fn look_at(&mut self, place: &str) {
        let is_right = self.found.get(place).is_some_and(|held| *held == self.text);
        if is_right || self.text.is_none() || !self.places.contains(place) {
            self.due.remove(place);
            return;
        }
        let now = Instant::now();
        let at = match self.repairs.get(place) {
            // The first writes are at once: of the object, and of its repair.
            Some(repairs) if repairs.count > 1 && now.duration_since(repairs.last) < QUIET => {
                let doubled = PAUSE.0.saturating_mul(1 << repairs.count.min(16));
                repairs.last + doubled.min(PAUSE.1)
            }
            _ => now,
        };
        self.due.entry(place.to_owned()).or_insert(at);
    }
}
