//! What reports that something in a room may have changed. It only wakes the pass; the pass looks.

use std::{
    collections::BTreeSet,
    fmt, io,
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long what was read is taken for what is there, as long as nothing reports a change: not all changes are reported.
const HOLDS: Duration = Duration::from_secs(300);
/// By how many milliseconds longer at most, so that not all is read in one pass.
const SPREAD: u64 = 60_000;

/// All that reports changes in a room. What none of it reports is found by the pass's timer.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Files, and folders: what is written to them or to what lies in them, and what is made, moved or removed there.
    pub files: BTreeSet<PathBuf>,
    /// What is announced. One that was there before is the same one again.
    pub sources: Vec<Arc<dyn Source>>,
    /// What could not be listened to, for people.
    pub unheard: Vec<String>,
}

/// Until when what is read now is taken for what is there. `number` distinguishes it from what is read beside it, which has
/// another time.
#[must_use]
pub fn holds_until(number: u64) -> Instant {
    Instant::now() + HOLDS + Duration::from_millis(number.wrapping_mul(7919) % SPREAD)
}

/// A descriptor that is ready when it has something to report.
pub trait Source: AsFd + fmt::Debug + Send + Sync {
    /// Forgets what it reported.
    ///
    /// # Errors
    /// If it is broken.
    fn drain(&self) -> io::Result<()>;

    /// By what it is ready.
    fn readiness(&self) -> Readiness {
        Readiness::Input
    }

    /// Whether a container can have it report without end.
    fn is_shaken(&self) -> bool {
        false
    }
}

/// When a descriptor has something to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// There is something to read.
    Input,
    /// It has an exceptional condition (`POLLPRI`), which looking at it clears.
    Exception,
}

impl Signals {
    /// Adds what reports changes in another room.
    pub fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.sources.extend(other.sources);
        self.unheard.extend(other.unheard);
    }
}
