//! A folder of files that are named by what is in them: listing, reading, writing, hashing, moving.
//!
//! Names are single path components, looked up below the folder's descriptor, without following links. "Already so" is
//! success.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fdatasync,
        flock, fstatvfs, fsync, futimens, mkdirat, openat2, renameat, statat, unlinkat,
    },
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use crate::fault::{at, look};

/// Bytes that are read at a time.
const CHUNK: usize = 1024 * 1024;
/// The most files of a folder that are listed: what a device holds is some hundred, and a list has to end.
pub const FILES_LIMIT: usize = 4096;

/// What could not be done. The path is that of the file or folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder could not be made or opened.
    #[error("failed to open folder `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a single path component.
    #[error("`{name}` cannot name a file")]
    Name {
        /// What was given.
        name: String,
    },
    /// The folder could not be listed.
    #[error("failed to list `{}`", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written or brought to the disk.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be moved.
    #[error("failed to move `{}` to `{}`", from.display(), to.display())]
    Move {
        /// Which.
        from: PathBuf,
        /// Where.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be removed.
    #[error("failed to remove `{}`", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A regular file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written to, in seconds since 1970, or what it was [marked](Writing::mark) with since.
    pub modified: i64,
    /// The device it is on, and its inode.
    pub inode: (u64, u64),
}

/// A folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

/// A file of a [`Folder`] that is being written, which nobody else writes to meanwhile.
#[derive(Debug)]
pub struct Writing {
    path: PathBuf,
    file: File,
}

impl Folder {
    /// Opens the folder at `path`, and makes it if it is not there, for its owner alone; what it is in must be there.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source: Errno| Error::Folder { path: path.to_owned(), source: source.into() };
        match at("blobs.folder", || mkdirat(CWD, path, Mode::RWXU)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(failed(source)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Its regular files, in the order of names; files whose names are not UTF-8 are none of ours. Of more than
    /// [`FILES_LIMIT`] files it is that many, whichever: whoever removes what is listed comes to the others in the end.
    ///
    /// # Errors
    /// [`Error::List`], [`Error::Open`].
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let failed = |source: io::Error| Error::List { path: self.path.clone(), source };
        let mut entries = Vec::new();
        for entry in look("blobs.list", || Dir::read_from(&self.fd)).map_err(|e| failed(e.into()))? {
            let entry = entry.map_err(|e| failed(e.into()))?;
            if let (Ok(name), FileType::RegularFile | FileType::Unknown) =
                (entry.file_name().to_str(), entry.file_type())
            {
                entries.extend(self.entry(name)?);
            }
            if entries.len() >= FILES_LIMIT {
                break;
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The regular file `name`, if it is there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`].
    pub fn entry(&self, name: &str) -> Result<Option<Entry>, Error> {
        let name = component(name)?;
        let stat = match look("blobs.look", || statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(source) => return Err(Error::Open { path: self.path.join(name), source: source.into() }),
        };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then(|| Entry {
            name: name.to_owned(),
            size: stat.st_size.cast_unsigned(),
            modified: stat.st_mtime,
            inode: (stat.st_dev, stat.st_ino),
        }))
    }

    /// Opens the file `name` to read it.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`].
    pub fn read(&self, name: &str) -> Result<File, Error> {
        self.open_file(name, OFlags::RDONLY)
    }

    /// Opens the file `name` to write to it; one that is not there is made, for its owner alone.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Open`]: `EWOULDBLOCK` while somebody else writes to it.
    pub fn write(&self, name: &str) -> Result<Writing, Error> {
        let path = self.path.join(name);
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE)?;
        let failed = |source: io::Error| Error::Open { path: path.clone(), source };
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| failed(e.into()))?;
        // Between opening and locking, its last writer may have moved it to where nobody writes any more.
        let metadata = file.metadata().map_err(failed)?;
        if self.entry(name)?.is_none_or(|entry| entry.inode != (metadata.dev(), metadata.ino())) {
            return Err(failed(io::ErrorKind::WouldBlock.into()));
        }
        Ok(Writing { path, file })
    }

    /// Moves the file `name` to `to` in the folder `folder` of the same file system, in place of what is there; on the
    /// disk when this returns. A file that is gone and is at its new place already is success.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Move`].
    pub fn rename(&self, name: &str, folder: &Self, to: &str) -> Result<(), Error> {
        let (name, to) = (component(name)?, component(to)?);
        let failed = |source: io::Error| Error::Move { from: self.path.join(name), to: folder.path.join(to), source };
        match at("blobs.rename", || renameat(&self.fd, name, &folder.fd, to)) {
            Err(Errno::NOENT) if folder.entry(to)?.is_some() => {}
            other => other.map_err(|e| failed(e.into()))?,
        }
        at("blobs.sync_folders", || fsync(&folder.fd).and_then(|()| fsync(&self.fd))).map_err(|e| failed(e.into()))
    }

    /// Removes the file `name`; one that is not there is success.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Remove`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let name = component(name)?;
        match at("blobs.remove", || unlinkat(&self.fd, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(Error::Remove { path: self.path.join(name), source: source.into() }),
        }
    }

    /// Bytes that can still be written to its file system by somebody who is not root.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn free(&self) -> Result<u64, Error> {
        let free = look("blobs.free", || fstatvfs(&self.fd))
            .map_err(|e| Error::Folder { path: self.path.clone(), source: e.into() })?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    /// Files that can still be made on its file system by somebody who is not root. A file system that keeps no count of
    /// them has room for any number.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn free_files(&self) -> Result<u64, Error> {
        let free = look("blobs.free", || fstatvfs(&self.fd))
            .map_err(|e| Error::Folder { path: self.path.clone(), source: e.into() })?;
        Ok(if free.f_files == 0 { u64::MAX } else { free.f_favail })
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<File, Error> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        // Without NONBLOCK, a pipe in the folder would hold us up.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let name = component(name)?;
        at("blobs.open", || openat2(&self.fd, name, flags, mode, resolve))
            .map(File::from)
            .map_err(|source| Error::Open { path: self.path.join(name), source: source.into() })
    }
}

impl Writing {
    /// Bytes that it has.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn size(&self) -> Result<u64, Error> {
        self.file.metadata().map(|m| m.len()).map_err(|source| Error::Read { path: self.path.clone(), source })
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        at("blobs.write", || self.file.write_all_at(bytes, offset))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Cuts everything behind `size` bytes off.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn truncate(&self, size: u64) -> Result<(), Error> {
        at("blobs.truncate", || self.file.set_len(size))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Sets the time of its last change to `seconds` since 1970, as a mark of the caller's.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn mark(&self, seconds: u64) -> Result<(), Error> {
        let mark = Timespec { tv_sec: seconds.try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
        let marks = Timestamps { last_access: mark, last_modification: mark };
        at("blobs.mark", || futimens(&self.file, &marks))
            .map_err(|source| Error::Write { path: self.path.clone(), source: source.into() })
    }

    /// Brings all of it to the disk, with its mark.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&self) -> Result<(), Error> {
        at("blobs.sync", || fdatasync(&self.file).and_then(|()| fsync(&self.file)))
            .map_err(|source| Error::Write { path: self.path.clone(), source: source.into() })
    }

    /// SHA-256 of all of it.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn hash(&self) -> Result<[u8; 32], Error> {
        let mut hash = Sha256::new();
        look("blobs.hash", || read_through(&self.file, |bytes| hash.update(bytes)))
            .map_err(|source| Error::Read { path: self.path.clone(), source })?;
        Ok(hash.finalize().into())
    }
}

/// Reads all of the block device at `path`, so that whatever checks it checks every block.
///
/// # Errors
/// [`Error::Open`]; [`Error::Read`]: `EIO` for a block that cannot be read or is not what it should be.
pub fn read_device(path: &Path) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
    look("blobs.read_device", || read_through(&File::from(file), |_| {}))
        .map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn read_through(file: &File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut chunk, mut offset) = (vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                each(&chunk[..count]);
                offset += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn component(name: &str) -> Result<&str, Error> {
    let single = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    single.then_some(name).ok_or_else(|| Error::Name { name: name.to_owned() })
}
