//! The text of the kernel's files, and errors that mean that something is gone.

use std::{io, os::fd::AsFd, path::Path};

use rustix::io::Errno;

use super::Error;

/// The most bytes that are read of one control file: the pids of a leaf with as many processes as the device has numbers for
/// (4194304, 8 bytes each), with room.
const FILE_LIMIT: usize = 36 * 1024 * 1024;

pub(super) fn read_from_start(file: &impl AsFd, path: &Path) -> Result<String, Error> {
    let failed = |source: io::Error| Error::Read { path: path.to_owned(), source };
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = match rustix::io::pread(file, &mut chunk, text.len() as u64) {
            Ok(0) => break,
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(source) => return Err(failed(source.into())),
        };
        text.extend_from_slice(&chunk[..read]);
        if text.len() > FILE_LIMIT {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
    }
    String::from_utf8(text).map_err(|_| failed(io::ErrorKind::InvalidData.into()))
}

/// A flag of a flat keyed file such as `cgroup.events`.
pub(super) fn flag(text: &str, key: &str, path: &Path) -> Result<bool, Error> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    match value {
        Some("0") => Ok(false),
        Some("1") => Ok(true),
        _ => Err(Error::Format { path: path.to_owned(), text: text.chars().take(80).collect() }),
    }
}

/// `None` for what is not there; `ENODEV` is how a removed group's open file answers.
pub(super) fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Read { source, .. }) if is_gone(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Write { source, .. }) if is_gone(&source) => Ok(()),
        other => other,
    }
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NODEV].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
