//! `docs/requirements.md` against the requirement tags of the tree: where each is implemented, where tested, what lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::Artefacts;
use serde_json::{Value, json};

use crate::walls::tree::{self, Source};

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    id: String,
    text: String,
}

/// Where a requirement is named.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    implemented: BTreeSet<String>,
    tested: BTreeSet<String>,
}

/// Prints the table; an id that the document does not know is an error.
pub(crate) fn report(artefacts: &Artefacts, as_json: bool) -> Result<ExitCode> {
    let path = artefacts.workspace().join("docs/requirements.md");
    let document = std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let requirements = parse(&document);
    if requirements.is_empty() {
        bail!("`{}` holds no requirements table", path.display());
    }
    let sources = tree::read(artefacts.workspace())?;
    let (places, unknown) = collect(&requirements, &sources);
    if as_json {
        println!("{:#}", to_json(&requirements, &places));
    } else {
        print!("{}", to_text(&requirements, &places));
    }
    for tag in &unknown {
        eprintln!("error: {tag}, which docs/requirements.md does not know");
    }
    Ok(if unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Rows `| id | group | requirement | ...`, the heading left out.
fn parse(document: &str) -> Vec<Requirement> {
    let cells = |line: &str| -> Option<Requirement> {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let (id, _group, text) = (cells.next()?, cells.next()?, cells.next()?);
        let is_id =
            !id.is_empty() && id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "-.".contains(c));
        let is_rule = id.chars().all(|c| c == '-');
        (is_id && !is_rule).then(|| Requirement { id: id.to_owned(), text: text.to_owned() })
    };
    document.lines().filter_map(cells).collect()
}

fn collect(requirements: &[Requirement], sources: &[Source]) -> (BTreeMap<String, Places>, Vec<String>) {
    let mut places: BTreeMap<String, Places> =
        requirements.iter().map(|requirement| (requirement.id.clone(), Places::default())).collect();
    let mut unknown = Vec::new();
    for source in sources {
        let test_lines = source.test_lines();
        for (line, id) in tags(&source.text) {
            let place = format!("{}:{line}", source.path);
            match places.get_mut(id) {
                None => unknown.push(format!("{place} names `{id}`")),
                Some(found) if test_lines.contains(&line) => drop(found.tested.insert(place)),
                Some(found) => drop(found.implemented.insert(place)),
            }
        }
    }
    (places, unknown)
}

/// `(line, id)` of each tag. A tag is spelt in one piece only here, so that this file names none.
fn tags(text: &str) -> Vec<(usize, &str)> {
    let open = concat!("[req", "->");
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some((_, behind)) = rest.split_once(open) {
            let Some((id, behind)) = behind.split_once(']') else { break };
            found.push((index + 1, id));
            rest = behind;
        }
    }
    found
}

fn to_text(requirements: &[Requirement], places: &BTreeMap<String, Places>) -> String {
    let mut text = String::new();
    let mut complete = 0;
    for requirement in requirements {
        let found = &places[&requirement.id];
        let gap = match (found.implemented.is_empty(), found.tested.is_empty()) {
            (false, false) => {
                complete += 1;
                ""
            }
            (true, true) => "  GAP: nothing",
            (true, false) => "  GAP: implementation not named",
            (false, true) => "  GAP: not tested",
        };
        text.push_str(&format!("{:<14} {}{gap}\n", requirement.id, requirement.text));
        for (what, list) in [("implemented", &found.implemented), ("tested", &found.tested)] {
            for place in list {
                text.push_str(&format!("{:<14}   {what} {place}\n", ""));
            }
        }
    }
    text.push_str(&format!("{complete} of {} implemented and tested\n", requirements.len()));
    text
}

fn to_json(requirements: &[Requirement], places: &BTreeMap<String, Places>) -> Value {
    requirements
        .iter()
        .map(|requirement| {
            let found = &places[&requirement.id];
            json!({
                "id": requirement.id,
                "requirement": requirement.text,
                "implemented": found.implemented,
                "tested": found.tested,
                "gap": found.implemented.is_empty() || found.tested.is_empty(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# x\n| id | group | requirement | shown by |\n|---|---|---|---|\n\
                            | SF-1 | a | isolation | b |\n| TSF-INIT | a | boots | b |\n";

    fn tag(id: &str) -> String {
        format!("// {}{id}]\n", concat!("[req", "->"))
    }

    fn sources() -> Vec<Source> {
        let unit = format!("{}fn f() {{}}\n#[cfg(test)]\nmod tests {{\n    {}}}\n", tag("SF-1"), tag("SF-1"));
        vec![
            Source { path: "agent/src/main.rs".to_owned(), text: unit },
            Source { path: "e2e/tests/boot.rs".to_owned(), text: tag("TSF-INIT") + &tag("SF-99") },
        ]
    }

    #[test]
    fn table_shows_places_and_gaps() {
        let requirements = parse(DOCUMENT);
        let (places, unknown) = collect(&requirements, &sources());
        assert_eq!(
            to_text(&requirements, &places),
            "SF-1           isolation\n\
             \x20                implemented agent/src/main.rs:1\n\
             \x20                tested agent/src/main.rs:5\n\
             TSF-INIT       boots  GAP: implementation not named\n\
             \x20                tested e2e/tests/boot.rs:1\n\
             1 of 2 implemented and tested\n"
        );
        assert_eq!(unknown, ["e2e/tests/boot.rs:2 names `SF-99`"]);
    }

    #[test]
    fn json_says_the_same() {
        let requirements = parse(DOCUMENT);
        let (places, _) = collect(&requirements, &sources());
        assert_eq!(
            to_json(&requirements, &places)[1],
            json!({"id": "TSF-INIT", "requirement": "boots", "implemented": [], "tested": ["e2e/tests/boot.rs:1"], "gap": true})
        );
    }
}
