//! Boots that went wrong in a row, so that a manifest that takes the device down does not do so for ever.
//!
//! A boot is unclean until it has lasted: until the device was for [`STABLE`] as it is to be, or is up for [`LONG`], or is
//! ended in order. It is counted when the agent first starts in it, and taken back then: a power cut needs no last word.
//! After [`IN_A_ROW`] of them only core containers are started, after as many more those of the factory's manifest. That
//! stays so until there is a new manifest, or somebody says that the device is to go on.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use catenoid_core::chain;
use catenoid_kernel_base::files::{self, Durability};
use serde::{Deserialize, Serialize};

/// Unclean boots in a row after which less is started.
const IN_A_ROW: u8 = 3;
/// How long the device has to be as it is to be.
const STABLE: Duration = Duration::from_secs(60);
/// A device that was up for so long is in no boot loop.
const LONG: Duration = Duration::from_secs(600);
/// The most bytes of a record.
const RECORD_BYTES: u64 = 64;
/// On the data partition: how many boots in a row were unclean, with this one. In `/run`: how many before this one.
const RECORD: &str = "boots/unclean";

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// All that the accepted manifest says.
    Everything,
    /// Its core containers.
    Core,
    /// The core containers of the factory's manifest.
    Factory,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Record {
    unclean: u8,
}

/// The boots before this one, and this one.
#[derive(Debug)]
pub(crate) struct Boots {
    /// On the data partition.
    lasting: PathBuf,
    /// Of this boot: how many before it were unclean.
    now: PathBuf,
    before: u8,
    /// Whether this one has lasted.
    lasted: bool,
    as_it_is_to_be_since: Option<Instant>,
}

impl Level {
    fn after(unclean: u8) -> Self {
        match unclean / IN_A_ROW {
            0 => Self::Everything,
            1 => Self::Core,
            _ => Self::Factory,
        }
    }

    /// The unclean boots that lead to it: what is left of the count when a boot has lasted.
    fn least(self) -> u8 {
        match self {
            Self::Everything => 0,
            Self::Core => IN_A_ROW,
            Self::Factory => 2 * IN_A_ROW,
        }
    }

    /// What is reported of it.
    pub(crate) fn reason(self) -> Option<String> {
        let (times, starts) = match self {
            Self::Everything => return None,
            Self::Core => (IN_A_ROW, "core containers"),
            Self::Factory => (2 * IN_A_ROW, "the factory's core containers"),
        };
        Some(format!(
            "the device went down {times} times in a row soon after its start, so only {starts} are started; a new manifest \
             or `catenoid resume` goes on"
        ))
    }
}

impl Boots {
    /// Reads the records in the folders `data` and `run`; counts this boot, if it is not counted yet.
    pub(crate) fn open(data: &Path, run: &Path) -> Self {
        let (lasting, now) = (data.join(RECORD), run.join(RECORD));
        let counted = read(&now);
        let before = counted.or_else(|| read(&lasting)).unwrap_or(0).min(Level::Factory.least());
        if counted.is_none() {
            write(&lasting, before + 1, Durability::OnDisk);
            write(&now, before, Durability::InMemory);
        }
        Self { lasting, now, before, lasted: false, as_it_is_to_be_since: None }
    }

    /// What is started in this boot.
    pub(crate) fn level(&self) -> Level {
        Level::after(self.before)
    }

    /// Looks whether this boot has lasted; `as_it_is_to_be` is what the pass saw, at `level`.
    pub(crate) fn look(&mut self, as_it_is_to_be: bool, up: Duration) {
        self.as_it_is_to_be_since = as_it_is_to_be.then(|| self.as_it_is_to_be_since.unwrap_or_else(Instant::now));
        let stable = self.as_it_is_to_be_since.is_some_and(|since| since.elapsed() >= STABLE);
        if !self.lasted && (stable || up >= LONG) {
            self.lasted = write(&self.lasting, self.level().least(), Durability::OnDisk);
        }
    }

    /// Everything is to be started again in this boot. What is counted stays so until this boot has lasted: whoever says so
    /// at each start does not keep the device in its loop.
    pub(crate) fn resume(&mut self) {
        self.before = 0;
        self.lasted = false;
        self.as_it_is_to_be_since = None;
        write(&self.now, 0, Durability::InMemory);
    }

    /// There will be another manifest: for the next agent and the next boot it is as if none had been unclean, but this one may
    /// become so.
    pub(crate) fn forget(&self) {
        write(&self.now, 0, Durability::InMemory);
        write(&self.lasting, 1, Durability::OnDisk);
    }

    /// There is another manifest: for this boot as well.
    pub(crate) fn begin_anew(&mut self) {
        self.resume();
        self.forget();
    }
}

/// This boot ends because somebody wants it to.
pub(crate) fn ended_in_order(data: &Path, run: &Path) {
    if let Some(before) = read(&run.join(RECORD)) {
        write(&data.join(RECORD), Level::after(before).least(), Durability::OnDisk);
    }
}

/// One that cannot be read is as good as none: whoever can write there can also make the device start nothing at all.
fn read(path: &Path) -> Option<u8> {
    let bytes = files::read_bounded(path, RECORD_BYTES).ok()??;
    serde_json::from_slice(&bytes).ok().map(|Record { unclean }| unclean)
}

/// Whether it could be written.
fn write(path: &Path, unclean: u8, durability: Durability) -> bool {
    let record = serde_json::to_vec(&Record { unclean }).expect("a number can be written");
    let written = files::replace(path, &record, durability);
    if let Err(error) = &written {
        tracing::warn!(error = chain(error), "the boots that went wrong are not counted");
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Device {
        data: tempfile::TempDir,
        run: tempfile::TempDir,
    }

    impl Device {
        fn new() -> Self {
            Self { data: tempfile::tempdir().unwrap(), run: tempfile::tempdir().unwrap() }
        }

        fn boots(&self) -> Boots {
            Boots::open(self.data.path(), self.run.path())
        }

        fn power_cut(&mut self) {
            self.run = tempfile::tempdir().unwrap();
        }

        /// The level at which each of so many boots starts, when the power is cut after each.
        fn levels(&mut self, boots: usize) -> Vec<Level> {
            let level = |_| {
                self.power_cut();
                self.boots().level()
            };
            (0..boots).map(level).collect()
        }
    }

    #[test]
    fn less_is_started_after_three_and_after_six_and_never_less_than_that() {
        let levels = Device::new().levels(9);
        assert_eq!(levels[..3], [Level::Everything; 3]);
        assert_eq!(levels[3..6], [Level::Core; 3]);
        assert_eq!(levels[6..], [Level::Factory; 3]);
    }

    #[test]
    fn an_agent_that_starts_again_is_no_boot() {
        let mut device = Device::new();
        (0..9).for_each(|_| assert_eq!(device.boots().level(), Level::Everything));
        assert_eq!(device.levels(3), [Level::Everything, Level::Everything, Level::Core]);
    }

    #[test]
    fn a_boot_that_lasted_ends_the_row_and_keeps_the_level() {
        let mut device = Device::new();
        device.levels(3);
        device.power_cut();
        let mut boots = device.boots();
        boots.look(true, Duration::ZERO);
        assert_eq!(boots.level(), Level::Core);
        boots.look(false, LONG);
        assert_eq!(device.levels(4), [Level::Core, Level::Core, Level::Core, Level::Factory]);
    }

    #[test]
    fn an_end_in_order_is_clean() {
        let mut device = Device::new();
        for _ in 0..9 {
            device.power_cut();
            assert_eq!(device.boots().level(), Level::Everything);
            ended_in_order(device.data.path(), device.run.path());
        }
    }

    #[test]
    fn whoever_says_go_on_gets_everything() {
        let mut device = Device::new();
        device.levels(6);
        device.power_cut();
        let mut boots = device.boots();
        assert_eq!(boots.level(), Level::Factory);
        boots.resume();
        assert_eq!(device.boots().level(), Level::Everything);
        assert_eq!(device.levels(1), [Level::Factory], "it did not last");
        let mut boots = device.boots();
        boots.resume();
        boots.look(false, LONG);
        assert_eq!(device.levels(4), [Level::Everything, Level::Everything, Level::Everything, Level::Core]);
        device.boots().forget();
        assert_eq!(device.boots().level(), Level::Everything, "an agent that was killed then");
        device.boots().look(false, LONG);
        assert_eq!(device.levels(1), [Level::Everything], "and the next boot");
        device.levels(4);
        device.boots().begin_anew();
        assert_eq!(device.levels(3), [Level::Everything, Level::Everything, Level::Core]);
    }

    #[test]
    fn what_is_no_record_is_none() {
        let mut device = Device::new();
        for text in ["", "{}", "{\"unclean\":-1}", "{\"unclean\":300}", "\u{0}", &"9".repeat(100)] {
            std::fs::create_dir_all(device.data.path().join("boots")).unwrap();
            std::fs::write(device.data.path().join(RECORD), text).unwrap();
            device.power_cut();
            assert_eq!(device.boots().level(), Level::Everything, "{text}");
        }
    }
}
