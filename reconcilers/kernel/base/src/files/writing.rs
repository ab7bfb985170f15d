//! A file that is being written.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf};

use rustix::fs::{Timespec, Timestamps, fdatasync, fsync, futimens};

use super::{Error, hash::hash};
use crate::fault::at;

/// A file of a [`Folder`](super::Folder) that is being written, which nobody else writes to meanwhile.
#[derive(Debug)]
pub struct Writing {
    pub(super) path: PathBuf,
    pub(super) file: File,
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
        at("files.write", || self.file.write_all_at(bytes, offset))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Cuts everything behind `size` bytes off.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn truncate(&self, size: u64) -> Result<(), Error> {
        at("files.truncate", || self.file.set_len(size))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Sets the time of its last change to `seconds` since 1970, as a mark of the caller's.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn mark(&self, seconds: u64) -> Result<(), Error> {
        let mark = Timespec { tv_sec: seconds.try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
        let marks = Timestamps { last_access: mark, last_modification: mark };
        at("files.mark", || futimens(&self.file, &marks))
            .map_err(|source| Error::Write { path: self.path.clone(), source: source.into() })
    }

    /// Brings all of it to the disk, with its mark.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&self) -> Result<(), Error> {
        at("files.sync", || fdatasync(&self.file).and_then(|()| fsync(&self.file)))
            .map_err(|source| Error::Write { path: self.path.clone(), source: source.into() })
    }

    /// SHA-256 of all of it.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn hash(&self) -> Result<[u8; 32], Error> {
        hash(&self.file, &self.path)
    }
}
