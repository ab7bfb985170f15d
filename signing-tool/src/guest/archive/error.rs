//! Why an archive could not be read.

use std::io;

use super::super::{
    path::{GuestPath, PathError},
    tree,
};

/// Why an archive could not be read. Who made the archive must act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It could not be opened or read.
    #[error("failed to read the archive `{archive}`")]
    Read {
        /// The archive.
        archive: String,
        /// What the system or the format says.
        source: io::Error,
    },
    /// It is compressed.
    #[error("the archive `{archive}` is compressed with {compression}")]
    Compressed {
        /// The archive.
        archive: String,
        /// The program that compresses so.
        compression: &'static str,
    },
    /// It was cut.
    #[error("the archive ends early: `{archive}` has {length} bytes, and what it holds needs {needed} at least")]
    EndsEarly {
        /// The archive.
        archive: String,
        /// Its bytes.
        length: u64,
        /// Bytes up to the end of the entry, or of the mark that ends an archive.
        needed: u64,
    },
    /// Something is behind its end.
    #[error("the archive `{archive}` ends at byte {end}, but something follows")]
    Follows {
        /// The archive.
        archive: String,
        /// Where the mark is that ends an archive.
        end: u64,
    },
    /// A header is none, or does not fit its place.
    #[error("header {index} of the archive `{archive}` {problem}")]
    Header {
        /// The archive.
        archive: String,
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry has a name that no image can have.
    #[error("entry {index} of the archive has no usable path")]
    Path {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with the path.
        source: PathError,
    },
    /// An entry's name or link target is not UTF-8.
    #[error("entry {index} of the archive, `{name}`, is not named in UTF-8")]
    NotText {
        /// Which one, from 0.
        index: usize,
        /// Its name as far as it can be shown.
        name: String,
    },
    /// A kind of entry that is not supported.
    #[error("`{path}` is of tar type `{kind}`, which an image cannot hold")]
    Kind {
        /// The entry.
        path: GuestPath,
        /// The type byte.
        kind: char,
    },
    /// A file without its holes.
    #[error("`{path}` is stored as a sparse file, whose holes are not in the archive")]
    Sparse {
        /// The entry.
        path: GuestPath,
    },
    /// What stands before an entry, or all of them, changes what it is.
    #[error("the archive says `{key}` of {of}, {problem}")]
    Key {
        /// The entry.
        of: String,
        /// What it says.
        key: String,
        /// Why that is not followed.
        problem: &'static str,
    },
    /// An entry is two things at once.
    #[error("`{path}` is {kind} in the archive, but {problem}")]
    Ambiguous {
        /// The entry.
        path: GuestPath,
        /// What it says that it is.
        kind: &'static str,
        /// What speaks against it.
        problem: &'static str,
    },
    /// An entry is something else than an earlier one at its path, which does not simply give way to it.
    #[error("`{path}` is {kind} in the archive, and {earlier} by an earlier entry")]
    Replaces {
        /// The entry.
        path: GuestPath,
        /// What it is.
        kind: &'static str,
        /// What is there.
        earlier: &'static str,
    },
    /// An entry is not fit for the tree.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Compressed { compression, .. } => Some(format!("unpack it first with `{compression} -d`")),
            Self::EndsEarly { .. } => Some("a part of it is missing: copy it or make it again".to_owned()),
            Self::Follows { .. } => Some("join archives with `tar --concatenate`".to_owned()),
            Self::Tree(error) => error.hint(),
            Self::Sparse { .. } => Some("make the archive without `--sparse`".to_owned()),
            Self::Replaces { .. } => Some("make the archive again, with one entry for each path".to_owned()),
            Self::Key { .. } => Some("make the archive with `tar --format=gnu`, which has no such keys".to_owned()),
            _ => None,
        }
    }
}
