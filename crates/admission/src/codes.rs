//! Which findings are about an object by itself, whatever else there is.

/// Codes of values that cannot be, of what cannot be read: with severity error the object is refused.
const REFUSED: &[&str] = &[
    "KO001", "KO002", "KO003", "SE001", "SE002", "SE003", "SE006", "WE001", "VS003", "AP001", "AP002",
    "AP101", "AP102", "AP103", "AP108", "PA001", "PA002", "PA003", "RA001", "RA101",
];

/// Codes of what has no effect, or not the expected one: worth a warning.
const WARNED: &[&str] = &[
    "KO007", "KO008", "SE007", "SE008", "SE009", "SE010", "SE011", "SE012", "WE002", "WP003", "VS002",
    "DR002", "AP104", "AP105", "AP106", "AP107", "AP113", "AP114", "PA004", "PA006", "RA102", "TM101",
    "TM102", "TM105", "EX101", "EX102",
];

/// What a finding means for the object that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weight {
    /// An object with an error of this code is refused.
    Refused,
    /// Its author is warned.
    Warned,
}

/// Returns what a code means; `None` for one that depends on other objects or on the mesh settings, of which nothing is
/// known here.
pub(crate) fn weight(code: &str) -> Option<Weight> {
    if REFUSED.contains(&code) {
        Some(Weight::Refused)
    } else if WARNED.contains(&code) {
        Some(Weight::Warned)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Codes of what depends on others: on objects, on mesh settings, on what is fetched; and of what is no object of
    /// Istio's.
    const OF_OTHERS: &[&str] = &[
        "KO004", "KO005", "KO006", "KO009", "NS001", "NS002", "SV001", "SE004", "SE005", "SE013", "ES001",
        "VS001", "VS004", "DR001", "DR003", "DR004", "DR005", "WP001", "WP002", "WP004", "WP005", "WP006",
        "WP007", "WP008", "GW001", "GW002", "NW001", "NW002", "NW003", "AP109", "AP110", "AP111", "AP112",
        "AP115", "AP116", "PA005", "PA007", "RA103", "RA104", "RA105", "TM103", "TM104", "TM106", "TM107",
        "EX103", "MS001", "MS002", "MS003", "MS004", "MS005",
    ];

    #[test]
    fn each_code_that_is_documented_has_its_place() {
        let page = include_str!("../../../docs/reference/diagnostics.md");
        let headings = page.lines().filter_map(|line| line.strip_prefix("### ")?.split_once(": "));
        let documented: Vec<&str> = headings.map(|(code, _)| code).collect();
        let placed: Vec<&str> = [REFUSED, WARNED, OF_OTHERS].concat();
        let (documented_set, placed_set) =
            (documented.iter().collect::<BTreeSet<_>>(), placed.iter().collect::<BTreeSet<_>>());
        assert_eq!(documented_set, placed_set);
        assert_eq!(placed.len(), placed_set.len(), "a code has two places");
    }
}
