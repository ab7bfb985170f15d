//! Writes and removes the files.

use std::path::{Path, PathBuf};

use catenoid_core::{Applied, Reconciler, RoomError, Signals};
use catenoid_kernel::files::{self, Folder};
use catenoid_schema::status::Blame;

use crate::{Desired, Observed, Planning, Step, observe};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[error("failed to keep the devices of containers")]
pub struct Error(#[from] files::Error);

impl RoomError for Error {
    fn blame(&self) -> Blame {
        Blame::Nobody
    }
}

/// The half of this room that has effects.
#[derive(Debug)]
pub struct Devices {
    path: PathBuf,
    folder: Folder,
}

impl Devices {
    /// Opens the folder `devices` in `run`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(run: &Path) -> Result<Self, Error> {
        let path = run.join("devices");
        Ok(Self { folder: Folder::open(&path)?, path })
    }
}

impl Reconciler for Devices {
    type Planner = Planning;
    type Error = Error;

    fn signals(&self, _: &Desired, _: &Observed) -> Signals {
        Signals { files: [self.path.clone()].into(), ..Signals::default() }
    }

    async fn observe(&self) -> Result<Observed, Error> {
        Ok(observe::observe(&self.folder)?)
    }

    async fn apply(&self, step: &Step) -> Result<Applied, Error> {
        match step {
            Step::Withdraw { container } => self.folder.remove(container.as_str())?,
            Step::Grant { container, devices } => {
                let lines: Vec<_> = devices.iter().map(|device| format!("{device}\n")).collect();
                self.folder.replace(container.as_str(), lines.concat().as_bytes(), false)?;
            }
        }
        Ok(Applied::Done)
    }
}
