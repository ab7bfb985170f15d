//! The data partition: waited for, mounted, and cleared of what is not ours.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use catenoid_core::chain;
use catenoid_guests::StoreError;
use catenoid_kernel_base::{files, machine};
use catenoid_kernel_storage::{
    block::{self, Guid, PartitionContent},
    uevent::Announcements,
};

use crate::{
    paths::{DATA, DATA_LABEL},
    record::event::NewEvent,
};

/// How long the kernel may take to find the disk.
const DISK_TIME: Duration = Duration::from_secs(60);

/// Why the device has no place for its state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such partition.
    #[error("no partition of the disk that the device booted from is labelled `{label}` after {} s", DISK_TIME.as_secs())]
    NoPartition {
        /// The label.
        label: &'static str,
    },
    /// Nobody says which disk is the device's.
    #[error("the partition that the device booted from is not known")]
    BootPartition(#[source] io::Error),
    /// What says so is no GUID.
    #[error("the partition that the device booted from is `{0}`, which is no GUID")]
    BootGuid(String),
    /// It could not be waited for.
    #[error("failed to listen for block devices")]
    Listen(#[source] io::Error),
    /// It holds something that is not ours.
    #[error("partition `{DATA_LABEL}` (`{device}`) is neither empty nor our file system; it is left alone")]
    Foreign {
        /// The partition.
        device: PathBuf,
    },
    /// The device itself.
    #[error(transparent)]
    Block(#[from] block::Error),
}

/// Mounts the data partition; makes its file system if, and only if, nobody but us has ever written to it.
///
/// # Errors
/// If there is none, or it holds something else.
pub(crate) fn mount_data() -> Result<(), Error> {
    let device = wait_for_partition(DATA_LABEL)?;
    match block::content(&device)? {
        PartitionContent::Ours => {}
        PartitionContent::Empty | PartitionContent::Unfinished => block::format(&device, DATA_LABEL)?,
        PartitionContent::Foreign => return Err(Error::Foreign { device }),
    }
    Ok(block::mount_data(&device, Path::new(DATA))?)
}

/// What the device keeps on the data partition: folders, and the files that are not named by what is in them.
const OURS: [(&str, bool); 13] = [
    ("boots", true),
    ("boots/unclean", false),
    ("boots/unclean.new", false),
    ("ledger", true),
    ("ledger/a", false),
    ("ledger/a.new", false),
    ("ledger/b", false),
    ("ledger/b.new", false),
    ("audit", true),
    ("audit/audit.jsonl", false),
    ("audit/audit.1.jsonl", false),
    ("blobs", true),
    ("incoming", true),
];

/// Puts aside what has one of these names and is something else: a link, a pipe, a folder in the place of a file. Only
/// somebody with the disk in hand can have put it there. What was done, and what could not be.
pub(crate) fn make_way(data: &Path) -> Vec<NewEvent> {
    let failed = OURS.iter().filter_map(|(name, folder)| files::make_way(&data.join(name), *folder).err());
    let failed: Vec<_> = failed.map(|error| foreign(chain(&error))).collect();
    put_aside().chain(failed).collect()
}

/// What was put aside since this was asked last, as nobody could go on with it.
pub(crate) fn put_aside() -> impl Iterator<Item = NewEvent> {
    files::take_notes().into_iter().map(foreign)
}

/// What the store could not settle. It goes on: what a disk does not take now, it may hold for the guests to start.
pub(crate) fn unsettled(error: StoreError) -> NewEvent {
    NewEvent::by_device("StoreUnsettled", None, chain(&error))
}

fn foreign(message: String) -> NewEvent {
    NewEvent::by_device("ForeignFile", None, message)
}

/// Waits until the kernel announces the partition.
///
/// # Errors
/// If it does not come, or cannot be waited for.
pub(crate) fn wait_for_partition(label: &'static str) -> Result<PathBuf, Error> {
    let boot = machine::boot_partition().map_err(Error::BootPartition)?;
    let boot: Guid = boot.parse().map_err(|_| Error::BootGuid(boot))?;
    // Listening comes first: what appears between a look and the wait is then announced.
    let announcements = Announcements::listen().map_err(Error::Listen)?;
    let deadline = Instant::now() + DISK_TIME;
    loop {
        if let Some(device) = block::partition(label, &boot)? {
            return Ok(device);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::NoPartition { label });
        }
        announcements.wait(left).map_err(Error::Listen)?;
    }
}
