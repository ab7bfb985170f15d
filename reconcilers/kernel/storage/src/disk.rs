//! The whole disk that a file system lies on, and the scheduler of its requests.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use catenoid_kernel_base::fault::{at, look};
use catenoid_names::Disk;
use rustix::fs::{major, minor};

/// What could not be done with a disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be looked at.
    #[error("failed to look at `{}`", path.display())]
    Look {
        /// What was looked at.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel has no scheduler of that name, or the disk takes none.
    #[error("the kernel has no scheduler `{name}` for this disk")]
    NoScheduler {
        /// The scheduler.
        name: &'static str,
    },
    /// The disk could not be given the scheduler.
    #[error("failed to give disk {disk} the scheduler `{name}`")]
    Scheduler {
        /// The disk.
        disk: Disk,
        /// The scheduler.
        name: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// The block devices of the kernel, by number.
const DEVICES: &str = "/sys/dev/block";

/// The whole disk that the file system at `path` lies on: control groups count by disks, never by partitions. None of a
/// file system in memory.
///
/// # Errors
/// [`Error::Look`].
pub fn disk_of(path: &Path) -> Result<Option<Disk>, Error> {
    let disk = look("block.disk", || fs::metadata(path)).and_then(|metadata| {
        let device = metadata.dev();
        disk_of_device(Path::new(DEVICES), major(device), minor(device))
    });
    disk.map_err(|source| Error::Look { path: path.to_owned(), source })
}

fn disk_of_device(devices: &Path, major: u32, minor: u32) -> io::Result<Option<Disk>> {
    let device = devices.join(Disk { major, minor }.to_string());
    if !device.try_exists()? {
        return Ok(None);
    }
    // The folder of a partition lies in that of its disk.
    let disk = if device.join("partition").exists() { device.join("..") } else { device };
    let number = fs::read_to_string(disk.join("dev"))?;
    let parsed = number.trim_end().split_once(':').map(|(major, minor)| (major.parse(), minor.parse()));
    let Some((Ok(major), Ok(minor))) = parsed else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Some(Disk { major, minor }))
}

/// The scheduler of `disk` at the moment; none of a disk that can have none.
///
/// # Errors
/// [`Error::Look`].
pub fn scheduler(disk: Disk) -> Result<Option<String>, Error> {
    let file = scheduler_file(disk);
    match look("block.scheduler", || fs::read_to_string(&file)) {
        Ok(text) => Ok(current(&text).map(str::to_owned)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Look { path: file, source }),
    }
}

/// Gives `disk` the scheduler `name`, if it has another one.
///
/// # Errors
/// [`Error::NoScheduler`]; [`Error::Look`]; [`Error::Scheduler`].
pub fn set_scheduler(disk: Disk, name: &'static str) -> Result<(), Error> {
    if scheduler(disk)?.as_deref() == Some(name) {
        return Ok(());
    }
    let written = at("block.set_scheduler", || fs::write(scheduler_file(disk), name));
    written.map_err(|source| match source.kind() {
        // The kernel knows no scheduler of that name, or the disk has no requests to schedule.
        io::ErrorKind::InvalidInput | io::ErrorKind::NotFound => Error::NoScheduler { name },
        _ => Error::Scheduler { disk, name, source },
    })
}

fn scheduler_file(disk: Disk) -> PathBuf {
    Path::new(DEVICES).join(disk.to_string()).join("queue/scheduler")
}

/// The one in brackets of `none mq-deadline [bfq]` (Documentation/block/switching-sched.rst).
fn current(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|name| name.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_itself_and_by_its_partition() {
        let sys = tempfile::tempdir().unwrap();
        let devices = sys.path().join("dev/block");
        fs::create_dir_all(&devices).unwrap();
        let device = |folder: &str, number: &str| {
            let folder = sys.path().join("devices").join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            std::os::unix::fs::symlink(&folder, devices.join(number)).unwrap();
            folder
        };
        device("vda", "254:0");
        fs::write(device("vda/vda2", "254:2").join("partition"), "2\n").unwrap();
        let disk = Some(Disk { major: 254, minor: 0 });
        let found = |major, minor| disk_of_device(&devices, major, minor).unwrap();
        assert_eq!(found(254, 0), disk);
        assert_eq!(found(254, 2), disk);
        assert_eq!(found(0, 25), None, "a file system in memory has a number of its own");
        for number in ["", "254", "254:x"] {
            device("vdb", "254:16");
            fs::write(devices.join("254:16/dev"), number).unwrap();
            assert!(disk_of_device(&devices, 254, 16).is_err(), "`{number}` is no number");
            fs::remove_file(devices.join("254:16")).unwrap();
        }
    }

    #[test]
    fn the_current_scheduler_stands_in_brackets() {
        let lines =
            [("none mq-deadline [bfq]\n", Some("bfq")), ("[none] bfq\n", Some("none")), ("none\n", None), ("", None)];
        for (text, name) in lines {
            assert_eq!(current(text), name, "`{text}`");
        }
        let none = Disk { major: u32::MAX, minor: 0 };
        assert_eq!(scheduler(none).unwrap(), None, "a disk that is not there");
        let error = set_scheduler(none, "bfq").unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no scheduler `bfq` for this disk");
    }
}
