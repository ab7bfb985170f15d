//! `cargo xtask test`: everything that must hold before a commit, in the order in which it fails fastest.

mod budget;
mod groups;
mod times;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::Artefacts;
use catenoid_e2e::chance::whole;

use crate::image::{self, Variant};
use crate::{compat, development, fuzz, rooms, run, setup, trees, walls};
use budget::Budgets;
use groups::{GROUPS, Group, UNIT};
use times::{Phase, Times};

/// How long each fuzz target runs.
const FUZZ_TIME: Duration = Duration::from_secs(10);
/// What clippy and the tests are built of: with the same features, nothing is built for one of them only.
const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Options {
    /// Only the tests of this group.
    pub(crate) group: Option<String>,
    /// Only tests with this in their names.
    pub(crate) filter: Option<String>,
    /// Whether the page of times gets a line.
    pub(crate) record: bool,
}

/// Runs the checks and the tests, and says how long what took, also when something failed.
pub(crate) fn run(artefacts: &Artefacts, options: &Options) -> Result<()> {
    let groups: Vec<&Group> = match &options.group {
        None => GROUPS.iter().collect(),
        Some(name) => vec![GROUPS.iter().find(|group| group.name == name).with_context(no_group(name))?],
    };
    if options.record && groups.len() < GROUPS.len() {
        bail!("only a run of all groups can be recorded");
    }
    let mut times = Times::begin(artefacts);
    let done = steps(artefacts, &groups, options.filter.as_deref(), &mut times);
    let shown = Budgets::read(artefacts, profile()).and_then(|budgets| {
        println!("{}", times.text(&budgets));
        let path = artefacts.state().join("times.json");
        fs::write(&path, format!("{:#}\n", times.json(&budgets)))
            .with_context(|| format!("failed to write `{}`", path.display()))
    });
    done.and(shown)?;
    if options.record { times.record(artefacts) } else { Ok(()) }
}

fn no_group(name: &str) -> impl FnOnce() -> String {
    move || format!("no test group `{name}` (hint: {})", GROUPS.map(|group| group.name).join(", "))
}

fn steps(artefacts: &Artefacts, groups: &[&Group], filter: Option<&str>, times: &mut Times) -> Result<()> {
    // Unit tests need no package but to be built, and nobody who may install one.
    let only_unit = groups == [&UNIT];
    let setup = || if only_unit { setup::look() } else { setup::ensure() };
    let _alone = times.phase(Phase::Setup, || setup().and_then(|()| crate::alone(artefacts)))?;
    let cargo = |words: &[&str]| {
        let mut cargo = run::cargo();
        run::visibly(cargo.args(words).current_dir(artefacts.workspace()))
    };
    times.phase(Phase::Checks, || {
        if walls::check(artefacts)? != ExitCode::SUCCESS {
            bail!("a wall is broken");
        }
        cargo(&["fmt", "--all", "--check"])?;
        licences(artefacts, groups.len() == GROUPS.len())
    })?;
    let strict = ["--all-targets", "--", "--deny", "warnings"];
    times.phase(Phase::Clippy, || cargo(&[&["clippy", "--quiet"], &EVERYTHING[..], &strict].concat()))?;
    times.phase(Phase::Build, || cargo(&[&["nextest", "run", "--no-run"], &EVERYTHING[..]].concat()))?;
    for group in groups {
        if group.name == "vm" {
            times.phase(Phase::Images, || prepare_vm(artefacts))?;
        }
        tests(artefacts, group, filter, times)?;
        if **group == UNIT && filter.is_none() {
            // Examples in documentation, which nextest leaves out.
            let examples = [&["test", "--quiet", "--doc"], &EVERYTHING[..]].concat();
            times.phase(Phase::Tests(group.name), || cargo(&examples))?;
        }
    }
    if groups.len() == GROUPS.len() {
        let options = fuzz::Options { target: None, time: FUZZ_TIME, keep: false };
        times.phase(Phase::Fuzz, || fuzz::run(artefacts, &options))?;
    }
    Ok(())
}

/// `cargo deny`: in a run of all groups always, else where it is installed; its absence is said, not hidden.
fn licences(artefacts: &Artefacts, all_groups: bool) -> Result<()> {
    if all_groups {
        setup::ensure_deny()?;
    } else if !setup::has_subcommand("deny") {
        println!("cargo-deny is not installed: licences, bans and sources (deny.toml) are NOT checked in this run");
        return Ok(());
    }
    let mut deny = run::cargo();
    deny.args(["deny", "--log-level", "warn", "check", "bans", "licenses", "sources"]);
    run::visibly(deny.current_dir(artefacts.workspace()))
}

/// Runs a group's tests.
fn tests(artefacts: &Artefacts, group: &Group, filter: Option<&str>, times: &mut Times) -> Result<()> {
    let report = artefacts.target().join("nextest").join(profile()).join("junit.xml");
    if report.exists() {
        fs::remove_file(&report).with_context(|| format!("failed to remove `{}`", report.display()))?;
    }
    let mut nextest = run::cargo();
    nextest.args(["nextest", "run", "--profile", profile()]).args(EVERYTHING).args(["--filterset", &group.filterset()]);
    nextest.args(filter).current_dir(artefacts.workspace());
    let done = times.phase(Phase::Tests(group.name), || run::visibly(&mut nextest));
    times.read_report(&report)?;
    done
}

/// Builds what the tests in the device VM boot and push.
pub(crate) fn prepare_vm(artefacts: &Artefacts) -> Result<()> {
    development::prepare(artefacts)?;
    // The programs of the last one stay: the rooms' tests start its launcher, and yesterday's device gets its agent.
    image::build_other(artefacts, "tomorrow", &trees::tomorrow(artefacts)?)?;
    image::build_other(artefacts, "yesterday", &trees::yesterday(artefacts)?)?;
    for variant in [Variant::Faults, Variant::Test] {
        image::build_prepared(artefacts, variant)?;
    }
    compat::prepare(artefacts)?;
    development::demo_guests(artefacts)?;
    development::test_guests(artefacts)?;
    rooms::build(artefacts)
}

/// Of nextest: what a test may take.
fn profile() -> &'static str {
    if whole() { "whole" } else { "default" }
}
