//! What somebody may have meant by a name that is not known.

/// Returns the name that is meant most likely: the same but for case, underscores or dashes, or one with at
/// most a third of its letters wrong; the first of equals.
pub fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    nearest_within(written, known, (written.chars().count() / 3).max(1))
}

/// Returns the name that is meant most likely, with at most `most` letters wrong.
pub fn nearest_within<'n>(
    written: &str,
    known: impl IntoIterator<Item = &'n str>,
    most: usize,
) -> Option<&'n str> {
    let plain = plain(written);
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let distance = if self::plain(name) == plain { 0 } else { distance(written, name, most) };
        if distance <= most && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Returns the question whether a name is meant.
pub fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn plain(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The letters to add, remove, replace or swap with their neighbours between two names; more than
/// `most` once it is more than that.
fn distance(left: &str, right: &str, most: usize) -> usize {
    let (left, right): (Vec<char>, Vec<char>) =
        (left.to_lowercase().chars().collect(), right.to_lowercase().chars().collect());
    // Names from outside may be of any length.
    if left.len().abs_diff(right.len()) > most || left.len() > 128 {
        return most + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, one) in left.iter().enumerate() {
        let mut this = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let mut least =
                (last[column] + usize::from(one != other)).min(last[column + 1] + 1).min(this[column] + 1);
            let is_swap = row > 0 && column > 0 && *one == right[column - 1] && left[row - 1] == *other;
            if is_swap {
                least = least.min(before[column - 1] + 1);
            }
            this.push(least);
        }
        before = std::mem::replace(&mut last, this);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likely_names_are_found() {
        let known = ["action", "selector", "targetRefs", "targetRef", "rules", "mtls"];
        for (written, meant) in [
            ("Action", Some("action")),
            ("target_refs", Some("targetRefs")),
            ("mTLS", Some("mtls")),
            ("selectr", Some("selector")),
            ("seletcor", Some("selector")),
            ("rulse", Some("rules")),
            ("targets", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
