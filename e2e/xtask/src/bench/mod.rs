//! `cargo xtask bench NAME`: measures. Each bench prints a table, and leaves the same with every run, the commit and the
//! machine in `target/catenoid/bench/NAME.json`. What was found stands in docs/performance.md.
//!
//! A machine is never quiet: what is compared takes turns within one run, and the ratio of neighbours is what counts.

mod boot;
mod figures;
mod fleet;
mod idle;
mod pass;
mod push;
mod start;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::Artefacts;
use figures::Figures;
use serde_json::{Value, json};

use crate::run;

/// The device VM.
const DEVICE: &str = "the device of the test image in QEMU under TCG, 2 processors, 1024 MiB";

/// What a bench found.
struct Report {
    /// What the processors that it ran on are: this machine's, or TCG's.
    ran_on: String,
    figures: Figures,
    /// What belongs beside the table.
    notes: Vec<String>,
}

/// Runs one bench; with `only_json` nothing is printed but what is saved.
pub(crate) fn run(artefacts: &Artefacts, name: &str, only_json: bool) -> Result<()> {
    let before = load();
    let report = match name {
        "start" => start::measure(artefacts)?,
        "idle" => idle::measure(artefacts)?,
        "pass" => pass::measure(artefacts)?,
        "boot" => boot::measure(artefacts)?,
        "push" => push::measure(artefacts)?,
        other => bail!("no bench `{other}` (hint: start, idle, pass, boot, push)"),
    };
    let commit = commit(artefacts)?;
    let machine = machine()?;
    let saved = json!({
        "bench": name,
        "commit": commit,
        "at": SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs(),
        "machine": machine,
        "ranOn": report.ran_on,
        "load": {"before": before, "after": load()},
        "figures": report.figures.json(),
        "notes": report.notes,
    });
    let folder = artefacts.state().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&saved).context("failed to write JSON")? + "\n";
    fs::write(&path, &text).with_context(|| format!("failed to write `{}`", path.display()))?;
    if only_json {
        print!("{text}");
        return Ok(());
    }
    println!("bench {name}, commit {commit}");
    println!("machine: {}, {} cores, Linux {}", word(&machine["cpu"]), machine["cores"], word(&machine["kernel"]));
    println!("ran on: {}", report.ran_on);
    println!("load: {before} before, {} after\n", load());
    print!("{}", report.figures.table());
    report.notes.iter().for_each(|note| println!("\n{note}"));
    Ok(())
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

/// Which commit, and whether the tree differs from it.
pub(crate) fn commit(artefacts: &Artefacts) -> Result<String> {
    let git = |words: &[&str]| run::output(Command::new("git").args(words).current_dir(artefacts.workspace()));
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    Ok(format!("{}{}", commit.trim(), if changed { " with changes" } else { "" }))
}

fn machine() -> Result<Value> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("failed to read `{path}`"));
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    Ok(json!({
        "cpu": field(&read("/proc/cpuinfo")?, "model name"),
        "cores": std::thread::available_parallelism().context("failed to count processors")?.get(),
        "memory": field(&read("/proc/meminfo")?, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease")?.trim(),
    }))
}

/// What runs beside us: the load average of the last minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// Builds the bench of this name in `agent/benches` as the device's programs are built.
fn program(artefacts: &Artefacts, name: &str) -> Result<PathBuf> {
    let mut cargo = run::cargo();
    cargo.args(["build", "--quiet", "--profile", "device", "-p", "catenoid-agent", "--bench", name]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(artefacts.workspace());
    let output = cargo.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "the bench `{name}` does not compile");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = messages
        .filter(|message| message["target"]["name"] == name && message["target"]["kind"][0] == "bench")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    found.with_context(|| format!("cargo built no bench `{name}`"))
}
