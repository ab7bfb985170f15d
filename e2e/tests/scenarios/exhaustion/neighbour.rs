//! What a neighbour waits for, beside one that takes time of everybody and beside one that computes.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::By;
use super::taker::{Exhausted, Taken};

/// How often a row is taken beside which the neighbour seems to wait too long, in turns with what is permitted.
const TURNS: usize = 5;
/// For how many seconds what is permitted is taken at least in its turn, which is else as long as that of the row.
const LEAST: usize = 2;
/// Measures what it waits for a timer and a write, each second.
pub(super) const WATCHER: &str = "
  watcher:
    guest: probe
    command: [/usr/bin/catenoid-probe, latency, \"1\", \"36000\"]
    limits: { memory: 16MiB, cpu: 1.0, pids: 8 }
";
/// Takes rows in turns.
pub(super) const TAKER_IN_TURNS: &str = "
  taker:
    guest: probe
    zones: [plant]
    command: [/usr/bin/catenoid-probe, turns, \"TURN\", \"ROUNDS\", ROWS]
    restart: never
    limits: { memory: 16MiB, cpu: 1.0, pids: 64 }
";
/// What the others are compared with: a container may compute.
pub(super) const PERMITTED: &str = "busy-loop";
/// What takes time of everybody, if of anybody, and is not refused.
pub(super) const LOADS: [&str; 3] = ["image-reads", "datagram-flood", "kernel-log"];
/// The most that a neighbour's worst hundredth may be, of the same beside [`PERMITTED`].
const WORSE: f64 = 2.0;
/// Microseconds that a processor differs by itself, where it is translated (TCG).
pub(super) const NOISE: f64 = 200.0;

/// When a row was taken, in nanoseconds.
#[derive(Debug, Deserialize)]
pub(super) struct Turn {
    name: String,
    from: u64,
    until: u64,
}

impl Turn {
    /// What the neighbour measured in it.
    pub(super) fn seconds(&self, watched: &[Second]) -> Result<Vec<Second>> {
        let most_of_it = |second: &&Second| (self.from..self.until).contains(&second.from.midpoint(second.until));
        let seconds: Vec<_> = watched.iter().filter(most_of_it).cloned().collect();
        ensure!(!seconds.is_empty(), "{}: nothing was measured in its turn", self.name);
        Ok(seconds)
    }
}

/// A second of the neighbour's.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Second {
    from: u64,
    until: u64,
    timer: Times,
    write: Times,
}

/// One of its figures.
type Figure = fn(&Second) -> u64;

/// What a neighbour waits for.
const FIGURES: [(&str, Figure); 2] = [("timer", |at| at.timer.p99), ("write", |at| at.write.p99)];

/// In microseconds.
#[derive(Debug, Clone, Deserialize)]
struct Times {
    p99: u64,
}

impl Exhausted {
    /// What the neighbour measured while `taken` was taken, second by second.
    pub(super) fn seconds(&self, taken: &Taken) -> Result<Vec<Second>> {
        let printed = self.bench.c0("catenoid logs watcher")?;
        // The first line may have lost its begin.
        let all: Vec<Second> = printed.lines().skip(1).map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(all.into_iter().filter(|at| at.from >= taken.window.start && at.until <= taken.window.end).collect())
    }

    /// The neighbour waits no longer than beside what is `permitted`, as it was measured last: if it seems to, that is measured anew,
    /// and if it still does, both are taken in turns, and the middle ones count.
    pub(super) fn neighbour_waits(
        &mut self,
        row: &str,
        by: By,
        longest: u64,
        taken: &Taken,
        permitted: &mut Vec<Second>,
    ) -> Result<()> {
        let seconds = self.seconds(taken)?;
        if seconds.is_empty() {
            println!("  it was over before the neighbour had measured for a second");
            return Ok(());
        }
        let mut beside = vec![seconds];
        if late(&beside, std::slice::from_ref(permitted), 0.0)?.is_empty() {
            return Ok(());
        }
        let mut like = Vec::new();
        for turn in 0..TURNS {
            if turn > 0 {
                let taken = self.take(row, by, longest)?;
                beside.push(self.seconds(&taken)?);
            }
            let length = beside.last().map_or(0, Vec::len).max(LEAST);
            let taken = self.take(PERMITTED, by, u64::try_from(length)? + 2)?;
            like.push(self.seconds(&taken)?.into_iter().take(length).collect::<Vec<_>>());
            if turn == 0 && !like[0].is_empty() {
                // A few seconds are enough for this row, and too few for all that come.
                if like[0].len() > permitted.len() / 2 {
                    permitted.clone_from(&like[0]);
                }
                if late(&beside, &like, NOISE)?.is_empty() {
                    return Ok(());
                }
            }
        }
        if beside.iter().filter(|seconds| !seconds.is_empty()).count() <= TURNS / 2 {
            println!("  most turns were over before the neighbour had measured for a second");
            return Ok(());
        }
        let late = late(&beside, &like, NOISE)?;
        ensure!(late.is_empty(), "the neighbour waits: {late:?}");
        Ok(())
    }
}

/// What a neighbour waits for too long, in the turns of `beside`, compared with those of `like`: the worst hundredth of the
/// middle one of all their seconds, where it is more by `noise` microseconds. Not of all that was measured: in one of these
/// seconds the guard may let everybody stand still, for the sake of all.
pub(super) fn late(beside: &[Vec<Second>], like: &[Vec<Second>], noise: f64) -> Result<Vec<String>> {
    let mut late = Vec::new();
    for (what, of) in FIGURES {
        let middle = |turns: &[Vec<Second>]| {
            median(turns.iter().flatten().map(|at| of(at) as f64).collect()).context("nothing was measured")
        };
        let (beside, like) = (middle(beside)?, middle(like)?);
        println!("  {what} {beside:.0} us, {:.2} of that beside {PERMITTED}", beside / like.max(1.0));
        if beside > WORSE * like && beside - like > noise {
            late.push(format!("{what} {beside:.0} us, and {like:.0} us beside {PERMITTED}"));
        }
    }
    Ok(late)
}

/// The middle one; of an even number the middle between the two.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let below = figures.get(figures.len().checked_sub(1)? / 2)?;
    Some(below.midpoint(figures[figures.len() / 2]))
}
