//! Who may take memory of the whole device, and what speaks for it.

use std::{collections::BTreeMap, fmt};

use catenoid_schema::{
    manifest::{ContainerRole, Restart},
    name::Name,
};

/// A container and its processes.
pub(super) struct Suspect {
    /// Its name.
    pub name: Name,
    /// The core container is the last to be ended.
    pub role: ContainerRole,
    /// Whether it is started again by itself.
    pub restart: Restart,
    /// Its launches that have processes.
    pub launches: Vec<String>,
    /// All of its processes.
    pub pids: Vec<u32>,
}

/// Why somebody is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It has so many locks of files.
    Locks(u64),
    /// So many bytes wait in its sockets.
    Queued(u64),
    /// Memory shrank no more while it stood still.
    Standstill,
    /// The kernel worked most for it: the last resort.
    Work,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locks(count) => write!(f, "{count} locks of files, of those that the kernel lists first"),
            Self::Queued(bytes) => write!(f, "{} MiB that nobody fetches from its sockets", bytes >> 20),
            Self::Standstill => write!(f, "memory shrank no more while it stood still"),
            Self::Work => {
                write!(f, "there is hardly any left, nobody was seen to take it, and it had the kernel work most")
            }
        }
    }
}

/// Who may have taken what is gone: looked at by the clock, since memory became low.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// At the last look: the memory that no group counts, and how long processors worked in the kernel for each.
    last: Option<(u64, BTreeMap<Name, u64>)>,
    /// What was lost between looks, in bytes, shared out by that work.
    bytes: BTreeMap<Name, u64>,
}

impl Suspicion {
    /// Takes in a look; less than `much` may be lost by itself.
    pub(super) fn look(&mut self, left: u64, work: BTreeMap<Name, u64>, much: u64) {
        if let Some((before, worked)) = self.last.take() {
            let lost = before.saturating_sub(left);
            let done = |name: &Name, now: u64| now.saturating_sub(worked.get(name).copied().unwrap_or(now));
            let all: u64 = work.iter().map(|(name, now)| done(name, *now)).sum();
            for (name, now) in work.iter().filter(|_| lost > much && all > 0) {
                let share = u128::from(lost) * u128::from(done(name, *now)) / u128::from(all);
                *self.bytes.entry(name.clone()).or_default() += u64::try_from(share).unwrap_or_default();
            }
        }
        self.last = Some((left, work));
    }

    /// What may have been lost by `name`.
    pub(super) fn of(&self, name: &Name) -> u64 {
        self.bytes.get(name).copied().unwrap_or_default()
    }
}
