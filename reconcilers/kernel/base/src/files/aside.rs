//! What is in the way is put aside and noted.

use std::{os::fd::OwnedFd, path::Path, sync::Mutex, time::SystemTime};

use rustix::{
    fs::{
        AtFlags, FileType, IFlags, Mode, OFlags, RenameFlags, Stat, ioctl_getflags, ioctl_setflags, openat2,
        renameat_with, statat,
    },
    io::Errno,
};

use super::{Error, lookup::BENEATH};
use crate::{
    fault::{at, look},
    lock,
};

/// How often something is put aside until nothing has the name. A folder that somebody bent can have one name twice.
const ASIDE_TRIES: usize = 16;

/// The most notes that are kept until somebody takes them: the first ones say what happened.
const NOTES: usize = 64;

/// What was put aside and not reported yet.
static ASIDE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What was put aside by this process, or freed of flags, since this was called last: for people.
#[must_use]
pub fn take_notes() -> Vec<String> {
    std::mem::take(&mut *lock(&ASIDE))
}

pub(super) fn note(text: String) {
    let mut notes = lock(&ASIDE);
    if notes.len() < NOTES {
        notes.push(text);
    }
}

/// What this is instead of a folder, or of a regular file with one name.
pub(super) fn foreign(stat: &Stat, folder: bool) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if folder => None,
        FileType::RegularFile if folder => Some("a file"),
        // None when it was removed meanwhile.
        FileType::RegularFile => (stat.st_nlink > 1).then_some("a file with several names"),
        FileType::Directory => Some("a folder"),
        FileType::Symlink => Some("a link"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("something unknown"),
    }
}

/// Takes the flags that forbid changes from what is open.
pub(super) fn unfix(fd: &OwnedFd, path: &Path) -> Result<(), Error> {
    let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
    // A file system without such flags says so.
    if let Ok(held) = ioctl_getflags(fd)
        && held.intersects(fixed)
    {
        at("files.unfix", || ioctl_setflags(fd, held - fixed))
            .map_err(|source| Error::Write { path: path.to_owned(), source: source.into() })?;
        note(format!("`{}` could not be changed, and can be again", path.display()));
    }
    Ok(())
}

/// Gives what has the name `name` in `parent`, whatever it is, another name there, and notes `why`. Afterwards nothing has the
/// name, also if nothing had it before.
pub(super) fn put_aside(parent: &OwnedFd, path: &Path, name: &str, why: &str) -> Result<(), Error> {
    let mut aside = None;
    for _ in 0..ASIDE_TRIES {
        let failed = |to: &str, source: Errno| {
            let (from, to) = (path.to_owned(), path.with_file_name(to));
            Error::Move { from, to, source: source.into() }
        };
        let stat = match look("files.look", || statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(failed(name, source)),
        };
        if matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::RegularFile) {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            // What cannot be opened can have another name all the same.
            if let Ok(fd) = openat2(parent, name, flags, Mode::empty(), BENEATH) {
                unfix(&fd, path)?;
            }
        }
        let to = aside.take().unwrap_or_else(|| format!("{name}.foreign-{}", stat.st_ino));
        let renamed = || renameat_with(parent, name, parent, to.as_str(), RenameFlags::NOREPLACE);
        match at("files.put_aside", renamed) {
            Ok(()) => note(format!("`{}` is `{to}` now: {why}", path.display())),
            Err(Errno::EXIST) => {}
            Err(source) => return Err(failed(&to, source)),
        }
        // Nobody can have taken a name that the clock of this moment is in.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        aside = Some(format!("{name}.foreign-{}-{now}", stat.st_ino));
    }
    Err(Error::NotAFile { path: path.to_owned(), what: "put aside again and again" })
}
