//! What can go wrong with a file, and whether the file is to blame.

use std::{io, path::PathBuf};

use rustix::io::Errno;

/// What could not be done. The path is that of the file or folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder could not be made or opened.
    #[error("failed to open folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel answered.
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
        /// The folder that could not be listed.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// The file that could not be opened.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// What has the name of a file of ours is something else.
    #[error("`{}` is {what} and not a file of its own", path.display())]
    NotAFile {
        /// The path that has something else.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file that could not be read.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file could not be written or brought to the disk.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file that could not be written.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A folder, a pipe or a socket could not be made.
    #[error("failed to make `{}`", path.display())]
    Make {
        /// The folder, pipe or socket that could not be made.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file could not be moved.
    #[error("failed to move `{}` to `{}`", from.display(), to.display())]
    Move {
        /// The file that was to be moved.
        from: PathBuf,
        /// The path that it was to have.
        to: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file could not be removed.
    #[error("failed to remove `{}`", path.display())]
    Remove {
        /// The file that could not be removed.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl Error {
    /// Whether what has the name is to blame, and not that the machine lacks something or that nothing can be written at all.
    pub(super) fn is_of_the_file(&self) -> bool {
        use io::ErrorKind::{
            Interrupted, NotFound, OutOfMemory, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WouldBlock,
        };

        const LACKS: [io::ErrorKind; 7] =
            [Interrupted, NotFound, OutOfMemory, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WouldBlock];
        let (Self::Open { source, .. }
        | Self::Read { source, .. }
        | Self::Move { source, .. }
        | Self::Remove { source, .. }) = self
        else {
            return matches!(self, Self::NotAFile { .. });
        };
        let descriptors = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        !LACKS.contains(&source.kind()) && !descriptors.contains(&source.raw_os_error())
    }
}
