//! Durations of the Gateway API (GEP-2257).

use super::text::Text;
use std::time::Duration;

/// Returns the duration that a text such as `1h30m` or `500ms` means: one to four numbers of up to five
/// digits, each with its unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = number.parse().ok()?;
        let units = [("ms", Duration::from_millis(number)), ("s", Duration::from_secs(number))];
        let units = units
            .into_iter()
            .chain([("m", Duration::from_secs(60 * number)), ("h", Duration::from_secs(3600 * number))]);
        let (part, left) =
            units.into_iter().find_map(|(name, part)| Some((part, unit.strip_prefix(name)?)))?;
        total += part;
        if left.is_empty() {
            return Some(total);
        }
        rest = left;
    }
    None
}

/// Returns a duration that is written; zero counts as unset.
///
/// # Errors
/// What is wrong with it.
pub(super) fn optional(text: &Option<Text<'_>>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let text = text.as_str();
    match duration(text) {
        Some(Duration::ZERO) => Ok(None),
        Some(duration) => Ok(Some(duration)),
        None => Err(format!("{text:?} is no duration such as 10s or 500ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, milliseconds) in
            [("10s", 10_000), ("500ms", 500), ("1h30m", 5_400_000), ("1h1m1s1ms", 3_661_001)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for text in ["", "10", "s", "1.5s", "-1s", "100000s", "1s ", "1d", "1s1s1s1s1s", "1s2"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
