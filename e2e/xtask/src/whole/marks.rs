//! Which tests are whole sets: a test that makes do with a sample in CI says in its doc comment of which set it is, as
//! `[whole: NAME]`. A test without a mark is CI, and asks nobody whether it should do more.

use anyhow::{Result, bail};

use super::sets::{SETS, Set};
use crate::walls::tree::Source;

/// A function in a file of tests that asks whether the whole set is wanted, or says that it is one.
#[derive(Debug, PartialEq, Eq)]
struct Marked<'a> {
    /// `path: function`
    place: String,
    function: &'a str,
    set: Option<&'a str>,
}

/// Fails with everything that does not fit together: marks, calls and the table of sets.
pub(super) fn check(sources: &[Source]) -> Result<()> {
    let problems = problems(sources, SETS);
    if !problems.is_empty() {
        bail!("tests and the table of sets differ:\n{}", problems.join("\n"));
    }
    Ok(())
}

fn problems(sources: &[Source], sets: &[Set]) -> Vec<String> {
    let tests = sources.iter().filter(|source| source.path.contains("/tests/"));
    let marked: Vec<_> = tests.flat_map(marked).collect();
    let mut problems = Vec::new();
    for Marked { place, function, set } in &marked {
        match set {
            None => problems.push(format!("{place} calls `whole()` and has no mark `[whole: NAME]`")),
            Some(name) => match sets.iter().find(|set| set.name == *name) {
                None => problems.push(format!("{place} is of the set `{name}`, which there is not")),
                Some(set) if set.scenario() != Some(function) => {
                    problems.push(format!("{place} is not what the set `{name}` runs"));
                }
                Some(_) => {}
            },
        }
    }
    for set in sets {
        let found = marked.iter().any(|marked| marked.set == Some(set.name));
        if let (Some(test), false) = (set.scenario(), found) {
            problems.push(format!("the set `{}` runs `{test}`, which has no mark of it", set.name));
        }
    }
    problems
}

/// The functions of a file that have a mark or call `whole()`. A mark is spelt in one piece only in tests, so that this
/// file has none.
fn marked(source: &Source) -> Vec<Marked<'_>> {
    let open = concat!("[whole", ": ");
    let code = source.code();
    let (mut found, mut mark, mut current) = (Vec::<Marked<'_>>::new(), None, None);
    for (line, code) in source.text.lines().zip(code.lines()) {
        let text = line.trim_start();
        if let Some((_, behind)) = text.strip_prefix("///").and_then(|comment| comment.split_once(open)) {
            mark = behind.split_once(']').map(|(name, _)| name);
        }
        if let Some(function) = function(code, line) {
            let set = mark.take();
            let marked = Marked { place: format!("{}: {function}", source.path), function, set };
            current = Some(marked);
        }
        let asks = code.contains("whole()");
        if let Some(marked) = current.take_if(|marked| asks || marked.set.is_some()) {
            found.push(marked);
        }
    }
    found
}

/// The name of the function whose head stands in this line; `code` is the line without comments and strings.
fn function<'a>(code: &str, line: &'a str) -> Option<&'a str> {
    let at = code.find("fn ").filter(|at| *at == 0 || code[..*at].ends_with(' '))?;
    let name = line[at + 3..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walls::tree;
    use crate::whole::sets::Runs;

    #[test]
    fn tests_and_sets_of_this_checkout_fit_together() {
        check(&tree::read(catenoid_e2e::Artefacts::new().workspace()).unwrap()).unwrap();
    }

    fn set(name: &'static str, test: &'static str) -> Set {
        let runs = Runs::Scenario(test);
        Set { name, shows: "", runs, packages: &[], paths: &[], shared: false, resumed: false, minutes: 1 }
    }

    #[test]
    fn what_does_not_fit_is_reported() {
        let mark = |name: &str| format!("/// It is {}{name}].\n#[test]\n", concat!("[whole", ": "));
        let text = [
            mark("one") + "fn vm_one() {\n    if whole() {}\n    if whole() {}\n}\n",
            mark("none") + "fn vm_none() {}\n",
            mark("two") + "pub fn vm_other() { whole() }\n",
            "#[test]\nfn vm_sample() {\n    // whole() in a comment\n}\n".to_owned(),
            "#[test]\nfn vm_unmarked() {\n    let n = usize::from(whole());\n}\n".to_owned(),
        ];
        let source = Source { path: "e2e/tests/any.rs".to_owned(), text: text.concat() };
        let sets = [set("one", "any::vm_one"), set("two", "vm_two"), set("three", "vm_three")];
        assert_eq!(
            problems(&[source], &sets),
            [
                "e2e/tests/any.rs: vm_none is of the set `none`, which there is not",
                "e2e/tests/any.rs: vm_other is not what the set `two` runs",
                "e2e/tests/any.rs: vm_unmarked calls `whole()` and has no mark `[whole: NAME]`",
                "the set `three` runs `vm_three`, which has no mark of it",
            ]
        );
    }
}
