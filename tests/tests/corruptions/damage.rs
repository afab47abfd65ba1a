//! One damage to one of some files, by a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// A file that was damaged.
pub struct Damage {
    /// The name of the file.
    pub file: &'static str,
    /// What was done to it.
    pub what: &'static str,
    /// The text that it has now.
    pub text: String,
}

/// A damage: nothing if there is nothing of the kind in the text.
type Hand = fn(&str, &mut StdRng) -> Option<String>;

const HANDS: [(&str, Hand); 5] = [
    ("a field renamed", rename),
    ("a value of another type", retype),
    ("a value in another case", recase),
    ("a line cut", cut),
    ("a document broken", break_),
];

/// Damages one of the files; policies and settings more often than others.
pub fn damage(files: &[(&'static str, &str)], seed: u64) -> Damage {
    let mut rng = StdRng::seed_from_u64(seed);
    let weight = |(name, _): &(&'static str, &str)| match name.split('-').next() {
        Some("policy") => 6,
        Some("settings") => 8,
        _ => 2,
    };
    loop {
        let (file, text) = files.choose_weighted(&mut rng, weight).unwrap();
        let (what, hand) = HANDS.choose(&mut rng).unwrap();
        match hand(text, &mut rng) {
            Some(damaged) if damaged != **text => return Damage { file, what, text: damaged },
            _ => {}
        }
    }
}

/// The names of fields: where they begin and end.
fn fields(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (colon, _) in text.match_indices(':') {
        let before = text[..colon].trim_end_matches('"');
        let begin = before
            .rfind(|letter: char| !(letter.is_ascii_alphanumeric() || "-_./".contains(letter)))
            .map_or(0, |at| at + 1);
        let after = text[colon + 1..].chars().next();
        if begin < before.len() && after.is_none_or(char::is_whitespace) {
            found.push((begin, before.len()));
        }
    }
    found
}

/// The values: scalars behind a colon, a dash, a comma or a bracket.
fn values(text: &str) -> Vec<(usize, usize)> {
    let names = fields(text);
    let mut found = Vec::new();
    let is_inner = |letter: char| letter.is_ascii_alphanumeric() || "-_./*:\"".contains(letter);
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let Some(begin) = rest.find(is_inner).map(|begin| at + begin) else { break };
        let end = text[begin..].find(|letter| !is_inner(letter)).map_or(text.len(), |end| begin + end);
        let word = &text[begin..end];
        let is_name = names.iter().any(|(from, to)| *from < end && begin < *to);
        if !is_name && word.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
            found.push((begin, end));
        }
        at = end.max(begin + 1);
    }
    found
}

fn with(text: &str, (begin, end): (usize, usize), new: &str) -> String {
    format!("{}{new}{}", &text[..begin], &text[end..])
}

fn rename(text: &str, rng: &mut StdRng) -> Option<String> {
    let place = *fields(text).choose(rng)?;
    let name = &text[place.0..place.1];
    let at = rng.random_range(0..name.len());
    let mut letters: Vec<char> = name.chars().collect();
    match rng.random_range(0..6) {
        0 => letters[at] = flipped(letters[at]),
        1 if letters.len() > 1 => drop(letters.remove(at)),
        2 => letters.insert(at, letters[at]),
        3 if at + 1 < letters.len() => letters.swap(at, at + 1),
        4 => letters[0] = flipped(letters[0]),
        _ => {
            let snake: String = name
                .chars()
                .map(|letter| {
                    if letter.is_ascii_uppercase() {
                        format!("_{}", letter.to_ascii_lowercase())
                    } else {
                        letter.to_string()
                    }
                })
                .collect();
            letters = snake.chars().collect();
        }
    }
    Some(with(text, place, &letters.into_iter().collect::<String>()))
}

fn retype(text: &str, rng: &mut StdRng) -> Option<String> {
    let place = *values(text).choose(rng)?;
    let new = ["80", "true", "null", "[]", "{}", "\"80\"", "1.5", "[x]", "{a: b}"].choose(rng)?;
    Some(with(text, place, new))
}

fn recase(text: &str, rng: &mut StdRng) -> Option<String> {
    let place = *values(text).choose(rng)?;
    let value = &text[place.0..place.1];
    let letters: Vec<usize> =
        value.char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic()).map(|(at, _)| at).collect();
    let one = *letters.choose(rng)?;
    let all = rng.random_bool(0.5);
    let change = |(at, letter): (usize, char)| if all || at == one { flipped(letter) } else { letter };
    Some(with(text, place, &value.char_indices().map(change).collect::<String>()))
}

/// Cuts a line off behind its first letter.
fn cut(text: &str, rng: &mut StdRng) -> Option<String> {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let line = rng.random_range(0..lines.len());
    let content = lines[line].trim_end();
    let indentation = content.len() - content.trim_start().len();
    if content.len() < indentation + 2 {
        return None;
    }
    let end = rng.random_range(indentation + 1..content.len());
    let cut = format!("{}\n", content.get(..end)?);
    lines[line] = &cut;
    Some(lines.concat())
}

/// Puts in or takes out what gives a document its structure.
fn break_(text: &str, rng: &mut StdRng) -> Option<String> {
    let signs: Vec<usize> =
        text.char_indices().filter(|(_, letter)| "{}[]:,\"'-".contains(*letter)).map(|(at, _)| at).collect();
    let begins: Vec<usize> =
        text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len()).collect();
    match rng.random_range(0..4) {
        0 => {
            let at = *signs.choose(rng)?;
            Some(with(text, (at, at + 1), ""))
        }
        1 => {
            let at = *signs.choose(rng)?;
            let sign = ["{", "}", "[", "]", ":", "\"", "'", "\t", "- "].choose(rng)?;
            Some(with(text, (at, at), sign))
        }
        2 => {
            let at = *begins.choose(rng)?;
            Some(with(text, (at, at), [" ", "  ", "\t"].choose(rng)?))
        }
        _ => {
            let at = *begins.choose(rng)?;
            let indentation = text[at..].bytes().take_while(|byte| *byte == b' ').count();
            let less = rng.random_range(0..=indentation.min(4));
            (less > 0).then(|| with(text, (at, at + less), ""))
        }
    }
}

fn flipped(letter: char) -> char {
    if letter.is_ascii_uppercase() { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
}
