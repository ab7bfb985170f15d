//! Reads a folder of the build host into a [`Tree`]; contents stay where they are. Guests are built by root from folders of
//! others: whatever is put in the place of something meanwhile, nothing outside of the folder is read.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat},
    io::Errno,
};

use super::{
    identity::Identity,
    path::{GuestPath, PathError},
    tree::{self, Content, Entry, Node, Tree},
};
use crate::files;

/// What to do when a source is not what it was.
pub(super) const BUILD_AGAIN: &str = "something writes to the source: build again when it is still";

/// Through no link.
const NO_LINKS: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);
/// Never out of the folder, and through no link.
const BENEATH: ResolveFlags = NO_LINKS.union(ResolveFlags::BENEATH);
/// Only to look at what is there.
pub(super) const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// To read what is in a directory.
pub(super) const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Without waiting for anybody: a pipe may have the name of a file by now.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something in it could not be looked at.
    #[error("failed to read `{path}`")]
    Read {
        /// The entry, or the folder itself.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something else has the name of a directory by now.
    #[error("`{path}` is no longer the directory that was there a moment ago")]
    Swapped {
        /// The directory.
        path: String,
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
        /// What is wrong with the name.
        source: PathError,
    },
    /// An entry is not fit for the tree.
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

impl Error {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Swapped { .. } => Some(BUILD_AGAIN.to_owned()),
            Self::Tree(error) => error.hint(),
            _ => None,
        }
    }
}

/// Opens the file at `path`; none if it is not the one that was looked at.
pub(crate) fn open_same(path: &Path, identity: Identity) -> io::Result<Option<File>> {
    identity.only(files::open_at_once(path)?)
}

/// A folder of the build host. It is opened once: a name that is given to another folder later changes nothing.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fd = rustix::fs::open(path, LIST, Mode::empty())
            .map_err(|source| Error::Read { path: path.display().to_string(), source: source.into() })?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Opens the folder that the file at `path` is in.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn around(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let opened = Self::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
        Ok(Self { path: folder.to_owned(), ..opened })
    }

    /// The folder at `path`, which was opened with [`LIST`].
    pub(super) fn of(path: PathBuf, opened: File) -> Self {
        Self { path, fd: opened.into() }
    }

    /// Opens what a recipe in this folder names: in it, and through no link.
    ///
    /// # Errors
    /// [`Errno::LOOP`] if a link has that name, or is on the way; [`Errno::XDEV`] for what is not in the folder.
    pub(super) fn named(&self, name: &Path, flags: OFlags) -> Result<File, Errno> {
        Ok(openat2(&self.fd, name, flags, Mode::empty(), BENEATH)?.into())
    }

    /// Where something is that is named from here.
    pub(super) fn place_of(&self, name: &Path) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file in it; none if it is not the one that was looked at.
    pub(crate) fn file(&self, inside: &str, identity: Identity) -> io::Result<Option<File>> {
        self.same(inside, READ, identity)
    }

    /// Where something in it is, for people.
    pub(crate) fn shown(&self, inside: &str) -> String {
        self.path.join(inside).display().to_string()
    }

    /// Opens a directory in it, which must be the one that was looked at.
    fn directory(&self, inside: &str, identity: Identity) -> Result<File, Error> {
        match self.same(inside, READ | OFlags::DIRECTORY, identity) {
            Ok(Some(directory)) => Ok(directory),
            Ok(None) => Err(Error::Swapped { path: self.shown(inside) }),
            Err(source) => Err(Error::Read { path: self.shown(inside), source }),
        }
    }

    fn same(&self, inside: &str, flags: OFlags, identity: Identity) -> io::Result<Option<File>> {
        match openat2(&self.fd, inside, flags, Mode::empty(), BENEATH) {
            Ok(fd) => identity.only(fd.into()),
            // A link on the way, or something else than a directory.
            Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NOENT) => Ok(None),
            Err(source) => Err(source.into()),
        }
    }
}

/// Reads what `folder` holds, with its owners and modes. Device nodes, pipes and sockets are left out; symbolic links
/// are never followed; hard links become copies.
///
/// # Errors
/// [`Error`] for the first entry that is unfit.
pub(crate) fn read(folder: &Folder) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    let root = folder.fd.try_clone().and_then(|fd| File::from(fd).metadata());
    let root = root.map_err(|source| Error::Read { path: folder.shown(""), source })?;
    let mut ahead = vec![(".".to_owned(), Identity::of(&root))];
    while let Some((inside, identity)) = ahead.pop() {
        let failed = |source: Errno| Error::Read { path: folder.shown(&inside), source: source.into() };
        let directory = folder.directory(&inside, identity)?;
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if [c".", c".."].contains(&name) {
                continue;
            }
            let lossy = || folder.shown(&format!("{inside}/{}", name.to_string_lossy()));
            let text = name.to_str().map_err(|_| Error::NotText { path: lossy() })?;
            let inside = if inside == "." { text.to_owned() } else { format!("{inside}/{text}") };
            let shown = || folder.shown(&inside);
            let guest_path: GuestPath =
                format!("/{inside}").parse().map_err(|source| Error::Path { path: shown(), source })?;

            let failed = |source: Errno| Error::Read { path: shown(), source: source.into() };
            let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let identity = Identity { device: stat.st_dev, inode: stat.st_ino };
            let node = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    ahead.push((inside, identity));
                    Node::Directory
                }
                FileType::Symlink => {
                    let target = readlinkat(&directory, name, Vec::new()).map_err(failed)?;
                    Node::Link { target: target.into_string().map_err(|_| Error::NotText { path: shown() })? }
                }
                FileType::RegularFile => Node::File {
                    content: Content::Folder { path: inside, identity },
                    size: stat.st_size.cast_unsigned(),
                },
                _ => continue,
            };
            tree.add(guest_path, Entry { mode: stat.st_mode, user: stat.st_uid, group: stat.st_gid, node })?;
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::{
        super::stage::{self, Opened},
        *,
    };

    /// A folder with `bin/program` and `data`, and beside it what nobody may get from there.
    fn sources() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(place.path().join("secret")).unwrap();
        fs::write(root.join("bin/program"), "inner").unwrap();
        fs::write(root.join("data"), "inner").unwrap();
        fs::write(place.path().join("secret/program"), "outer").unwrap();
        (place, root)
    }

    /// What somebody does meanwhile at a path.
    type Change = fn(&Path);
    /// What is put in the place of what, between the look at the folder and the copy; what comes of it.
    type Swap = (&'static str, Change, Result<(), &'static str>);

    const SWAPS: &[Swap] = &[
        ("nothing", |_| (), Ok(())),
        (
            "a file by a link",
            |root| replace(&root.join("data"), |at| symlink("../secret/program", at).unwrap()),
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a file by a link to another one in the folder",
            |root| replace(&root.join("data"), |at| symlink("bin/program", at).unwrap()),
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a file by another one",
            |root| replace(&root.join("data"), |at| fs::write(at, "other").unwrap()),
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a file by a second name of one outside",
            |root| replace(&root.join("data"), |at| fs::hard_link(root.join("../secret/program"), at).unwrap()),
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a file by a pipe that nobody writes to",
            |root| {
                replace(&root.join("data"), |at| assert!(Command::new("mkfifo").arg(at).status().unwrap().success()))
            },
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a file by a directory",
            |root| replace(&root.join("data"), |at| fs::create_dir(at).unwrap()),
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a file by nothing",
            |root| replace(&root.join("data"), |_| ()),
            Err("what goes to `/data` is no longer the file that was there a moment ago"),
        ),
        (
            "a directory by a link",
            |root| replace(&root.join("bin"), |at| symlink("../secret", at).unwrap()),
            Err("what goes to `/bin/program` is no longer the file that was there a moment ago"),
        ),
        (
            "what a file holds",
            |root| fs::write(root.join("data"), "and more").unwrap(),
            Err("what goes to `/data` had 5 bytes and now has 6"),
        ),
        ("the folder itself", |root| replace(root, |at| symlink("secret", at).unwrap()), Ok(())),
    ];

    fn replace(at: &Path, make: impl FnOnce(&Path)) {
        fs::rename(at, at.with_extension("old")).unwrap();
        make(at);
    }

    #[test]
    fn tool_what_is_swapped_under_a_build_is_refused() {
        for (what, swap, expected) in SWAPS {
            let (place, root) = sources();
            let folder = Folder::open(&root).unwrap();
            let tree = read(&folder).unwrap();
            swap(&root);
            let staged = place.path().join("staged");
            fs::create_dir(&staged).unwrap();
            let written = stage::write(&tree, &Opened::Folder(folder), &staged).map_err(|error| error.to_string());
            assert_eq!(written, expected.map_err(str::to_owned), "{what}");
            for file in ["bin/program", "data"] {
                let found = fs::read_to_string(staged.join(file)).unwrap_or_default();
                assert!(!found.contains("outer") && !found.contains("other"), "{what}: `{found}` is in {file}");
                assert!(written.is_err() || found == "inner", "{what}: `{found}` is in {file}");
            }
        }
    }

    #[test]
    fn a_directory_is_listed_only_if_it_is_the_one_that_was_looked_at() {
        let table: [(&str, Change, bool); 4] = [
            ("itself", |_| (), true),
            ("a link", |at| replace(at, |at| symlink("../secret", at).unwrap()), false),
            ("another directory", |at| replace(at, |at| fs::create_dir(at).unwrap()), false),
            ("a file", |at| replace(at, |at| fs::write(at, "").unwrap()), false),
        ];
        for (what, swap, same) in table {
            let (_place, root) = sources();
            let folder = Folder::open(&root).unwrap();
            let identity = Identity::of(&fs::metadata(root.join("bin")).unwrap());
            swap(&root.join("bin"));
            let found = folder.directory("bin", identity);
            assert_eq!(found.is_ok(), same, "{what}: {found:?}");
            assert!(same || matches!(found, Err(Error::Swapped { .. })), "{what}: {found:?}");
        }
    }

    #[test]
    fn a_file_of_the_recipe_is_the_one_that_was_looked_at() {
        let (_place, root) = sources();
        let file = root.join("data");
        let identity = Identity::of(&fs::metadata(&file).unwrap());
        assert!(open_same(&file, identity).unwrap().is_some());
        replace(&file, |at| symlink("../secret/program", at).unwrap());
        assert!(open_same(&file, identity).unwrap().is_none());
    }
}
