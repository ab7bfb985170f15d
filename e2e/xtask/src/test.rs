//! `cargo xtask test`: everything that must hold before a commit, in the order in which it fails fastest.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use catenoid_e2e::Artefacts;
use catenoid_e2e::chance::whole;

use crate::image::{self, Variant};
use crate::{development, fuzz, rooms, run, setup, walls};

/// A test's group is its name's prefix: what it needs to run.
const NAMESPACE: &str = "test(/(^|::)(netns|mountns)_/)";
const VM: &str = "test(/(^|::)vm_/)";
/// How long each fuzz target runs.
const FUZZ_TIME: Duration = Duration::from_secs(20);

/// Runs the checks and the tests of `group` (all groups if `None`) whose names contain `filter`.
pub(crate) fn run(artefacts: &Artefacts, group: Option<&str>, filter: Option<&str>) -> Result<()> {
    let expression = match group {
        None => "all()".to_owned(),
        Some("unit") => format!("not ({NAMESPACE} or {VM})"),
        Some("namespace") => NAMESPACE.to_owned(),
        Some("vm") => VM.to_owned(),
        Some(other) => bail!("no test group `{other}` (hint: unit, namespace, vm)"),
    };
    if walls::check(artefacts)? != ExitCode::SUCCESS {
        bail!("a wall is broken");
    }
    let cargo = |words: &[&str]| {
        let mut cargo = run::cargo();
        cargo.args(words).current_dir(artefacts.workspace());
        run::visibly(&mut cargo)
    };
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"])?;
    let whole_run = group.is_none() && filter.is_none();
    licences(artefacts, whole_run)?;
    if matches!(group, None | Some("vm")) {
        image::build(artefacts, Variant::Faults)?;
        image::build(artefacts, Variant::Test)?;
        development::demo_guests(artefacts)?;
        development::test_guests(artefacts)?;
        rooms::build(artefacts)?;
    }
    let profile = if whole() { "whole" } else { "default" };
    let mut nextest =
        vec!["nextest", "run", "--workspace", "--all-features", "--profile", profile, "--filterset", &expression];
    nextest.extend(filter);
    cargo(&nextest)?;
    if whole_run {
        fuzz::run(artefacts, &fuzz::Options { target: None, time: FUZZ_TIME, keep: false })?;
    }
    Ok(())
}

/// `cargo deny`: in a whole run always, in a part of it where it is installed; its absence is said, not hidden.
fn licences(artefacts: &Artefacts, whole_run: bool) -> Result<()> {
    if whole_run {
        setup::ensure_deny()?;
    } else if !setup::has_subcommand("deny") {
        println!("cargo-deny is not installed: licences, bans and sources (deny.toml) are NOT checked in this run");
        return Ok(());
    }
    let mut deny = run::cargo();
    run::visibly(
        deny.args(["deny", "--log-level", "warn", "check", "bans", "licenses", "sources"])
            .current_dir(artefacts.workspace()),
    )
}
