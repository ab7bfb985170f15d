//! One word for one thing: the glossary in CONTRIBUTING.md says which words we do not use, and which we use instead. The names
//! of the code keep to it. Prose is not read, where `turn` is plain English.
//!
//! Every name counts that is not reached through `.` or `::`: so what a file declares is seen, and not what others have
//! declared. A word is a part of a name, in the plural as well: `LastTurn` and `turns_of` have `turn`, `return` has not.

use std::collections::BTreeMap;

use super::tree::Source;
use super::{Breach, at};

/// Where the glossary is; it begins with this row.
const GLOSSARY: &str = "CONTRIBUTING.md";
const HEAD: &str = "| not | but | which is |";

/// A word that is the right one somewhere.
struct Allowed {
    word: &'static str,
    /// A file or folder.
    place: &'static str,
    /// What it means there.
    meaning: &'static str,
}

const fn allowed(word: &'static str, place: &'static str, meaning: &'static str) -> Allowed {
    Allowed { word, place, meaning }
}

const ALLOWED: &[Allowed] = &[
    allowed("silence", "agent/src/", "the other side sends nothing"),
    allowed("silence", "c0/", "the other side sends nothing"),
    allowed("silence", "e2e/probe/", "the agent answers nothing"),
    allowed("turn", "agent/src/control/", "one after the other: who has the turn is served"),
    allowed("turn", "e2e/probe/", "one after the other: each attempt has a turn"),
    allowed("turn", "e2e/tests/scenarios/exhaustion/", "one after the other: each attempt has a turn"),
    allowed("turn", "reconcilers/containers/src/check.rs", "one after the other: who has the turn is checked"),
    allowed("turn", "signing-tool/src/guest/progress.rs", "of a wheel that shows that something is done"),
    allowed("turn", "signing-tool/src/yaml.rs", "a key comes after a value, and a value after a key"),
];

/// A word that we do not use.
struct Foreign {
    /// As in a name: `take_up`.
    word: String,
    /// What the glossary has instead.
    ours: String,
}

/// Names with a word of the left column, and lines of the table that nothing needs any more.
pub(super) fn breaches(sources: &[Source], documents: &[Source]) -> Vec<Breach> {
    breaches_beside(ALLOWED, sources, documents)
}

fn breaches_beside(table: &[Allowed], sources: &[Source], documents: &[Source]) -> Vec<Breach> {
    let glossary = documents.iter().find(|document| document.path == GLOSSARY);
    let foreign = glossary.map(|glossary| foreign(&glossary.text)).unwrap_or_default();
    if foreign.is_empty() {
        return vec![at(GLOSSARY, 1, format!("wall `words`: there is no glossary that begins with `{HEAD}`"))];
    }
    let mut needed = vec![false; table.len()];
    let mut breaches = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        for (name, line) in names(&source.code()) {
            let words = words(name);
            for Foreign { word, ours } in foreign.iter().filter(|foreign| has(&words, &foreign.word)) {
                let row = table.iter().position(|row| row.word == word && source.path.starts_with(row.place));
                match row {
                    Some(row) => needed[row] = true,
                    None => {
                        let why = format!("wall `words`: `{word}` in `{name}`; {GLOSSARY} says {ours}");
                        breaches.push(at(&source.path, line, why));
                    }
                }
            }
        }
    }
    let stale = table.iter().zip(needed).filter(|(_, needed)| !needed).map(|(row, _)| row);
    breaches.extend(stale.map(|Allowed { word, place, meaning }| {
        let is_row = |line: &str| line.contains(&format!("(\"{word}\", \"{place}\""));
        let line = include_str!("words.rs").lines().position(is_row).unwrap_or_default() + 1;
        let why = format!("wall `words`: no name in {place} has `{word}` ({meaning}) any more; remove this line");
        at("e2e/xtask/src/walls/words.rs", line, why)
    }));
    breaches
}

/// The left column of the glossary: what is in backquotes is a word.
fn foreign(glossary: &str) -> Vec<Foreign> {
    let rows = glossary.lines().skip_while(|line| *line != HEAD).take_while(|line| line.starts_with('|'));
    let mut foreign = Vec::new();
    for row in rows {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(not), Some(ours)) = (cells.next(), cells.next()) else { continue };
        let words = not.split('`').skip(1).step_by(2);
        foreign.extend(words.map(|word| Foreign { word: word.to_owned(), ours: ours.to_owned() }));
    }
    foreign
}

/// Names that are not reached through another one, each with the first line that it stands in.
fn names(code: &str) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut end = 0;
        for name in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            let start = end + text[end..].find(name).expect("it was split off this line");
            let before = &text[..start];
            end = start + name.len();
            let is_reached = before.ends_with("::") || before.ends_with('.') && !before.ends_with("..");
            if !is_reached {
                names.entry(name).or_insert(line);
            }
        }
    }
    names
}

/// The words of a name in lower case: of `LastTurn` and `last_turn` the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let chars: Vec<char> = name.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let after_lower = at > 0 && !chars[at - 1].is_ascii_uppercase();
        let before_lower = chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
        if *c == '_' || c.is_ascii_uppercase() && (after_lower || before_lower) {
            words.push(String::new());
        }
        if *c != '_' {
            words.last_mut().expect("there is always one").push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn has(words: &[String], foreign: &str) -> bool {
    let foreign: Vec<_> = foreign.split('_').collect();
    let is = |(word, foreign): (&String, &&str)| word == foreign || word.strip_suffix('s') == Some(foreign);
    words.windows(foreign.len()).any(|part| part.iter().zip(&foreign).all(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Allowed] = &[allowed("silence", "c0/", "nothing is sent")];

    fn found(code: &str) -> Vec<String> {
        let table = "| `tell`, `told` | report | says it |\n| `take_up` | load | reads it |\n| `silence` | disable | - |\n|  | plan | - |\n";
        let glossary = format!("# A\n\n{HEAD}\n|---|---|---|\n{table}\n| `after` | it | - |\n");
        let document = Source { path: GLOSSARY.to_owned(), text: glossary };
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let sources = [source("agent/src/a.rs", code), source("c0/src/b.rs", "const SILENCE: u8 = 0;\n")];
        let breaches = breaches_beside(TABLE, &sources, &[document]);
        breaches.into_iter().map(|breach| format!("{}: {}", breach.place, breach.why)).collect()
    }

    #[test]
    fn planted_foreign_word_is_found_in_every_kind_of_name() {
        for (code, word, name) in [
            ("fn tell_all() {}", "tell", "tell_all"),
            ("struct LastTold;", "told", "LastTold"),
            ("enum A { Told(u8) }", "told", "Told"),
            ("trait Tells {}", "tell", "Tells"),
            ("type Told = u8;", "told", "Told"),
            ("const NOT_TOLD: u8 = 0;", "told", "NOT_TOLD"),
            ("let Some(told) = f() else { return };", "told", "told"),
            ("struct A { pub told: u8 }", "told", "told"),
            ("f(|told| g())", "told", "told"),
            ("fn f(told: u8) {}", "told", "told"),
            ("mod told;", "told", "told"),
            ("fn take_up() {}", "take_up", "take_up"),
            ("struct TakeUp;", "take_up", "TakeUp"),
            ("const SILENCE: u8 = 0;", "silence", "SILENCE"),
        ] {
            let ours = match word {
                "take_up" => "load",
                "silence" => "disable",
                _ => "report",
            };
            let breach = format!("agent/src/a.rs:2: wall `words`: `{word}` in `{name}`; CONTRIBUTING.md says {ours}");
            assert_eq!(found(&format!("//! told\n{code}\n{code}\n")), [breach], "{code}");
        }
    }

    #[test]
    fn other_words_and_what_others_have_declared_are_left_alone() {
        let code = "//! told\nfn intelligent() {} // tell\nconst A: &str = \"told\";\nfn f() { a.told(); B::Told; up_take(); after() }\n";
        assert_eq!(found(code), Vec::<String>::new());
    }

    #[test]
    fn missing_glossary_and_line_that_nothing_needs_are_found() {
        let [breach] = breaches(&[], &[]).try_into().expect("nothing else is looked at without one");
        assert_eq!((breach.place.as_str(), breach.why.contains("no glossary")), ("CONTRIBUTING.md:1", true));
        let document = Source { path: GLOSSARY.to_owned(), text: format!("{HEAD}\n|---|---|---|\n| `a` | b | c |\n") };
        let [breach] = breaches_beside(&ALLOWED[1..2], &[], &[document]).try_into().expect("it is needed by nobody");
        assert_eq!(
            breach.why,
            "wall `words`: no name in c0/ has `silence` (the other side sends nothing) any more; remove this line"
        );
        let line = include_str!("words.rs").lines().take_while(|line| !line.contains("\"silence\", \"c0/\"")).count();
        assert_eq!(breach.place, format!("e2e/xtask/src/walls/words.rs:{}", line + 1));
    }
}
