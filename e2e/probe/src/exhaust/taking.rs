//! How far a row goes, and how far it came.

use std::fs;
use std::time::Instant;

use crate::sys::Refusal;

/// Left of the own memory limit, so that what was taken can be held: the kernel ends the whole container at the limit.
const RESERVE: u64 = 3 << 20;
/// Between two looks at it, in steps; a step takes 64 KiB of counted memory at most.
const LOOK: u64 = 16;

/// Why a row takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The kernel said no.
    Refused,
    /// It has as many as it was to take.
    Most,
    /// Its time is up.
    Time,
    /// The own memory limit is near.
    Memory,
}

impl Stop {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Most => "most",
            Self::Time => "time",
            Self::Memory => "memory",
        }
    }
}

/// What one process of a row has taken, and may take.
#[derive(Debug)]
pub(super) struct Taking {
    most: u64,
    deadline: Instant,
    memory: Option<u64>,
    steps: u64,
    /// Units that were taken.
    pub(super) count: u64,
    /// The last refusal.
    pub(super) error: String,
}

impl Taking {
    pub(super) fn new(most: u64, deadline: Instant) -> Self {
        let memory = memory("max").map(|max| max.saturating_sub(RESERVE));
        Self { most, deadline, memory, steps: 0, count: 0, error: String::new() }
    }

    /// Takes step by step; each says how many units it took.
    pub(super) fn each(&mut self, mut take: impl FnMut(&mut Self) -> Result<u64, Refusal>) -> Stop {
        loop {
            if let Some(stop) = self.stop() {
                return stop;
            }
            match take(self) {
                Ok(taken) => self.count += taken,
                Err(refusal) => {
                    self.error = refusal.to_string();
                    return Stop::Refused;
                }
            }
        }
    }

    /// Takes units until one is refused, as the next step goes on with another object, or `enough` are taken. Who gets none
    /// at all is refused.
    pub(super) fn fill(&mut self, enough: u64, mut take: impl FnMut() -> Result<i64, Refusal>) -> Result<u64, Refusal> {
        let enough = enough.min(self.left());
        for taken in 0..enough {
            if let Err(refusal) = take() {
                self.error = refusal.to_string();
                return if taken == 0 { Err(refusal) } else { Ok(taken) };
            }
        }
        Ok(enough)
    }

    /// How many it may still take.
    pub(super) fn left(&self) -> u64 {
        self.most.saturating_sub(self.count)
    }

    fn stop(&mut self) -> Option<Stop> {
        self.steps += 1;
        let full = || self.memory.zip(memory("current")).is_some_and(|(most, now)| now > most);
        if self.count >= self.most {
            Some(Stop::Most)
        } else if Instant::now() >= self.deadline {
            Some(Stop::Time)
        } else if self.steps.is_multiple_of(LOOK) && full() {
            Some(Stop::Memory)
        } else {
            None
        }
    }
}

/// Of the own control group; none without a limit.
fn memory(what: &str) -> Option<u64> {
    fs::read_to_string(format!("/sys/fs/cgroup/memory.{what}")).ok()?.trim().parse().ok()
}
