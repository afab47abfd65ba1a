//! Times as RFC 3339 writes them, and as seconds since 1970.

use jiff::Timestamp;

/// Returns the seconds since 1970 of an RFC 3339 time such as `2024-02-29T12:00:00Z`, or 0 for
/// what is no time. A fraction of a second is dropped.
///
/// A creation time only breaks ties, and a deletion time that is 0 is past: one that cannot be read is no reason to lose
/// the object.
pub(crate) fn seconds(text: &str) -> i64 {
    text.parse().map_or(0, Timestamp::as_second)
}

/// Returns a moment, in seconds since 1970, as an RFC 3339 time in UTC such as `2024-02-29T12:00:00Z`.
/// One beyond the year 9999, which the format cannot write, is the last second of that year.
pub fn rfc3339(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| "9999-12-31T23:59:59Z".to_owned(), |timestamp| timestamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::{rfc3339, seconds};

    #[test]
    fn moments_are_written_as_they_are_read() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_210_096), "2024-02-29T12:34:56Z");
        assert_eq!(seconds(&rfc3339(951_868_800)), 951_868_800);
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(i64::MAX as u64), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn times_are_read_as_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), 0);
        assert_eq!(seconds("2000-03-01T00:00:00Z"), 951_868_800);
        assert_eq!(seconds("2024-02-29T12:34:56Z"), 1_709_210_096);
        assert_eq!(seconds("2024-02-29T12:34:56.789Z"), 1_709_210_096);
        assert_eq!(seconds("2024-02-29T14:34:56+02:00"), 1_709_210_096);
        assert_eq!(seconds("1969-12-31T23:59:59Z"), -1);
    }

    #[test]
    fn anything_else_is_zero() {
        for text in [
            "",
            "yesterday",
            "2024-02-29",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:0éZ",
        ] {
            assert_eq!(seconds(text), 0, "{text}");
        }
    }
}
