//! Changes of files that the kernel or PID 1 makes: to wait for, never to believe; whoever is woken looks.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// A set of watched files and folders. A watch ends by itself when what it watches is removed.
#[derive(Debug)]
pub struct Changes(Inotify);

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The kernel's, if it is out of watches.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?))
    }

    /// Watches `path` from now on: writes to it, or to what lies in it if it is a folder, and what is made, moved or
    /// removed there. Watching it twice is as good as once; whether it was there to be watched.
    ///
    /// # Errors
    /// The kernel's, but not that `path` is not there.
    pub fn watch(&self, path: &Path) -> io::Result<bool> {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE_SELF;
        match self.0.add_watch(path, flags) {
            Ok(_) => Ok(true),
            Err(nix::Error::ENOENT | nix::Error::ENODEV) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads all that is there and forgets it; whether there was anything.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drain(&self) -> io::Result<bool> {
        let mut any = false;
        loop {
            match self.0.read_events() {
                Ok(events) => any |= !events.is_empty(),
                Err(nix::Error::EAGAIN) => return Ok(any),
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The mount table of this process, which has an exceptional condition (`POLLPRI`) after each change, until it is looked at.
#[derive(Debug)]
pub struct MountTable(File);

impl MountTable {
    /// Opens it.
    ///
    /// # Errors
    /// If procfs is not mounted.
    pub fn open() -> io::Result<Self> {
        File::open(PathBuf::from("/proc/self/mountinfo")).map(Self)
    }
}

impl AsFd for MountTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
