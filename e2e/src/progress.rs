//! How far a run of a whole set came: a file with one line for each case that ended and for each figure.
//!
//! `cargo xtask whole` names the file to the test, goes on after what is in it (`--resume`), and makes the record in
//! `docs/figures` of it. A line is a JSON object that says when it was written. A run that is killed leaves at most half
//! a line, and that one counts for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// The variable that names the file.
pub const VARIABLE: &str = "CATENOID_PROGRESS";

/// What a file of progress holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Cases that ended, well or not.
    pub ended: BTreeSet<String>,
    /// How many cases ended well, by their kind.
    pub kinds: BTreeMap<String, u64>,
    /// Cases that failed, and why.
    pub failed: Vec<(String, String)>,
    /// The last value of each figure.
    pub figures: Map<String, Value>,
    /// How long it ran, in seconds. The time between a run that was stopped and the next one does not count.
    pub seconds: u64,
    /// Whether the last run ended by itself, well or not, and was not killed.
    pub closed: bool,
}

impl Kept {
    /// Reads the lines of a file; what is not whole is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut kept = Self::default();
        let mut before = None;
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let at = line["at"].as_u64();
            kept.closed = line.get("closed").is_some();
            if line.get("begun").is_none() {
                kept.seconds += at.zip(before).map_or(0, |(at, before): (u64, u64)| at.saturating_sub(before));
            }
            before = at;
            if let Some(case) = line["done"].as_str() {
                kept.ended.insert(case.to_owned());
                *kept.kinds.entry(line["kind"].as_str().unwrap_or(case).to_owned()).or_default() += 1;
            } else if let Some(case) = line["failed"].as_str() {
                kept.ended.insert(case.to_owned());
                kept.failed.push((case.to_owned(), line["why"].as_str().unwrap_or_default().to_owned()));
            } else if let Some(name) = line["figure"].as_str() {
                kept.figures.insert(name.to_owned(), line["value"].clone());
            }
        }
        kept
    }
}

/// The progress of the run that calls it. Where no file is asked for, nothing is kept and nothing is behind it.
#[derive(Debug)]
pub struct Progress {
    file: Option<File>,
    kept: Kept,
}

impl Progress {
    /// Goes on after what is in the file that `CATENOID_PROGRESS` names.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open() -> Result<Self> {
        match env::var_os(VARIABLE) {
            Some(path) => {
                let mut progress = Self::of(Path::new(&path))?;
                // What was built until now is no part of the run.
                progress.begin(&Value::Null)?;
                Ok(progress)
            }
            None => Ok(Self { file: None, kept: Kept::default() }),
        }
    }

    /// Goes on after what is in the file at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// A file that cannot be read or made.
    pub fn of(path: &Path) -> Result<Self> {
        let context = || format!("failed to open `{}`", path.display());
        let mut file = File::options().create(true).append(true).open(path).with_context(context)?;
        let text = fs::read_to_string(path).with_context(context)?;
        if !text.is_empty() && !text.ends_with('\n') {
            // Half a line stays alone.
            file.write_all(b"\n").with_context(context)?;
        }
        Ok(Self { file: Some(file), kept: Kept::parse(&text) })
    }

    /// What there is so far, this run's lines included.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether `case` has ended, in this run or in one that was stopped.
    #[must_use]
    pub fn has(&self, case: &str) -> bool {
        self.kept.ended.contains(case)
    }

    /// `case` ended well. `kind` is what cases are counted by; each kind becomes a figure.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn done(&mut self, case: &str, kind: &str) -> Result<()> {
        self.line(json!({"done": case, "kind": kind}))
    }

    /// `case` failed. It is not tried again: a run that had it is red.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn failed(&mut self, case: &str, why: &str) -> Result<()> {
        println!("FAILED: {case}: {why}");
        self.line(json!({"failed": case, "why": why}))
    }

    /// Reports a figure, for the record of the set.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        println!("figure: {name} {value}");
        self.line(json!({"figure": name, "value": value}))
    }

    /// A run begins or goes on: `what` says of which commit, in the first of these lines. Time counts from here.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn begin(&mut self, what: &Value) -> Result<()> {
        self.line(json!({"begun": what}))
    }

    /// Fails if a case failed, in this run or in one that was stopped before.
    ///
    /// # Errors
    /// Every case that failed, with its reason.
    pub fn result(&self) -> Result<()> {
        let lines: Vec<_> = self.kept.failed.iter().map(|(case, why)| format!("{case}: {why}")).collect();
        anyhow::ensure!(lines.is_empty(), "{} cases failed:\n{}", lines.len(), lines.join("\n"));
        Ok(())
    }

    fn line(&mut self, mut line: Value) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        line["at"] = now.as_secs().into();
        let text = format!("{line}\n");
        if let Some(file) = &mut self.file {
            file.write_all(text.as_bytes()).context("failed to write the progress of a whole set")?;
        }
        let more = Kept::parse(&text);
        self.kept.ended.extend(more.ended);
        for (kind, count) in more.kinds {
            *self.kept.kinds.entry(kind).or_default() += count;
        }
        self.kept.failed.extend(more.failed);
        self.kept.figures.extend(more.figures);
        Ok(())
    }
}

impl Drop for Progress {
    /// Says that the run ended by itself. Nobody can hear it if that fails; it then counts as stopped.
    fn drop(&mut self) {
        let _ = self.line(json!({"closed": true}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_run_is_gone_on_with_and_its_failures_stay() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("progress");
        let mut first = Progress::of(&path)?;
        first.begin(&json!({"commit": "c"}))?;
        first.done("cut 0", "idle")?;
        first.failed("cut 1", "it did not come back")?;
        first.figure("writes", 7)?;
        // It is killed while it writes.
        let text = fs::read_to_string(&path)? + "{\"done\":\"cut 2\"";
        assert!(!Kept::parse(&text).closed);
        drop(first);
        fs::write(&path, text)?;
        let mut second = Progress::of(&path)?;
        assert_eq!(["cut 0", "cut 1", "cut 2"].map(|case| second.has(case)), [true, true, false]);
        second.done("cut 2", "idle")?;
        assert!(second.result().unwrap_err().to_string().contains("cut 1: it did not come back"));
        drop(second);
        let third = Kept::parse(&fs::read_to_string(&path)?);
        assert_eq!(third.kinds, BTreeMap::from([("idle".to_owned(), 2)]));
        assert_eq!(third.figures["writes"], 7);
        assert!(third.closed);
        Ok(())
    }

    #[test]
    fn the_time_between_two_runs_does_not_count() {
        let text = r#"{"at":100,"begun":{}}
            {"at":160,"done":"a","kind":"k"}
            {"at":9000,"begun":{}}
            {"at":9000,"begun":null}
            {"at":9030,"done":"b","kind":"k"}
            {"at":9031,"closed":true}"#;
        assert_eq!(Kept::parse(text).seconds, 91);
    }
}
