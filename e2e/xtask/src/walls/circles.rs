//! No two files of a crate need each other, directly or by way of others: whoever reads a file finds what it needs below it.
//! A file and the folder that it heads (`plan.rs` and `plan/step.rs`) are one thing in parts, and may.
//!
//! A file needs another one whose items it names. A path counts for the file that defines the item and not for one that hands
//! it on: `use crate::Observed` leads through `lib.rs` to `model.rs`. What a text does not show is not found: a method that is
//! defined in another file than its type.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::tree::{self, Source};
use super::{Breach, at};

/// A module's name within its crate; that of the root is empty.
type Name = Vec<String>;

/// A module that is a file.
struct Module<'a> {
    path: &'a str,
    code: String,
    defines: BTreeSet<String>,
    /// What it imports or hands on, by the name it has here.
    imports: BTreeMap<String, Name>,
    /// Where it imports or hands on everything from.
    globs: Vec<Name>,
}

/// The modules of a crate.
struct Tree<'a>(BTreeMap<Name, Module<'a>>);

/// The item of another module that a module names first.
struct Need {
    line: usize,
    item: String,
}

/// More hand-ons than any item has: `use` may lead in a circle, too.
const HAND_ONS: usize = 16;

/// Every circle among the files of each crate: one place for each file on it that needs the next one.
pub(super) fn breaches(sources: &[Source]) -> Vec<Breach> {
    let by_path: BTreeMap<&str, &Source> = sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let roots = sources.iter().filter(|source| is_root(&source.path));
    let mut breaches: Vec<_> = roots.flat_map(|root| Tree::read(root, &by_path).breaches()).collect();
    // A file may be part of two crates.
    breaches.sort();
    breaches.dedup();
    breaches
}

/// Whether a crate begins with this file: a library, a program, a test, a bench.
fn is_root(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (file, folder, above) = (parts.next(), parts.next(), parts.next());
    let of_its_own = |folder| matches!(folder, Some("bin" | "tests" | "benches" | "examples"));
    match file.and_then(|file| file.strip_suffix(".rs")) {
        Some("lib" | "main") if folder == Some("src") => true,
        Some("main") if of_its_own(above) => true,
        Some(_) if folder == Some("bin") => true,
        Some(_) => of_its_own(folder) && !path.contains("/src/"),
        None => false,
    }
}

impl<'a> Tree<'a> {
    /// The files that `root` declares, those that they declare, and so on.
    fn read(root: &'a Source, by_path: &BTreeMap<&str, &'a Source>) -> Self {
        let (mut modules, mut next) = (BTreeMap::new(), vec![(Name::new(), root, true)]);
        while let Some((name, source, heads_folder)) = next.pop() {
            let code = source.shipped_code();
            for (child, path) in declared(source, &code) {
                let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let below = if heads_folder { folder } else { source.path.trim_end_matches(".rs") };
                let paths = match path {
                    Some(path) => vec![(beside(folder, path), true)],
                    None => vec![(format!("{below}/{child}.rs"), false), (format!("{below}/{child}/mod.rs"), true)],
                };
                let found = paths.into_iter().find_map(|(path, heads)| Some((*by_path.get(path.as_str())?, heads)));
                if let Some((source, heads_folder)) = found {
                    next.push(([&name[..], &[child]].concat(), source, heads_folder));
                }
            }
            modules.insert(name, Module::read(&source.path, code));
        }
        Self(modules)
    }

    fn breaches(&self) -> Vec<Breach> {
        let needs: BTreeMap<_, _> = self.0.keys().map(|name| (name, self.needs(name))).collect();
        let mut breaches = Vec::new();
        for (name, others) in &needs {
            for (other, need) in others {
                let Some(back) = way(&needs, other, name) else { continue };
                let path = |name: &Name| self.0[name].path;
                let back: Vec<_> = back.iter().map(|name| path(name)).collect();
                let by_way = if back.is_empty() { String::new() } else { format!(" by way of {}", back.join(", ")) };
                let (item, other) = (&need.item, path(other));
                let why = format!("wall `circles`: `{item}` is in {other}, which needs this file{by_way}");
                breaches.push(at(path(name), need.line, why));
            }
        }
        breaches
    }

    /// The other modules that `name` needs, without those above and below it.
    fn needs(&self, name: &Name) -> BTreeMap<&Name, Need> {
        let mut needs = BTreeMap::new();
        for (line, path) in tree::paths(&self.0[name].code) {
            let path: Name = path.split("::").map(str::to_owned).collect();
            let Some((other, item)) = self.resolve(name, &path, path.len() > 1, HAND_ONS) else { continue };
            if !item.is_empty() && !other.starts_with(name) && !name.starts_with(other) {
                needs.entry(other).or_insert(Need { line, item });
            }
        }
        needs
    }

    /// The module that defines what `path` names in `module`, and the item; nothing if it is of another crate. `imported`:
    /// whether the first part may be one of the module's imports.
    fn resolve(&self, module: &Name, path: &[String], imported: bool, hand_ons: usize) -> Option<(&Name, String)> {
        let (first, mut rest) = path.split_first()?;
        let of_module = &self.0[module];
        let parent = |module: &Name| module[..module.len().saturating_sub(1)].to_vec();
        let below = |module: &Name, part: &String| [&module[..], std::slice::from_ref(part)].concat();
        let mut current = match first.as_str() {
            "crate" => Name::new(),
            "self" => module.clone(),
            "super" => parent(module),
            _ if self.0.contains_key(&below(module, first)) => below(module, first),
            _ => {
                let import = of_module.imports.get(first).filter(|_| imported && hand_ons > 0)?;
                return self.resolve(module, &[import, rest].concat(), import.first() != Some(first), hand_ons - 1);
            }
        };
        while let Some((part, behind)) = rest.split_first() {
            let next = if part == "super" { parent(&current) } else { below(&current, part) };
            if !self.0.contains_key(&next) {
                break;
            }
            (current, rest) = (next, behind);
        }
        let (current, found) = self.0.get_key_value(&current)?;
        let Some(item) = rest.first().filter(|item| !found.defines.contains(*item)) else {
            return Some((current, rest.first().cloned().unwrap_or_default()));
        };
        if let Some(import) = found.imports.get(item).filter(|_| hand_ons > 0) {
            return self.resolve(current, import, import.first() != Some(item), hand_ons - 1);
        }
        let globs = found.globs.iter().filter(|_| hand_ons > 0);
        let handed_on = globs
            .filter_map(|glob| self.resolve(current, &[glob, std::slice::from_ref(item)].concat(), true, hand_ons - 1));
        let mut defined = handed_on.filter(|(module, item)| self.0[*module].defines.contains(item));
        Some(defined.next().unwrap_or((current, item.clone())))
    }
}

impl<'a> Module<'a> {
    fn read(path: &'a str, code: String) -> Self {
        let (mut imports, mut globs) = (BTreeMap::new(), Vec::new());
        for statement in uses(&code) {
            let mut members = Vec::new();
            spell_out("", &statement, &mut members);
            for (path, name) in members {
                let path: Name = path.split("::").map(str::to_owned).collect();
                match path.split_last() {
                    Some((last, before)) if last == "*" => globs.push(before.to_vec()),
                    _ => drop(imports.insert(name, path)),
                }
            }
        }
        Self { path, defines: defined(&code), code, imports, globs }
    }
}

/// The modules on the shortest way from one to the other, without these two.
fn way<'a>(needs: &BTreeMap<&'a Name, BTreeMap<&'a Name, Need>>, from: &'a Name, to: &Name) -> Option<Vec<&'a Name>> {
    let (mut reached, mut next) = (BTreeMap::from([(from, None)]), VecDeque::from([from]));
    while let Some(name) = next.pop_front() {
        if needs[name].contains_key(to) {
            let mut back: Vec<_> = std::iter::successors(Some(name), |name| reached[*name]).collect();
            // The one that it began with.
            back.pop();
            back.reverse();
            return Some(back);
        }
        for other in needs[name].keys().copied() {
            reached.entry(other).or_insert_with(|| {
                next.push_back(other);
                Some(name)
            });
        }
    }
    None
}

/// The modules that a file declares without a body, each with the path that is given to it, if one is.
fn declared<'a>(source: &'a Source, code: &str) -> Vec<(String, Option<&'a str>)> {
    let mut attribute = None;
    let mut modules = Vec::new();
    for (text, code) in source.text.lines().zip(code.lines()) {
        let words: Vec<_> = code.trim().trim_end_matches(';').split_whitespace().collect();
        if let [.., "mod", name] = words[..]
            && code.trim().ends_with(';')
        {
            modules.push((name.to_owned(), attribute));
        }
        let path = text.trim().strip_prefix("#[path = \"");
        attribute = path.and_then(|path| path.split('"').next());
    }
    modules
}

/// The file `path`, as it is written in a file of `folder`.
fn beside(folder: &str, path: &str) -> String {
    let ups = path.matches("../").count();
    let kept = folder.split('/').count().saturating_sub(ups);
    let folder: Vec<_> = folder.split('/').take(kept).chain([path.trim_start_matches("../")]).collect();
    folder.join("/")
}

/// The names behind the words that define an item.
fn defined(code: &str) -> BTreeSet<String> {
    let words: Vec<_> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!').filter(|word| !word.is_empty()).collect();
    let define = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules!", "mod"];
    words.windows(2).filter(|two| define.contains(&two[0])).map(|two| two[1].to_owned()).collect()
}

/// What stands between each `use` and its `;`, with single spaces.
fn uses(code: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let begins = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (statement, behind) = rest[at + 4..].split_once(';').unwrap_or_default();
        if begins {
            statements.push(statement.split_whitespace().collect::<Vec<_>>().join(" "));
            rest = behind;
        } else {
            rest = &rest[at + 4..];
        }
    }
    statements
}

/// Every path of a `use`, with the name that it gets.
fn spell_out(prefix: &str, group: &str, members: &mut Vec<(String, String)>) {
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let member = group[start..at].trim();
                start = at + 1;
                if let Some((before, inner)) = member.split_once('{') {
                    spell_out(&format!("{prefix}{}", before.trim()), inner.trim_end_matches('}'), members);
                } else if !member.is_empty() {
                    let (path, renamed) = member.split_once(" as ").unwrap_or((member, ""));
                    let path = format!("{prefix}{path}").trim_end_matches("::self").to_owned();
                    let last = path.rsplit("::").next().unwrap_or_default();
                    let name = if renamed.is_empty() { last } else { renamed };
                    members.push((path.clone(), name.to_owned()));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a crate of these files of `a/src`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source { path: format!("a/{path}"), text: (*text).to_owned() };
        let sources: Vec<_> = files.iter().map(source).collect();
        breaches(&sources).into_iter().map(|breach| format!("{}: {}", breach.place, breach.why)).collect()
    }

    #[test]
    fn planted_circle_is_found_through_what_hands_on() {
        let lib = ("src/lib.rs", "mod plan;\nmod status;\npub use plan::Observed;\n");
        let status = ("src/status.rs", "use crate::Observed;\n\npub(crate) fn status(_: &Observed) {}\n");
        let plan = "use crate::status::status;\npub struct Observed;\n";
        let circle = [
            "a/src/plan.rs:1: wall `circles`: `status` is in a/src/status.rs, which needs this file",
            "a/src/status.rs:1: wall `circles`: `Observed` is in a/src/plan.rs, which needs this file",
        ];
        assert_eq!(found(&[lib, status, ("src/plan.rs", plan)]), circle);
        for plan in [
            "pub struct Observed;\nfn f() {\n    crate::status::status(&Observed)\n}\n",
            "pub struct Observed;\nuse crate::{\n    status::{self as shown},\n};\nfn f() { shown::status(&Observed) }\n",
            "pub struct Observed;\nuse super::status as shown;\nfn f() { shown::status(&Observed) }\n",
        ] {
            assert_eq!(found(&[lib, status, ("src/plan.rs", plan)]).len(), 2, "{plan}");
        }
        let globs = ("src/lib.rs", "mod plan;\nmod status;\npub use plan::*;\n");
        assert_eq!(found(&[globs, status, ("src/plan.rs", plan)]), circle);
    }

    #[test]
    fn circle_of_three_is_found_in_a_program_and_in_a_test() {
        for (root, folder) in [("src/main.rs", "src"), ("tests/all/main.rs", "tests/all"), ("tests/all.rs", "tests")] {
            let file = |name: &str| format!("{folder}/{name}");
            let (one, two, three) = (file("one.rs"), file("two/mod.rs"), file("three.rs"));
            let files = [
                (root, "mod one;\nmod two;\nmod three;\n"),
                (&one, "use super::two::Two;\npub(crate) struct One;\n"),
                (&two, "use crate::three::Three;\npub(crate) struct Two;\n"),
                (&three, "//! x\nuse crate::one::One;\npub(crate) struct Three;\n"),
            ];
            let needs = |at: &str, line: usize, item: &str, other: &str, by: &str| {
                format!(
                    "a/{at}:{line}: wall `circles`: `{item}` is in a/{other}, which needs this file by way of a/{by}"
                )
            };
            let expected = [
                needs(&one, 1, "Two", &two, &three),
                needs(&three, 2, "One", &one, &two),
                needs(&two, 1, "Three", &three, &one),
            ];
            assert_eq!(found(&files), expected, "{root}");
        }
    }

    #[test]
    fn good_tree_is_silent() {
        // Up and down, a file that is not declared, what only tests use, another crate's module of the same name.
        let files = [
            ("src/lib.rs", "mod plan;\nmod status;\npub use status::Status;\npub struct Paths;\n"),
            (
                "src/plan.rs",
                "mod step;\nuse other::status;\nuse crate::{Paths, model::Model};\nuse step::Step;\npub struct Plan;\nfn f() { status::f() }\n",
            ),
            ("src/plan/step.rs", "use super::Plan;\nuse crate::Paths;\npub struct Step;\n"),
            ("src/status.rs", "use crate::plan::Plan;\npub struct Status;\n"),
            ("src/stray.rs", "use crate::status::Status;\n"),
            ("tests/one.rs", "use a::plan::Plan;\n"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
        let tested = "pub struct Plan;\n#[cfg(test)]\nmod tests {\n    use crate::status::Status;\n}\n";
        assert_eq!(found(&[files[0], ("src/plan.rs", tested), files[3]]), Vec::<String>::new());
    }

    #[test]
    fn path_of_a_module_is_followed() {
        let files = [
            ("tests/kernel/main.rs", "#[path = \"../../src/frames.rs\"]\nmod frames;\nmod flows;\n"),
            ("tests/kernel/flows.rs", "use crate::frames::Frame;\npub struct Flow;\n"),
            ("src/frames.rs", "use super::flows::Flow;\npub struct Frame;\n"),
        ];
        assert_eq!(found(&files).len(), 2);
    }
}
