//! Mutants: cargo-mutants changes one function after the other, and a test has to notice.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::progress::Progress;
use catenoid_house::ROOMS;

use super::explained::EXPLAINED;
use super::sets::{Runs, Set};
use crate::walls::package;
use crate::{run, setup};

/// The version that the pinned compiler builds.
const CARGO_MUTANTS: &str = "cargo-mutants@27.1.0";
/// The halves of the rooms with effects: not compiled without the feature `kernel`, so that no test could notice; and what is
/// there for tests only.
const LEFT_OUT: &[&str] =
    &["reconcilers/*/src/{apply,observe,error,log,reading,store,check}.rs", "reconcilers/core/src/testing.rs"];
/// The same in files that have both halves, by the names of their functions.
const FUNCTIONS_WITH_EFFECTS: &[&str] = &["record::", "Rules::bytes", "Step::changes", "NetworkNamespace::container"];
/// What cargo-mutants ends with when mutants were missed, or took too long.
const FOUND: [i32; 2] = [2, 3];
/// Seconds that the tests of a mutant have at least: more than they take beside everything else.
const PATIENCE: &str = "120";
const AGENT: &str = "catenoid-agent";
const HOUSE: &str = "catenoid-house";
/// All but doctests, which take longest to build.
const TESTS: &[&str] = &["--lib", "--tests"];
/// The tests beside the code: what else the agent has takes as long again, and is about other files of it.
const LIB: &[&str] = &["--lib"];
/// Those of intake: they have a fleet that signs.
const OF_INTAKE: &[&str] = &["--test", "intake"];
/// Cases of each property: a mutant that so many do not notice is one that a rule has to show.
const CASES: &str = "48";
/// What is no room: the packages of the pure halves, and of the agent pass and intake.
const PURE: [Part; 6] = [
    Part::of("catenoid-schema", &[], TESTS, &[]),
    Part::of("catenoid-envelope", &[], TESTS, &[]),
    Part::of("catenoid-core", &[], &["--lib", "--test", "parts"], &[HOUSE, AGENT]),
    Part::of(HOUSE, &[], LIB, &[AGENT]),
    Part::of(
        AGENT,
        &["agent/src/pass/{executor,report,state,steps}.rs", "agent/src/record/{condition,event}.rs"],
        LIB,
        &[],
    ),
    Part::of(
        AGENT,
        &["agent/src/accept/{guests,intake,ledger_warning,manifest,refused}.rs"],
        OF_INTAKE,
        &["catenoid-fuzz"],
    ),
];

/// What is changed in one run of cargo-mutants.
struct Part {
    package: Cow<'static, str>,
    /// All files if there is none.
    files: &'static [&'static str],
    /// Which tests have to notice.
    tests: &'static [&'static str],
    /// Of which packages as well, where its own did not: they take longer to build.
    others: &'static [&'static str],
}

/// Those of a set.
fn parts(set: &Set) -> Vec<Part> {
    let room = |room: &&str| Part { package: package(room).into(), files: &[], tests: TESTS, others: &[] };
    match set.runs {
        Runs::MutantsOfRooms => ROOMS.iter().map(room).collect(),
        Runs::Mutants | Runs::Scenario(_) | Runs::Fuzz => {
            PURE.into_iter().filter(|part| set.packages.contains(&&*part.package)).collect()
        }
    }
}

/// Runs a share of the set: every so many of its parts. A mutant that no test noticed ends it without an outcome: once it has a
/// test or a row in [`EXPLAINED`], a run that `resumes` tries it again, and what was noticed is not tried again.
pub(super) fn run(
    artefacts: &Artefacts,
    set: &Set,
    share: (usize, usize),
    resumes: bool,
    progress: &mut Progress,
) -> Result<bool> {
    if !setup::has_subcommand("mutants") {
        println!("whole: installing cargo-mutants (some minutes)");
        run::visibly(run::cargo().args(["install", "--locked", CARGO_MUTANTS]))?;
    }
    let folder = artefacts.state().join("whole").join(format!("{}-{}-of-{}", set.name, share.0, share.1));
    if !resumes && folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let mut missed = Vec::new();
    for (number, part) in parts(set).iter().enumerate().skip(share.0 - 1).step_by(share.1) {
        let figure = format!("mutants of {}", [&[&*part.package], part.files].concat().join(" "));
        if progress.kept().figures.contains_key(&figure) {
            continue;
        }
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        let before = missed.len();
        part.run(artefacts, &folder, progress, &mut missed)?;
        let all = run::output(part.cargo_mutants(artefacts).arg("--list"))?;
        let left =
            all.lines().filter(|mutant| !progress.has(mutant) && !missed.iter().any(|one| one == mutant)).count();
        ensure!(left == 0, "{left} mutants of {} were not tried (hint: `--resume`)", part.package);
        if missed.len() == before {
            progress.figure(&figure, all.lines().count())?;
        }
    }
    ensure!(
        missed.is_empty(),
        "no test notices {} mutants (hint: give each a test in a folder `tests`, or a row in `explained.rs`; then \
         `--resume`):\n{}",
        missed.len(),
        missed.join("\n")
    );
    Ok(true)
}

impl Part {
    const fn of(
        package: &'static str,
        files: &'static [&'static str],
        tests: &'static [&'static str],
        others: &'static [&'static str],
    ) -> Self {
        Self { package: Cow::Borrowed(package), files, tests, others }
    }

    /// Tries its mutants, or those that a run that was stopped left; those that no test noticed are added to `missed`.
    fn run(
        &self,
        artefacts: &Artefacts,
        folder: &Path,
        progress: &mut Progress,
        missed: &mut Vec<String>,
    ) -> Result<()> {
        // First all tests as they are: cargo-mutants does so with those of its package alone.
        let mut tests = run::cargo();
        let all = [&[&*self.package], self.others].concat();
        tests.arg("test").args(named("--package", &all)).args(self.features()).args(self.tests);
        run::visibly(tests.current_dir(artefacts.workspace()))?;
        let outcomes = folder.join("mutants.out");
        take_in(&outcomes, progress, &mut Vec::new())?;
        let mut last = Vec::new();
        let mut rounds = vec![&all[..1], &all];
        rounds.dedup();
        for packages in rounds {
            let mut cargo = self.cargo_mutants(artefacts);
            // With what the tests above built, which is not built again in each copy of the tree.
            cargo.args(["--copy-target", "true", "--iterate", "--colors", "never", "--jobs", "2"]);
            cargo.args(["--minimum-test-timeout", PATIENCE]);
            cargo.arg("--output").arg(folder).args(named("--test-package", packages)).env("PROPTEST_CASES", CASES);
            if packages.len() > 1 {
                // The first round tried them, and no other test notices them either.
                cargo.args(EXPLAINED.iter().flat_map(|(part, _)| ["--exclude-re".to_owned(), literal(part)]));
            }
            let status = cargo.arg("--").args(self.tests).status().context("failed to run `cargo mutants`")?;
            if !status.success() && !status.code().is_some_and(|code| FOUND.contains(&code)) {
                bail!("`cargo mutants` of {} failed ({status})", self.package);
            }
            last.clear();
            take_in(&outcomes, progress, &mut last)?;
            if last.is_empty() {
                break;
            }
        }
        missed.append(&mut last);
        Ok(())
    }

    /// That names its mutants.
    fn cargo_mutants(&self, artefacts: &Artefacts) -> Command {
        let mut cargo = run::cargo();
        cargo.args(["mutants", "--no-shuffle", "--package", &*self.package]).args(self.features());
        cargo.args(self.files.iter().flat_map(|path| ["--file", path]));
        cargo.args(LEFT_OUT.iter().flat_map(|path| ["--exclude", path]));
        cargo.args(FUNCTIONS_WITH_EFFECTS.iter().flat_map(|name| ["--exclude-re", name]));
        cargo.current_dir(artefacts.workspace());
        cargo
    }

    fn features(&self) -> &'static [&'static str] {
        if self.package == AGENT { &["--features", "testing"] } else { &[] }
    }
}

/// The regular expression that finds this text.
fn literal(text: &str) -> String {
    let quote = |c: char| if r"\.+*?()|[]{}^$".contains(c) { "\\" } else { "" };
    text.chars().map(|c| format!("{}{c}", quote(c))).collect()
}

/// Each package behind `option`.
fn named<'a>(option: &'a str, packages: &'a [&str]) -> impl Iterator<Item = &'a str> {
    packages.iter().flat_map(move |package| [option, package])
}

/// What cargo-mutants writes while it runs, a mutant in a line of one of them, and what each means.
const OUTCOMES: [(&str, Option<&str>); 5] = [
    ("caught.txt", Some("noticed")),
    ("unviable.txt", Some("not compiled")),
    // It does not end: whoever waits for it notices.
    ("timeout.txt", Some("noticed by the time it took")),
    // Or not compiled, in a run that was stopped.
    ("previously_caught.txt", Some("noticed")),
    ("missed.txt", None),
];

/// Takes in what came of mutants; those that no test noticed are added to `missed`.
fn take_in(folder: &Path, progress: &mut Progress, missed: &mut Vec<String>) -> Result<()> {
    for (file, means) in OUTCOMES {
        // There is none before the first run.
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        for mutant in text.lines() {
            if progress.has(mutant) {
                continue;
            }
            match means {
                Some(kind) => progress.done(mutant, kind)?,
                None if EXPLAINED.iter().any(|(part, _)| mutant.contains(part)) => {
                    progress.done(mutant, "explained")?
                }
                None => missed.push(mutant.to_owned()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_regular_expressions_stand_for_themselves() {
        assert_eq!(literal("replace a::b -> Vec<(A, B)> with vec![]"), r"replace a::b -> Vec<\(A, B\)> with vec!\[\]");
        assert_eq!(literal("replace a.b with ()"), r"replace a\.b with \(\)");
    }

    #[test]
    fn what_came_of_mutants_is_taken_in_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, lines: &str| fs::write(folder.path().join(file), lines).unwrap();
        let mut progress = Progress::of(&folder.path().join("progress")).unwrap();
        let take = |progress: &mut Progress| {
            let mut missed = Vec::new();
            take_in(folder.path(), progress, &mut missed).unwrap();
            missed
        };
        assert_eq!(take(&mut progress), Vec::<String>::new(), "nothing ran yet");
        write("caught.txt", "a.rs:1:2: replace f with 0\n");
        write("unviable.txt", "a.rs:1:2: replace f with 1\n");
        write("missed.txt", &format!("a.rs:1:2: replace f with 2\na.rs:3:4: {}\n", EXPLAINED[0].0));
        assert_eq!(take(&mut progress), ["a.rs:1:2: replace f with 2"]);
        // It has a test now.
        write("previously_caught.txt", "a.rs:1:2: replace f with 0\na.rs:1:2: replace f with 1\n");
        write("caught.txt", "a.rs:1:2: replace f with 2\n");
        write("missed.txt", "");
        assert_eq!(take(&mut progress), Vec::<String>::new());
        let kinds: Vec<_> = progress.kept().kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(kinds, [("explained", 1), ("not compiled", 1), ("noticed", 2)]);
    }
}
