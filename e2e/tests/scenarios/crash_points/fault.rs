//! The faults that there can be, and which of them a run has.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use catenoid_e2e::chance::Chance;

#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) program: String,
    /// `crash` or `fail`.
    pub(super) what: &'static str,
    /// How many points are passed by then, this one counted.
    pub(super) number: u64,
    pub(super) point: String,
    /// How often `point` was passed by then. Between two rounds this differs less than `number` does.
    pub(super) time: u64,
    pub(super) tries: u32,
}

impl Fault {
    /// What the round does with it, which faults are counted by.
    pub(super) fn kind(&self, part: &str) -> String {
        format!("{part}: {} {}", self.program, self.what)
    }

    /// The name by which another run knows it again.
    pub(super) fn case(&self, part: &str) -> String {
        format!("{} at {}, time {}", self.kind(part), self.point, self.time)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {} ({})", self.program, self.what, self.number, self.point)
    }
}

/// A point that was passed.
pub(super) struct Passed {
    pub(super) program: String,
    pub(super) number: u64,
    pub(super) changes: bool,
    pub(super) name: String,
}

/// Every change, and the first look after the last one: once as a crash; every change once more as a failure.
pub(super) fn faults(part: &str, passed: &[Passed]) -> VecDeque<Fault> {
    let mut faults = VecDeque::new();
    let mut programs: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut times: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut after_last: BTreeMap<&str, Fault> = BTreeMap::new();
    for point in passed {
        let time = times.entry((&point.program, &point.name)).or_default();
        *time += 1;
        let (all, changes) = programs.entry(&point.program).or_default();
        *all += 1;
        let fault = |what| Fault {
            program: point.program.clone(),
            what,
            number: point.number,
            point: point.name.clone(),
            time: *time,
            tries: 0,
        };
        if !point.changes {
            after_last.entry(&point.program).or_insert_with(|| fault("crash"));
            continue;
        }
        *changes += 1;
        after_last.remove(&*point.program);
        faults.push_back(fault("crash"));
        // A launcher that fails ends as one that is killed does.
        if point.program == "agent" {
            faults.push_back(fault("fail"));
        }
    }
    faults.extend(after_last.into_values());
    for (program, (all, changes)) in programs {
        println!("{part}: {program} passed {all} points, {changes} of them changes");
    }
    faults
}

pub(super) fn sample(queue: &mut VecDeque<Fault>, count: usize, chance: &mut Chance) {
    while queue.len() > count {
        let victim = chance.below(queue.len() as u64);
        queue.remove(usize::try_from(victim).unwrap_or(0));
    }
}
