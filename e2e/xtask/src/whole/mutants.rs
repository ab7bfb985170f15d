//! Mutants: cargo-mutants changes one function after the other, and a test has to notice.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

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
const FUNCTIONS_WITH_EFFECTS: &[&str] = &["record::", "Rules::bytes"];
/// Mutants that no test can notice, by a part of their names, and why.
const EXPLAINED: &[(&str, &str)] = &[];
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
/// What is no room: the packages of the pure halves, and of the agent pass and intake.
const PURE: [Part; 6] = [
    Part::of("catenoid-schema", &[], TESTS, &[]),
    Part::of("catenoid-envelope", &[], TESTS, &[]),
    Part::of("catenoid-core", &[], LIB, &[HOUSE, AGENT]),
    Part::of(HOUSE, &[], LIB, &[AGENT]),
    Part::of(AGENT, &["agent/src/pass/*.rs"], LIB, &[]),
    Part::of(AGENT, &["agent/src/intake.rs"], &["--lib", "--test", "disk", "--test", "intake"], &["catenoid-fuzz"]),
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

/// Runs a share; whether each mutant was noticed. One that was not is a case that failed. What a run that was stopped did
/// of a part is done again.
pub(super) fn run(artefacts: &Artefacts, set: &Set, share: (usize, usize), progress: &mut Progress) -> Result<bool> {
    if !setup::has_subcommand("mutants") {
        println!("whole: installing cargo-mutants (some minutes)");
        run::visibly(run::cargo().args(["install", "--locked", CARGO_MUTANTS]))?;
    }
    let folder = artefacts.state().join("whole/mutants");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    for part in parts(set) {
        let figure = format!("mutants of {}", [&[&*part.package], part.files].concat().join(" "));
        if !progress.kept().figures.contains_key(&figure) {
            let count = part.run(artefacts, &folder, share, progress)?;
            progress.figure(&figure, count)?;
        }
    }
    Ok(progress.kept().failed.is_empty())
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

    /// How many mutants there were.
    fn run(
        &self,
        artefacts: &Artefacts,
        folder: &Path,
        share: (usize, usize),
        progress: &mut Progress,
    ) -> Result<usize> {
        let features: &[&str] = if self.package == AGENT { &["--features", "testing"] } else { &[] };
        let tested = [&[&*self.package], self.others].concat();
        // First as they are. cargo-mutants would do so too, but with the tests of its package alone.
        let mut tests = run::cargo();
        tests
            .arg("test")
            .args(tested.iter().flat_map(|package| ["--package", package]))
            .args(features)
            .args(self.tests);
        run::visibly(tests.current_dir(artefacts.workspace()))?;
        let mut cargo = run::cargo();
        cargo.args(["mutants", "--no-shuffle", "--colors", "never", "--jobs", "2", "--output"]).arg(folder);
        cargo.args(["--baseline", "skip", "--timeout", PATIENCE]);
        // It counts shares from 0.
        cargo.args(["--shard", &format!("{}/{}", share.0 - 1, share.1)]);
        cargo.args(["--package", &*self.package]).args(features);
        cargo.args(tested.iter().flat_map(|package| ["--test-package", package]));
        cargo.args(self.files.iter().flat_map(|path| ["--file", path]));
        cargo.args(LEFT_OUT.iter().flat_map(|path| ["--exclude", path]));
        cargo.args(FUNCTIONS_WITH_EFFECTS.iter().flat_map(|name| ["--exclude-re", name]));
        cargo.arg("--").args(self.tests);
        let status = cargo.current_dir(artefacts.workspace()).status().context("failed to run `cargo mutants`")?;
        if !status.success() && !status.code().is_some_and(|code| FOUND.contains(&code)) {
            bail!("`cargo mutants` of {} failed ({status})", self.package);
        }
        let path = folder.join("mutants.out/outcomes.json");
        if !path.exists() {
            // A share of few mutants can have none.
            return Ok(0);
        }
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let outcomes: Value =
            serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
        let mutants = mutants(&outcomes);
        for (mutant, outcome) in &mutants {
            if progress.has(mutant) {
                continue;
            }
            match *outcome {
                "CaughtMutant" => progress.done(mutant, "noticed")?,
                "Unviable" => progress.done(mutant, "not compiled")?,
                // It does not end: whoever waits for it notices.
                "Timeout" => progress.done(mutant, "noticed by the time it took")?,
                _ if EXPLAINED.iter().any(|(part, _)| mutant.contains(part)) => progress.done(mutant, "explained")?,
                _ => progress.failed(mutant, "no test noticed")?,
            }
        }
        Ok(mutants.len())
    }
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
