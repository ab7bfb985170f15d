//! Block devices: finding a partition by its label, telling an empty one, making its file system, mounting it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Command,
};

use nix::mount::{MsFlags, mount};

/// Bytes at each end of a partition that are looked at: every superblock and signature that `blkid` knows lies there.
const ENDS: u64 = 1024 * 1024;

/// What could not be done with a block device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's list could not be read.
    #[error("failed to list the block devices")]
    List(#[source] io::Error),
    /// It could not be read.
    #[error("failed to read block device `{device}`")]
    Read {
        /// The device.
        device: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It could not be formatted.
    #[error("failed to make a file system on `{device}`: {output}")]
    Format {
        /// The device.
        device: PathBuf,
        /// What the tool said.
        output: String,
        /// The cause, if the tool could not be run at all.
        source: Option<io::Error>,
    },
    /// It could not be mounted.
    #[error("failed to mount `{device}` on `{target}`")]
    Mount {
        /// The device.
        device: PathBuf,
        /// Where.
        target: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The device node of the GPT partition with `label`, if the kernel has found one by now.
///
/// # Errors
/// [`Error::List`].
pub fn partition(label: &str) -> Result<Option<PathBuf>, Error> {
    let wanted = format!("PARTNAME={label}");
    for entry in fs::read_dir("/sys/class/block").map_err(Error::List)? {
        let path = entry.map_err(Error::List)?.path();
        // A device can vanish while it is looked at: then it is not the one.
        let Ok(uevent) = fs::read_to_string(path.join("uevent")) else { continue };
        if uevent.lines().any(|line| line == wanted) {
            let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="));
            return Ok(name.map(|name| Path::new("/dev").join(name)));
        }
    }
    Ok(None)
}

/// Whether both ends of `device` hold nothing but zeros: nobody has written to it yet.
///
/// # Errors
/// [`Error::Read`].
pub fn is_empty(device: &Path) -> Result<bool, Error> {
    let error = |source| Error::Read { device: device.to_owned(), source };
    let mut file = File::open(device).map_err(error)?;
    let size = file.seek(SeekFrom::End(0)).map_err(error)?;
    for start in [0, size.saturating_sub(ENDS)] {
        file.seek(SeekFrom::Start(start)).map_err(error)?;
        let mut end = Vec::new();
        (&mut file).take(ENDS).read_to_end(&mut end).map_err(error)?;
        if end.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes an ext4 on `device`. What it held is lost: only for a device that [`is_empty`].
///
/// # Errors
/// [`Error::Format`] with what `mkfs.ext4` said.
pub fn format(device: &Path, label: &str) -> Result<(), Error> {
    let output = Command::new("/sbin/mkfs.ext4").args(["-q", "-F", "-L", label, "-m", "1"]).arg(device).output();
    let error = |output: String, source| Error::Format { device: device.to_owned(), output, source };
    let output = output.map_err(|e| error("`mkfs.ext4` did not start".to_owned(), Some(e)))?;
    if output.status.success() {
        return Ok(());
    }
    Err(error(String::from_utf8_lossy(&output.stderr).trim().to_owned(), None))
}

/// Mounts the ext4 on `device` at `target`, which is made. What is mounted there already stays.
///
/// # Errors
/// [`Error::Mount`].
pub fn mount_data(device: &Path, target: &Path) -> Result<(), Error> {
    let error = |source| Error::Mount { device: device.to_owned(), target: target.to_owned(), source };
    fs::create_dir_all(target).map_err(error)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(error)?;
    let mounted = mounts.lines().any(|line| line.split(' ').nth(4).map(Path::new) == Some(target));
    if mounted {
        return Ok(());
    }
    mount(Some(device), target, Some("ext4"), flags, Some("errors=remount-ro")).map_err(|errno| error(errno.into()))
}
