//! Words that the code has given up for those of the field; CONTRIBUTING.md has the glossary.
//!
//! The changelog and the decision records keep them, since they tell of their time.

use crate::{check, files, is_generated};
use std::collections::{BTreeMap, BTreeSet};
use syn::buffer::{Cursor, TokenBuffer};

/// Names of types, modules and variables, whole and with this case.
const NAMES: &[&str] = &[
    "Admission",
    "Allowance",
    "Arrival",
    "Asker",
    "CanaryWish",
    "Concerned",
    "Demand",
    "Desk",
    "Door",
    "FairPlaces",
    "Gate",
    "Guard",
    "Guards",
    "Home",
    "InForce",
    "Intake",
    "Keeper",
    "Met",
    "Owed",
    "Passes",
    "Patience",
    "Rooms",
    "Said",
    "Seat",
    "Standing",
    "Supply",
    "Surroundings",
    "Survey",
    "Taken",
    "Tally",
    "Told",
    "Trouble",
    "Troubles",
    "Verdict",
    "World",
    "asker",
    "canary_wish",
    "desk",
    "gate",
    "intake",
    "keeper",
    "patience",
    "surroundings",
    "survey",
    "tally",
    "verdict",
    "world",
];

/// Words of code and prose, in any case, and the words after which they are ordinary English.
const PHRASES: &[(&str, &[&str])] = &[
    ("connection that stands", &[]),
    ("connections that stand", &[]),
    ("dialect", &[]),
    ("dialects", &[]),
    ("displaced", &[]),
    ("greediest", &[]),
    ("in force", &[]),
    ("mend", &[]),
    ("mended", &[]),
    ("mending", &[]),
    ("mends", &[]),
    ("newcomer", &[]),
    ("newcomers", &[]),
    ("spared", &[]),
    ("stranger", &[]),
    ("strangers", &[]),
    ("stream that stands", &[]),
    ("streams that stand", &[]),
    ("the door", &[]),
    // The client of the tests; a field that names another object.
    ("the reference", &["client", "of", "that", "to"]),
    ("trouble", &[]),
    ("troubles", &[]),
];

/// Ordinary English, or a name that stays: these are passed over, to the letter.
const ORDINARY: &[&str] = &[
    "adr/0010-client-dialects.md",
    // Of policies, in messages that golden cases pin.
    "is not in force",
    "the older one is in force",
];

/// What is not to be found anywhere, to the letter.
const TEXTS: &[&str] = &["--several-roots"];

/// What keeps the words of its time, or is written by a program from what is judged elsewhere.
fn is_exempt(path: &str) -> bool {
    is_generated(path)
        || path.starts_with("docs/adr/")
        || ["CHANGELOG.md", "LICENSE", "tests/tests/architecture/words.rs"].contains(&path)
}

#[test]
fn words_that_were_given_up_are_not_used_again() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for (path, text) in files()?.iter().filter(|(path, _)| !is_exempt(path)) {
        let text = ORDINARY.iter().fold(text.clone(), |text, kept| text.replace(kept, ""));
        let mut found = phrases(&text);
        found.extend(TEXTS.iter().filter(|old| text.contains(**old)).map(|old| (*old).to_owned()));
        if path.ends_with(".rs") {
            found.extend(names(&text)?);
        }
        broken.extend(found.into_iter().map(|word| format!("{path}: {word}")));
    }
    check(&broken)
}

/// The names of the list among the identifiers of a file.
fn names(text: &str) -> anyhow::Result<BTreeSet<String>> {
    fn gather(mut at: Cursor<'_>, found: &mut BTreeSet<String>) {
        while !at.eof() {
            if let Some((ident, rest)) = at.ident() {
                found.extend(NAMES.iter().filter(|name| ident == **name).map(|name| (*name).to_owned()));
                at = rest;
            } else if let Some((inside, _, _, rest)) = at.any_group() {
                gather(inside, found);
                at = rest;
            } else if let Some((_, rest)) = at.token_tree() {
                at = rest;
            } else {
                break;
            }
        }
    }
    let tokens = text.parse().map_err(|error| anyhow::anyhow!("no tokens of Rust: {error}"))?;
    let mut found = BTreeSet::new();
    gather(TokenBuffer::new2(tokens).begin(), &mut found);
    Ok(found)
}

/// The phrases of the list in a text, also where a line ends within one, each with its line.
fn phrases(text: &str) -> BTreeSet<String> {
    // The phrase, its further words, and the words after which it is ordinary English.
    type Phrase = (&'static str, Vec<&'static str>, &'static [&'static str]);
    let mut by_first: BTreeMap<&str, Vec<Phrase>> = BTreeMap::new();
    for (phrase, ordinary_before) in PHRASES {
        let mut parts = phrase.split(' ');
        let first = parts.next().unwrap_or_default();
        by_first.entry(first).or_default().push((phrase, parts.collect(), ordinary_before));
    }
    let mut words: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let parts = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.extend(parts.map(|word| (number + 1, word.to_lowercase())));
    }
    let mut found = BTreeSet::new();
    for (at, (number, word)) in words.iter().enumerate() {
        for (phrase, rest, ordinary_before) in by_first.get(word.as_str()).into_iter().flatten() {
            let mut after = words[at + 1..].iter().map(|(_, word)| word.as_str());
            let is_phrase = rest.iter().all(|part| after.next() == Some(part));
            if is_phrase && !after.next().is_some_and(|next| ordinary_before.contains(&next)) {
                found.insert(format!("{number}: {phrase}"));
            }
        }
    }
    found
}

#[test]
fn old_names_and_phrases_are_found_and_ordinary_words_are_not() -> anyhow::Result<()> {
    let of = |text| names(text).map(|found| found.into_iter().collect::<Vec<_>>());
    assert_eq!(
        of("struct World { gate: Gate } // Desk\nconst S: &str = \"Keeper\";")?,
        ["Gate", "World", "gate"]
    );
    assert_eq!(of("fn told(worlds: MutexGuard, demand: Other) { x.met() }")?, [""; 0]);
    let of = |text| phrases(text).into_iter().collect::<Vec<_>>();
    assert_eq!(of("What was\nin\n//! force, is_in_force."), ["2: in force", "3: in force"]);
    assert_eq!(of("The reference does so, the reference client does not."), ["1: the reference"]);
    assert_eq!(of("enforced; what stands for it; amended; troubleshooting; the doors"), [""; 0]);
    Ok(())
}
