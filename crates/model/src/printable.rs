//! Text from outside as a person may read it.
//!
//! ```text
//!  names, hosts, messages ──▶ log     fields and messages    ┐
//!  of objects, clients,   ──▶ tables  cells                  │ printable, where they are rendered:
//!  files                  ──▶ pages, standard output  lines  │ no value is escaped before
//!                         ──▶ conditions and Events          │
//!                         ──▶ JSON    strings                ┘ printable_json
//! ```
//!
//! Whoever reads a log line, a table or a page can trust that each line is one line, in the order of its
//! letters, and that nothing on it is hidden.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// Tells whether a character has a shape of its own, and changes nothing of how others are shown.
fn is_plain(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// Returns a text in one line that changes nothing of how a terminal shows the rest: control
/// characters, marks of direction and whatever else has no shape of its own are escaped as in Rust.
///
/// A text that is printable stays as it is, so that escaping twice changes nothing: a backslash is not
/// escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
    }
    Cow::Owned(out)
}

/// Returns a JSON text of the same value in which strings are printable: what has no shape of its own is
/// escaped as in JSON. Newlines between values stay.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let stays = |c: char| c == '\n' || is_plain(c);
    if json.chars().all(stays) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if stays(c) {
            out.push(c);
        } else {
            // Outside of strings JSON has nothing that would come here.
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A text takes whatever is written.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}

/// Text for people: whatever a line holds, it is one line, and it is printable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(String);

impl Lines {
    /// Adds a line, without its end.
    pub fn push(&mut self, line: impl Display) {
        self.0.push_str(&printable(&line.to_string()));
        self.0.push('\n');
    }

    /// Adds the lines of a text of our own: only what stands in a line is escaped.
    pub fn push_all(&mut self, text: &str) {
        text.lines().for_each(|line| self.push(line));
    }

    /// Returns the text; each line ends in a newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Display> FromIterator<T> for Lines {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        let mut all = Self::default();
        lines.into_iter().for_each(|line| all.push(line));
        all
    }
}

impl From<Lines> for String {
    fn from(lines: Lines) -> Self {
        lines.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What can play with a terminal or hide in a line: controls of both sets, marks of direction,
    /// separators, and what is shown as nothing.
    const HOSTILE: &str = "\0\u{7}\u{8}\t\n\u{b}\r\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{a0}\u{ad}\u{61c}\u{200b}\
        \u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\
        \u{2067}\u{2068}\u{2069}\u{fe0f}\u{feff}\u{fff9}\u{e0001}\u{e0041}\u{10ffff}";

    #[test]
    fn what_has_a_shape_stays_as_it_is() {
        for text in ["", "web-1.shop.svc", "it's \"quoted\"", "Zürich", "東京", "C:\\temp"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable("a\tb\r\n\u{0}\u{7f}\u{9b}"), "a\\tb\\r\\n\\0\\u{7f}\\u{9b}");
        assert_eq!(printable("\u{200b}\u{2028}\u{feff}"), "\\u{200b}\\u{2028}\\u{feff}");
    }

    #[test]
    fn nothing_without_a_shape_is_left_and_escaping_again_changes_nothing() {
        for c in HOSTILE.chars() {
            let text = format!("a{c}b");
            let shown = printable(&text);
            assert!(shown.is_ascii() && !shown.contains(char::is_control), "{c:?}: {shown}");
            assert!(shown.starts_with("a\\") && shown.ends_with('b'), "{c:?}: {shown}");
            assert_eq!(printable(&shown), shown, "{c:?}");
        }
    }

    #[test]
    fn json_is_of_the_same_value() {
        for value in [HOSTILE, "plain", "Zürich \\ \" 東京"] {
            let json = serde_json::to_string_pretty(&serde_json::json!({ value: [value, 1] })).unwrap();
            let shown = printable_json(&json);
            assert!(!shown.replace('\n', "").contains(char::is_control), "{shown}");
            assert_eq!(printable(&shown.replace('\n', "")), shown.replace('\n', ""));
            assert_eq!(shown.lines().count(), json.lines().count());
            let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(read, serde_json::json!({ value: [value, 1] }));
        }
    }

    #[test]
    fn a_line_is_one_line() {
        let lines: Lines = ["a\nINFO forged", "b"].into_iter().collect();
        assert_eq!(lines.as_str(), "a\\nINFO forged\nb\n");
        let mut text = Lines::default();
        text.push_all("one\n  two\u{1b}[1m\n");
        assert_eq!(String::from(text), "one\n  two\\u{1b}[1m\n");
    }
}
