//! `cargo xtask whole`: sets that take longer than a run of all tests may, and what is known of their last runs.
//!
//! [`sets`] is the table of them. A run leaves its outcome in `docs/figures` ([`record`], [`page`]); [`stale`](mod@stale) compares it
//! with what was changed since, by the packages that a set depends on ([`graph`]).

mod explained;
mod git;
mod graph;
mod marks;
mod mutants;
mod page;
mod record;
pub(crate) mod sets;
mod stale;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::chance::parse_share;
use catenoid_e2e::progress::{self, Kept, Progress};
use lexopt::{Arg, Parser, ValueExt as _};
use serde_json::{Value, json};

use crate::{fuzz, run, test, walls};
use git::Git;
use graph::Graph;
use record::{Record, Share};
use sets::{Runs, SETS, Set};
use stale::{Stale, stale};

const HELP: &str = "\
Usage: cargo xtask whole [NAME] [--share I/N] [--resume]

Runs a set that takes longer than a run of all tests may, and records its outcome in docs/figures.
Without a name it lists the sets with their last runs.

  --share I/N    only this share, for several machines; all shares of a commit make a whole. Without it a set of
                 scenarios that can be shared runs a share on each processor at once
  --resume       go on after the last case of a run that was stopped, at the same commit or where only tests were changed
                 (of mutants: where only tests were added)
  --stale        list the sets that have to run again, and why
  --merge FILE   take in the shares that another machine recorded (its docs/figures/whole-NAME.json)
  --page         write docs/figures/README.md anew
  --json         the list for programs

Examples:
  cargo xtask whole soak
  cargo xtask whole crash-points --share 1/2
  cargo xtask whole power-cuts --resume
  cargo xtask whole crash-points --merge /media/other/docs/figures/whole-crash-points.json
  cargo xtask whole --stale --json
";

/// How long each fuzz target runs.
const FUZZ_TIME: Duration = Duration::from_secs(900);
/// What nextest ends with when tests failed; any other failure says nothing of the set.
const TESTS_FAILED: i32 = 100;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    name: Option<String>,
    share: Option<(usize, usize)>,
    merge: Option<PathBuf>,
    resume: bool,
    stale: bool,
    page: bool,
    json: bool,
    help: bool,
}

/// Does what the rest of the command line asks for.
pub(crate) fn command(artefacts: &Artefacts, parser: &mut Parser) -> Result<()> {
    let options = options(parser)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    marks::check(&walls::tree::read(artefacts.workspace())?)?;
    if options.page {
        return page::write(artefacts);
    }
    let Some(name) = &options.name else { return list(artefacts, &options) };
    let set = Set::of(name).with_context(|| {
        format!("no set `{name}` (hint: {})", SETS.iter().map(|set| set.name).collect::<Vec<_>>().join(", "))
    })?;
    let (record, all) = match &options.merge {
        Some(other) => (merged(artefacts, set, other)?, Ok(())),
        None => ran(artefacts, set, &options)?,
    };
    let path = Record::path(artefacts, set);
    record.write(&path, set)?;
    page::write(artefacts)?;
    println!("{}: {}", set.name, last(&record));
    println!("recorded in {}", path.strip_prefix(artefacts.workspace()).unwrap_or(&path).display());
    all?;
    let failed = record.last().map_or(0, |run| run.failed().len());
    ensure!(failed == 0, "{failed} cases of the set `{}` failed", set.name);
    Ok(())
}

fn options(parser: &mut Parser) -> Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(name) if options.name.is_none() => options.name = Some(name.string()?),
            Arg::Long("share") => {
                let share = parser.value()?.string()?;
                let parsed = parse_share(&share);
                options.share = Some(parsed.with_context(|| format!("no share `{share}` (hint: 1/2)"))?);
            }
            Arg::Long("merge") => options.merge = Some(parser.value()?.into()),
            Arg::Long("resume") => options.resume = true,
            Arg::Long("stale") => options.stale = true,
            Arg::Long("page") => options.page = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("help") | Arg::Short('h') => options.help = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let running = options.share.is_some() || options.resume || options.merge.is_some();
    ensure!(options.name.is_some() || !running, "which set? (hint: `cargo xtask whole` lists them)");
    let listing = options.stale || options.json;
    ensure!(options.name.is_none() || !listing, "--stale and --json list all sets (hint: leave the name out)");
    Ok(options)
}

/// Prints the sets with their last runs, or those that have to run again.
fn list(artefacts: &Artefacts, options: &Options) -> Result<()> {
    let (graph, git) = (Graph::ask(artefacts)?, Git(artefacts));
    let mut rows = Vec::new();
    for (set, record) in page::read(artefacts)? {
        let why = stale(set, &record, &graph, |commit| git.changed_since(commit))?;
        if why.is_some() || !options.stale {
            rows.push((set, record, why));
        }
    }
    if options.json {
        let rows: Vec<_> = rows.iter().map(|(set, record, why)| row(set, record, why.as_ref())).collect();
        println!("{:#}", Value::from(rows));
    } else if options.stale {
        rows.iter().for_each(|(set, _, why)| println!("{:<13} {}", set.name, stale_in_words(why.as_ref())));
        println!("{} of {} sets have to run again", rows.len(), SETS.len());
    } else {
        println!("{:<13} {:>7}  {:<12} {:<60} stale", "set", "minutes", "can", "last run");
        for (set, record, why) in &rows {
            let can = [(set.shared, "share"), (set.resumed, "resume")];
            let can: Vec<_> = can.iter().filter(|(can, _)| *can).map(|(_, word)| *word).collect();
            let (can, last, why) = (can.join(" "), last(record), stale_in_words(why.as_ref()));
            println!("{:<13} {:>7}  {can:<12} {last:<60} {why}", set.name, set.minutes);
        }
    }
    Ok(())
}

fn stale_in_words(why: Option<&Stale>) -> String {
    why.map_or_else(|| "no".to_owned(), ToString::to_string)
}

fn last(record: &Record) -> String {
    record.last().map_or_else(
        || "never".to_owned(),
        |run| format!("{} at {} on {}, shares: {}", run.outcome(), run.commit(), run.date(), run.shares_in_words()),
    )
}

fn row(set: &Set, record: &Record, why: Option<&Stale>) -> Value {
    json!({
        "set": set.name,
        "shows": set.shows,
        "minutes": set.minutes,
        "shared": set.shared,
        "resumed": set.resumed,
        "record": record.json(set)["shares"],
        "stale": why.map(|why| json!({"reason": why.name(), "message": why.to_string(), "paths": why.paths()})),
    })
}

/// The record with the shares of another machine.
fn merged(artefacts: &Artefacts, set: &Set, other: &Path) -> Result<Record> {
    ensure!(other.exists(), "there is no file `{}`", other.display());
    let mut record = Record::read(&Record::path(artefacts, set), set)?;
    record.merge(Record::read(other, set)?);
    Ok(record)
}

/// Runs a set, or a share of it; the record with what ended, and whether all of it did.
fn ran(artefacts: &Artefacts, set: &Set, options: &Options) -> Result<(Record, Result<()>)> {
    ensure!(options.share.is_none() || set.shared, "`{}` cannot be shared: what it shows needs all of it", set.name);
    ensure!(!options.resume || set.resumed, "`{}` cannot be resumed: it begins anew", set.name);
    let _alone = crate::begin(artefacts)?;
    let graph = Graph::ask(artefacts)?;
    let commit = &*Git(artefacts).head()?;
    let tree = Tree { artefacts, set, graph: &graph, commit };
    let changed = tree.is_changed()?;
    if changed {
        println!("{}: what it depends on is not as in {commit}: the outcome is recorded as of nobody's tree", set.name);
    }
    if let Runs::Scenario(_) = set.runs {
        test::prepare_vm(artefacts)?;
    }
    let mut record = Record::read(&Record::path(artefacts, set), set)?;
    let mut shares = options.share.map_or_else(|| set.at_once(processors()), |share| vec![share]);
    shares.retain(|share| !options.resume || !record.has(commit, *share));
    ensure!(!shares.is_empty(), "all of it is green at {commit} (hint: leave out --resume)");
    let run = |share| tree.ran(share, options.resume, changed);
    let ended = thread::scope(|scope| {
        let running: Vec<_> = shares.iter().map(|share| scope.spawn(|| run(*share))).collect();
        running.into_iter().map(|share| share.join().unwrap_or_else(|_| bail!("a share panicked"))).collect::<Vec<_>>()
    });
    let mut all = Ok(());
    for share in ended {
        match share {
            Ok(share) => record.add(share),
            Err(error) => all = Err(error),
        }
    }
    Ok((record, all))
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// What a set runs on.
#[derive(Clone, Copy)]
struct Tree<'a> {
    artefacts: &'a Artefacts,
    set: &'a Set,
    graph: &'a Graph,
    commit: &'a str,
}

impl Tree<'_> {
    /// Whether something that the set depends on is not as in the commit.
    fn is_changed(&self) -> Result<bool> {
        let changed = Git(self.artefacts).changed_since(self.commit)?.context("the commit of this run is gone")?;
        Ok(!self.graph.touching(self.set, &changed)?.is_empty())
    }

    /// Goes on with a run that was stopped: its seed, if what it ran on is the same.
    fn resumable(&self, path: &Path, changed: bool) -> Result<u64> {
        let text = fs::read_to_string(path).context("there is no run to go on with (hint: leave out --resume)")?;
        same_run(&text, self.commit, changed, |other| self.differing(other))
    }

    /// The files by which a run that was stopped at the commit `other` was another one.
    fn differing(&self, other: &str) -> Result<Vec<String>> {
        let git = Git(self.artefacts);
        let changed = git.changed_since(other)?;
        let changed = changed.with_context(|| format!("the commit {other} of the run that was stopped is gone"))?;
        let mut differing = self.graph.made_of(self.set, &changed)?;
        if let Runs::Mutants | Runs::MutantsOfRooms = self.set.runs {
            // What a test noticed that is gone, no other one may notice.
            differing.extend(self.graph.touching(self.set, &git.shortened_since(other)?)?);
            differing.sort();
            differing.dedup();
        }
        Ok(differing)
    }

    /// Runs a share; its outcome.
    fn ran(&self, share: (usize, usize), resume: bool, changed: bool) -> Result<Share> {
        let (artefacts, set, commit) = (self.artefacts, self.set, self.commit);
        let path = artefacts.state().join("whole").join(format!("{}-{}-of-{}.jsonl", set.name, share.0, share.1));
        let seed = if resume { self.resumable(&path, changed)? } else { fresh(&path)? };
        let begun = json!({"commit": commit, "changed": changed, "seed": seed});
        let went_well = {
            let mut progress = Progress::of(&path)?;
            progress.begin(&begun)?;
            match set.runs {
                Runs::Scenario(test) => {
                    drop(progress);
                    scenario(artefacts, test, share, seed, &path)?
                }
                Runs::Fuzz => fuzz(artefacts, share, &mut progress)?,
                Runs::Mutants | Runs::MutantsOfRooms => mutants::run(artefacts, set, share, resume, &mut progress)?,
            }
        };
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let outcome = outcome(Kept::parse(&text), went_well)?;
        let date = run::output(std::process::Command::new("date").args(["-u", "+%F"]))?.trim().to_owned();
        let changed = changed || self.is_changed()?;
        if outcome.failed.is_empty() {
            // A red one stays: the cases that it did not come to can still be done.
            fs::remove_file(&path).with_context(|| format!("failed to remove `{}`", path.display()))?;
        }
        Ok(Share { commit: commit.to_owned(), changed, date, share, note: parted(&text), ..outcome })
    }
}

/// What progress comes to. A run that was killed has no outcome.
fn outcome(kept: Kept, went_well: bool) -> Result<Share> {
    ensure!(
        went_well || kept.closed,
        "the run was stopped (hint: --resume goes on with it, if the set can be resumed)"
    );
    let mut failed: Vec<_> = kept.failed.iter().map(|(case, why)| format!("{case}: {why}")).collect();
    if !went_well && failed.is_empty() {
        failed.push("the test ended before its cases did".to_owned());
    }
    ensure!(!failed.is_empty() || !kept.ended.is_empty(), "no case ran");
    let mut figures = kept.figures;
    figures.extend(kept.kinds.into_iter().map(|(kind, count)| (kind, count.into())));
    Ok(Share {
        commit: String::new(),
        changed: false,
        date: String::new(),
        share: (1, 1),
        seconds: kept.seconds,
        cases: Some(kept.ended.len() as u64),
        failed,
        figures,
        note: None,
    })
}

/// Begins anew; what its seed is.
fn fresh(path: &Path) -> Result<u64> {
    if path.exists() {
        println!("a run that was stopped is forgotten (`--resume` would have gone on with it)");
        fs::remove_file(path).with_context(|| format!("failed to remove `{}`", path.display()))?;
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
    }
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs())
}

fn same_run(text: &str, commit: &str, changed: bool, differs: impl FnOnce(&str) -> Result<Vec<String>>) -> Result<u64> {
    let first: Value = serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or_default();
    let begun = &first["begun"];
    let seed = begun["seed"].as_u64().context("the run that was stopped left nothing to go on with")?;
    let other = begun["commit"].as_str().unwrap_or_default();
    let differs = if other == commit { Vec::new() } else { differs(other)? };
    ensure!(
        differs.is_empty(),
        "the run that was stopped was at {other}, and this is {commit}, with another {} (hint: leave out --resume)",
        differs.join(", ")
    );
    let with_changes = changed || begun["changed"] != false;
    ensure!(!with_changes, "a tree with changes may be another one by now (hint: leave out --resume)");
    Ok(seed)
}

/// At which commits the cases of a run ended, if that was more than one.
fn parted(text: &str) -> Option<String> {
    let mut parts: Vec<(String, usize)> = Vec::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        match (line["begun"]["commit"].as_str(), parts.last_mut()) {
            (Some(commit), last) if last.as_ref().is_none_or(|(before, _)| before != commit) => {
                parts.push((commit.to_owned(), 0));
            }
            (None, Some((_, cases))) if line["done"].is_string() => *cases += 1,
            _ => {}
        }
    }
    let lines: Vec<_> = parts.iter().map(|(commit, cases)| format!("{cases} cases ended at {commit}")).collect();
    (lines.len() > 1).then(|| format!("{}; in between only tests were changed", lines.join(", ")))
}

/// Runs a scenario; whether it went well.
fn scenario(artefacts: &Artefacts, test: &str, share: (usize, usize), seed: u64, path: &Path) -> Result<bool> {
    let mut cargo = run::cargo();
    // Shown while it runs: it takes long.
    cargo.args([
        "nextest",
        "run",
        "--workspace",
        "--all-features",
        "--profile",
        "whole",
        "--no-capture",
        "--filterset",
    ]);
    cargo.arg(format!("package(catenoid-e2e) and test(={test})")).current_dir(artefacts.workspace());
    cargo.env("CATENOID_WHOLE", "1").env("CATENOID_SHARE", format!("{}/{}", share.0, share.1));
    cargo.env("CATENOID_SEED", seed.to_string()).env(progress::VARIABLE, path);
    let status = cargo.status().context("failed to run nextest")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(TESTS_FAILED) => Ok(false),
        _ => bail!("nextest did not come to the test `{test}` ({status})"),
    }
}

/// Runs each fuzz target that is of this share and was not done yet; whether none had a finding.
fn fuzz(artefacts: &Artefacts, share: (usize, usize), progress: &mut Progress) -> Result<bool> {
    for (number, target) in fuzz::targets(artefacts)?.into_iter().enumerate() {
        if number % share.1 != share.0 - 1 || progress.has(&target) {
            continue;
        }
        match fuzz::fuzz(artefacts, &target, FUZZ_TIME)? {
            Ok(summary) => {
                progress.figure(&format!("{target}: executions"), summary.executions)?;
                progress.figure(&format!("{target}: edges"), summary.edges)?;
                progress.done(&target, "targets without a finding")?;
            }
            Err(finding) => progress.failed(&target, &format!("{finding:#}"))?,
        }
    }
    Ok(progress.kept().failed.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_resumed_where_only_tests_were_changed() {
        let begun =
            |changed: bool| json!({"begun": {"commit": "a", "changed": changed, "seed": 7}, "at": 1}).to_string();
        let differs = |other: &str| Ok(if other == "a" { vec!["agent/src/a.rs".to_owned()] } else { Vec::new() });
        assert_eq!(same_run(&(begun(false) + "\n{\"done\":\"x\"}\n"), "a", false, differs).unwrap(), 7);
        assert_eq!(same_run(&begun(false), "b", false, |_| Ok(Vec::new())).unwrap(), 7);
        for (text, commit, changed, why) in [
            (begun(false), "b", false, "was at a, and this is b, with another agent/src/a.rs"),
            (begun(false), "a", true, "a tree with changes"),
            (begun(true), "a", false, "a tree with changes"),
            (String::new(), "a", false, "nothing to go on with"),
        ] {
            let error = same_run(&text, commit, changed, differs).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_run_at_several_commits_says_so() {
        let begun = |commit: &str| json!({"begun": {"commit": commit}}).to_string();
        let done = json!({"done": "x", "kind": "y"}).to_string();
        let text = |lines: &[&str]| lines.join("\n");
        assert_eq!(parted(&text(&[&begun("a"), &done, &begun("a"), &done])), None);
        assert_eq!(
            parted(&text(&[&begun("a"), &done, &done, "{\"begun\":null}", &begun("b"), &done])).unwrap(),
            "2 cases ended at a, 1 cases ended at b; in between only tests were changed"
        );
    }

    #[test]
    fn a_run_that_did_nothing_has_no_outcome() {
        assert!(outcome(Kept::default(), true).is_err());
        let error = outcome(Kept::default(), false).unwrap_err().to_string();
        assert!(error.contains("was stopped"), "{error}");
        let red = outcome(Kept { closed: true, ..Kept::default() }, false).unwrap();
        assert_eq!(red.failed, ["the test ended before its cases did"]);
    }

    #[test]
    fn kinds_of_cases_become_figures() {
        let lines = r#"{"at":1,"begun":{}}
            {"at":3,"done":"cut 1","kind":"idle"}
            {"at":5,"done":"cut 2","kind":"idle"}
            {"at":6,"figure":"writes","value":9}"#;
        let share = outcome(Kept::parse(lines), true).unwrap();
        assert_eq!(Value::from(share.figures), json!({"idle": 2, "writes": 9}));
        assert_eq!((share.cases, share.seconds, share.failed.len()), (Some(2), 5, 0));
    }

    #[test]
    fn options_that_do_not_fit_together_are_refused() {
        let read = |words: &[&str]| options(&mut Parser::from_args(words.iter().copied()));
        let soak = Options { name: Some("soak".to_owned()), share: Some((1, 2)), resume: true, ..Options::default() };
        assert_eq!(read(&["soak", "--share", "1/2", "--resume"]).unwrap(), soak);
        for words in
            [&["--share", "1/2"][..], &["--resume"], &["soak", "--stale"], &["soak", "--share", "3/2"], &["--x"]]
        {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
