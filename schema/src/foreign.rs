//! Text of others on its way to people: what a document, a certificate, an archive or a device says must not write to a
//! terminal, a log or the console by itself. Every program shows it through here.

use std::fmt::{self, Write as _};

/// The first `most` of `names` in a sentence, and how many more there are; nothing if there is none.
#[must_use]
pub fn listed(names: impl ExactSizeIterator<Item: fmt::Display>, most: usize) -> Option<String> {
    let more = names.len().saturating_sub(most);
    let shown: Vec<_> = names.take(most).map(|name| format!("`{name}`")).collect();
    match more {
        _ if shown.is_empty() => None,
        0 => Some(shown.join(", ")),
        more => Some(format!("{} and {more} more", shown.join(", "))),
    }
}

/// Whether `c` does something else to a terminal than to take its place in the line: it controls it, reorders what stands
/// around it, or cannot be seen.
///
/// Controls (Unicode's general category Cc), line and paragraph separators, and of the default-ignorable code points
/// (`DerivedCoreProperties.txt`) those that need no letter before them.
#[must_use]
pub fn is_foreign(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// `text` on one line, with what [`is_foreign`] written as escapes.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_foreign(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The lines of `text`, each made [`clean`].
#[must_use]
pub fn lines(text: &str) -> String {
    text.lines().map(|line| clean(line) + "\n").collect()
}

/// JSON that says the same, with what [`is_foreign`] as escapes of JSON. Its line ends stay: none is in a text.
#[must_use]
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_foreign(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a String takes every text");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_instead_of_sent() {
        let table = [
            ("ok ä 漢 🜂", "ok ä 漢 🜂"),
            ("\u{1b}[2J\r\n\u{9b}31m\u{7f}", "\\u{1b}[2J\\r\\n\\u{9b}31m\\u{7f}"),
            ("a\u{202e}b\u{2066}c\u{61c}", "a\\u{202e}b\\u{2066}c\\u{61c}"),
            ("ad\u{200b}min\u{feff}\u{2060}\u{ad}", "ad\\u{200b}min\\u{feff}\\u{2060}\\u{ad}"),
            ("one\u{2028}two\u{85}", "one\\u{2028}two\\u{85}"),
            ("\u{e0041}", "\\u{e0041}"),
        ];
        for (text, expected) in table {
            assert_eq!(clean(text), expected);
        }
        assert_eq!(lines("a\u{1b}\nb\r\n"), "a\\u{1b}\nb\n");
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{7f}\u{9b}\u{200b}\u{e0041}\n\t\u{1b}", "ä"] });
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| c != '\n' && is_foreign(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
