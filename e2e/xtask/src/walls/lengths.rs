//! No file is longer than somebody reads in one go, unless it says why: tests and figures included, for they are read as well.

use super::tree::Source;
use super::{Breach, at};

/// Lines of a file that needs no reason.
const MOST: usize = 500;
/// A file that is longer says so in the comment that it begins with.
const REASON: &str = "//! Over 500 lines: ";

/// A file that is too long and gives no reason, or gives one and is not.
pub(super) fn breach(source: &Source) -> Option<Breach> {
    let lines = source.text.lines().count();
    let head = source.text.lines().take_while(|line| line.starts_with("//!"));
    let reason = (1..).zip(head).find_map(|(line, text)| Some((line, text.strip_prefix(REASON)?)));
    match reason {
        None if lines > MOST => {
            let why = format!("wall `lengths`: {lines} lines; split it, or give the reason in its head: `{REASON}...`");
            Some(at(&source.path, MOST + 1, why))
        }
        Some((line, _)) if lines <= MOST => {
            let why = format!("wall `lengths`: {lines} lines need no reason; remove this one");
            Some(at(&source.path, line, why))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(head: &str, lines: usize) -> Option<String> {
        let text = head.to_owned() + &"\n".repeat(lines - head.lines().count());
        let breach = breach(&Source { path: "a/tests/b.rs".to_owned(), text })?;
        Some(format!("{}: {}", breach.place, breach.why))
    }

    #[test]
    fn file_of_501_lines_without_a_reason_is_found() {
        let why = "wall `lengths`: 501 lines; split it, or give the reason in its head: `//! Over 500 lines: ...`";
        for head in ["", "//! A.\n", "//! A.\n\n//! Over 500 lines: too late.\n", "//! Over 500 lines:\n"] {
            assert_eq!(found(head, 501), Some(format!("a/tests/b.rs:501: {why}")), "{head}");
        }
    }

    #[test]
    fn reason_that_a_file_does_not_need_any_more_is_found() {
        let why = "wall `lengths`: 500 lines need no reason; remove this one";
        assert_eq!(found("//! A.\n//! Over 500 lines: it is.\n", 500), Some(format!("a/tests/b.rs:2: {why}")));
    }

    #[test]
    fn short_file_and_one_with_a_reason_are_left_alone() {
        assert_eq!(found("", 500), None);
        assert_eq!(found("//! A.\n//!\n//! Over 500 lines: its name is in 43 file names.\nmod a;\n", 501), None);
    }
}
