//! What is kept of the runs of a set, in `docs/figures/whole-NAME.json`: of the last commit at which all shares ran, and
//! of the one that is under way.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use catenoid_e2e::Artefacts;
use catenoid_e2e::chance::parse_share;
use serde_json::{Map, Value, json};

use super::sets::Set;

/// The outcome of one share of a set at one commit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// The first 12 digits of its id.
    pub(crate) commit: String,
    /// Whether something that the set depends on was changed since that commit.
    pub(crate) changed: bool,
    /// The day of its end, `2026-11-22`.
    pub(crate) date: String,
    /// Which share, and of how many.
    pub(crate) share: (usize, usize),
    pub(crate) seconds: u64,
    /// Cases that ended, if the set has such.
    pub(crate) cases: Option<u64>,
    /// Why it is red; nothing if it is green.
    pub(crate) failed: Vec<String>,
    pub(crate) figures: Map<String, Value>,
    /// What is to be known of it, in words: where a person wrote the record.
    pub(crate) note: Option<String>,
}

/// All that is kept of a set. The last that ended is the last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record(Vec<Share>);

/// The shares that belong together: of one commit, and of one division.
#[derive(Debug, PartialEq)]
pub(crate) struct Run<'a> {
    /// In the order of their numbers.
    pub(crate) shares: Vec<&'a Share>,
}

impl Share {
    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let failed = value["failed"].as_array()?.iter().map(|why| why.as_str().map(str::to_owned));
        Some(Self {
            commit: text("commit")?,
            changed: value["changed"].as_bool()?,
            date: text("date")?,
            share: parse_share(value["share"].as_str()?)?,
            seconds: value["seconds"].as_u64()?,
            cases: value["cases"].as_u64(),
            failed: failed.collect::<Option<_>>()?,
            figures: value["figures"].as_object()?.clone(),
            note: text("note"),
        })
    }

    fn json(&self) -> Value {
        json!({
            "commit": self.commit,
            "changed": self.changed,
            "date": self.date,
            "share": format!("{}/{}", self.share.0, self.share.1),
            "seconds": self.seconds,
            "cases": self.cases,
            "outcome": if self.failed.is_empty() { "green" } else { "red" },
            "failed": self.failed,
            "figures": self.figures,
            "note": self.note,
        })
    }
}

impl Record {
    /// Where the record of a set lies.
    pub(crate) fn path(artefacts: &Artefacts, set: &Set) -> PathBuf {
        folder(artefacts).join(format!("whole-{}.json", set.name))
    }

    /// Reads a file; an empty record where there is none.
    pub(crate) fn read(path: &Path, set: &Set) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
        Self::parse(&value, set).with_context(|| format!("failed to read `{}`", path.display()))
    }

    fn parse(value: &Value, set: &Set) -> Result<Self> {
        ensure!(value["set"] == set.name, "it is of the set {} and not of `{}`", value["set"], set.name);
        let shares = value["shares"].as_array().context("it holds no shares")?;
        let shares = shares.iter().map(|share| Share::parse(share).with_context(|| format!("no share: {share}")));
        shares.collect::<Result<_>>().map(Self)
    }

    pub(crate) fn write(&self, path: &Path, set: &Set) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.json(set)).context("failed to write JSON")? + "\n";
        fs::write(path, text).with_context(|| format!("failed to write `{}`", path.display()))
    }

    pub(crate) fn json(&self, set: &Set) -> Value {
        json!({"set": set.name, "shares": self.0.iter().map(Share::json).collect::<Vec<_>>()})
    }

    /// Takes in what ended now. It replaces the same share of the same commit, and what is of neither this commit nor the
    /// last one that ran as a whole is forgotten.
    pub(crate) fn add(&mut self, share: Share) {
        self.0.retain(|old| (&old.commit, old.share) != (&share.commit, share.share));
        let commit = share.commit.clone();
        self.0.push(share);
        let whole = self.whole().map(|run| run.commit().to_owned());
        self.0.retain(|old| old.commit == commit || Some(&old.commit) == whole.as_ref());
    }

    /// Takes in the shares of another machine.
    pub(crate) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|share| self.add(share));
    }

    /// Whether that share is green at that commit.
    pub(crate) fn has(&self, commit: &str, share: (usize, usize)) -> bool {
        self.0.iter().any(|ended| ended.commit == commit && ended.share == share && ended.failed.is_empty())
    }

    /// By commit and division, the last that ended last.
    fn runs(&self) -> Vec<Run<'_>> {
        let mut runs: Vec<Run<'_>> = Vec::new();
        for share in self.0.iter().rev() {
            match runs.iter_mut().find(|run| run.is_with(share)) {
                Some(run) => run.shares.push(share),
                None => runs.push(Run { shares: vec![share] }),
            }
        }
        runs.iter_mut().for_each(|run| run.shares.sort_by_key(|share| share.share));
        runs.reverse();
        runs
    }

    /// The last run, of which shares may be missing.
    pub(crate) fn last(&self) -> Option<Run<'_>> {
        self.runs().pop()
    }

    /// The last run of which all shares are there.
    pub(crate) fn whole(&self) -> Option<Run<'_>> {
        self.runs().into_iter().rfind(|run| run.missing().is_empty())
    }
}

impl Run<'_> {
    fn is_with(&self, share: &Share) -> bool {
        let one = self.shares[0];
        // Two trees with changes are two different ones.
        (&one.commit, one.share.1) == (&share.commit, share.share.1) && !one.changed && !share.changed
    }

    pub(crate) fn commit(&self) -> &str {
        &self.shares[0].commit
    }

    pub(crate) fn changed(&self) -> bool {
        self.shares[0].changed
    }

    pub(crate) fn date(&self) -> &str {
        self.shares.iter().map(|share| share.date.as_str()).max().unwrap_or_default()
    }

    /// The shares that did not run, as `2/3`.
    pub(crate) fn missing(&self) -> Vec<String> {
        let of = self.shares[0].share.1;
        let is_missing = |number: &usize| !self.shares.iter().any(|share| share.share.0 == *number);
        (1..=of).filter(is_missing).map(|number| format!("{number}/{of}")).collect()
    }

    /// The shares that ran: `all`, or `1/3, 3/3`.
    pub(crate) fn shares_in_words(&self) -> String {
        let shares: Vec<_> = self.shares.iter().map(|share| format!("{}/{}", share.share.0, share.share.1)).collect();
        if self.missing().is_empty() && shares.len() == 1 { "all".to_owned() } else { shares.join(", ") }
    }

    /// Cases of all shares together, if the set has such.
    pub(crate) fn cases(&self) -> Option<u64> {
        self.shares.iter().map(|share| share.cases).sum()
    }

    /// Minutes of processors of all shares together.
    pub(crate) fn minutes(&self) -> u64 {
        self.shares.iter().map(|share| share.seconds).sum::<u64>().div_ceil(60)
    }

    /// Everything that failed.
    pub(crate) fn failed(&self) -> Vec<&str> {
        self.shares.iter().flat_map(|share| &share.failed).map(String::as_str).collect()
    }

    /// `green` or `red`, and whether it is about a commit at all.
    pub(crate) fn outcome(&self) -> String {
        let colour = if self.failed().is_empty() { "green" } else { "red" };
        let changed = if self.changed() { ", with changes" } else { "" };
        let missing = if self.missing().is_empty() { "" } else { ", not whole" };
        format!("{colour}{missing}{changed}")
    }
}

/// Where the figures lie.
pub(crate) fn folder(artefacts: &Artefacts) -> PathBuf {
    artefacts.workspace().join("docs/figures")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::whole::sets::SETS;

    /// A green share.
    pub(crate) fn share(commit: &str, share: (usize, usize)) -> Share {
        Share {
            commit: commit.to_owned(),
            changed: false,
            date: "2026-11-22".to_owned(),
            share,
            seconds: 90,
            cases: Some(10),
            failed: Vec::new(),
            figures: Map::new(),
            note: None,
        }
    }

    pub(crate) fn record(shares: &[Share]) -> Record {
        let mut record = Record::default();
        shares.iter().cloned().for_each(|share| record.add(share));
        record
    }

    #[test]
    fn shares_of_a_commit_make_a_whole() {
        let record = record(&[share("a", (2, 2)), share("a", (1, 2))]);
        let whole = record.whole().unwrap();
        assert_eq!((whole.shares_in_words().as_str(), whole.cases(), whole.minutes()), ("1/2, 2/2", Some(20), 3));
        assert_eq!(whole.outcome(), "green");
    }

    #[test]
    fn what_is_under_way_does_not_end_what_was_whole() {
        let mut record = record(&[share("a", (1, 1)), share("b", (1, 2)), share("c", (1, 2))]);
        assert_eq!(record.whole().map(|run| run.commit().to_owned()), Some("a".to_owned()));
        assert_eq!(record.last().map(|run| run.missing()), Some(vec!["2/2".to_owned()]));
        assert_eq!(record.0.len(), 2, "of b nothing is kept: {record:?}");
        record.add(share("c", (2, 2)));
        assert_eq!(record.whole().map(|run| run.commit().to_owned()), Some("c".to_owned()));
        assert_eq!(record.0.len(), 2, "of a nothing is kept: {record:?}");
    }

    #[test]
    fn thirds_and_halves_make_no_whole() {
        let record = record(&[share("a", (1, 2)), share("a", (2, 3)), share("a", (3, 3))]);
        assert_eq!(record.whole(), None);
    }

    #[test]
    fn two_trees_with_changes_make_no_whole() {
        let changed = |share| Share { changed: true, ..share };
        let record = record(&[changed(share("a", (1, 2))), changed(share("a", (2, 2)))]);
        assert_eq!(record.whole(), None);
        assert_eq!(record.last().unwrap().outcome(), "green, not whole, with changes");
    }

    #[test]
    fn one_red_share_makes_a_red_whole() {
        let red = Share { failed: vec!["cut 3".to_owned()], ..share("a", (1, 2)) };
        let record = record(&[red, share("a", (2, 2))]);
        assert_eq!(record.whole().unwrap().outcome(), "red");
    }

    #[test]
    fn what_is_written_is_read() {
        let figures = json!({"faults": 7, "median": "3 ms"}).as_object().unwrap().clone();
        let shares = [Share { figures, note: Some("by hand".to_owned()), cases: None, ..share("a", (1, 3)) }];
        let record = record(&shares);
        assert_eq!(Record::parse(&record.json(&SETS[0]), &SETS[0]).unwrap(), record);
        assert!(Record::parse(&record.json(&SETS[0]), &SETS[1]).is_err(), "another set's record is refused");
    }
}
