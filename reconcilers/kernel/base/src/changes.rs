//! Changes of files that the kernel or PID 1 makes: to wait for, never to believe; whoever is woken looks.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// A set of watched files and folders. A watch ends by itself when what it watches is removed; that of a control group does
/// not, and keeps the kernel's memory of it: see [`Changes::forget`].
#[derive(Debug)]
pub struct Changes(Inotify);

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watch(WatchDescriptor);

/// A change: of what, and of which file in it if it is a folder. The name is empty where it is of itself, or was removed.
pub type Change = (Watch, OsString);

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The kernel's, if it is out of watches.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?))
    }

    /// Watches `path` from now on: writes to it, or to what lies in it if it is a folder, and what is made, moved or
    /// removed there. Watching it twice is as good as once. Nothing if it is not there.
    ///
    /// # Errors
    /// The kernel's, but not that `path` is not there.
    pub fn watch(&self, path: &Path) -> io::Result<Option<Watch>> {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE_SELF;
        match self.0.add_watch(path, flags) {
            Ok(descriptor) => Ok(Some(Watch(descriptor))),
            Err(nix::Error::ENOENT | nix::Error::ENODEV) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Watches this no longer.
    pub fn forget(&self, Watch(descriptor): Watch) {
        // It fails only when the watch ended by itself.
        let _ = self.0.rm_watch(descriptor);
    }

    /// Forgets what changed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drain(&self) -> io::Result<()> {
        self.read(|_| {})
    }

    /// What changed since it was asked for last; nothing known if it was more than the kernel remembers.
    ///
    /// # Errors
    /// The kernel's.
    pub fn changed(&self) -> io::Result<Option<Vec<Change>>> {
        let (mut changed, mut is_known) = (Vec::new(), true);
        self.read(|event| {
            is_known &= !event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
            changed.push((Watch(event.wd), event.name.unwrap_or_default()));
        })?;
        Ok(is_known.then_some(changed))
    }

    fn read(&self, mut each: impl FnMut(InotifyEvent)) -> io::Result<()> {
        loop {
            match self.0.read_events() {
                Ok(events) => events.into_iter().for_each(&mut each),
                Err(nix::Error::EAGAIN) => return Ok(()),
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
