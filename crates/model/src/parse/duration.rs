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

/// Returns the duration that a text such as `1.5s` or `1h30m` means in Istio's APIs: numbers, perhaps with a fraction,
/// each with its unit.
pub(super) fn of_istio(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // Beyond nanoseconds, and beyond centuries, nobody means anything.
        if whole.len() > 10 || fraction.len() > 9 || whole.len() + fraction.len() == 0 {
            return None;
        }
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, left) = unit.split_at(end);
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = u128::from(digits) * u128::from(*nanoseconds) / scale;
        total = total.checked_add(Duration::from_nanos(u64::try_from(part).ok()?))?;
        if left.is_empty() {
            return Some(total);
        }
        rest = left;
    }
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
    fn durations_of_istio_have_fractions_and_any_unit() {
        for (text, microseconds) in [
            ("1.5s", 1_500_000),
            ("0.25s", 250_000),
            ("100us", 100),
            ("1h30m", 5_400_000_000),
            (".5ms", 500),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(of_istio(text), Some(Duration::from_micros(microseconds)), "{text}");
        }
        for text in ["", "1", "s", "-1s", "1 s", "1d", "1..s", ".s", "99999999999s", "1s2", "9999999999h"] {
            assert_eq!(of_istio(text), None, "{text}");
        }
    }

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
