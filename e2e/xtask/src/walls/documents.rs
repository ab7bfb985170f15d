//! What documents and comments name is there: files, headings, tests, commands. No compiler reads them, and whoever follows a
//! document that is wrong loses an hour.

use std::collections::BTreeSet;

use super::tree::Source;
use super::{Breach, facts};
use crate::whole::sets::Set;

/// What can be named.
struct Named<'a> {
    /// Files and folders.
    paths: &'a BTreeSet<String>,
    documents: &'a [Source],
    /// Functions, those of tests among them.
    functions: BTreeSet<&'a str>,
    /// A program as it is typed, and its commands.
    commands: Vec<(&'static str, BTreeSet<String>)>,
}

/// In a path it stands for any name.
const ANY: &[&str] = &["NAME", "VERSION", "vN", "{", "<", "*"];
/// What names of tests begin with that say what they need.
const TESTS: &[&str] = &["vm_", "netns_", "mountns_", "tool_"];
/// Programs whose commands are the variants of `enum Command` in a file.
const PROGRAMS: &[(&str, &str)] =
    &[("catenoid", "c0/cli/src/arguments.rs"), ("catenoid-sign", "signing-tool/src/cli.rs")];

/// Everything that `documents`, comments and hints name and that is not there, and every fact that differs.
pub(super) fn breaches(sources: &[Source], documents: &[Source], paths: &BTreeSet<String>) -> Vec<Breach> {
    let functions = sources.iter().flat_map(|source| functions(&source.text)).collect();
    let named = Named { paths, documents, functions, commands: commands(sources) };
    let mut breaches = facts::breaches(sources, documents);
    for source in documents.iter().chain(sources) {
        let place = |line: usize| format!("{}:{line}", source.path);
        let breach = |(line, what)| Breach { place: place(line), why: format!("wall `documents`: there is no {what}") };
        breaches.extend(named.missing(source).into_iter().map(breach));
    }
    breaches.sort();
    // A link is a path as well.
    breaches.dedup();
    breaches
}

/// The names behind `fn`.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

fn commands(sources: &[Source]) -> Vec<(&'static str, BTreeSet<String>)> {
    let of_help = crate::HELP.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let xtask = of_help.filter(|word| !word.is_empty()).chain(["help"]).map(str::to_owned).collect();
    let of_program = |(program, file): &(&'static str, &str)| {
        let text = sources.iter().find(|source| source.path == *file).map_or("", |source| &source.text);
        let (_, list) = text.split_once("enum Command {").unwrap_or_default();
        let (list, _) = list.split_once("\n}").unwrap_or_default();
        let variants = list.lines().filter_map(|line| line.strip_prefix("    "));
        let variants = variants.filter(|variant| variant.starts_with(|c: char| c.is_ascii_uppercase()));
        (*program, variants.map(|variant| word(variant).to_lowercase()).collect())
    };
    [("cargo xtask", xtask)].into_iter().chain(PROGRAMS.iter().map(of_program)).collect()
}

/// The letters and hyphens that a text begins with.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next().unwrap_or_default()
}

impl Named<'_> {
    /// What this text names and is not there, by line.
    fn missing(&self, source: &Source) -> Vec<(usize, String)> {
        let is_document = source.path.ends_with(".md");
        let tests = if is_document { BTreeSet::new() } else { source.test_lines() };
        let mut fenced = false;
        let mut missing = Vec::new();
        for (line, text) in (1..).zip(source.text.lines()) {
            fenced ^= is_document && text.starts_with("```");
            let is_comment = text.trim_start().starts_with("//");
            let mut found = Vec::new();
            if is_document || is_comment {
                found.extend(self.missing_paths(text));
                found.extend(self.missing_tests(text));
            }
            // Tests plant what is not there.
            if is_comment || !tests.contains(&line) {
                found.extend(self.missing_commands(text, fenced));
            }
            if is_document {
                found.extend(self.missing_links(text, &source.path));
            }
            missing.extend(found.into_iter().map(|what| (line, what)));
        }
        missing
    }

    /// Paths that begin with a folder of the workspace.
    fn missing_paths(&self, text: &str) -> Vec<String> {
        let tokens = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_./-{}<>*".contains(c));
        let tokens = tokens.map(|token| token.trim_end_matches(['.', '/'])).filter(|token| {
            let is_ours = token.split_once('/').is_some_and(|(top, _)| self.paths.contains(top));
            is_ours && !ANY.iter().any(|any| token.contains(any))
        });
        tokens.filter(|token| !self.paths.contains(*token)).map(|token| format!("`{token}`")).collect()
    }

    /// Tests by their whole names.
    fn missing_tests(&self, text: &str) -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let tests =
            words.filter(|word| TESTS.iter().any(|prefix| word.len() > prefix.len() && word.starts_with(prefix)));
        tests.filter(|test| !self.functions.contains(test)).map(|test| format!("test `{test}`")).collect()
    }

    /// Commands in code, and what those of tests pick.
    fn missing_commands(&self, text: &str, fenced: bool) -> Vec<String> {
        let mut missing = Vec::new();
        for (program, known) in &self.commands {
            let call = format!("{program} ");
            for (at, _) in text.match_indices(&call) {
                let before = text[..at].chars().next_back();
                let typed = before == Some('`') || fenced && before.is_none_or(char::is_whitespace);
                let rest = &text[at + call.len()..];
                let command = word(rest);
                if !typed || !command.starts_with(|c: char| c.is_ascii_lowercase()) {
                    continue;
                }
                let words: Vec<&str> = rest[command.len()..].split([' ', '`', ')']).skip(1).take(2).map(word).collect();
                if !known.contains(command) {
                    missing.push(format!("command `{call}{command}`"));
                } else if call == "cargo xtask " {
                    missing.extend(self.missing_choice(command, &words));
                }
            }
        }
        missing
    }

    /// What `cargo xtask whole NAME` and `cargo xtask test GROUP FILTER` pick.
    fn missing_choice(&self, command: &str, words: &[&str]) -> Option<String> {
        let is_name = |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase());
        match (command, words) {
            ("whole", [set, ..]) if is_name(set) => Set::of(set).is_none().then(|| format!("whole set `{set}`")),
            ("test", ["vm", filter]) if is_name(filter) => {
                let picks = |function: &&str| function.starts_with("vm_") && function.contains(filter);
                (!self.functions.iter().any(picks)).then(|| format!("test `vm_...` with `{filter}` in its name"))
            }
            _ => None,
        }
    }

    /// Links within the workspace, with their headings.
    fn missing_links(&self, text: &str, document: &str) -> Vec<String> {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let missing = targets.filter(|target| !target.starts_with("http")).filter(|target| {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { document.to_owned() } else { beside(document, path) };
            let has_heading =
                |document: &Source| document.path == path && headings(&document.text).any(|is| is == heading);
            !self.paths.contains(&path) || !heading.is_empty() && !self.documents.iter().any(has_heading)
        });
        missing.map(|target| format!("`{target}`")).collect()
    }
}

/// `path` as a link of `document` means it.
fn beside(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "" | "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The headings of a document, as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn missing(document: &str) -> Vec<String> {
        let paths = ["README.md", "docs", "docs/a.md", "docs/b.md", "agent", "agent/src", "agent/src/run.rs"];
        let paths = paths.map(str::to_owned).into();
        let sources = [
            source(
                "c0/cli/src/arguments.rs",
                "enum Command {\n    /// x\n    Status {\n        watch: bool,\n    },\n    Plan,\n}\n",
            ),
            source("e2e/tests/any.rs", "fn vm_disk_full() {}\n"),
            source("agent/src/run.rs", "// `agent/src/gone.rs`\nlet _ = \"agent/src/planted.rs\"; // vm_gone\n"),
        ];
        let documents = [source("docs/a.md", document), source("docs/b.md", "## When `it` is full, and so on\n")];
        let of_document =
            |breach: Breach| Some(format!("{}: {}", breach.place.strip_prefix("docs/a.md:")?, breach.why));
        let found = breaches(&sources, &documents, &paths);
        assert!(found.iter().any(|breach| breach.why.ends_with("`agent/src/gone.rs`")), "comments count");
        assert!(!found.iter().any(|breach| breach.why.ends_with("`agent/src/planted.rs`")), "code does not");
        found.into_iter().filter_map(of_document).collect()
    }

    #[test]
    fn what_is_not_there_is_found() {
        for (document, what) in [
            ("see agent/src/gone.rs.", "`agent/src/gone.rs`"),
            ("[b](c.md)", "`c.md`"),
            ("[b](b.md#when-it-is)", "`b.md#when-it-is`"),
            ("`vm_disk_empty` shows it", "test `vm_disk_empty`"),
            ("`cargo xtask tests`", "command `cargo xtask tests`"),
            ("`cargo xtask whole none`", "whole set `none`"),
            ("`cargo xtask test vm disk_empty`", "test `vm_...` with `disk_empty` in its name"),
            ("`catenoid watch`", "command `catenoid watch`"),
            ("```\n  catenoid watch\n```", "command `catenoid watch`"),
        ] {
            let line = if document.starts_with("```") { 2 } else { 1 };
            assert_eq!(missing(document), [format!("{line}: wall `documents`: there is no {what}")], "{document}");
        }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        for document in [
            "agent/src/run.rs, `agent/src/`, docs/a.md. agent/src/NAME.rs; /agent/x; net/core/sock.c",
            "[b](b.md#when-it-is-full-and-so-on) [c](../README.md) [d](https://example.org/x)",
            "`vm_disk_full`, `vm_`",
            "`cargo xtask test vm disk_full`, `cargo xtask whole soak`, `cargo xtask whole NAME`, `cargo xtask whole --stale`",
            "`catenoid status -w`, `catenoid plan`; what catenoid says",
        ] {
            assert_eq!(missing(document), Vec::<String>::new(), "{document}");
        }
    }
}
