//! Expressions in CEL, as far as upstream's Envoy takes them. It refuses whatever has one that it cannot compile, so each
//! is checked: its grammar, and that what it names is there.

use super::expression;

/// The longest, in bytes.
const MAX_TEXT: usize = 2_048;
/// How deep one may be; Envoy goes a little deeper.
const DEEPEST: u32 = 24;

/// What expressions are about. Those of Istio's own build of Envoy are not here (`upstream_peer`, `node`).
const ROOTS: &[&str] = &[
    "request",
    "response",
    "connection",
    "upstream",
    "source",
    "destination",
    "metadata",
    "filter_state",
    "upstream_filter_state",
    "xds",
];
/// Names of types, which are values too.
const TYPES: &[&str] =
    &["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
/// Functions, how many arguments each has, and whether they are only there where Envoy is told so.
const FUNCTIONS: &[(&str, usize, bool)] = &[
    ("size", 1, false),
    ("int", 1, false),
    ("uint", 1, false),
    ("double", 1, false),
    ("bool", 1, false),
    ("bytes", 1, false),
    ("type", 1, false),
    ("dyn", 1, false),
    ("duration", 1, false),
    ("timestamp", 1, false),
    ("string", 1, true),
];
/// As [`FUNCTIONS`], of those that are called on something.
const METHODS: &[(&str, usize, bool)] = &[
    ("size", 0, false),
    ("matches", 1, false),
    ("startsWith", 1, false),
    ("endsWith", 1, false),
    ("contains", 1, false),
    ("getFullYear", 0, false),
    ("getMonth", 0, false),
    ("getDate", 0, false),
    ("getDayOfWeek", 0, false),
    ("getHours", 0, false),
    ("getMinutes", 0, false),
    ("getSeconds", 0, false),
    ("getMilliseconds", 0, false),
    ("lowerAscii", 0, true),
    ("upperAscii", 0, true),
    ("replace", 2, true),
    ("split", 1, true),
];
/// Words that name nothing.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

/// Where an expression is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A filter of an access log, where Envoy is told to have functions of texts.
    Filter,
    /// A command of a format.
    Format,
}

/// Checks an expression that is a filter.
///
/// # Errors
/// What of it is none, in words.
pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text, Place::Filter)
}

/// Returns an expression as a command of a format has it, which makes a text of whatever it is.
///
/// # Errors
/// As [`check`].
pub(super) fn in_format(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let inner = text.strip_prefix("string(").and_then(|rest| rest.strip_suffix(')'));
    // What is in the brackets may itself be two things beside each other, as in `string(a) + string(b)`.
    let text = inner.filter(|inner| parse(inner, Place::Format).is_ok()).unwrap_or(text);
    parse(text, Place::Format)?;
    if text.contains(")%") || text.contains(['\n', '\r']) {
        return Err("a bracket before a percent sign would end it, as would the end of a line".to_owned());
    }
    Ok(text)
}

fn parse(text: &str, place: Place) -> Result<(), String> {
    if text.len() > MAX_TEXT {
        return Err(format!("it is longer than {MAX_TEXT} bytes"));
    }
    let mut parser = Parser { rest: text, place, depth: 0 };
    parser.conditional()?;
    parser.skip();
    if parser.rest.is_empty() { Ok(()) } else { Err(parser.unexpected()) }
}

struct Parser<'t> {
    rest: &'t str,
    place: Place,
    depth: u32,
}

type Parsed = Result<(), String>;

impl<'t> Parser<'t> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
    }

    fn unexpected(&self) -> String {
        let found: String = self.rest.chars().take(16).collect();
        if found.is_empty() { "it ends too early".to_owned() } else { format!("{found:?} is unexpected") }
    }

    /// Takes one of these signs, the first that is there.
    fn takes(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        self.skip();
        let sign = signs.iter().find(|sign| self.rest.starts_with(**sign))?;
        self.rest = &self.rest[sign.len()..];
        Some(sign)
    }

    fn expects(&mut self, sign: &'static str) -> Parsed {
        self.takes(&[sign]).map(|_| ()).ok_or_else(|| self.unexpected())
    }

    fn word(&mut self) -> Option<&'t str> {
        self.skip();
        let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_in(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let is_word = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        is_word.then(|| {
            self.rest = rest;
            word
        })
    }

    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it has more than {DEEPEST} levels"));
        }
        inner(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn conditional(&mut self) -> Parsed {
        self.deeper(|of| {
            of.chain(0)?;
            if of.takes(&["?"]).is_some() {
                of.chain(0)?;
                of.expects(":")?;
                of.conditional()?;
            }
            Ok(())
        })
    }

    /// Parses operands between operators of a level: the first binds the least.
    fn chain(&mut self, level: usize) -> Parsed {
        const LEVELS: [&[&str]; 5] =
            [&["||"], &["&&"], &["<=", ">=", "==", "!=", "<", ">"], &["+", "-"], &["*", "/", "%"]];
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        self.chain(level + 1)?;
        let mut count = 0;
        loop {
            let is_in = level == 2 && {
                let before = self.rest;
                let found = self.word() == Some("in");
                if !found {
                    self.rest = before;
                }
                found
            };
            if !is_in && self.takes(signs).is_none() {
                return Ok(());
            }
            // Each is one level of the tree that Envoy makes of it.
            count += 1;
            if count > DEEPEST {
                return Err(format!("it has more than {DEEPEST} operators beside each other"));
            }
            self.chain(level + 1)?;
        }
    }

    fn unary(&mut self) -> Parsed {
        let mut count = 0;
        while self.takes(&["!", "-"]).is_some() {
            count += 1;
            if count > 4 {
                return Err(self.unexpected());
            }
        }
        self.primary()?;
        loop {
            match self.takes(&[".", "["]) {
                Some(".") => {
                    let name = self.word().ok_or_else(|| self.unexpected())?;
                    if self.takes(&["("]).is_some() {
                        self.call(name, METHODS)?;
                    }
                }
                Some(_) => {
                    self.conditional()?;
                    self.expects("]")?;
                }
                None => return Ok(()),
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        self.skip();
        if self.literal()? {
            return Ok(());
        }
        if let Some(name) = self.word() {
            return match name {
                "true" | "false" | "null" => Ok(()),
                _ if RESERVED.contains(&name) => Err(format!("{name:?} is no name")),
                "has" => self.has(),
                _ if self.takes(&["("]).is_some() => self.call(name, FUNCTIONS),
                _ if ROOTS.contains(&name) || TYPES.contains(&name) => Ok(()),
                _ => Err(format!("{name:?} is no attribute of upstream's Envoy")),
            };
        }
        match self.takes(&["(", "[", "{"]) {
            Some("(") => {
                self.conditional()?;
                self.expects(")")
            }
            Some("[") => self.list("]", Self::conditional).map(|_| ()),
            Some(_) => self
                .list("}", |of| {
                    of.conditional()?;
                    of.expects(":")?;
                    of.conditional()
                })
                .map(|_| ()),
            None => Err(self.unexpected()),
        }
    }

    /// Parses what is between commas, up to a sign; returns how much there is.
    fn list(&mut self, end: &'static str, item: fn(&mut Self) -> Parsed) -> Result<usize, String> {
        let mut count = 0;
        loop {
            if self.takes(&[end]).is_some() {
                return Ok(count);
            }
            if count > 0 {
                self.expects(",")?;
                // Behind the last item of a list or a map may be one more.
                if end != ")" && self.takes(&[end]).is_some() {
                    return Ok(count);
                }
            }
            item(self)?;
            count += 1;
        }
    }

    fn call(&mut self, name: &str, known: &[(&str, usize, bool)]) -> Parsed {
        if name == "matches" {
            return self.matches();
        }
        let found = known.iter().find(|(of, ..)| *of == name);
        let Some((_, arguments, is_extra)) = found.filter(|of| self.place == Place::Filter || !of.2) else {
            return Err(format!("{name:?} is no function that Envoy has here"));
        };
        debug_assert!(self.place == Place::Filter || !is_extra);
        let count = self.list(")", Self::conditional)?;
        if count == *arguments {
            Ok(())
        } else {
            Err(format!("{name:?} takes {arguments} arguments, and has {count}"))
        }
    }

    /// Envoy compiles the regular expression at once, and refuses what is none.
    fn matches(&mut self) -> Parsed {
        self.skip();
        let pattern = self.text()?.ok_or("the argument of matches is not written as a text")?;
        expression::check(&pattern)?;
        self.expects(")")
    }

    /// `has(a.b)`: whether a field is there.
    fn has(&mut self) -> Parsed {
        self.expects("(")?;
        let before = self.rest;
        self.unary()?;
        let argument = before[..before.len() - self.rest.len()].trim();
        let end = argument.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if end.is_none_or(|at| !argument[at..].starts_with('.')) {
            return Err("has takes a field, as in request.headers.x".to_owned());
        }
        self.expects(")")
    }

    /// Takes a number or a text; tells whether there was one.
    fn literal(&mut self) -> Result<bool, String> {
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            self.number()?;
            return Ok(true);
        }
        Ok(self.text()?.is_some())
    }

    fn number(&mut self) -> Parsed {
        let is_in = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let end = self.rest.find(|c| !is_in(c)).unwrap_or(self.rest.len());
        let (mut text, mut rest) = self.rest.split_at(end);
        // An exponent may have a sign.
        if let Some(after) = rest.strip_prefix(['+', '-']).filter(|_| is_exponent(text)) {
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            (text, rest) = self.rest.split_at(end + 1 + digits);
        }
        let whole = text.strip_suffix(['u', 'U']).unwrap_or(text);
        let is_number = match whole.strip_prefix("0x").or_else(|| whole.strip_prefix("0X")) {
            Some(digits) => i64::from_str_radix(digits, 16).is_ok() && !digits.starts_with(['+', '-']),
            None if whole.bytes().all(|b| b.is_ascii_digit()) => whole.parse::<i64>().is_ok(),
            None => text.parse::<f64>().is_ok_and(f64::is_finite) && !text.ends_with('.'),
        };
        if !is_number {
            return Err(format!("{text:?} is no number"));
        }
        self.rest = rest;
        Ok(())
    }

    /// Takes a text, if there is one, and returns it.
    fn text(&mut self) -> Result<Option<String>, String> {
        let letters = self.rest.find(|c: char| !matches!(c, 'b' | 'B' | 'r' | 'R')).unwrap_or(0);
        let (prefix, body) = self.rest.split_at(letters.min(2));
        let is_raw = prefix.contains(['r', 'R']);
        let Some(quote) = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| body.starts_with(quote))
        else {
            return Ok(None);
        };
        let mut text = String::new();
        let mut rest = &body[quote.len()..];
        loop {
            if let Some(after) = rest.strip_prefix(quote) {
                self.rest = after;
                return Ok(Some(text));
            }
            let mut chars = rest.chars();
            match chars.next() {
                None => return Err("a text has no end".to_owned()),
                Some('\n' | '\r') if quote.len() == 1 => return Err("a text has no end".to_owned()),
                Some('\\') if is_raw => {
                    text.push('\\');
                    rest = chars.as_str();
                }
                Some('\\') => {
                    let (of, after) = escape(chars.as_str()).ok_or("a text has an unknown escape")?;
                    text.push(of);
                    rest = after;
                }
                Some(of) => {
                    text.push(of);
                    rest = chars.as_str();
                }
            }
        }
    }
}

fn is_exponent(text: &str) -> bool {
    !text.starts_with("0x") && text.ends_with(['e', 'E'])
}

/// Returns the character of an escape behind its backslash, and what follows it.
fn escape(text: &str) -> Option<(char, &str)> {
    const PLAIN: &[(char, char)] = &[
        ('n', '\n'),
        ('r', '\r'),
        ('t', '\t'),
        ('\\', '\\'),
        ('"', '"'),
        ('\'', '\''),
        ('`', '`'),
        ('?', '?'),
        ('a', '\u{7}'),
        ('b', '\u{8}'),
        ('f', '\u{c}'),
        ('v', '\u{b}'),
    ];
    let first = text.chars().next()?;
    if let Some((_, of)) = PLAIN.iter().find(|(name, _)| *name == first) {
        return Some((*of, &text[1..]));
    }
    let count = match first {
        'x' | 'X' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let digits = text.get(1..=count)?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    let of = is_hex.then(|| u32::from_str_radix(digits, 16).ok())?.and_then(char::from_u32)?;
    Some((of, &text[1 + count..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_one_that_proxies_take() {
        for text in [
            "response.code >= 400",
            "!('x' in request.headers) && request.path.startsWith(\"/a\")",
            "size(request.path) > 2 ? true : false",
            "request.headers[':path'] == 'a' || has(request.headers.x)",
            "request.path.matches('^/a[0-9]+$')",
            "response.code in [200, 404,]",
            "{'a': 1}['a'] == -1",
            "0x1F == 31 && 1u < 2u && 1.5e-3 > 1.0 && b'a' == b'a' && request.host != null",
            "r'\\d' == '\\x41' && \"\"\"a\"b\"\"\" == 'a'",
            "string(destination.port) == '80'",
            "xds.upstream_host_metadata.filter_metadata['istio']['workload'] == 'a'",
            "request.path.split('/')[1].lowerAscii() == 'a'",
            "timestamp('2020-01-01T00:00:00Z') < request.time",
            "type(request.path) == string",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in [
            "",
            "nothing == 1",
            "foo(request.path)",
            "request.path.foo()",
            "request.path.matches('(')",
            "request.path.matches(request.host)",
            "has(request.headers['x'])",
            "has(request)",
            "[1, 2].exists(x, x == response.code)",
            "upstream_peer.workload == 'a'",
            "'\\q' == 'a'",
            "'a",
            "99999999999999999999 == 1",
            "request.headers[:path] == 'a'",
            "request.path.contains('a', 'b')",
            "if == 1",
            "1 1",
            "request.path ==",
            "a.b.c{x: 1}",
            &"(".repeat(100),
            &format!("{}1", "1 + ".repeat(40)),
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_command_of_a_format_makes_a_text_by_itself() {
        assert_eq!(in_format("string(destination.port)"), Ok("destination.port"));
        assert_eq!(in_format(" request.host "), Ok("request.host"));
        for text in [
            "string(a)",
            "string(request.size) + string(response.size)",
            "')%'",
            "request.path.split('/')[0]",
        ] {
            assert!(in_format(text).is_err(), "{text:?}");
        }
    }
}
