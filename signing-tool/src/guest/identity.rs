//! Which file or directory of the build host something is, whatever its name becomes.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
};

/// What distinguishes a file or directory from every other one that is there at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Identity {
    /// That of what was looked at.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// `file`, if it is this one.
    pub(super) fn only(self, file: File) -> io::Result<Option<File>> {
        let metadata = file.metadata()?;
        Ok((Self::of(&metadata) == self).then_some(file))
    }
}
