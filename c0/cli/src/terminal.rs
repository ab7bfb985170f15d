//! The only way to a terminal: what is printed is made harmless here, whoever said it.

use std::io::{self, IsTerminal as _, Write as _};

use catenoid_schema::foreign::{self, clean};
use serde::Serialize;

use crate::failure::Failure;

/// Moves to the upper left corner and clears the screen.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";
/// What a colour begins with.
const COLOUR: &str = "\u{1b}[";

/// Prints lines to standard output, which keep their colours where there are any.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(harmless(text).as_bytes()).and_then(|()| out.flush()).map_err(|source| Failure::Write { source })
}

/// Prints JSON.
pub(crate) fn print_json(json: &str) -> Result<(), Failure> {
    print_own(format!("{}\n", foreign::json(json)).as_bytes())
}

/// Prints a value as one line of JSON.
pub(crate) fn print_line<T: Serialize>(value: &T) -> Result<(), Failure> {
    print_json(&serde_json::to_string(value).map_err(|source| Failure::Encode { source })?)
}

/// Prints what nobody else had a part in, as it is.
pub(crate) fn print_own(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|source| Failure::Write { source })
}

/// Clears the terminal, if standard output is one.
pub(crate) fn clear() -> Result<(), Failure> {
    if io::stdout().is_terminal() { print_own(CLEAR) } else { Ok(()) }
}

/// Says something that is not the answer itself, on the error stream: that nobody reads it is no failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", harmless(text));
}

/// `text` with everything that acts on a terminal written as escapes, but line ends and colours.
fn harmless(text: &str) -> String {
    text.split('\n').map(harmless_line).collect::<Vec<_>>().join("\n")
}

fn harmless_line(line: &str) -> String {
    let mut parts = line.split(COLOUR);
    let mut out = clean(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        if let Some(rest) = part[end..].strip_prefix('m') {
            out.push_str(COLOUR);
            out.push_str(&part[..=end]);
            out.push_str(&clean(rest));
        } else {
            out.push_str(&clean(COLOUR));
            out.push_str(&clean(part));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_ends_and_colours_pass() {
        let table = [
            ("one\ntwo\n", "one\ntwo\n"),
            ("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m x", "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m x"),
            ("\u{1b}[2Jx\u{1b}[1;31mred", "\\u{1b}[2Jx\u{1b}[1;31mred"),
            ("\u{1b}]0;title\u{7}\r\u{1b}[", "\\u{1b}]0;title\\u{7}\\r\\u{1b}["),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
        ];
        for (text, expected) in table {
            assert_eq!(harmless(text), expected);
        }
    }
}
