//! A folder, and the files in it by their names.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, fstatvfs, fsync, mkdirat, openat2, renameat, statat,
        unlinkat,
    },
    io::Errno,
};

use super::{
    Error, Writing,
    aside::{foreign, put_aside, unfix},
    hash::hash,
    lookup::{BENEATH, component, folder, parent},
};
use crate::fault::{at, look};

/// The most files of a folder that are listed: what a device holds is some hundred, and whoever removes what is listed, and
/// reports each, has to come to an end.
pub const FILES_LIMIT: usize = 1024;
/// The most names of a folder that are read for that, which takes a second or two: what is none of ours may be many.
const NAMES_LIMIT: usize = 1 << 20;

/// Names under which a file may be written before it takes its own: more than one only if somebody bent the disk.
const NEW_NAMES: usize = 16;

/// Where a file is when the call that writes it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: it outlives a power cut.
    OnDisk,
    /// In the kernel's memory, from where it comes to the disk later.
    InMemory,
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
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
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

    /// Its regular files whose names are `ours`. Of more than [`FILES_LIMIT`] of them, or among more than `NAMES_LIMIT`
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
    pub(super) fn names(&self) -> Result<impl Iterator<Item = Result<Option<String>, Error>>, Error> {
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
    pub(super) fn holds_only(&self, ours: impl Fn(&str) -> bool) -> Result<bool, Error> {
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

    /// Puts `bytes` in the place of what has the name, whole or not at all. What did not fit on a full disk is taken away
    /// again.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Remove`], [`Error::Open`], [`Error::Write`], [`Error::Move`].
    pub fn replace(&self, name: &str, bytes: &[u8], durability: Durability) -> Result<(), Error> {
        let part = self.new_name(name)?;
        let written = self.write_new(&part, bytes, durability).and_then(|()| {
            let failed = |source: Errno| {
                let (from, to) = (self.path.join(&part), self.path.join(name));
                Error::Move { from, to, source: source.into() }
            };
            at("files.put", || renameat(&self.fd, part.as_str(), &self.fd, name)).map_err(failed)?;
            match durability {
                Durability::OnDisk => at("files.sync_folder", || fsync(&self.fd)).map_err(failed),
                Durability::InMemory => Ok(()),
            }
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

    fn write_new(&self, name: &str, bytes: &[u8], durability: Durability) -> Result<(), Error> {
        let mut file = self.open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let written = at("files.fill", || file.write_all(bytes));
        let synced = written.and_then(|()| match durability {
            Durability::OnDisk => at("files.sync_file", || file.sync_all()),
            Durability::InMemory => Ok(()),
        });
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
    pub(super) fn unfix(&self, name: &str) -> Result<(), Error> {
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
