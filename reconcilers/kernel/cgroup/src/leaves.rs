//! The leaves of launches, in which the processes of containers live.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    io::Errno,
};

use super::{
    Error, Hierarchy, Mark,
    hierarchy::{group, leaf},
    read::{flag, found, gone_is_fine, read_from_start},
};
use catenoid_names::objects;

/// The group of one launch, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// 16 hex digits of the launch order's digest.
    pub launch_id: String,
    /// Its processes, in the reader's pid namespace; zombies are not among them.
    pub pids: Vec<u32>,
    /// Whether there is a live process in it or below.
    pub populated: bool,
    /// Whether all of its processes are frozen.
    pub frozen: bool,
}

impl Hierarchy {
    /// Makes the leaf of a launch and opens it (`O_PATH`), for `CLONE_INTO_CGROUP`.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Make`], also if the container has no group.
    pub fn make_leaf(&self, container: &str, launch_id: &str) -> Result<OwnedFd, Error> {
        let leaf = leaf(container, launch_id)?;
        self.make(&leaf)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.open_below(&leaf, flags).map_err(|source| Error::Open { path: self.path.join(&leaf), source })
    }

    /// Writes down `value` with the leaf.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn mark(&self, container: &str, launch_id: &str, mark: Mark, value: &str) -> Result<(), Error> {
        self.write_attribute(&leaf(container, launch_id)?, mark.attribute(), value)
    }

    /// What [`Hierarchy::mark`] wrote, if it did.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`].
    pub fn marked<const N: usize>(
        &self,
        container: &str,
        launch_id: &str,
        marks: [Mark; N],
    ) -> Result<[Option<String>; N], Error> {
        self.attributes(&leaf(container, launch_id)?, marks.map(Mark::attribute))
    }

    /// The leaves of `container`, in the order of launch ids; none if it has no group.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`], [`Error::Format`].
    pub fn leaves(&self, container: &str) -> Result<Vec<Leaf>, Error> {
        let group = group(container)?;
        let mut leaves = Vec::new();
        for child in self.children(&group)? {
            let Some(launch_id) = objects::leaf_launch(&child) else { continue };
            // A leaf that is removed while it is read is no leaf.
            leaves.extend(found(self.read_leaf(&format!("{group}/{child}"), launch_id))?);
        }
        Ok(leaves)
    }

    /// Ends every process of the leaf at once (`cgroup.kill`: SIGKILL, also for those being forked meanwhile). They may
    /// still be seen for a moment: see [`Hierarchy::wait_empty`].
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn kill(&self, container: &str, launch_id: &str) -> Result<(), Error> {
        gone_is_fine(self.write(&format!("{}/cgroup.kill", leaf(container, launch_id)?), "1"))
    }

    /// Removes the leaf.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Remove`], while a process lives in it.
    pub fn remove_leaf(&self, container: &str, launch_id: &str) -> Result<(), Error> {
        self.remove(&leaf(container, launch_id)?)
    }

    /// Stops all processes of the leaf until [`Hierarchy::thaw`]. Returns at once; [`Leaf::frozen`] says when it is so.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn freeze(&self, container: &str, launch_id: &str) -> Result<(), Error> {
        self.write(&format!("{}/cgroup.freeze", leaf(container, launch_id)?), "1")
    }

    /// Lets the processes of the leaf go on, whether the leaf or the group above it was frozen.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn thaw(&self, container: &str, launch_id: &str) -> Result<(), Error> {
        self.write(&format!("{}/cgroup.freeze", leaf(container, launch_id)?), "0")?;
        self.write(&format!("{}/cgroup.freeze", group(container)?), "0")
    }

    /// Opens the leaf's `cgroup.events`. It is ready for `POLLPRI` (epoll: `EPOLLPRI`) whenever a value in it changed
    /// since it was last read from its beginning.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`].
    pub fn events(&self, container: &str, launch_id: &str) -> Result<OwnedFd, Error> {
        let file = format!("{}/cgroup.events", leaf(container, launch_id)?);
        self.open_below(&file, OFlags::RDONLY | OFlags::CLOEXEC)
            .map_err(|source| Error::Read { path: self.path.join(&file), source })
    }

    /// Waits until no process lives in the leaf, at most `timeout`. Answers whether it is so; a leaf that is not there
    /// is empty. Blocks the calling thread.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`], [`Error::Format`].
    pub fn wait_empty(&self, container: &str, launch_id: &str, timeout: Duration) -> Result<bool, Error> {
        let Some(file) = found(self.events(container, launch_id))? else { return Ok(true) };
        let path = self.path.join(format!("{}/cgroup.events", leaf(container, launch_id)?));
        let deadline = Instant::now() + timeout;
        loop {
            // Read first: only changes after a read are reported.
            let Some(text) = found(read_from_start(&file, &path))? else { return Ok(true) };
            if !flag(&text, "populated", &path)? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&file, PollFlags::PRI)], left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => return Err(Error::Read { path, source: source.into() }),
            }
        }
    }

    fn read_leaf(&self, leaf: &str, launch_id: &str) -> Result<Leaf, Error> {
        let events = format!("{leaf}/cgroup.events");
        let (text, path) = (self.read(&events)?, self.path.join(&events));
        let (populated, frozen) = (flag(&text, "populated", &path)?, flag(&text, "frozen", &path)?);
        let processes = format!("{leaf}/cgroup.procs");
        let format = |text: &str| Error::Format { path: self.path.join(&processes), text: text.to_owned() };
        let pids = self.read(&processes)?;
        let pids = pids.lines().map(|line| line.parse().map_err(|_| format(line))).collect::<Result<_, _>>()?;
        Ok(Leaf { launch_id: launch_id.to_owned(), pids, populated, frozen })
    }
}
