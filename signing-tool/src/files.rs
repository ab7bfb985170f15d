//! Reading and writing whole files, with the path in every error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use catenoid_schema::digest::Digest;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// The most bytes of a file that is read whole: far over any document, key or status.
pub(crate) const READ_LIMIT: u64 = 16 * 1024 * 1024;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is over [`READ_LIMIT`].
    #[error("`{}` is larger than {READ_LIMIT} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something else than a file has its name.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path that names something else.
        path: PathBuf,
    },
    /// It is not text.
    #[error("`{}` is not utf-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error("failed to make the folder `{}`", path.display())]
    MakeFolder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be listed.
    #[error("failed to list the folder `{}`", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLarge { .. } | Error::NotAFile { .. } | Error::NotText { .. } => Self::refused(error),
            _ => Self::system(error),
        }
    }
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Its owner alone.
    Private,
}

/// The bytes of `path`, which a person named: it may be a pipe, and is waited for then.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    read_opened(path, file)
}

/// The bytes of `path`, which was looked for in a folder: whatever else than a file has that name there is not waited for.
pub(crate) fn read_found(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |source| Error::Read { path: path.to_owned(), source };
    let file = open_at_once(path).map_err(error)?;
    if !file.metadata().map_err(error)?.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    read_opened(path, file)
}

/// Opens `path` to be read, without waiting for who writes to it: a pipe may have the name of a file.
pub(crate) fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read_opened(path: &Path, file: File) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(READ_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > READ_LIMIT { Err(Error::TooLarge { path: path.to_owned() }) } else { Ok(bytes) }
}

/// The text of `path`.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    String::from_utf8(read(path)?).map_err(|_| Error::NotText { path: path.to_owned() })
}

/// Makes `path` anew; refuses to touch one that is there.
pub(crate) fn create(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let mode = if access == Access::Private { 0o600 } else { 0o644 };
    let error = |source| Error::Write { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(error)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(error)
}

/// The digest of everything that `file` has from here on.
pub(crate) fn digest(mut file: impl Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_bytes(hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts `bytes` at `path`: written beside it and moved there, so that no reader ever sees a half.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_with(path, |file| file.write_all(bytes))
}

/// As [`replace`], with a writer that streams.
pub(crate) fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    let error = |source| Error::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(error)?;
    write(file.as_file_mut()).map_err(error)?;
    file.as_file().sync_all().map_err(error)?;
    file.persist(path).map(|_| ()).map_err(|e| error(e.error))
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::MakeFolder { path: path.to_owned(), source })
}

/// Makes a folder that its owner alone can look into.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::MakeFolder { path: path.to_owned(), source })
}

/// Whether nothing is in a folder.
pub(crate) fn is_empty_folder(path: &Path) -> Result<bool, Error> {
    let entries = std::fs::read_dir(path).map_err(|source| Error::List { path: path.to_owned(), source })?;
    Ok(entries.count() == 0)
}

/// The files of a folder, in the order of names.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let error = |source| Error::List { path: path.to_owned(), source };
    let entries = std::fs::read_dir(path).map_err(error)?.collect::<Result<Vec<_>, _>>().map_err(error)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    Ok(paths)
}
