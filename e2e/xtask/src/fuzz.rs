//! `cargo xtask fuzz`: the targets of `e2e/fuzz` under libFuzzer, with coverage, on the toolchain that builds the rest.
//!
//! What a run finds new lies in `target/fuzz/found` and the next one begins with it; `--keep` brings the little of it that
//! reaches other code into the committed corpus. An input that breaks a promise is written to `e2e/fuzz/regressions`,
//! where a test replays it from then on.

use std::{
    collections::VecDeque,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use catenoid_e2e::Artefacts;

use crate::run;

/// What libFuzzer needs of the compiler: a counter on each edge, and every comparison reported. No sanitizer: what is fuzzed is
/// safe Rust, and overflows and broken assumptions panic in this profile.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];
/// The longest that one input may take, in seconds: what takes milliseconds here is held up by others on a busy machine.
const INPUT_SECONDS: u32 = 20;
/// The most memory of a target, in MiB.
const MEMORY: u32 = 1024;

/// About how many bytes of a target's corpus are committed, its seeds aside.
const CORPUS_BYTES: u64 = 48 * 1024;

/// What is to be done.
pub(crate) struct Options {
    /// Only this target.
    pub(crate) target: Option<String>,
    /// How long each target runs.
    pub(crate) time: Duration,
    /// Whether what was found joins the corpus.
    pub(crate) keep: bool,
}

/// Runs the targets, as many at once as there are processors.
pub(crate) fn run(artefacts: &Artefacts, options: &Options) -> Result<()> {
    let house = House { workspace: artefacts.workspace(), program: build(artefacts.workspace())? };
    let mut targets = house.targets()?;
    if let Some(wanted) = &options.target {
        targets.retain(|target| target == wanted);
        if targets.is_empty() {
            bail!("no fuzz target `{wanted}` (hint: {})", house.targets()?.join(", "));
        }
    }
    let (waiting, failed) = (Mutex::new(VecDeque::from(targets)), Mutex::new(Vec::new()));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    println!("fuzz: {:<10} {:>12} {:>8} {:>8} {:>8}", "target", "executions", "a second", "edges", "inputs");
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    match house.fuzz(&target, options) {
                        Ok(summary) => println!("fuzz: {}", summary.line(&target, options.time)),
                        Err(error) => failed.lock().unwrap_or_else(PoisonError::into_inner).push(error),
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner).pop() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The names of all targets.
pub(crate) fn targets(artefacts: &Artefacts) -> Result<Vec<String>> {
    House { workspace: artefacts.workspace(), program: PathBuf::new() }.targets()
}

/// Runs one target. The outer error says nothing of the target, the inner one is what it found.
pub(crate) fn fuzz(artefacts: &Artefacts, target: &str, time: Duration) -> Result<Result<Summary>> {
    let house = House { workspace: artefacts.workspace(), program: build(artefacts.workspace())? };
    Ok(house.fuzz(target, &Options { target: None, time, keep: false }))
}

/// Builds the program with coverage, and with it everything that it links; the path of it.
fn build(workspace: &Path) -> Result<PathBuf> {
    let version = run::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let folder = workspace.join("target/fuzz");
    let mut cargo = run::cargo();
    // With `--target`, build scripts and macros of the compiler are built without coverage.
    cargo.args(["build", "--quiet", "--profile", "fuzz", "--package", "catenoid-fuzz", "--features", "libfuzzer"]);
    cargo.args(["--target", host, "--target-dir"]).arg(&folder).current_dir(workspace);
    run::visibly(cargo.env("RUSTFLAGS", COVERAGE.join(" ")).env("CXX", "clang++"))?;
    Ok(folder.join(host).join("fuzz/catenoid-fuzz"))
}

struct House<'a> {
    workspace: &'a Path,
    program: PathBuf,
}

impl House<'_> {
    /// The names of all targets: each has a corpus.
    fn targets(&self) -> Result<Vec<String>> {
        let folder = self.workspace.join("e2e/fuzz/corpus");
        let entries = fs::read_dir(&folder).with_context(|| format!("failed to read `{}`", folder.display()))?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_, _>>()?;
        names.sort();
        Ok(names)
    }

    /// Runs one target; what it came to.
    fn fuzz(&self, target: &str, options: &Options) -> Result<Summary> {
        let kept = self.workspace.join("e2e/fuzz");
        let [corpus, regressions] = ["corpus", "regressions"].map(|folder| kept.join(folder).join(target));
        let found = self.workspace.join("target/fuzz/found").join(target);
        for folder in [&found, &regressions] {
            fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        }
        let seconds = options.time.as_secs();
        let mut fuzzer = self.fuzzer(target);
        fuzzer.args([&found, &corpus]).arg(format!("-max_total_time={seconds}"));
        fuzzer.arg(format!("-artifact_prefix={}/", regressions.display())).arg("-print_final_stats=1");
        let dictionary = kept.join("dictionaries").join(target);
        if dictionary.exists() {
            fuzzer.arg(format!("-dict={}", dictionary.display()));
        }
        let log = self.log(target, &mut fuzzer)?;
        let summary = Summary::read(&log).with_context(|| format!("`{target}` did not say what it did"))?;
        if options.keep {
            self.merge(target, &corpus, &found)?;
        }
        Ok(summary)
    }

    /// Replaces the corpus, but for its seeds, by inputs of every size out of those that together reach all code that it and
    /// what was found reach.
    fn merge(&self, target: &str, corpus: &Path, found: &Path) -> Result<()> {
        let merged = self.workspace.join("target/fuzz/merged").join(target);
        let fail = || format!("failed to replace `{}`", corpus.display());
        if merged.exists() {
            fs::remove_dir_all(&merged).with_context(fail)?;
        }
        fs::create_dir_all(&merged).with_context(fail)?;
        // Which code, not how often.
        let words = ["-merge=1", "-use_counters=0"];
        self.log(target, self.fuzzer(target).args(words).args([merged.as_path(), corpus, found]))?;
        for (path, _) in files(corpus).with_context(fail)? {
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-")) {
                fs::remove_file(&path).with_context(fail)?;
            }
        }
        let mut inputs = files(&merged).with_context(fail)?;
        inputs.sort_by_key(|(_, size)| *size);
        let bytes: u64 = inputs.iter().map(|(_, size)| size).sum();
        let one_in = usize::try_from(bytes.div_ceil(CORPUS_BYTES).max(1))?;
        for (path, _) in inputs.iter().step_by(one_in) {
            let name = path.file_name().context("an entry of a folder has a name")?;
            fs::copy(path, corpus.join(name)).with_context(fail)?;
        }
        Ok(())
    }

    fn fuzzer(&self, target: &str) -> Command {
        let mut fuzzer = Command::new(&self.program);
        fuzzer.env("CATENOID_FUZZ_TARGET", target).current_dir(self.workspace);
        fuzzer.args([format!("-timeout={INPUT_SECONDS}"), format!("-rss_limit_mb={MEMORY}")]);
        fuzzer
    }

    /// Runs to the end; what was printed, which is a file too.
    fn log(&self, target: &str, fuzzer: &mut Command) -> Result<String> {
        let path = self.workspace.join("target/fuzz").join(format!("{target}.log"));
        let fail = || format!("failed to write `{}`", path.display());
        let file = File::create(&path).with_context(fail)?;
        let status = fuzzer.stdout(file.try_clone().with_context(fail)?).stderr(file).status();
        let log = String::from_utf8_lossy(&fs::read(&path).with_context(fail)?).into_owned();
        if status.with_context(|| format!("failed to run `{}`", self.program.display()))?.success() {
            return Ok(log);
        }
        let end: Vec<_> = log.lines().rev().take(40).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        bail!("fuzz target `{target}` has a finding (hint: mend it and commit the input)\n{}", end.join("\n"))
    }
}

/// The files in `folder` with their sizes.
fn files(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    fs::read_dir(folder)?.map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len())))).collect()
}

/// What a run of a target came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) executions: u64,
    /// Edges that were reached.
    pub(crate) edges: u64,
    /// Inputs that reach them.
    inputs: u64,
}

impl Summary {
    /// As libFuzzer's log has it.
    fn read(log: &str) -> Option<Self> {
        let executions = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
        let last = log.lines().rfind(|line| line.starts_with('#') && line.contains(" cov: "))?;
        let after = |name: &str| last.split_once(name)?.1.split([' ', '/']).next()?.parse().ok();
        Some(Self { executions: executions.trim().parse().ok()?, edges: after(" cov: ")?, inputs: after(" corp: ")? })
    }

    /// A row of the table.
    fn line(&self, target: &str, time: Duration) -> String {
        let Self { executions, edges, inputs } = self;
        format!("{target:<16} {executions:>12} {:>8} {edges:>8} {inputs:>8}", executions / time.as_secs().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read_from_the_log() {
        let log = "#2\tINITED cov: 10 ft: 20 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                   #1000\tDONE   cov: 2973 ft: 4974 corp: 784/1121Kb lim: 20968 exec/s: 500 rss: 33Mb\n\
                   Done 1000 runs in 2 second(s)\nstat::number_of_executed_units: 1000\n";
        let summary = Summary::read(log).unwrap();
        assert_eq!(summary, Summary { executions: 1000, edges: 2973, inputs: 784 });
        assert_eq!(
            summary.line("envelope", Duration::from_secs(2)),
            "envelope                 1000      500     2973      784"
        );
        assert_eq!(Summary::read("nothing"), None);
    }
}
