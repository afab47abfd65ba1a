//! Limits of requests.

use crate::name::Str;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How many requests are let through in a time, at each proxy (`pilothouse.io/request-limit`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RequestLimit {
    /// How many, at least 1; as many may come at once.
    pub requests: u32,
    /// In which time.
    pub period: Duration,
}

/// The units of time by which limits are written.
const UNITS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3_600)];

impl RequestLimit {
    /// The annotation of routes and services that has one.
    pub const ANNOTATION: &'static str = "pilothouse.io/request-limit";
    /// How it is written.
    pub const FORM: &'static str =
        "a number of requests for a second, minute or hour, such as 100/s, 6000/m or 10000/h";

    /// Reads the value of the annotation; `None` without one, and for what is none.
    pub fn of(value: Option<&Str>) -> Option<Self> {
        value?.parse().ok()
    }
}

impl FromStr for RequestLimit {
    type Err = &'static str;

    /// Reads `REQUESTS/UNIT`, as in `100/s`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, unit) = text.trim().split_once('/').ok_or(Self::FORM)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or(Self::FORM)?;
        let requests = requests.trim().parse().ok().filter(|requests| *requests > 0).ok_or(Self::FORM)?;
        Ok(Self { requests, period: Duration::from_secs(*seconds) })
    }
}

impl fmt::Display for RequestLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.period);
        write!(f, "{}/{}", self.requests, unit.map_or("s", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::RequestLimit;

    #[test]
    fn limits_are_numbers_for_a_unit_of_time() {
        for (text, expected) in [
            ("100/s", Some("100/s")),
            (" 6000 / m ", Some("6000/m")),
            ("1/h", Some("1/h")),
            ("0/s", None),
            ("-1/s", None),
            ("1.5/s", None),
            ("100", None),
            ("100/d", None),
            ("/s", None),
            ("99999999999/s", None),
        ] {
            let read = text.parse::<RequestLimit>().ok().map(|of| of.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
