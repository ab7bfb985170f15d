//! Mutants: cargo-mutants changes one function after the other, and a test has to notice.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::Artefacts;
use catenoid_e2e::progress::Progress;
use catenoid_house::ROOMS;
use serde_json::Value;

use super::sets::Set;
use crate::walls::package;
use crate::{run, setup};

/// The version that the pinned compiler builds.
const CARGO_MUTANTS: &str = "cargo-mutants@27.1.0";
/// The halves of the rooms with effects: not compiled without the feature `kernel`, so that no test could notice; and what is
/// there for tests only.
const LEFT_OUT: &[&str] =
    &["reconcilers/*/src/{apply,observe,log,reading,store,check}.rs", "reconcilers/core/src/testing.rs"];
/// The same in files that have both halves, by the names of their functions.
const FUNCTIONS_WITH_EFFECTS: &[&str] = &["record::", "Rules::bytes", "Step::changes", "Place::container"];
/// Mutants that no test can notice, by a part of their names, and why.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "replace begin_no_more with ()",
        "from then on no step is begun in this process, those of other tests included; devices that go off show it",
    ),
    ("replace Reconciler::signals -> Signals with Default::default()", "that is what it gives"),
];
/// What cargo-mutants ends with when mutants were missed, or took too long.
const FOUND: [i32; 2] = [2, 3];
/// Seconds that the tests of a mutant have: more than they take beside everything else.
const PATIENCE: &str = "120";
const AGENT: &str = "catenoid-agent";
const HOUSE: &str = "catenoid-house";
/// All but doctests, which take longest to build.
const TESTS: &[&str] = &["--lib", "--tests"];
/// The tests beside the code: what else the agent has takes as long again, and is about other files of it.
const LIB: &[&str] = &["--lib"];
/// Those of intake: they have a fleet that signs.
const OF_INTAKE: &[&str] = &["--test", "disk", "--test", "intake"];
/// Cases of each property: a mutant that so many do not notice is one that a rule has to tell of.
const CASES: &str = "48";
/// What is no room: the packages of the pure halves, and of the agent pass and intake.
const PURE: [Part; 6] = [
    Part::of("catenoid-schema", &[], TESTS, &[]),
    Part::of("catenoid-envelope", &[], TESTS, &[]),
    Part::of("catenoid-core", &[], &["--lib", "--test", "parts"], &[HOUSE, AGENT]),
    Part::of(HOUSE, &[], LIB, &[AGENT]),
    Part::of(AGENT, &["agent/src/pass/*.rs"], LIB, &[]),
    Part::of(AGENT, &["agent/src/intake.rs"], OF_INTAKE, &["catenoid-fuzz"]),
];

/// What is changed in one run of cargo-mutants.
struct Part {
    package: Cow<'static, str>,
    /// All files if there is none.
    files: &'static [&'static str],
    /// Which tests have to notice.
    tests: &'static [&'static str],
    /// Of which packages besides its own.
    others: &'static [&'static str],
}

/// Those of a set: of its packages, and of all rooms if it has the house.
fn parts(set: &Set) -> Vec<Part> {
    let pure = PURE.into_iter().filter(|part| set.packages.contains(&&*part.package));
    let rooms = ROOMS.iter().filter(|_| set.packages.contains(&HOUSE));
    let rooms = rooms.map(|room| Part { package: package(room).into(), files: &[], tests: TESTS, others: &[] });
    pure.chain(rooms).collect()
}

/// Runs a share. A mutant that no test noticed ends it without an outcome: once it has a test or a row in [`EXPLAINED`], a run
/// that goes on tries it again, and what was noticed is not tried again.
pub(super) fn run(artefacts: &Artefacts, set: &Set, share: (usize, usize), progress: &mut Progress) -> Result<bool> {
    if !setup::has_subcommand("mutants") {
        println!("whole: installing cargo-mutants (some minutes)");
        run::visibly(run::cargo().args(["install", "--locked", CARGO_MUTANTS]))?;
    }
    let folder = artefacts.state().join("whole").join(format!("{}-{}-of-{}", set.name, share.0, share.1));
    if progress.kept().ended.is_empty() && folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    let mut missed = Vec::new();
    for (number, part) in parts(set).iter().enumerate() {
        let figure = format!("mutants of {}", [&[&*part.package], part.files].concat().join(" "));
        if progress.kept().figures.contains_key(&figure) {
            continue;
        }
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        let before = missed.len();
        part.run(artefacts, &folder, share, progress, &mut missed)?;
        if missed.len() == before {
            progress.figure(&figure, part.count(artefacts, share)?)?;
        }
    }
    if !missed.is_empty() {
        bail!(
            "no test notices {} mutants (hint: give each a test or a row in `EXPLAINED`, then `--resume`):\n{}",
            missed.len(),
            missed.join("\n")
        );
    }
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
        share: (usize, usize),
        progress: &mut Progress,
        missed: &mut Vec<String>,
    ) -> Result<()> {
        // First the tests as they are. cargo-mutants would do so too, but with those of its package alone.
        let mut tests = run::cargo();
        tests.arg("test").args(self.tested("--package")).args(self.features()).args(self.tests);
        run::visibly(tests.current_dir(artefacts.workspace()))?;
        let outcomes = folder.join("mutants.out/outcomes.json");
        let mut cargo = self.cargo_mutants(artefacts, share);
        if outcomes.exists() {
            take_in(&outcomes, progress, &mut Vec::new())?;
            cargo.arg("--iterate");
        }
        cargo.args(["--colors", "never", "--jobs", "2", "--baseline", "skip", "--timeout", PATIENCE, "--output"]);
        cargo.arg(folder).args(self.tested("--test-package")).env("PROPTEST_CASES", CASES);
        let status = cargo.arg("--").args(self.tests).status().context("failed to run `cargo mutants`")?;
        if !status.success() && !status.code().is_some_and(|code| FOUND.contains(&code)) {
            bail!("`cargo mutants` of {} failed ({status})", self.package);
        }
        // A share of few mutants can have none.
        if outcomes.exists() { take_in(&outcomes, progress, missed) } else { Ok(()) }
    }

    /// How many mutants a share has.
    fn count(&self, artefacts: &Artefacts, share: (usize, usize)) -> Result<usize> {
        Ok(run::output(self.cargo_mutants(artefacts, share).arg("--list"))?.lines().count())
    }

    /// That names its mutants.
    fn cargo_mutants(&self, artefacts: &Artefacts, share: (usize, usize)) -> Command {
        let mut cargo = run::cargo();
        // It counts shares from 0.
        cargo.args(["mutants", "--no-shuffle", "--shard", &format!("{}/{}", share.0 - 1, share.1)]);
        cargo.args(["--package", &*self.package]).args(self.features());
        cargo.args(self.files.iter().flat_map(|path| ["--file", path]));
        cargo.args(LEFT_OUT.iter().flat_map(|path| ["--exclude", path]));
        cargo.args(FUNCTIONS_WITH_EFFECTS.iter().flat_map(|name| ["--exclude-re", name]));
        cargo.current_dir(artefacts.workspace());
        cargo
    }

    fn features(&self) -> &'static [&'static str] {
        if self.package == AGENT { &["--features", "testing"] } else { &[] }
    }

    /// The packages whose tests have to notice, each behind `option`.
    fn tested<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        let packages = std::iter::once(&*self.package).chain(self.others.iter().copied());
        packages.flat_map(move |package| [option, package])
    }
}

/// Takes in what came of mutants; those that no test noticed are added to `missed`.
fn take_in(path: &Path, progress: &mut Progress, missed: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let outcomes: Value = serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
    for (mutant, outcome) in mutants(&outcomes) {
        if progress.has(&mutant) {
            continue;
        }
        match outcome {
            "CaughtMutant" => progress.done(&mutant, "noticed")?,
            "Unviable" => progress.done(&mutant, "not compiled")?,
            // It does not end: whoever waits for it notices.
            "Timeout" => progress.done(&mutant, "noticed by the time it took")?,
            _ if EXPLAINED.iter().any(|(part, _)| mutant.contains(part)) => progress.done(&mutant, "explained")?,
            _ => missed.push(mutant),
        }
    }
    Ok(())
}

/// Each mutant with its outcome, as `outcomes.json` has them. The run of the tests without a mutant is none.
fn mutants(outcomes: &Value) -> Vec<(String, &str)> {
    let all = outcomes["outcomes"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter_map(|outcome| {
            Some((outcome["scenario"]["Mutant"]["name"].as_str()?.to_owned(), outcome["summary"].as_str()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mutants_are_read_and_the_run_without_one_is_none() {
        let mutant = |name: &str| json!({"Mutant": {"name": name}});
        let outcomes = json!({"outcomes": [
            {"scenario": "Baseline", "summary": "Success"},
            {"scenario": mutant("a.rs:1:2: replace f with 0"), "summary": "MissedMutant"},
            {"scenario": mutant("a.rs:1:2: replace f with 1"), "summary": "CaughtMutant"},
        ]});
        let wanted = [
            ("a.rs:1:2: replace f with 0".to_owned(), "MissedMutant"),
            ("a.rs:1:2: replace f with 1".to_owned(), "CaughtMutant"),
        ];
        assert_eq!(mutants(&outcomes), wanted);
    }
}
