//! Reads a folder of the build host into a [`Tree`]; contents stay where they are.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    path::{GuestPath, PathError},
    tree::{self, Content, Entry, Node, Tree},
};

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something in it could not be looked at.
    #[error("failed to read `{path}`")]
    Read {
        /// What.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A name or link target is not UTF-8.
    #[error("`{path}` is not named, or does not point, in UTF-8")]
    NotText {
        /// The entry as far as it can be shown.
        path: String,
    },
    /// A name that no image can have.
    #[error("`{path}` has no usable name")]
    Path {
        /// The entry.
        path: String,
        /// Why.
        source: PathError,
    },
    /// An entry is not fit for the tree.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// Reads what `folder` holds, with its owners and modes. Device nodes, pipes and sockets are left out; symbolic links
/// are never followed; hard links become copies.
///
/// # Errors
/// [`Error`] for the first entry that is unfit.
pub(crate) fn read(folder: &Path) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    let mut ahead: Vec<(PathBuf, String)> = vec![(folder.to_owned(), String::new())];
    while let Some((directory, guest_directory)) = ahead.pop() {
        let failed = |source| Error::Read { path: directory.display().to_string(), source };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let shown = || path.display().to_string();
            let not_text = || Error::NotText { path: shown() };
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_text)?;
            let guest = format!("{guest_directory}/{name}");
            let guest_path: GuestPath = guest.parse().map_err(|source| Error::Path { path: shown(), source })?;

            let metadata = fs::symlink_metadata(&path).map_err(|source| Error::Read { path: shown(), source })?;
            let kind = metadata.file_type();
            let node = if kind.is_dir() {
                ahead.push((path.clone(), guest));
                Node::Directory
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(|source| Error::Read { path: shown(), source })?;
                Node::Link { target: target.into_os_string().into_string().map_err(|_| not_text())? }
            } else if kind.is_file() {
                Node::File { content: Content::Host(path.clone()), size: metadata.len() }
            } else {
                continue;
            };
            let entry = Entry { mode: metadata.mode(), user: metadata.uid(), group: metadata.gid(), node };
            tree.add(guest_path, entry)?;
        }
    }
    Ok(tree)
}
