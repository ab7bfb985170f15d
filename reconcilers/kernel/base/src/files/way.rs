//! Making way: what is in the place of a folder or file of ours is put aside.

use std::{io, path::Path};

use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, fchmod, fchown, fsync, openat2, renameat_with, statat},
    io::Errno,
    process::geteuid,
};

use super::{
    Error, Folder,
    aside::{foreign, note, put_aside, unfix},
    lookup::{BENEATH, folder, parent},
};
use crate::fault::at;

/// What has the name of a folder of ours at `path` (or of a file) and is something else, or cannot be opened, gets another name
/// in the same folder; what may not be changed may be again, and the folder belongs to us alone. What was done is noted.
///
/// # Errors
/// [`Error::Folder`], [`Error::Name`], [`Error::Move`], [`Error::Write`].
pub fn make_way(path: &Path, is_folder: bool) -> Result<(), Error> {
    let (parent, name) = match parent(path) {
        Err(Error::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    // Nothing can be renamed in a folder that may not be changed.
    unfix(&parent, path.parent().unwrap_or(path))?;
    let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(Error::Folder { path: path.to_owned(), source: source.into() }),
    };
    if let Some(what) = foreign(&stat, is_folder) {
        return put_aside(&parent, path, name, &format!("it was {what}"));
    }
    let open = || openat2(&parent, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty(), BENEATH);
    let fd = match open().or_else(|_| open()) {
        Ok(fd) => fd,
        Err(source) => {
            let error = Error::Open { path: path.to_owned(), source: source.into() };
            let why = format!("it could not be opened: {source}");
            return if error.is_of_the_file() { put_aside(&parent, path, name, &why) } else { Err(error) };
        }
    };
    unfix(&fd, path)?;
    let (ours, open_to) = (geteuid(), Mode::from_raw_mode(stat.st_mode));
    // In a folder of somebody else's that has the sticky bit, the kernel keeps even root from files (`fs.protected_regular`).
    if is_folder && (stat.st_uid != ours.as_raw() || open_to != Mode::RWXU) {
        at("files.own", || fchown(&fd, Some(ours), None).and_then(|()| fchmod(&fd, Mode::RWXU)))
            .map_err(|source| Error::Write { path: path.to_owned(), source: source.into() })?;
        note(format!("`{}` was open to others, and is not any more", path.display()));
    }
    Ok(())
}

/// Leaves in the folder at `path`, which is made if it is not there, only regular files whose names are `ours`. If anything
/// else is in it, another folder takes its place, into which they are moved: the rest is put aside with the folder it is in,
/// however much it is. What was broken off is gone on with.
///
/// # Errors
/// [`Error::Folder`], [`Error::Name`], [`Error::List`], [`Error::Move`], [`Error::Write`].
pub fn sift(path: &Path, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
    let (parent, name) = parent(path)?;
    let (before, old) = (path.with_file_name(format!("{name}.old")), format!("{name}.old"));
    let failed = |source: Errno| Error::Move { from: path.to_owned(), to: before.clone(), source: source.into() };
    make_way(&before, true)?;
    if Folder::find(&before)?.is_none() {
        if Folder::open(path)?.holds_only(&ours)? {
            return Ok(());
        }
        let rename = || renameat_with(&parent, name, &parent, old.as_str(), RenameFlags::NOREPLACE);
        at("files.sift", rename).map_err(failed)?;
    }
    let (folder, from) = (Folder::open(path)?, folder(&parent, &old).map_err(failed)?);
    let from = Folder { path: before.clone(), fd: from };
    for name in from.names()?.filter_map(|name| name.ok().flatten()).filter(|name| ours(name)) {
        if from.entry(&name).is_ok_and(|file| file.is_some()) {
            // One that cannot be moved, or is there already, stays with the rest.
            let _ = from.unfix(&name).and_then(|()| {
                let keep = || renameat_with(&from.fd, &name, &folder.fd, &name, RenameFlags::NOREPLACE);
                at("files.keep", keep).map_err(failed)
            });
        }
    }
    at("files.sync_folders", || fsync(&folder.fd).and_then(|()| fsync(&from.fd))).map_err(failed)?;
    let why = format!("more than files of the device was in `{}`", path.display());
    put_aside(&parent, &before, &old, &why)
}
