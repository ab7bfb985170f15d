//! How a name is looked up: below the descriptor of the folder that it is in, and no link is followed.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use super::Error;

/// How everything here is looked up.
pub(super) const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A folder, and a name in it.
pub(super) fn split(path: &Path) -> Result<(&Path, &str), Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| Error::Name { name: path.display().to_string() })
}

/// The folder that `path` is in, which no link leads to, and its name there.
pub(super) fn parent(path: &Path) -> Result<(OwnedFd, &str), Error> {
    let (parent, name) = split(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = openat2(CWD, parent, flags, Mode::empty(), resolve);
    let fd = fd.map_err(|source| Error::Folder { path: parent.to_owned(), source: source.into() })?;
    Ok((fd, name))
}

pub(super) fn folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    openat2(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}

pub(super) fn component(name: &str) -> Result<&str, Error> {
    let single = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    single.then_some(name).ok_or_else(|| Error::Name { name: name.to_owned() })
}
