//! Mutants: cargo-mutants changes one function after the other, and a test of the same package has to notice.

use std::fs;

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
/// The halves of the rooms with effects: not compiled without the feature `kernel`, so that no test could notice.
const WITH_EFFECTS: &[&str] =
    &["reconcilers/*/src/{apply,observe,log,reading,store}.rs", "reconcilers/core/src/testing.rs"];
/// The same in files that have both halves, by the names of their functions.
const FUNCTIONS_WITH_EFFECTS: &[&str] = &["record::", "Rules::bytes"];
/// What cargo-mutants ends with when mutants were missed, or took too long.
const FOUND: [i32; 2] = [2, 3];

/// Runs a share; whether each mutant was noticed. One that was not is a case that failed.
pub(super) fn run(artefacts: &Artefacts, set: &Set, share: (usize, usize), progress: &mut Progress) -> Result<bool> {
    if !setup::has_subcommand("mutants") {
        println!("whole: installing cargo-mutants (some minutes)");
        run::visibly(run::cargo().args(["install", "--locked", CARGO_MUTANTS]))?;
    }
    let folder = artefacts.state().join("whole/mutants");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    let mut cargo = run::cargo();
    cargo.args(["mutants", "--no-shuffle", "--colors", "never", "--output"]).arg(&folder);
    // It counts shares from 0.
    cargo.args(["--shard", &format!("{}/{}", share.0 - 1, share.1)]);
    let rooms = ROOMS.iter().map(|room| package(room));
    let packages = set.packages.iter().map(ToString::to_string).chain(rooms);
    cargo.args(packages.flat_map(|package| ["--package".to_owned(), package]));
    cargo.args(WITH_EFFECTS.iter().flat_map(|path| ["--exclude", path]));
    cargo.args(FUNCTIONS_WITH_EFFECTS.iter().flat_map(|name| ["--exclude-re", name]));
    let status = cargo.current_dir(artefacts.workspace()).status().context("failed to run `cargo mutants`")?;
    if !status.success() && !status.code().is_some_and(|code| FOUND.contains(&code)) {
        bail!("`cargo mutants` failed ({status})");
    }
    let path = folder.join("mutants.out/outcomes.json");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let outcomes: Value = serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
    for (mutant, outcome) in mutants(&outcomes) {
        match outcome {
            "CaughtMutant" => progress.done(&mutant, "noticed")?,
            "Unviable" => progress.done(&mutant, "not compiled")?,
            // It does not end: whoever waits for it notices.
            "Timeout" => progress.done(&mutant, "noticed by the time it took")?,
            _ => progress.failed(&mutant, "no test noticed")?,
        }
    }
    Ok(progress.kept().failed.is_empty())
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
