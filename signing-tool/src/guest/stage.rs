//! Writes a [`Tree`] into a folder, from which the image is made. Every directory of a complete tree is a directory,
//! so nothing is ever written through a symbolic link.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use super::{
    folder::{self, Folder},
    path::GuestPath,
    progress::Progress,
    tree::{Content, Entry, Node, Tree},
};

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The root directory could not be given to root.
    #[error("failed to give the root of the image to user 0")]
    Root {
        /// What the system says.
        source: io::Error,
    },
    /// An entry could not be made.
    #[error("failed to write `{path}` of the image")]
    Write {
        /// The entry.
        path: GuestPath,
        /// What the system says.
        source: io::Error,
    },
    /// An entry could not be given to its owner.
    #[error("failed to give `{path}` of the image to user {user} and group {group}")]
    Own {
        /// The entry.
        path: GuestPath,
        /// Its user.
        user: u32,
        /// Its group.
        group: u32,
        /// What the system says.
        source: io::Error,
    },
    /// The content of a file could not be read.
    #[error("failed to read what goes to `{path}` from `{from}`")]
    Read {
        /// The entry.
        path: GuestPath,
        /// Where its content lies.
        from: String,
        /// What the system says.
        source: io::Error,
    },
    /// The content of a file is not what it was a moment ago.
    #[error("what goes to `{path}` had {expected} bytes and now has {found}")]
    Changed {
        /// The entry.
        path: GuestPath,
        /// Bytes when it was looked at.
        expected: u64,
        /// Bytes when it was copied.
        found: u64,
    },
    /// Something else has the name of a file by now.
    #[error("what goes to `{path}` is no longer the file that was there a moment ago")]
    Swapped {
        /// The entry.
        path: GuestPath,
    },
}

/// What the contents of a tree are read from, beside files of the build host: opened once, before the tree was read.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The archive.
    Archive(File),
    /// The folder.
    Folder(Folder),
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Root { source } | Self::Own { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("only root can give files away: run as root".to_owned())
            }
            Self::Changed { .. } | Self::Swapped { .. } => Some(folder::BUILD_AGAIN.to_owned()),
            _ => None,
        }
    }
}

/// Writes `tree`, whose contents are read from `opened`, into the empty folder `folder`.
///
/// # Errors
/// [`Error`]; the folder then holds a part of the tree.
pub(crate) fn write(tree: &Tree, opened: &Opened, folder: &Path) -> Result<(), Error> {
    // The tree does not speak of its root: it is root's and open to all, whatever the umask was.
    lchown(folder, Some(0), Some(0))
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
        .map_err(|source| Error::Root { source })?;
    let progress = Progress::bytes("files", tree.files().1);
    let mut written: HashMap<(&Content, u32, u32, u32), PathBuf> = HashMap::new();
    for (path, entry) in tree.entries() {
        let to = folder.join(path.relative());
        let failed = |source| Error::Write { path: path.clone(), source };
        match &entry.node {
            Node::Directory => fs::create_dir(&to).map_err(failed)?,
            Node::Link { target } => symlink(target, &to).map_err(failed)?,
            Node::File { content, size } => {
                let same = (content, entry.mode, entry.user, entry.group);
                if let Some(first) = written.get(&same) {
                    fs::hard_link(first, &to).map_err(failed)?;
                    continue;
                }
                let file = OpenOptions::new().write(true).create_new(true).open(&to).map_err(failed)?;
                copy(path, content, *size, opened, file)?;
                written.insert(same, to.clone());
                progress.advance(*size);
            }
        }
        own(path, entry, &to)?;
    }
    // Modes last and from the leaves up: nobody but root could write into a read-only directory.
    for (path, entry) in tree.entries().rev() {
        if !matches!(entry.node, Node::Link { .. }) {
            let mode = fs::Permissions::from_mode(entry.mode);
            fs::set_permissions(folder.join(path.relative()), mode)
                .map_err(|source| Error::Write { path: path.clone(), source })?;
        }
    }
    Ok(())
}

fn own(path: &GuestPath, entry: &Entry, at: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(at).map_err(|source| Error::Write { path: path.clone(), source })?;
    if (metadata.uid(), metadata.gid()) == (entry.user, entry.group) {
        return Ok(());
    }
    lchown(at, Some(entry.user), Some(entry.group)).map_err(|source| Error::Own {
        path: path.clone(),
        user: entry.user,
        group: entry.group,
        source,
    })
}

fn copy(path: &GuestPath, content: &Content, size: u64, opened: &Opened, mut to: File) -> Result<(), Error> {
    let same = |found: io::Result<Option<File>>, from: String| match found {
        Ok(Some(file)) => Ok(Box::new(file.take(size.saturating_add(1)))),
        Ok(None) => Err(Error::Swapped { path: path.clone() }),
        Err(source) => Err(Error::Read { path: path.clone(), from, source }),
    };
    let mut from: Box<dyn Read> = match (content, opened) {
        (Content::Text(text), _) => Box::new(text.as_bytes()),
        (Content::Host { path: host, identity }, _) => {
            same(folder::open_same(host, *identity), host.display().to_string())?
        }
        (Content::Folder { path: inside, identity }, Opened::Folder(folder)) => {
            same(folder.file(inside, *identity), folder.shown(inside))?
        }
        (Content::Archive { offset, .. }, Opened::Archive(archive)) => {
            Box::new(Stretch { file: archive, at: *offset, left: size })
        }
        (Content::Folder { .. } | Content::Archive { .. }, _) => {
            unreachable!("a tree comes with what it was read from")
        }
    };
    let found = io::copy(&mut from, &mut to)
        .and_then(|found| to.flush().map(|()| found))
        .map_err(|source| Error::Write { path: path.clone(), source })?;
    if found == size { Ok(()) } else { Err(Error::Changed { path: path.clone(), expected: size, found }) }
}

/// A stretch of a file.
struct Stretch<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Stretch<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        let read = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
