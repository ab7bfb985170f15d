//! Control groups, version 2 (`Documentation/admin-guide/cgroup-v2.rst`): one group for each container below
//! `catenoid/`, which carries its limits, and one leaf in it for each launch, in which its processes live.
//!
//! Every path is looked up below the file descriptor of the base folder, without following links. "Already so" is
//! success: making what is there, removing what is gone, killing what is empty.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags, fgetxattr, fsetxattr, mkdirat, openat2,
        unlinkat,
    },
    io::Errno,
};

use crate::{
    fault::{at, look},
    name,
};

/// The most bytes that are read of one control file: the pids of a leaf with as many processes as the device has numbers for
/// (4194304, 8 bytes each), with room.
const FILE_LIMIT: usize = 36 * 1024 * 1024;

/// What went wrong. The path is that of the group or control file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base folder could not be opened.
    #[error("failed to open cgroup hierarchy `{}`", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that is not a single path component.
    #[error("`{name}` cannot name a cgroup")]
    Name {
        /// What was given.
        name: String,
    },
    /// The kernel does not offer the controller, or it is not enabled for this group.
    #[error("cgroup `{}` has no `{control}`: the kernel lacks the controller `{}`", path.display(), control.controller())]
    Controller {
        /// The group.
        path: PathBuf,
        /// What it lacks.
        control: Control,
    },
    /// A group could not be made.
    #[error("failed to make cgroup `{}`", path.display())]
    Make {
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A group could not be removed; `EBUSY` when there is a process or a group in it.
    #[error("failed to remove cgroup `{}`", path.display())]
    Remove {
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A control file or the list of groups could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A control file could not be written.
    #[error("failed to write `{value}` to `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What.
        value: String,
        /// Why.
        source: io::Error,
    },
    /// A control file holds what the kernel's documentation does not describe.
    #[error("`{}` holds `{text}`, which is not its format", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// The line at fault.
        text: String,
    },
}

/// What is written down with a leaf, in an attribute that only root of the device can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// By which launcher it was started.
    Launcher,
    /// How it is asked to end.
    Stop,
    /// How often in a row the runs before it failed.
    Ends,
    /// That it was asked to end, and when it is killed.
    Deadline,
    /// When it was killed first.
    Killed,
    /// What its health checks have come to.
    Checked,
}

impl Mark {
    fn attribute(self) -> &'static str {
        match self {
            Self::Launcher => "trusted.catenoid.launcher",
            Self::Stop => "trusted.catenoid.stop",
            Self::Ends => "trusted.catenoid.ends",
            Self::Deadline => "trusted.catenoid.deadline",
            Self::Killed => "trusted.catenoid.killed",
            Self::Checked => "trusted.catenoid.checked",
        }
    }
}

/// The attribute of a container's group that says whether it is held still.
const STILL: &str = "trusted.catenoid.still";
/// The most bytes of a mark.
pub const MARK_BYTES: usize = 512;

/// A control file of a container's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// `cpu.max`: microseconds of quota and period, `50000 100000`, or `max 100000`.
    CpuMax,
    /// `memory.max`: bytes, or `max`.
    MemoryMax,
    /// `memory.min`: bytes that are not taken from the group for anybody.
    MemoryMin,
    /// `memory.oom.group`: `1` when the out-of-memory killer ends all processes of the group together.
    MemoryOomGroup,
    /// `memory.swap.max`: bytes, or `max`.
    MemorySwapMax,
    /// `pids.max`: tasks, or `max`.
    PidsMax,
}

impl Control {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::CpuMax, Self::MemoryMax, Self::MemoryMin, Self::MemoryOomGroup, Self::MemorySwapMax, Self::PidsMax];

    /// The file's name.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::CpuMax => "cpu.max",
            Self::MemoryMax => "memory.max",
            Self::MemoryMin => "memory.min",
            Self::MemoryOomGroup => "memory.oom.group",
            Self::MemorySwapMax => "memory.swap.max",
            Self::PidsMax => "pids.max",
        }
    }

    /// The controller that brings it.
    #[must_use]
    pub fn controller(self) -> &'static str {
        match self {
            Self::CpuMax => "cpu",
            Self::MemoryMax | Self::MemoryMin | Self::MemoryOomGroup | Self::MemorySwapMax => "memory",
            Self::PidsMax => "pids",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())
    }
}

/// The time of a thousand processors: no limit, but one that the kernel keeps books of.
const ALL_PROCESSORS: &str = "100000000 100000";

/// The controllers that containers are limited by.
pub const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

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

/// A mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    path: PathBuf,
    base: OwnedFd,
}

impl Hierarchy {
    /// Opens the folder that is to hold `catenoid/`: the mount point of a cgroup2 file system, or a group in it that has
    /// no process of its own.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(base: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(base, flags, Mode::empty())
            .map_err(|source| Error::Open { path: base.to_owned(), source: source.into() })?;
        Ok(Self { path: base.to_owned(), base: fd })
    }

    /// Makes `catenoid/` and enables [`CONTROLLERS`] for the groups below it. Answers those that the kernel does not
    /// offer: limits that need one of them will fail.
    ///
    /// # Errors
    /// [`Error::Make`], [`Error::Read`], [`Error::Write`].
    pub fn prepare(&self) -> Result<Vec<&'static str>, Error> {
        let offered = self.read("cgroup.controllers")?;
        let (offered, missing): (Vec<_>, Vec<_>) =
            CONTROLLERS.into_iter().partition(|c| offered.split_whitespace().any(|o| o == *c));
        self.enable("", &offered)?;
        self.make(name::CGROUP)?;
        self.enable(name::CGROUP, &offered)?;
        // What a group in it keeps is what its parent keeps at most: each of them says its own.
        let keeps = format!("{}/{}", name::CGROUP, Control::MemoryMin);
        if found(self.read(&keeps))?.is_some_and(|kept| kept.trim_end() != "max") {
            self.write(&keeps, "max")?;
        }
        Ok(missing)
    }

    /// The controls that the groups of containers have, as far as their controllers are enabled.
    ///
    /// # Errors
    /// [`Error::Read`]; no control at all if `catenoid/` is not there yet.
    pub fn offered(&self) -> Result<Vec<Control>, Error> {
        let enabled = found(self.read(&format!("{}/cgroup.subtree_control", name::CGROUP)))?.unwrap_or_default();
        let mut offered = Vec::new();
        for control in Control::ALL {
            // `catenoid/` itself has the same control files as the groups in it.
            let here = found(self.read(&format!("{}/{control}", name::CGROUP)))?.is_some();
            if here && enabled.split_whitespace().any(|controller| controller == control.controller()) {
                offered.push(control);
            }
        }
        Ok(offered)
    }

    /// The containers that have a group.
    ///
    /// # Errors
    /// [`Error::Read`]; no group at all if `catenoid/` is not there yet.
    pub fn groups(&self) -> Result<Vec<String>, Error> {
        self.children(name::CGROUP)
    }

    /// Makes the agent's own group, beside `catenoid/`: it may use `memory` bytes, and is ended as a whole when it needs
    /// more. A limit that was changed by hand is set again. The kernel keeps books of its processor time from then on.
    ///
    /// # Errors
    /// [`Error::Make`], [`Error::Read`], [`Error::Write`].
    pub fn prepare_agent(&self, memory: u64) -> Result<(), Error> {
        self.enable("", &["memory"])?;
        self.make(name::AGENT_CGROUP)?;
        self.write(&format!("{}/{}", name::AGENT_CGROUP, Control::MemoryMax), &memory.to_string())?;
        // Half of it is not taken away for anybody.
        self.write(&format!("{}/{}", name::AGENT_CGROUP, Control::MemoryMin), &(memory / 2).to_string())?;
        self.write(&format!("{}/{}", name::AGENT_CGROUP, Control::MemoryOomGroup), "1")?;
        // It limits nothing: a kernel that cannot do that is as good.
        let books = self.enable("", &["cpu"]);
        let _ = books.and_then(|()| self.write(&format!("{}/{}", name::AGENT_CGROUP, Control::CpuMax), ALL_PROCESSORS));
        Ok(())
    }

    /// Moves the process `pid` with all its threads into the agent's group; what it uses from then on counts there.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn move_to_agent(&self, pid: u32) -> Result<(), Error> {
        self.write(&format!("{}/cgroup.procs", name::AGENT_CGROUP), &pid.to_string())
    }

    /// Processes of the agent's group that were ended for want of memory so far.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn agent_memory_kills(&self) -> Result<u64, Error> {
        let [kills] = self.numbers(&format!("{}/memory.events", name::AGENT_CGROUP), ["oom_kill"])?;
        Ok(kills)
    }

    /// Bytes that all containers use together and cannot be taken from them, as far as their groups count it: no page cache,
    /// which is available to everybody.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn memory_in_use(&self) -> Result<u64, Error> {
        let parts = self.numbers(&format!("{}/memory.stat", name::CGROUP), ["anon", "shmem", "kernel", "sock"])?;
        Ok(parts.iter().sum())
    }

    /// Microseconds that processors worked in the kernel for `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`], [`Error::Format`].
    pub fn system_time(&self, container: &str) -> Result<u64, Error> {
        let [time] = self.numbers(&format!("{}/cpu.stat", group(container)?), ["system_usec"])?;
        Ok(time)
    }

    /// Freezes all of `container` for a while, or lets it go on. It is written down that this is no drift.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Write`].
    pub fn hold_still(&self, container: &str, still: bool) -> Result<(), Error> {
        let group = group(container)?;
        let freeze = |value| self.write(&format!("{group}/cgroup.freeze"), value);
        gone_is_fine(if still {
            self.write_attribute(&group, STILL, "1").and_then(|()| freeze("1"))
        } else {
            freeze("0").and_then(|()| self.write_attribute(&group, STILL, "0"))
        })
    }

    /// Whether [`Hierarchy::hold_still`] holds `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`].
    pub fn is_held_still(&self, container: &str) -> Result<bool, Error> {
        let [still] = self.attributes(&group(container)?, [STILL])?;
        Ok(still.is_some_and(|still| still == "1"))
    }

    /// Makes the group of `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Make`].
    pub fn make_group(&self, container: &str) -> Result<(), Error> {
        self.make(&group(container)?)
    }

    /// Removes the group of `container`.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Remove`]: while it holds a leaf.
    pub fn remove_group(&self, container: &str) -> Result<(), Error> {
        self.remove(&group(container)?)
    }

    /// What a control file of the group holds, without the line feed; `None` if the group or the file is not there.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Read`].
    pub fn read_limit(&self, container: &str, control: Control) -> Result<Option<String>, Error> {
        let file = format!("{}/{control}", group(container)?);
        found(self.read(&file)).map(|text| text.map(|text| text.trim_end().to_owned()))
    }

    /// Writes a control file of the group.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Controller`] if the group lacks the file; [`Error::Write`].
    pub fn write_limit(&self, container: &str, control: Control, value: &str) -> Result<(), Error> {
        let group = group(container)?;
        self.write(&format!("{group}/{control}"), value).map_err(|error| match error {
            Error::Write { source, .. } if source.kind() == io::ErrorKind::NotFound && self.has(&group) => {
                Error::Controller { path: self.path.join(&group), control }
            }
            other => other,
        })
    }

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
            let Some(launch_id) = name::leaf_launch(&child) else { continue };
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

    /// Stops all processes of the leaf until [`Hierarchy::thaw`]. Returns at once; [`Leaf::frozen`] tells when it is so.
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

    /// Enables `controllers` for the children of `group`, one by one, so that an error names the one at fault.
    fn enable(&self, group: &str, controllers: &[&str]) -> Result<(), Error> {
        let file = if group.is_empty() { String::new() } else { format!("{group}/") } + "cgroup.subtree_control";
        let enabled = self.read(&file)?;
        for controller in controllers.iter().filter(|c| !enabled.split_whitespace().any(|e| e == **c)) {
            self.write(&file, &format!("+{controller}"))?;
        }
        Ok(())
    }

    fn write_attribute(&self, folder: &str, attribute: &str, value: &str) -> Result<(), Error> {
        let write = |fd| at("cgroup.mark", || fsetxattr(&fd, attribute, value.as_bytes(), XattrFlags::empty()));
        let written =
            self.open_below(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC).and_then(|fd| Ok(write(fd)?));
        written.map_err(|source| Error::Write { path: self.path.join(folder), value: value.to_owned(), source })
    }

    fn attributes<const N: usize>(&self, folder: &str, names: [&str; N]) -> Result<[Option<String>; N], Error> {
        let failed = |source: io::Error| Error::Read { path: self.path.join(folder), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut values = [const { None }; N];
        let Some(fd) = found(self.open_below(folder, flags).map_err(failed))? else { return Ok(values) };
        for (name, place) in names.into_iter().zip(&mut values) {
            let mut value = [0; MARK_BYTES];
            *place = match look("cgroup.marked", || fgetxattr(&fd, name, &mut value)) {
                Ok(length) => Some(String::from_utf8_lossy(&value[..length]).into_owned()),
                Err(Errno::NODATA) => None,
                Err(source) => return Err(failed(source.into())),
            };
        }
        Ok(values)
    }

    fn make(&self, group: &str) -> Result<(), Error> {
        match at("cgroup.make", || mkdirat(&self.base, group, Mode::from_raw_mode(0o755))) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(source) => Err(Error::Make { path: self.path.join(group), source: source.into() }),
        }
    }

    fn remove(&self, group: &str) -> Result<(), Error> {
        match at("cgroup.remove", || unlinkat(&self.base, group, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(Error::Remove { path: self.path.join(group), source: source.into() }),
        }
    }

    fn has(&self, group: &str) -> bool {
        self.open_below(group, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC).is_ok()
    }

    /// The groups directly in `group`, in the order of names; none if it is not there.
    fn children(&self, group: &str) -> Result<Vec<String>, Error> {
        let failed = |source: io::Error| Error::Read { path: self.path.join(group), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some(fd) = found(self.open_below(group, flags).map_err(failed))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in Dir::new(fd).map_err(|e| failed(e.into()))? {
            let entry = entry.map_err(|e| failed(e.into()))?;
            // The names of groups that we make are ASCII; another one is not ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if entry.file_type() == FileType::Directory && !matches!(name, "." | "..") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, file: &str) -> Result<String, Error> {
        let path = self.path.join(file);
        match self.open_below(file, OFlags::RDONLY | OFlags::CLOEXEC) {
            Ok(fd) => read_from_start(&fd, &path),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The numbers with these keys of a flat keyed file such as `memory.events`.
    fn numbers<const N: usize>(&self, file: &str, keys: [&str; N]) -> Result<[u64; N], Error> {
        let text = self.read(file)?;
        let mut numbers = [0; N];
        for (number, key) in numbers.iter_mut().zip(keys) {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
            *number = value
                .ok_or_else(|| Error::Format { path: self.path.join(file), text: text.chars().take(80).collect() })?;
        }
        Ok(numbers)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        self.open_below(file, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC)
            .and_then(|fd| Ok(at("cgroup.write", || rustix::io::write(&fd, value.as_bytes()))?))
            .and_then(|written| if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) })
            .map_err(|source| Error::Write { path: self.path.join(file), value: value.to_owned(), source })
    }

    fn open_below(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        Ok(look("cgroup.open", || openat2(&self.base, path, flags, Mode::empty(), resolve))?)
    }
}

/// `catenoid/<container>`.
fn group(container: &str) -> Result<String, Error> {
    component(container).map(|container| format!("{}/{container}", name::CGROUP))
}

/// `catenoid/<container>/run.<launch>`.
fn leaf(container: &str, launch_id: &str) -> Result<String, Error> {
    let name = name::leaf(launch_id);
    name::leaf_launch(&name).ok_or_else(|| Error::Name { name: name.clone() })?;
    group(container).map(|group| format!("{group}/{name}"))
}

fn component(name: &str) -> Result<&str, Error> {
    let single = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    single.then_some(name).ok_or_else(|| Error::Name { name: name.to_owned() })
}

fn read_from_start(file: &impl AsFd, path: &Path) -> Result<String, Error> {
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
fn flag(text: &str, key: &str, path: &Path) -> Result<bool, Error> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    match value {
        Some("0") => Ok(false),
        Some("1") => Ok(true),
        _ => Err(Error::Format { path: path.to_owned(), text: text.chars().take(80).collect() }),
    }
}

/// `None` for what is not there; `ENODEV` is how a removed group's open file answers.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Read { source, .. }) if is_gone(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::Write { source, .. }) if is_gone(&source) => Ok(()),
        other => other,
    }
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NODEV].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
