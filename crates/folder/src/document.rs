//! Cuts a file into documents and tells the place of what the parsers complain about.

use model::yaml;
use serde_json::Value;

use crate::value::{Strict, from_yaml};

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 64 << 20;

/// How many more flow brackets may be opened than closed at any place of a document. The YAML
/// scanner's cost grows with this depth for every token, so it is bounded before it runs; real
/// documents nest a few dozen levels.
const MAX_OPEN_BRACKETS: usize = 4_000;

/// One document of a file.
pub(crate) struct Document<'t> {
    /// The text, its `---` line included.
    pub(crate) text: &'t str,
    /// The byte of the file at which the text begins.
    pub(crate) start: usize,
    /// The lines of the file before the text.
    pub(crate) lines_before: u32,
    /// The line of the file, from 1, of the first content.
    pub(crate) line: u32,
}

/// What a parser did not understand; line and column are those of the file.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

/// Cuts YAML at its document markers; documents without content are left out.
///
/// A marker is `---` or `...` at the very start of a line. YAML forbids both there in every
/// scalar, block scalars included (YAML 1.2.2, production `c-forbidden`), so no parser is needed.
pub(crate) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut lines_before) = (0, 0);
    let (mut offset, mut line) = (0, 0u32);
    for each in text.split_inclusive('\n') {
        if is_marker(each, "---") || is_marker(each, "...") {
            documents.extend(document(text, start, offset, lines_before));
            let ends = each.starts_with("...");
            start = if ends { offset + each.len() } else { offset };
            lines_before = if ends { line + 1 } else { line };
        }
        offset += each.len();
        line = line.saturating_add(1);
    }
    documents.extend(document(text, start, text.len(), lines_before));
    documents
}

/// The document of a YAML file that begins at a byte where [`split`] found one to begin.
pub(crate) fn at(text: &str, start: usize) -> Option<&str> {
    let text = text.get(start..)?;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if end > 0 && (is_marker(line, "---") || is_marker(line, "...")) {
            break;
        }
        end += line.len();
    }
    text.get(..end)
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn document(text: &str, start: usize, end: usize, lines_before: u32) -> Option<Document<'_>> {
    let text = text.get(start..end)?;
    let content = text.lines().position(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim_start();
        !(line.is_empty() || line.starts_with('#') || line.starts_with('%'))
    })?;
    let line = lines_before.saturating_add(u32::try_from(content).unwrap_or(u32::MAX)).saturating_add(1);
    Some(Document { text, start, lines_before, line })
}

impl Document<'_> {
    /// Reads the document.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line and column in the file.
    pub(crate) fn read(&self) -> Result<Value, SyntaxError> {
        if let Some(line) = too_deep(self.text) {
            return Err(SyntaxError {
                line: self.lines_before.saturating_add(line),
                column: 1,
                message: format!("more than {MAX_OPEN_BRACKETS} brackets are open at once"),
                help: "no Kubernetes object nests this deep",
            });
        }
        from_yaml(self.text).map_err(|error| self.located(&error))
    }

    fn located(&self, error: &yaml::Error) -> SyntaxError {
        let (line, column) = match error.location() {
            Some(at) => (
                self.lines_before.saturating_add(u32::try_from(at.line()).unwrap_or(u32::MAX)),
                u32::try_from(at.column()).unwrap_or(u32::MAX),
            ),
            None => (self.line, 1),
        };
        let message = with_file_lines(&error.to_string(), self.lines_before);
        let help = help_for(&message);
        SyntaxError { line, column, message, help }
    }
}

/// The line, from 1, on which too many brackets are open.
fn too_deep(text: &str) -> Option<u32> {
    let (mut open, mut line) = (0usize, 1u32);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b'\n' => line = line.saturating_add(1),
            _ => {}
        }
        if open > MAX_OPEN_BRACKETS {
            return Some(line);
        }
    }
    None
}

/// Drops the first ` at line L column C` of a parser's message, which the place of the problem
/// says already, and turns the lines of the others into lines of the file.
fn with_file_lines(message: &str, lines_before: u32) -> String {
    const MARK: &str = " at line ";
    let mut parts = message.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let Ok(line) = number.parse::<u32>() else {
            text.push_str(MARK);
            text.push_str(part);
            continue;
        };
        if index == 0 {
            let rest = rest
                .strip_prefix(" column ")
                .map_or(rest, |rest| rest.trim_start_matches(|letter: char| letter.is_ascii_digit()));
            text.push_str(rest);
        } else {
            text.push_str(&format!("{MARK}{}{rest}", line.saturating_add(lines_before)));
        }
    }
    text
}

fn help_for(message: &str) -> &'static str {
    if message.contains("cannot start any token") || message.contains("tab character") {
        "indent with spaces, not tabs, and quote values that begin with `@`, `%` or a backtick"
    } else if message.contains("mapping values are not allowed") {
        "check the indentation, and quote values that contain `: `"
    } else if message.contains("did not find expected key") || message.contains("did not find expected '-'") {
        "check the indentation of this line against the lines above"
    } else if message.contains("occurs twice") {
        "remove one of the two"
    } else if message.contains("unknown anchor") {
        "quote a value that begins with `*`"
    } else if message.contains("recursion limit") {
        "no Kubernetes object nests this deep"
    } else {
        ""
    }
}

/// Whether a file is read as JSON.
pub(crate) fn is_json(path: &str) -> bool {
    path.get(path.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case(".json"))
}

/// A value of a JSON file and where it begins.
pub(crate) struct JsonValue {
    pub(crate) start: usize,
    pub(crate) line: u32,
    pub(crate) value: Result<Value, SyntaxError>,
}

/// Reads the values of a JSON file, one after the other; the first error ends it.
pub(crate) fn read_json(text: &str) -> Vec<JsonValue> {
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Strict>();
    let (mut seen, mut lines) = (0, 0u32);
    loop {
        let from = stream.byte_offset();
        let blank = text.get(from..).map_or(0, |rest| rest.len() - rest.trim_start().len());
        let start = from + blank;
        lines = lines.saturating_add(newlines(text.get(seen..start).unwrap_or_default()));
        seen = start;
        let value = match stream.next() {
            None => return values,
            Some(Ok(Strict(value))) => Ok(value),
            Some(Err(error)) => Err(SyntaxError {
                line: u32::try_from(error.line()).unwrap_or(u32::MAX).max(1),
                column: u32::try_from(error.column()).unwrap_or(u32::MAX).max(1),
                message: with_file_lines(&error.to_string(), 0),
                help: if error.to_string().contains("occurs twice") { "remove one of the two" } else { "" },
            }),
        };
        let failed = value.is_err();
        values.push(JsonValue { start, line: lines.saturating_add(1), value });
        if failed {
            return values;
        }
    }
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}
