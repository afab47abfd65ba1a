//! Times of creation.

use jiff::Timestamp;

/// Returns the seconds since 1970 of an RFC 3339 time such as `2024-02-29T12:00:00Z`, or 0 for
/// what is no time. A fraction of a second is dropped.
///
/// Creation times only break ties, so one that cannot be read is no reason to lose the object.
pub(super) fn seconds(text: &str) -> i64 {
    text.parse().map_or(0, Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::seconds;

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
