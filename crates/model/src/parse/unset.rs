//! Values that are not valid, and count as unset.

use super::duration;
use super::fault::join;
use super::text::Text;
use crate::facts::Ignored;
use std::time::Duration;

/// Those that were found.
#[derive(Default)]
pub(super) struct Unset(Vec<Ignored>);

/// What counts in milliseconds has at least one.
const LEAST_SPAN: Duration = Duration::from_millis(1);

impl Unset {
    /// Returns all, in the order in which they were found.
    pub fn into_list(self) -> Vec<Ignored> {
        self.0
    }

    pub fn push(&mut self, field: String, message: String, help: &'static str) {
        self.0.push(Ignored { field, message, help });
    }

    pub fn duration(&mut self, at: &str, field: &str, text: &Option<Text<'_>>) -> Option<Duration> {
        let text = text.as_ref()?.as_str();
        let found = duration::of_istio(text);
        if found.is_none() {
            let message = format!("{text:?} is no duration, and counts as unset");
            self.push(join(at, field), message, "write a duration such as 1.5s or 500ms");
        }
        found
    }

    /// Returns a duration that cannot be none: zero counts as unset.
    pub fn span(&mut self, at: &str, field: &str, text: &Option<Text<'_>>) -> Option<Duration> {
        let found = self.duration(at, field, text)?;
        if found < LEAST_SPAN {
            let message = format!("{found:?} is too short, and counts as unset");
            self.push(join(at, field), message, "write at least 1ms");
            return None;
        }
        Some(found)
    }

    /// Returns a number in thousandths.
    pub fn thousandths(&mut self, at: &str, field: &str, value: Option<f64>) -> Option<u32> {
        self.within(at, field, value, 1_000_000.0, "write a number that is not negative")
    }

    /// Returns a percentage in thousandths.
    pub fn percent(&mut self, at: &str, field: &str, value: Option<f64>) -> Option<u32> {
        self.within(at, field, value, 100.0, "write a percentage from 0 to 100")
    }

    fn within(
        &mut self,
        at: &str,
        field: &str,
        value: Option<f64>,
        most: f64,
        help: &'static str,
    ) -> Option<u32> {
        let value = value?;
        if (0.0..=most).contains(&value) {
            // Within the range that was checked.
            return Some((value * 1_000.0).round() as u32);
        }
        self.push(join(at, field), format!("{value} counts as unset"), help);
        None
    }

    /// Returns a percentage that is a whole number; zero is what protobuf has for what is not written.
    pub fn share(&mut self, at: &str, field: &str, value: Option<u32>) -> Option<u32> {
        let value = value.filter(|value| *value > 0)?;
        if value > 100 {
            self.push(
                join(at, field),
                format!("{value} counts as unset"),
                "write a percentage from 1 to 100",
            );
            return None;
        }
        Some(value)
    }

    pub fn word(&mut self, at: &str, field: &str, word: &str, choices: &'static str) {
        self.push(join(at, field), format!("{word:?} is not known, and counts as unset"), choices);
    }
}
