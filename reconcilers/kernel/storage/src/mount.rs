//! Mounting images, and reading what is mounted.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
    },
};

use catenoid_kernel_base::fault::{at, look};

/// The most bytes of a mount table that are read: some 300 for each of a thousand containers and guests, with room.
const TABLE_LIMIT: u64 = 4 * 1024 * 1024;
/// The most mounts on top of each other that are taken off one place.
const STACK_LIMIT: usize = 64;

/// What could not be done with a mount.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table could not be read.
    #[error("failed to read the mount table")]
    Table(#[source] io::Error),
    /// A line of the table is not as in proc_pid_mountinfo(5).
    #[error("the mount table has a line `{line}`, which is not its format")]
    Format {
        /// The line.
        line: String,
    },
    /// The place to mount on could not be made or opened.
    #[error("failed to make mount point `{}`", target.display())]
    Target {
        /// The mount point that could not be made or opened.
        target: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The image is no file system that the kernel can read.
    #[error("failed to mount `{}` on `{}`", source_device.display(), target.display())]
    Mount {
        /// The block device that holds the image.
        source_device: PathBuf,
        /// The mount point that it was to be mounted on.
        target: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It could not be unmounted; `EBUSY` when it is in use.
    #[error("failed to unmount `{}`", target.display())]
    Unmount {
        /// The mount point that is still mounted.
        target: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount point.
    pub target: PathBuf,
    /// Major and minor number of the device that its file system is on.
    pub device: (u32, u32),
    /// The kind of file system.
    pub kind: String,
    /// Whether it is the root of its file system that is mounted.
    pub whole: bool,
    /// Whether nothing can be written, no device opened and no program gain rights by its mode, through this mount.
    pub locked: bool,
}

/// Mounts the erofs image on block device `device` at `target`, which is made if it is not there: read-only, without
/// devices, without set-user-id. Here nothing of it is executed and no link is followed: that is for containers, which
/// have overlays of it, whose own attributes count.
///
/// # Errors
/// [`Error::Target`], [`Error::Mount`].
pub fn mount_image(device: &Path, target: &Path) -> Result<(), Error> {
    let make = |source: io::Error| Error::Target { target: target.to_owned(), source };
    at("mount.make_folder", || fs::create_dir_all(target)).map_err(make)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(target, flags, Mode::empty()).map_err(|e| make(e.into()))?;
    let mount = || -> Result<(), Errno> {
        let context = at("mount.open", || fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC))?;
        fsconfig_set_string(&context, "source", device)?;
        fsconfig_set_flag(&context, "ro")?;
        at("mount.create", || fsconfig_create(&context))?;
        let locked = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, locked)?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        at("mount.attach", || move_mount(&mount, "", &place, "", empty))
    };
    mount().map_err(|source| Error::Mount {
        source_device: device.to_owned(),
        target: target.to_owned(),
        source: source.into(),
    })
}

/// Unmounts all that is mounted at `target`, and removes the folder. What is not there is success.
///
/// # Errors
/// [`Error::Unmount`].
pub fn unmount_all(target: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Unmount { target: target.to_owned(), source };
    for _ in 0..STACK_LIMIT {
        match at("mount.unmount", || unmount(target, UnmountFlags::NOFOLLOW)) {
            Ok(()) => {}
            // EINVAL: it is no mount point (any more).
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(source) => return Err(failed(source.into())),
        }
    }
    match at("mount.remove_folder", || rustix::fs::unlinkat(CWD, target, rustix::fs::AtFlags::REMOVEDIR)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(source) => Err(failed(source.into())),
    }
}

/// The mounts directly in `folder`, an absolute path without links, in the order in which they were made: of two with the
/// same target, the later one covers the earlier.
///
/// # Errors
/// [`Error::Table`], [`Error::Format`].
pub fn mounts_in(folder: &Path) -> Result<Vec<Mount>, Error> {
    let mut mounts = parse(&look("mount.table", read_table).map_err(Error::Table)?)?;
    mounts.retain(|mount| mount.target.parent() == Some(folder));
    Ok(mounts)
}

fn read_table() -> io::Result<Vec<u8>> {
    let mut table = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(fs::File::open("/proc/thread-self/mountinfo")?, TABLE_LIMIT + 1),
        &mut table,
    )?;
    if table.len() as u64 > TABLE_LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(table)
}

/// Reads the table of proc_pid_mountinfo(5).
fn parse(table: &[u8]) -> Result<Vec<Mount>, Error> {
    let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let format = || Error::Format { line: String::from_utf8_lossy(line).chars().take(200).collect() };
            parse_line(line).ok_or_else(format)
        })
        .collect()
}

/// `36 35 98:0 /root /target options [optional fields] - kind source super-options`.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = words.iter().position(|word| word == b"-").filter(|position| *position >= 6)?;
    let text = |word: &[u8]| String::from_utf8(word.to_vec()).ok();
    let (device, options) = (text(words[2])?, text(words[5])?);
    let (major, minor) = device.split_once(':')?;
    let has = |option| options.split(',').any(|o| o == option);
    Some(Mount {
        target: unescape(words[4]),
        device: (major.parse().ok()?, minor.parse().ok()?),
        kind: text(words.get(separator + 1)?)?,
        whole: words[3] == b"/",
        locked: ["ro", "nodev", "nosuid"].into_iter().all(has),
    })
}

/// Space, tab, line feed and backslash stand as three octal digits behind a backslash.
fn unescape(word: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let value = octal.map(|digits| digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0')));
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &tail[3..];
            }
            None => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_as_the_manual_says() {
        let table = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            40 36 254:1 / /run/catenoid/guests/0123456789abcdef ro,nosuid,nodev,relatime - erofs /dev/dm-1 ro\n\
            41 36 0:5 / /a\\040b\\134c ro,nodev shared:1 master:2 - tmpfs none rw\n";
        let mount = |target: &str, device, kind: &str, whole, locked| Mount {
            target: target.into(),
            device,
            kind: kind.to_owned(),
            whole,
            locked,
        };
        assert_eq!(
            parse(table).unwrap(),
            [
                mount("/mnt2", (98, 0), "ext3", false, false),
                mount("/run/catenoid/guests/0123456789abcdef", (254, 1), "erofs", true, true),
                mount("/a b\\c", (0, 5), "tmpfs", true, false),
            ]
        );
    }

    #[test]
    fn a_line_in_another_form_is_an_error() {
        for line in
            ["x", "36 35 98:0 /mnt1 /mnt2 rw,noatime", "36 35 98 / /mnt rw - ext3 a b", "- - - -", "1 2 3:4 / /x -"]
        {
            assert!(matches!(parse(line.as_bytes()), Err(Error::Format { .. })), "{line}");
        }
    }
}
