//! Text from outside as a person may read it.

use std::borrow::Cow;

/// Returns a text in one line that changes nothing of how a terminal shows the rest: control
/// characters, marks of direction and whatever else has no shape of its own are escaped as in Rust.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == '\'' || c == '"' || c.escape_debug().len() == 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_shape_stays_as_it_is() {
        for text in ["", "web-1.shop.svc", "it's \"quoted\"", "Zürich", "東京"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(printable("a\tb\r\n\u{0}\u{7f}\u{9b}"), "a\\tb\\r\\n\\0\\u{7f}\\u{9b}");
        assert_eq!(printable("\u{200b}\u{2028}\u{feff}"), "\\u{200b}\\u{2028}\\u{feff}");
    }
}
