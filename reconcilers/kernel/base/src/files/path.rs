//! Files, folders, pipes and sockets by their paths, whose last part is looked up below the folder that it is in.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, chmodat, mkdirat, mkfifoat, openat2},
    io::Errno,
};

use super::{
    Durability, Error, Folder,
    lookup::{BENEATH, parent, split},
};
use crate::fault::{at, look};

/// The first `limit` bytes of the file at `path`; none if there is no such file, or not its folder.
///
/// # Errors
/// [`Error::Folder`], and those of [`Folder::read_bounded`].
pub fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let (folder, name) = split(path)?;
    Folder::find(folder)?.map_or(Ok(None), |folder| folder.read_bounded(name, limit))
}

/// [`Folder::replace`] at `path`, in a folder that is made if it is not there.
///
/// # Errors
/// [`Error::Folder`], and those of [`Folder::replace`].
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), Error> {
    let (folder, name) = split(path)?;
    Folder::open(folder)?.replace(name, bytes, durability)
}

/// Removes the file at `path`; one that is not there, with its folder or without, is success.
///
/// # Errors
/// [`Error::Folder`], and those of [`Folder::remove`].
pub fn remove(path: &Path) -> Result<(), Error> {
    let (folder, name) = split(path)?;
    Folder::find(folder)?.map_or(Ok(()), |folder| folder.remove(name))
}

/// Makes the folder at `path`, and those that it is in, for others to look into. What is there stays.
///
/// # Errors
/// [`Error::Folder`], [`Error::Name`], [`Error::Make`].
pub fn make_folders(path: &Path) -> Result<(), Error> {
    let (folder, name) = match parent(path) {
        Err(Error::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make_folders(split(path)?.0)?;
            parent(path)?
        }
        found => found?,
    };
    match at("files.make_folder", || mkdirat(&folder, name, Mode::from_raw_mode(0o755))) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(source) => Err(Error::Make { path: path.to_owned(), source: source.into() }),
    }
}

/// Makes a pipe at `path` for its owner alone, and the folder that it is in. What is there stays.
///
/// # Errors
/// Those of [`make_folders`].
pub fn make_pipe(path: &Path) -> Result<(), Error> {
    make_folders(split(path)?.0)?;
    let (folder, name) = parent(path)?;
    match at("files.make_pipe", || mkfifoat(&folder, name, Mode::RUSR | Mode::WUSR)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(source) => Err(Error::Make { path: path.to_owned(), source: source.into() }),
    }
}

/// Opens both ends of the pipe at `path`, without waiting for anybody; none if there is no such pipe, or not its folder.
///
/// # Errors
/// [`Error::Folder`], [`Error::Name`], [`Error::Open`].
pub fn open_pipe(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let (folder, name) = match parent(path) {
        Err(Error::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match look("files.open_pipe", || openat2(&folder, name, flags, Mode::empty(), BENEATH)) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(source) => Err(Error::Open { path: path.to_owned(), source: source.into() }),
    }
}

/// Makes a socket at `path`, in place of what is there, and the folder that it is in. Who sees it may connect to it.
///
/// # Errors
/// Those of [`make_folders`] and [`remove`].
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source: io::Error| Error::Make { path: path.to_owned(), source };
    make_folders(split(path)?.0)?;
    remove(path)?;
    // By its path, as no call binds below a folder; it makes the name itself, and does not follow one that is there.
    let socket = at("files.listen", || UnixListener::bind(path)).map_err(failed)?;
    let (folder, name) = parent(path)?;
    chmodat(&folder, name, Mode::from_raw_mode(0o666), AtFlags::empty()).map_err(|e| failed(e.into()))?;
    Ok(socket)
}
