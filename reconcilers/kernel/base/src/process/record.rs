//! Records that PID 1 and the agent leave each other, and the pipes of containers' output.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify,
    io::Errno,
};

use super::{Error, FILE_LIMIT};
use crate::files::{self, Durability};

/// Makes a fifo for a container's output, and the folder that it is in.
///
/// # Errors
/// [`Error::Record`].
pub fn make_fifo(path: &Path) -> Result<(), Error> {
    Ok(files::make_pipe(path)?)
}

/// Opens a fifo for reading without blocking; it never ends, as we hold its other end too. `None` if there is none.
///
/// # Errors
/// [`Error::Record`].
pub fn open_fifo(path: &Path) -> Result<Option<OwnedFd>, Error> {
    Ok(files::open_pipe(path)?)
}

/// Reads a record; `None` if there is none.
///
/// # Errors
/// [`Error::Record`].
pub fn read_record(path: &Path) -> Result<Option<String>, Error> {
    Ok(files::read_bounded(path, FILE_LIMIT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a record, and the folder that it is in; a reader sees the old one or the new one, never a part. It lies in
/// memory: nothing is forced to a disk.
///
/// # Errors
/// [`Error::Record`].
pub fn write_record(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        files::make_folders(folder)?;
    }
    Ok(files::replace(path, text.as_bytes(), Durability::InMemory)?)
}

/// Takes a record away.
///
/// # Errors
/// [`Error::Record`].
pub fn remove_record(path: &Path) -> Result<(), Error> {
    Ok(files::remove(path)?)
}

/// Reports when a record is written in a folder, from the moment it was made.
#[derive(Debug)]
pub struct RecordWatch {
    fd: OwnedFd,
    path: PathBuf,
}

impl RecordWatch {
    /// Watches `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::Watch`].
    pub fn new(folder: &Path) -> Result<Self, Error> {
        let error = |source: io::Error| Error::Watch { path: folder.to_owned(), source };
        files::make_folders(folder)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(|e| error(e.into()))?;
        inotify::add_watch(&fd, folder, inotify::WatchFlags::MOVED_TO).map_err(|e| error(e.into()))?;
        Ok(Self { fd, path: folder.to_owned() })
    }

    /// Waits for the next record, at most `timeout`. Blocks the calling thread.
    ///
    /// # Errors
    /// [`Error::Watch`].
    pub fn wait(&self, timeout: Duration) -> Result<(), Error> {
        let error = |source: Errno| Error::Watch { path: self.path.clone(), source: source.into() };
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(source) => return Err(error(source)),
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(source) => Err(error(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_written_wakes_who_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let watch = RecordWatch::new(folder.path()).unwrap();
        write_record(&folder.path().join("web"), "{}").unwrap();
        let begin = std::time::Instant::now();
        watch.wait(Duration::from_secs(60)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60));
        assert_eq!(read_record(&folder.path().join("web")).unwrap().as_deref(), Some("{}"));
    }
}
