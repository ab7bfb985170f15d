//! Documents as people write them: strict YAML, and the place of everything in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use catenoid_schema::foreign::{clean, is_foreign};
use serde::de::DeserializeOwned;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::{
    failure::Failure,
    files::{self, READ_LIMIT},
    terminal::note,
};

/// The most nesting: far over any document.
const DEPTH_LIMIT: usize = 32;
/// The most keys and values: those of the largest manifest there can be.
const NODES_LIMIT: usize = 400_000;
/// The most characters of a line that is shown.
const SHOWN_LIMIT: usize = 160;

/// What ends a line in YAML 1.1 and is text in YAML 1.2, and how to write it so that both read the same. Nobody sees them:
/// what was signed would not be what stands there.
const AMBIGUOUS_BREAKS: [(char, &str); 3] = [('\u{85}', "\\N"), ('\u{2028}', "\\L"), ('\u{2029}', "\\P")];

/// A YAML file.
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

/// Where something is: lines and columns are counted from 1, columns and length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceSpan {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

impl SourceSpan {
    const START: Self = Self { line: 1, column: 1, length: 1 };

    fn of(span: Span) -> Self {
        let length = span.end.index().saturating_sub(span.start.index()).max(1);
        Self { line: span.start.line(), column: span.start.col() + 1, length }
    }
}

/// Something wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: SourceSpan,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// A document with something wrong in it, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is refused: {count} {}", path.display(), if *count == 1 { "error" } else { "errors" })]
pub(crate) struct RefusedDocument {
    path: PathBuf,
    count: usize,
}

impl Source {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, files::Error> {
        Ok(Self { path: path.to_owned(), text: files::read_text(path)? })
    }

    /// A file that is not there, for tests of those who read documents.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn from_text(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned() }
    }

    /// The document in it: no unknown and no duplicate key, no anchor, no merge, no tag, one document, and no value that means
    /// something else to another reader.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Finding> {
        if let Some(found) = self.ambiguous_break().or_else(|| self.second_meaning()) {
            return Err(found);
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_reader_input_bytes: usize::try_from(READ_LIMIT).ok(),
                max_depth: DEPTH_LIMIT,
                max_nodes: NODES_LIMIT,
                max_documents: 1,
                max_anchors: 0,
                max_aliases: 0,
                max_merge_keys: 0,
            },
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
            merge_keys: serde_saphyr::MergeKeyPolicy::Error,
            strict_booleans: true,
            strict_indentation: true,
            reject_unsupported_tags: true,
            reject_tagged_field_names: true,
            no_schema: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(&self.text, options).map_err(|error| self.finding(&error))
    }

    /// The first of [`AMBIGUOUS_BREAKS`].
    fn ambiguous_break(&self) -> Option<Finding> {
        self.text.lines().zip(1..).find_map(|(text, line)| {
            let (column, (_, escape)) = text
                .chars()
                .zip(1..)
                .find_map(|(c, column)| Some((column, AMBIGUOUS_BREAKS.into_iter().find(|(found, _)| *found == c)?)))?;
            Some(Finding {
                place: SourceSpan { line, column, length: 1 },
                message: "an invisible character stands here that only some readers of YAML take for a line break"
                    .to_owned(),
                hint: Some(format!("remove it, or write `{escape}` between double quotes")),
            })
        })
    }

    /// The first tag, directive or bare word that makes another value of what stands there, for every reader or for some. Keys
    /// are texts wherever they stand, so a word is asked about as a value only. What cannot be read at all is reported by the
    /// parser of the whole.
    fn second_meaning(&self) -> Option<Finding> {
        // Of each open map, whether a key comes next; none of a list.
        let mut open: Vec<Option<bool>> = Vec::new();
        for event in Parser::new_from_str(&self.text) {
            let (event, span) = event.ok()?;
            let finding = |message: String, hint: &str| {
                Some(Finding { place: SourceSpan::of(span), message, hint: Some(hint.to_owned()) })
            };
            match &event {
                Event::DocumentStart(_, Some(_)) => {
                    return finding(
                        "directives (`%`) are not allowed".to_owned(),
                        "remove it: every document is YAML 1.2",
                    );
                }
                Event::Scalar(.., Some(tag))
                | Event::SequenceStart(.., Some(tag))
                | Event::MappingStart(.., Some(tag)) => {
                    return finding(
                        format!("the tag `{}` is not allowed", shown_tag(tag)),
                        "remove it: what is signed is what stands there",
                    );
                }
                Event::Scalar(text, ScalarStyle::Plain, ..) if open.last() != Some(&Some(true)) => {
                    if let Some((means, hint)) = meaning_to_some(text) {
                        return finding(format!("`{text}` is {means} to some readers of YAML only"), hint);
                    }
                }
                _ => {}
            }
            match event {
                Event::SequenceStart(..) => open.push(None),
                Event::MappingStart(..) => open.push(Some(true)),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    turn(&mut open);
                }
                Event::Scalar(..) | Event::Alias(..) => turn(&mut open),
                _ => {}
            }
            if open.len() > DEPTH_LIMIT {
                return None;
            }
        }
        None
    }

    fn finding(&self, error: &serde_saphyr::Error) -> Finding {
        let located = error.without_snippet().location();
        let place = located.and_then(|location| {
            let (line, column) = (usize::try_from(location.line()).ok()?, usize::try_from(location.column()).ok()?);
            Some(SourceSpan { line, column, length: usize::try_from(location.span().len()).unwrap_or(1).max(1) })
        });
        let (message, hint) = explain(error.without_snippet());
        let place = place.unwrap_or(SourceSpan::START);
        // The reader knows the key of an unknown word.
        let word = match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownVariant { variant, .. } => self.word_behind(place, variant),
            _ => None,
        };
        Finding { place: word.unwrap_or(place), message, hint }
    }

    /// The first place from `place` on where `word` stands.
    fn word_behind(&self, place: SourceSpan, word: &str) -> Option<SourceSpan> {
        let events = Parser::new_from_str(&self.text).map_while(Result::ok);
        let mut words = events.filter(|(event, _)| matches!(event, Event::Scalar(text, ..) if text == word));
        words.find_map(|(_, span)| Some(SourceSpan::of(span)).filter(|found| *found >= place))
    }

    /// Where each key and element of the document is, by its path (`containers.web.zones.0`). A key's place is its
    /// value, where that is one scalar, else the key itself.
    pub(crate) fn places(&self) -> BTreeMap<String, SourceSpan> {
        places(&self.text)
    }

    /// The place of `path` or of the closest thing above it.
    pub(crate) fn place_of(&self, places: &BTreeMap<String, SourceSpan>, path: &str) -> SourceSpan {
        let mut path = path;
        loop {
            if let Some(place) = places.get(path) {
                return *place;
            }
            match path.rsplit_once('.') {
                Some((above, _)) => path = above,
                None => return SourceSpan::START,
            }
        }
    }

    /// Shows findings with their lines on standard error, and sums them up as an error.
    pub(crate) fn refuse(&self, findings: &[Finding]) -> Failure {
        for finding in findings {
            note(&self.render(finding));
        }
        refused(&self.path, findings.len())
    }

    /// Shows on standard error what is no error and should be known.
    pub(crate) fn warn(&self, finding: &Finding) {
        note(&self.render_as("warning", finding));
    }

    /// A finding as a person reads it: message, place, the line and a caret below it, hint.
    pub(crate) fn render(&self, finding: &Finding) -> String {
        self.render_as("error", finding)
    }

    fn render_as(&self, word: &str, finding: &Finding) -> String {
        let SourceSpan { line, column, length } = finding.place;
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        // The line as it is shown, and the caret, must agree on the width of every character.
        let shown: String = text.chars().map(|c| if is_foreign(c) { hidden(c) } else { c }).take(SHOWN_LIMIT).collect();
        let indent = " ".repeat((column - 1).min(SHOWN_LIMIT));
        let rest = shown.chars().count().saturating_sub(column - 1).max(1);
        let caret = "^".repeat(length.clamp(1, rest));
        let mut out = format!(
            "{word}: {}\n{margin}--> {}:{line}:{column}\n{margin} |\n{number} | {shown}\n{margin} | {indent}{caret}",
            clean(&finding.message),
            clean(&self.path.display().to_string())
        );
        if let Some(hint) = &finding.hint {
            let _ = write!(out, "\n{margin} = hint: {}", clean(hint));
        }
        out
    }
}

/// Sums up as an error what was shown of the document at `path`.
pub(crate) fn refused(path: &Path, count: usize) -> Failure {
    let refused = RefusedDocument { path: path.to_owned(), count };
    note(&format!("error: {refused}"));
    Failure::refused(refused).shown()
}

/// What stands in a line for something that has no width of its own.
fn hidden(c: char) -> char {
    if c == '\t' { ' ' } else { char::REPLACEMENT_CHARACTER }
}

/// What is wrong, and what to do about it, in our words where the parser's are about its own options.
fn explain(error: &serde_saphyr::Error) -> (String, Option<String>) {
    use serde_saphyr::{Error, budget::BudgetBreach};
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => (format!("the key `{key}` is written twice"), None),
        Error::DuplicateMappingKey { key: None, .. } => ("a key is written twice".to_owned(), None),
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown field `{field}`"), suggest("fields are", field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), suggest("values are", variant, expected))
        }
        Error::SerdeMissingField { field, .. } => (format!("the field `{field}` is missing"), None),
        Error::SerdeInvalidValue { unexpected, expected, .. }
        | Error::SerdeInvalidType { unexpected, expected, .. } => {
            let unexpected = if unexpected == "unit value" { "nothing" } else { unexpected };
            (format!("{unexpected} stands where {expected} is expected"), None)
        }
        Error::QuotingRequired { value, .. } => (
            format!("`{value}` stands without quotes where a text is expected"),
            Some(format!("write `\"{value}\"`: without quotes it is a number or a truth value to other readers")),
        ),
        Error::Unexpected { expected: "mapping start", .. } => (
            "a map is expected here".to_owned(),
            Some("write `{ key: value }`, or `key: value` on a line below".to_owned()),
        ),
        Error::Unexpected { expected: "sequence start", .. } => {
            ("a list is expected here".to_owned(), Some("write `[a, b]`, or `- a` on a line below".to_owned()))
        }
        Error::Unexpected { expected: "string scalar", .. } => ("a text is expected here".to_owned(), None),
        Error::Eof { .. } => ("the document ends here, before it is complete".to_owned(), None),
        Error::NullIntoString { .. } => ("nothing stands where a text is expected".to_owned(), None),
        Error::Budget { breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. }, .. } => {
            let hint = "write the content at each place: what is signed is what stands there";
            ("anchors (`&`) and aliases (`*`) are not allowed".to_owned(), Some(hint.to_owned()))
        }
        Error::Budget { breach: BudgetBreach::MergeKeys { .. }, .. } | Error::MergeKeyNotAllowed { .. } => {
            ("merge keys (`<<`) are not allowed".to_owned(), Some("write the fields out".to_owned()))
        }
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            ("a second document begins".to_owned(), Some("one file holds one document".to_owned()))
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            (format!("nested deeper than {DEPTH_LIMIT} levels"), None)
        }
        Error::Budget { .. } => ("larger than any document can be".to_owned(), None),
        Error::Message { msg, .. } => (msg.clone(), None),
        Error::UnsupportedTag { tag, .. } | Error::TaggedStructFieldName { tag, .. } => {
            (format!("the tag `{tag}` is not allowed"), None)
        }
        other => (plain(other), None),
    }
}

/// A tag as its author wrote it.
fn shown_tag(tag: &Tag) -> String {
    format!("{}{}", tag.original_handle(), tag.suffix())
}

/// What a bare word is to some readers of YAML (1.1 or 1.2) and not to others, and what to write instead.
fn meaning_to_some(text: &str) -> Option<(&'static str, &'static str)> {
    if is_number_to_some(text) && !is_decimal(text) {
        return Some(("a number", "write a number in plain decimal digits, and a text between double quotes"));
    }
    let truths = ["y", "yes", "on", "n", "no", "off"];
    truths
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
        .then_some(("a truth value", "write it between double quotes"))
}

/// Digits, and decimals behind a point: what every reader takes for the same number.
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    digits(whole) && digits(decimals) && (whole == "0" || !whole.starts_with('0'))
}

/// Numbers of YAML 1.2 (section 10.3.2) and 1.1 (<https://yaml.org/type/int.html>, <https://yaml.org/type/float.html>): signs,
/// bases, `_` between digits, base 60, exponents, a point without digits.
fn is_number_to_some(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return true;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if let Some((first, rest)) = unsigned.split_once(':') {
        let (rest, decimals) = rest.split_once('.').map_or((rest, None), |(rest, decimals)| (rest, Some(decimals)));
        let sixty =
            |part: &str| matches!(part.len(), 1 | 2) && digits(part) && part.parse::<u8>().is_ok_and(|n| n < 60);
        let begins = digits(&first.replace('_', "")) && (decimals.is_some() || !first.starts_with('0'));
        return begins && rest.split(':').all(sixty) && decimals.is_none_or(|part| digits(&part.replace('_', "")));
    }
    let unsigned = unsigned.replace('_', "").to_ascii_lowercase();
    let in_base = |prefix: &str, base| {
        let rest = unsigned.strip_prefix(prefix);
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(base)))
    };
    if in_base("0x", 16) || in_base("0o", 8) || in_base("0b", 2) {
        return true;
    }
    let (mantissa, exponent) = unsigned.split_once('e').map_or((&*unsigned, None), |(m, e)| (m, Some(e)));
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(decimals)
        && !(whole.is_empty() && decimals.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// A node has ended: in a map its value follows, or the next key.
fn turn(open: &mut [Option<bool>]) {
    if let Some(Some(key)) = open.last_mut() {
        *key = !*key;
    }
}

/// The closest of `known` if one is close, else all of them.
fn suggest(what: &str, written: &str, known: &[&str]) -> Option<String> {
    let close = known.iter().map(|known| (strsim::damerau_levenshtein(written, known), *known)).min();
    match close {
        Some((distance, close)) if distance <= 1.max(written.chars().count() / 4) => {
            Some(format!("did you mean `{close}`?"))
        }
        Some((_, only)) if known.len() == 1 => Some(format!("write `{only}`")),
        Some(_) => {
            let names: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
            Some(format!("{what} {}", names.join(", ")))
        }
        None => None,
    }
}

/// The message alone: the place is shown apart from it.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let end = text[..end].trim_end_matches([',', ':', ' ']).len();
    text[..end].trim_start_matches("error: ").to_owned()
}

fn places(text: &str) -> BTreeMap<String, SourceSpan> {
    let mut found = BTreeMap::new();
    let mut open: Vec<Level> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let place = SourceSpan::of(span);
        match event {
            Event::Scalar(value, ..) => {
                if let Some(Level::Map { key, .. }) = open.last_mut()
                    && key.is_none()
                {
                    *key = Some(value.to_string());
                    found.insert(path(&open), place);
                } else {
                    found.insert(path(&open), place);
                    next(&mut open);
                }
            }
            Event::SequenceStart(..) => {
                found.entry(path(&open)).or_insert(place);
                open.push(Level::List { index: 0 });
            }
            Event::MappingStart(..) => {
                found.entry(path(&open)).or_insert(place);
                open.push(Level::Map { key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                next(&mut open);
            }
            _ => {}
        }
    }
    found
}

enum Level {
    Map { key: Option<String> },
    List { index: usize },
}

/// A value has ended: the next thing is a key, or the element behind it.
fn next(open: &mut [Level]) {
    match open.last_mut() {
        Some(Level::Map { key }) => *key = None,
        Some(Level::List { index }) => *index += 1,
        None => {}
    }
}

fn path(open: &[Level]) -> String {
    let parts = open.iter().filter_map(|level| match level {
        Level::Map { key } => key.clone(),
        Level::List { index } => Some(index.to_string()),
    });
    parts.collect::<Vec<_>>().join(".")
}
