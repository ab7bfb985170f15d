//! The door to files that somebody else may have had in hand: all that lies on the data partition, and records in `/run`.
//!
//! A name is a single path component, looked up below the folder's descriptor: no link is followed, no mount is crossed, and
//! only a regular file with that one name is opened, without waiting for anybody (a fifo). Whatever else is in the way is
//! put aside, by [`make_way`] or by who cannot go on without, and noted: [`take_notes`]. "Already so" is success. Pipes and
//! sockets in `/run` are reached by the same lookup.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileExt, MetadataExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec,
        Timestamps, chmodat, fchmod, fchown, fdatasync, flock, fstat, fstatvfs, fsync, futimens, ioctl_getflags,
        ioctl_setflags, mkdirat, mkfifoat, openat2, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use sha2::{Digest as _, Sha256};

use crate::{
    fault::{at, look},
    lock,
};

/// Bytes that are read at a time.
const CHUNK: usize = 1024 * 1024;
/// The most files of a folder that are listed: what a device holds is some hundred, and whoever removes what is listed, and
/// reports each, has to come to an end.
pub const FILES_LIMIT: usize = 1024;
/// The most names of a folder that are read for that, which takes a second or two: what is none of ours may be many.
pub const NAMES_LIMIT: usize = 1 << 20;
/// How often something is put aside until nothing has the name. A folder that somebody bent can have one name twice.
const ASIDE_TRIES: usize = 16;
/// Names under which a file may be written before it takes its own: more than one only if somebody bent the disk.
const NEW_NAMES: usize = 16;
/// The most notes that are kept until somebody takes them: the first ones say what happened.
const NOTES: usize = 64;

/// What was put aside and not reported yet.
static ASIDE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What was put aside by this process, or freed of flags, since this was called last: for people.
#[must_use]
pub fn take_notes() -> Vec<String> {
    std::mem::take(&mut *lock(&ASIDE))
}

fn note(text: String) {
    let mut notes = lock(&ASIDE);
    if notes.len() < NOTES {
        notes.push(text);
    }
}

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
    /// What has the name of a file of ours is something else.
    #[error("`{}` is {what} and not a file of its own", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
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
    /// A folder, a pipe or a socket could not be made.
    #[error("failed to make `{}`", path.display())]
    Make {
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

impl Error {
    /// Whether what has the name is to blame, and not that the machine lacks something or that nothing can be written at all.
    fn is_of_the_file(&self) -> bool {
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

/// The files of a folder.
#[derive(Debug)]
pub struct Listing {
    /// In the order of names.
    pub files: Vec<Entry>,
    /// Why some of them may be missing: the first that could not be looked at, or the end of a listing that broke off.
    pub missed: Option<Error>,
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
    /// [`Error::Folder`], [`Error::Name`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source: Errno| Error::Folder { path: path.to_owned(), source: source.into() };
        let (parent, name) = parent(path)?;
        match at("files.folder", || mkdirat(&parent, name, Mode::RWXU)) {
            Ok(()) => at("files.sync_parent", || fsync(&parent)).map_err(failed)?,
            Err(Errno::EXIST) => {}
            Err(source) => return Err(failed(source)),
        }
        Ok(Self { path: path.to_owned(), fd: folder(&parent, name).map_err(failed)? })
    }

    /// Opens the folder at `path`, if it is there.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Name`].
    pub fn find(path: &Path) -> Result<Option<Self>, Error> {
        match parent(path) {
            Err(Error::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok((parent, name)) => match folder(&parent, name) {
                Ok(fd) => Ok(Some(Self { path: path.to_owned(), fd })),
                Err(Errno::NOENT) => Ok(None),
                Err(source) => Err(Error::Folder { path: path.to_owned(), source: source.into() }),
            },
        }
    }

    /// Its regular files whose names are `ours`. Of more than [`FILES_LIMIT`] of them, or among more than [`NAMES_LIMIT`]
    /// names, it is that many, whichever: whoever removes what is listed comes to the others in the end. What cannot be
    /// looked at hides nothing else.
    ///
    /// # Errors
    /// [`Error::List`]: nothing can be listed.
    pub fn list(&self, ours: impl Fn(&str) -> bool) -> Result<Listing, Error> {
        let (mut files, mut missed) = (Vec::new(), None);
        for name in self.names()? {
            let found = match name {
                Ok(Some(name)) if ours(&name) => self.entry(&name),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => files.extend(found),
                Err(error) => drop(missed.get_or_insert(error)),
            }
            if files.len() >= FILES_LIMIT {
                break;
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Listing { files, missed })
    }

    /// The names in it, none for one that is not UTF-8, up to where they cannot be read. The types that stand beside them are
    /// not asked: not every file system has them.
    fn names(&self) -> Result<impl Iterator<Item = Result<Option<String>, Error>>, Error> {
        let failed = |source: Errno| Error::List { path: self.path.clone(), source: source.into() };
        let all = look("files.list", || Dir::read_from(&self.fd)).map_err(failed)?;
        let mut broken = false;
        let until_broken =
            all.take(NAMES_LIMIT).take_while(move |entry| !std::mem::replace(&mut broken, entry.is_err()));
        let names = until_broken.map(move |entry| match entry {
            Ok(entry) => Ok(entry.file_name().to_str().ok().map(ToOwned::to_owned)),
            Err(source) => Err(failed(source)),
        });
        Ok(names.filter(|name| !matches!(name.as_ref().ok().and_then(Option::as_deref), Some("." | ".."))))
    }

    /// Whether nothing is in it but regular files whose names are `ours`.
    fn holds_only(&self, ours: impl Fn(&str) -> bool) -> Result<bool, Error> {
        let mut names = self.names()?;
        // Twice, as what a disk refuses once may be whole.
        let is_file = |name: &str| self.entry(name).or_else(|_| self.entry(name)).is_ok_and(|file| file.is_some());
        let is_ours = |name: &str| ours(name) && is_file(name);
        Ok(names.all(|name| name.is_ok_and(|name| name.is_some_and(|name| is_ours(&name)))))
    }

    /// The regular file `name`, if it is there and has no other name.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`].
    pub fn entry(&self, name: &str) -> Result<Option<Entry>, Error> {
        let name = component(name)?;
        let stat = match look("files.look", || statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(source) => return Err(Error::Open { path: self.path.join(name), source: source.into() }),
        };
        Ok(foreign(&stat, false).is_none().then(|| Entry {
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

    /// As [`Folder::read`]; none if there is no such file.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`], [`Error::NotAFile`].
    pub fn find_file(&self, name: &str) -> Result<Option<File>, Error> {
        match self.read(name) {
            Ok(file) => Ok(Some(file)),
            Err(Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first `limit` bytes of the file `name`; none if there is no such file.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`], [`Error::NotAFile`], [`Error::Read`].
    pub fn read_bounded(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.find_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        match look("files.read", || file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(source) => Err(Error::Read { path: self.path.join(name), source }),
        }
    }

    /// SHA-256 of all of the file `name`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`], [`Error::NotAFile`], [`Error::Read`].
    pub fn hash(&self, name: &str) -> Result<[u8; 32], Error> {
        hash(&self.read(name)?, &self.path.join(name))
    }

    /// Opens the file `name` to write at its end; one that is not there is made, for its owner alone.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Open`], [`Error::NotAFile`].
    pub fn append(&self, name: &str) -> Result<File, Error> {
        self.open_file(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Puts `bytes` in the place of what has the name, whole or not at all. On the disk when this returns, if it is to be
    /// `durable`. What did not fit on a full disk is taken away again.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Remove`], [`Error::Open`], [`Error::Write`], [`Error::Move`].
    pub fn replace(&self, name: &str, bytes: &[u8], durable: bool) -> Result<(), Error> {
        let part = self.new_name(name)?;
        let written = self.write_new(&part, bytes, durable).and_then(|()| {
            let failed = |source: Errno| {
                let (from, to) = (self.path.join(&part), self.path.join(name));
                Error::Move { from, to, source: source.into() }
            };
            at("files.put", || renameat(&self.fd, part.as_str(), &self.fd, name)).map_err(failed)?;
            if durable { at("files.sync_folder", || fsync(&self.fd)).map_err(failed) } else { Ok(()) }
        });
        written.inspect_err(|_| {
            // If it stays, the next one takes it away.
            let _ = self.remove(&part);
        })
    }

    /// A name that nothing has, to write the next `name` under. A pipe with the flag that forbids changes, for one, keeps
    /// its name: nobody can take that flag from it.
    fn new_name(&self, name: &str) -> Result<String, Error> {
        let first = format!("{}.new", component(name)?);
        let others = (1..NEW_NAMES).map(|number| format!("{name}.new-{number}"));
        match self.remove(&first) {
            Ok(()) => Ok(first),
            Err(error) => others.into_iter().find(|name| self.remove(name).is_ok()).ok_or(error),
        }
    }

    fn write_new(&self, name: &str, bytes: &[u8], durable: bool) -> Result<(), Error> {
        let mut file = self.open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let written = at("files.fill", || file.write_all(bytes));
        let synced = written.and_then(|()| if durable { at("files.sync_file", || file.sync_all()) } else { Ok(()) });
        synced.map_err(|source| Error::Write { path: self.path.join(name), source })
    }

    /// Opens the file `name` to write to it; one that is not there is made, for its owner alone. What cannot be opened is put
    /// aside.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::NotAFile`]; [`Error::Open`]: `EWOULDBLOCK` while somebody else writes to it.
    pub fn write(&self, name: &str) -> Result<Writing, Error> {
        self.insist(name, || self.lock(name))
    }

    fn lock(&self, name: &str) -> Result<Writing, Error> {
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

    /// Moves the file `name` to `to` in the folder `folder` of the same file system, in place of a file that is there; what
    /// else is there is put aside. On the disk when this returns. A file that is gone and is at its new place already is
    /// success.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Move`].
    pub fn rename(&self, name: &str, folder: &Self, to: &str) -> Result<(), Error> {
        let (name, to) = (component(name)?, component(to)?);
        let failed = |source: io::Error| Error::Move { from: self.path.join(name), to: folder.path.join(to), source };
        folder.insist(to, || {
            // Over a second name of the same file, the call does nothing and says that it did.
            let there = look("files.look", || statat(&folder.fd, to, AtFlags::SYMLINK_NOFOLLOW)).ok();
            if let Some(what) = there.and_then(|stat| foreign(&stat, false)) {
                return Err(Error::NotAFile { path: folder.path.join(to), what });
            }
            match at("files.rename", || renameat(&self.fd, name, &folder.fd, to)) {
                Err(Errno::NOENT) if folder.entry(to)?.is_some() => Ok(()),
                other => other.map_err(|e| failed(e.into())),
            }
        })?;
        at("files.sync_folders", || fsync(&folder.fd).and_then(|()| fsync(&self.fd))).map_err(|e| failed(e.into()))
    }

    /// Removes the file `name`; one that is not there is success. What cannot be removed, as a folder, is put aside.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Remove`], [`Error::Move`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let name = component(name)?;
        self.insist(name, || match at("files.remove", || unlinkat(&self.fd, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(Error::Remove { path: self.path.join(name), source: source.into() }),
        })
    }

    /// Does `work` with the file `name`. If that fails twice, and not for want of something else, what has the name is put
    /// aside and `work` is done once more. Twice, as what a disk refuses once may be whole, or lack no more than that the flags
    /// that forbid changes are taken from it.
    ///
    /// # Errors
    /// Those of `work`, [`Error::Name`], [`Error::Move`].
    pub fn insist<T>(&self, name: &str, work: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let mut done = work();
        if done.as_ref().is_err_and(Error::is_of_the_file) {
            // Where that fails, `work` does.
            let _ = self.unfix(name);
            done = work();
        }
        match done {
            Err(error) if error.is_of_the_file() => {
                self.put_aside(name, &error)?;
                work()
            }
            done => done,
        }
    }

    /// Takes the flags that forbid changes from the file `name`, if it can be opened.
    fn unfix(&self, name: &str) -> Result<(), Error> {
        self.read(name).map_or(Ok(()), |file| unfix(&file.into(), &self.path.join(name)))
    }

    /// Gives what has the name `name`, whatever it is, another one in this folder; `why` is noted.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Move`].
    pub fn put_aside(&self, name: &str, why: &Error) -> Result<(), Error> {
        let why = match why {
            Error::NotAFile { what, .. } => format!("it was {what}"),
            why => std::error::Error::source(why).map_or_else(|| why.to_string(), |cause| format!("{why}: {cause}")),
        };
        put_aside(&self.fd, &self.path.join(name), component(name)?, &why)
    }

    /// Bytes that can still be written to its file system by somebody who is not root.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn free(&self) -> Result<u64, Error> {
        let free = look("files.free", || fstatvfs(&self.fd))
            .map_err(|e| Error::Folder { path: self.path.clone(), source: e.into() })?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    /// Files that can still be made on its file system by somebody who is not root. A file system that keeps no count of
    /// them has room for any number.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub fn free_files(&self) -> Result<u64, Error> {
        let free = look("files.free", || fstatvfs(&self.fd))
            .map_err(|e| Error::Folder { path: self.path.clone(), source: e.into() })?;
        Ok(if free.f_files == 0 { u64::MAX } else { free.f_favail })
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<File, Error> {
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        // Without NONBLOCK, a pipe in the folder would hold us up.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let name = component(name)?;
        let open = |flags, mode| at("files.open", || openat2(&self.fd, name, flags, mode, BENEATH)).map(File::from);
        // With CREATE, the kernel may keep even root from a file that is there (`fs.protected_regular`).
        let there = if flags.contains(OFlags::EXCL) { flags } else { flags - OFlags::CREATE };
        let file = match open(there, if there == flags { mode } else { Mode::empty() }) {
            Err(Errno::NOENT) if there != flags => open(flags, mode),
            file => file,
        };
        // Of what was opened, its own word counts; of what was not, the name's.
        let stat = match &file {
            Ok(file) => fstat(file).ok(),
            Err(_) => statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok(),
        };
        if let Some(what) = stat.and_then(|stat| foreign(&stat, false)) {
            return Err(Error::NotAFile { path: self.path.join(name), what });
        }
        file.map_err(|source| Error::Open { path: self.path.join(name), source: source.into() })
    }
}

/// How everything here is looked up.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

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
pub fn replace(path: &Path, bytes: &[u8], durable: bool) -> Result<(), Error> {
    let (folder, name) = split(path)?;
    Folder::open(folder)?.replace(name, bytes, durable)
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

/// A folder, and a name in it.
fn split(path: &Path) -> Result<(&Path, &str), Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| Error::Name { name: path.display().to_string() })
}

/// The folder that `path` is in, which no link leads to, and its name there.
fn parent(path: &Path) -> Result<(OwnedFd, &str), Error> {
    let (parent, name) = split(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = openat2(CWD, parent, flags, Mode::empty(), resolve);
    let fd = fd.map_err(|source| Error::Folder { path: parent.to_owned(), source: source.into() })?;
    Ok((fd, name))
}

fn folder(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    openat2(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), BENEATH)
}

/// What this is instead of a folder, or of a regular file with one name.
fn foreign(stat: &Stat, folder: bool) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if folder => None,
        FileType::RegularFile if folder => Some("a file"),
        // None when it was removed meanwhile.
        FileType::RegularFile => (stat.st_nlink > 1).then_some("a file with several names"),
        FileType::Directory => Some("a folder"),
        FileType::Symlink => Some("a link"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("something unknown"),
    }
}

/// What has the name of a folder of ours at `path` (or of a file) and is something else, or cannot be opened, gets another name
/// in the same folder; what may not be changed may be again, and the folder belongs to us alone. What was done is noted.
///
/// # Errors
/// [`Error::Folder`], [`Error::Name`], [`Error::Move`], [`Error::Write`].
pub fn make_way(path: &Path, is_folder: bool) -> Result<(), Error> {
    let (parent, name) = match parent(path) {
        Err(Error::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    // Nothing can be renamed in a folder that may not be changed.
    unfix(&parent, path.parent().unwrap_or(path))?;
    let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(Error::Folder { path: path.to_owned(), source: source.into() }),
    };
    if let Some(what) = foreign(&stat, is_folder) {
        return put_aside(&parent, path, name, &format!("it was {what}"));
    }
    let open = || openat2(&parent, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty(), BENEATH);
    let fd = match open().or_else(|_| open()) {
        Ok(fd) => fd,
        Err(source) => {
            let error = Error::Open { path: path.to_owned(), source: source.into() };
            let why = format!("it could not be opened: {source}");
            return if error.is_of_the_file() { put_aside(&parent, path, name, &why) } else { Err(error) };
        }
    };
    unfix(&fd, path)?;
    let (ours, open_to) = (geteuid(), Mode::from_raw_mode(stat.st_mode));
    // In a folder of somebody else's that has the sticky bit, the kernel keeps even root from files (`fs.protected_regular`).
    if is_folder && (stat.st_uid != ours.as_raw() || open_to != Mode::RWXU) {
        at("files.own", || fchown(&fd, Some(ours), None).and_then(|()| fchmod(&fd, Mode::RWXU)))
            .map_err(|source| Error::Write { path: path.to_owned(), source: source.into() })?;
        note(format!("`{}` was open to others, and is not any more", path.display()));
    }
    Ok(())
}

/// Leaves in the folder at `path`, which is made if it is not there, only regular files whose names are `ours`. If anything
/// else is in it, another folder takes its place, into which they are moved: the rest is put aside with the folder it is in,
/// however much it is. What was broken off is gone on with.
///
/// # Errors
/// [`Error::Folder`], [`Error::Name`], [`Error::List`], [`Error::Move`], [`Error::Write`].
pub fn sift(path: &Path, ours: impl Fn(&str) -> bool) -> Result<(), Error> {
    let (parent, name) = parent(path)?;
    let (before, old) = (path.with_file_name(format!("{name}.old")), format!("{name}.old"));
    let failed = |source: Errno| Error::Move { from: path.to_owned(), to: before.clone(), source: source.into() };
    make_way(&before, true)?;
    if Folder::find(&before)?.is_none() {
        if Folder::open(path)?.holds_only(&ours)? {
            return Ok(());
        }
        let rename = || renameat_with(&parent, name, &parent, old.as_str(), RenameFlags::NOREPLACE);
        at("files.sift", rename).map_err(failed)?;
    }
    let (folder, from) = (Folder::open(path)?, folder(&parent, &old).map_err(failed)?);
    let from = Folder { path: before.clone(), fd: from };
    for name in from.names()?.filter_map(|name| name.ok().flatten()).filter(|name| ours(name)) {
        if from.entry(&name).is_ok_and(|file| file.is_some()) {
            // One that cannot be moved, or is there already, stays with the rest.
            let _ = from.unfix(&name).and_then(|()| {
                let keep = || renameat_with(&from.fd, &name, &folder.fd, &name, RenameFlags::NOREPLACE);
                at("files.keep", keep).map_err(failed)
            });
        }
    }
    at("files.sync_folders", || fsync(&folder.fd).and_then(|()| fsync(&from.fd))).map_err(failed)?;
    let why = format!("more than files of the device was in `{}`", path.display());
    put_aside(&parent, &before, &old, &why)
}

/// Takes the flags that forbid changes from what is open.
fn unfix(fd: &OwnedFd, path: &Path) -> Result<(), Error> {
    let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
    // A file system without such flags says so.
    if let Ok(held) = ioctl_getflags(fd)
        && held.intersects(fixed)
    {
        at("files.unfix", || ioctl_setflags(fd, held - fixed))
            .map_err(|source| Error::Write { path: path.to_owned(), source: source.into() })?;
        note(format!("`{}` could not be changed, and can be again", path.display()));
    }
    Ok(())
}

/// Gives what has the name `name` in `parent`, whatever it is, another name there, and notes `why`. Afterwards nothing has the
/// name, also if nothing had it before.
fn put_aside(parent: &OwnedFd, path: &Path, name: &str, why: &str) -> Result<(), Error> {
    let mut aside = None;
    for _ in 0..ASIDE_TRIES {
        let failed = |to: &str, source: Errno| {
            let (from, to) = (path.to_owned(), path.with_file_name(to));
            Error::Move { from, to, source: source.into() }
        };
        let stat = match look("files.look", || statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(failed(name, source)),
        };
        if matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::RegularFile) {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            // What cannot be opened can have another name all the same.
            if let Ok(fd) = openat2(parent, name, flags, Mode::empty(), BENEATH) {
                unfix(&fd, path)?;
            }
        }
        let to = aside.take().unwrap_or_else(|| format!("{name}.foreign-{}", stat.st_ino));
        let renamed = || renameat_with(parent, name, parent, to.as_str(), RenameFlags::NOREPLACE);
        match at("files.put_aside", renamed) {
            Ok(()) => note(format!("`{}` is `{to}` now: {why}", path.display())),
            Err(Errno::EXIST) => {}
            Err(source) => return Err(failed(&to, source)),
        }
        // Nobody can have taken a name that the clock of this moment is in.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        aside = Some(format!("{name}.foreign-{}-{now}", stat.st_ino));
    }
    Err(Error::NotAFile { path: path.to_owned(), what: "put aside again and again" })
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

fn hash(file: &File, path: &Path) -> Result<[u8; 32], Error> {
    let mut hash = Sha256::new();
    let each = |bytes: &[u8]| {
        hash.update(bytes);
        true
    };
    look("files.hash", || read_through(file, each)).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(hash.finalize().into())
}

/// Reads all of the block device at `path`, so that whatever checks it checks every block, as long as it `goes_on` after so
/// many bytes; whether it came to the end.
///
/// # Errors
/// [`Error::Open`]; [`Error::Read`]: `EIO` for a block that cannot be read or is not what it should be.
pub fn read_device(path: &Path, mut goes_on: impl FnMut(u64) -> bool) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
    let mut bytes = 0;
    let mut each = |chunk: &[u8]| {
        bytes += chunk.len() as u64;
        goes_on(bytes)
    };
    look("files.read_device", || read_through(&File::from(file), &mut each))
        .map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Reads as long as `each` wants more; whether it came to the end.
fn read_through(file: &File, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let (mut chunk, mut offset) = (vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                if !each(&chunk[..count]) {
                    return Ok(false);
                }
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
