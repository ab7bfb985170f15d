//! The system calls of a container's launch: detached mounts, id-mapped mounts, `clone3` into a cgroup, `pivot_root`,
//! identity, capabilities, seccomp. Used by the launcher, a process with a single thread.
//!
//! A mount is first made detached ([`Tree`]), gets its attributes, and only then is attached at a [`MountTarget`] that was
//! opened below a root without following any link: no path of a guest is ever given to the kernel to interpret.

#![allow(unsafe_code, reason = "system calls that `rustix` and `nix` lack")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use nix::sched::CloneFlags;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, symlinkat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
        unmount,
    },
};

use crate::{
    fault::{at, look},
    files,
    process::{self, End},
    seccomp,
    wait::{For, wait},
};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the launch needs could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The container's output could not be opened.
    #[error(transparent)]
    Output(#[from] files::Error),
    /// A mount could not be cloned.
    #[error("failed to clone the mount of `{}`", path.display())]
    CloneMount {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The attributes of a mount could not be set.
    #[error("failed to restrict the mount of `{}`", path.display())]
    Restrict {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ids of a mount could not be mapped.
    #[error("failed to map the ids of the mount of `{}`", path.display())]
    MapIds {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file system could not be made.
    #[error("failed to make a `{kind}` file system")]
    FileSystem {
        /// Its type.
        kind: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A mount could not be attached.
    #[error("failed to mount at `{}`", path.display())]
    Attach {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder, file or link could not be made.
    #[error("failed to make `{}`", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error("failed to enter namespace `{}`", path.display())]
    Enter {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The namespaces of a process could not be entered.
    #[error("failed to enter the namespaces of process {pid}")]
    Join {
        /// Whose.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be left for a new one.
    #[error("failed to make a new {kind} namespace")]
    Unshare {
        /// Which.
        kind: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A process with several threads cannot be cloned safely (our fault).
    #[error("a process with several threads cannot launch")]
    Threads,
    /// The container's first process could not be made.
    #[error("failed to clone into cgroup `{}`", path.display())]
    Clone {
        /// The leaf.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root could not be changed.
    #[error("failed to make `{}` the root", path.display())]
    Pivot {
        /// The new root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A property of the process could not be set.
    #[error("failed to set {what}")]
    Set {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A set of capabilities could not be set.
    #[error("failed to set the {set} capabilities")]
    Capabilities {
        /// Which set.
        set: &'static str,
        /// Why.
        source: caps::errors::CapsError,
    },
    /// A number that is no capability.
    #[error("{number} is not the number of a capability")]
    NoCapability {
        /// What was given.
        number: u8,
    },
    /// The system call filter was not taken.
    #[error(transparent)]
    Filter(#[from] seccomp::Error),
    /// A text with a NUL.
    #[error("`{text}` has a NUL")]
    Nul {
        /// What was given.
        text: String,
    },
    /// The program could not be executed.
    #[error("failed to execute `{program}`")]
    Execute {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The kernel's error number, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        let source = std::error::Error::source(self)?;
        source.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
    }
}

/// What a mount forbids, on top of set-id programs, which every mount forbids, and devices, which all but one forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbid {
    /// Nothing more.
    Nothing,
    /// Writing.
    Write,
    /// Executing.
    Execute,
    /// Both.
    WriteExecute,
    /// Executing, while nodes of devices can be opened.
    ExecuteNotDevices,
}

impl Forbid {
    fn flags(self) -> MountAttrFlags {
        let base = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        match self {
            Self::Nothing => base,
            Self::Write => base | MountAttrFlags::MOUNT_ATTR_RDONLY,
            Self::Execute => base | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            Self::WriteExecute => base | MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            Self::ExecuteNotDevices => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        }
    }
}

/// A mount; detached until [`Tree::attach`]. Places in it are opened without following links.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
    path: PathBuf,
}

/// A file or folder in a [`Tree`] or of the host, opened for mounting on it (`O_PATH`).
#[derive(Debug)]
pub struct MountTarget {
    fd: OwnedFd,
    path: PathBuf,
}

impl MountTarget {
    /// Opens a folder of the host, whose paths are ours.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn of_host(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = at("launch.open", || rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// A detached clone of the mount that this lies in, beginning here, with what is mounted below.
    ///
    /// # Errors
    /// [`Error::CloneMount`].
    pub fn clone_tree(&self) -> Result<Tree, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let fd = at("launch.clone_mount", || open_tree(&self.fd, c"", flags))
            .map_err(|source| Error::CloneMount { path: self.path.clone(), source: source.into() })?;
        Ok(Tree { fd, path: self.path.clone() })
    }

    /// Whether this is a folder.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn is_folder(&self) -> Result<bool, Error> {
        let stat = rustix::fs::fstat(&self.fd)
            .map_err(|source| Error::Open { path: self.path.clone(), source: source.into() })?;
        Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
    }
}

impl Tree {
    /// A detached clone of the one mount at `path`, a path of the host.
    ///
    /// # Errors
    /// [`Error::CloneMount`].
    pub fn of_host(path: &Path) -> Result<Self, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let fd = at("launch.clone_mount", || open_tree(CWD, path, flags))
            .map_err(|source| Error::CloneMount { path: path.to_owned(), source: source.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// A new file system of type `kind`; an option without a value is a flag.
    ///
    /// # Errors
    /// [`Error::FileSystem`].
    pub fn new(kind: &'static str, options: &[(&str, &str)], forbid: Forbid) -> Result<Self, Error> {
        let error = |source: rustix::io::Errno| Error::FileSystem { kind, source: source.into() };
        let context = at("launch.new_file_system", || fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)).map_err(error)?;
        for (key, value) in options {
            match *value {
                "" => fsconfig_set_flag(&context, *key),
                value => fsconfig_set_string(&context, *key, value),
            }
            .map_err(error)?;
        }
        at("launch.create_file_system", || fsconfig_create(&context)).map_err(error)?;
        let fd = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, forbid.flags()).map_err(error)?;
        Ok(Self { fd, path: PathBuf::from("/") })
    }

    /// Forbids more; what a mount forbids already stays forbidden.
    ///
    /// # Errors
    /// [`Error::Restrict`].
    pub fn restrict(&self, forbid: Forbid) -> Result<(), Error> {
        self.set_attributes(u64::from(forbid.flags().bits()), None)
            .map_err(|source| Error::Restrict { path: self.path.clone(), source })
    }

    /// Shows the files of the mount with the ids that `user_namespace` maps theirs to (`mount_setattr(2)`, id-mapped
    /// mounts). The file system on disk is not touched.
    ///
    /// # Errors
    /// [`Error::MapIds`].
    pub fn map_ids(&self, user_namespace: BorrowedFd<'_>) -> Result<(), Error> {
        self.set_attributes(libc::MOUNT_ATTR_IDMAP, Some(user_namespace))
            .map_err(|source| Error::MapIds { path: self.path.clone(), source })
    }

    fn set_attributes(&self, set: u64, user_namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: set,
            attr_clr: 0,
            propagation: 0,
            userns_fd: user_namespace.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
        };
        at("launch.set_attributes", || {
            // SAFETY: the path is a NUL-terminated constant, `attributes` lives over the call and its size is given.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_mount_setattr,
                    self.fd.as_raw_fd(),
                    c"".as_ptr(),
                    libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
                    &raw const attributes,
                    size_of::<libc::mount_attr>(),
                )
            };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        })
    }

    /// Attaches the mount on top of `place`.
    ///
    /// # Errors
    /// [`Error::Attach`].
    pub fn attach(&self, place: &MountTarget) -> Result<(), Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        at("launch.attach", || move_mount(&self.fd, c"", &place.fd, c"", flags))
            .map_err(|source| Error::Attach { path: place.path.clone(), source: source.into() })
    }

    /// Opens `path` below this mount's root, which no link, `..` or absolute path leaves; a link on the way is an error.
    /// A name in `/dev` or `/proc` of the guest finds what is mounted there by now.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn place(&self, path: &str) -> Result<MountTarget, Error> {
        let shown = Path::new("/").join(path.trim_start_matches('/'));
        // Without O_NOFOLLOW, which would open a link at the end instead of refusing it.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = at("launch.place", || openat2(&self.fd, shown.as_path(), flags, Mode::empty(), resolve))
            .map_err(|source| Error::Open { path: shown.clone(), source: source.into() })?;
        Ok(MountTarget { fd, path: shown })
    }

    /// As [`Tree::place`]; `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn place_if_any(&self, path: &str) -> Result<Option<MountTarget>, Error> {
        match self.place(path) {
            Ok(place) => Ok(Some(place)),
            Err(Error::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder in the root of this mount.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_folder(&self, name: &str, mode: u32) -> Result<(), Error> {
        at("launch.make_folder", || mkdirat(&self.fd, name, Mode::from_raw_mode(mode)))
            .map_err(|source| self.make_error(name, source))
    }

    /// Makes an empty file in the root of this mount, for another one to be mounted on it.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_file(&self, name: &str) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at("launch.make_file", || rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o666)))
            .map(drop)
            .map_err(|source| self.make_error(name, source))
    }

    /// Makes the node of a character device in the root of this mount, for everybody to read and write.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_device(&self, name: &str, major: u32, minor: u32) -> Result<(), Error> {
        let error = |source| self.make_error(name, source);
        let device = rustix::fs::makedev(major, minor);
        let make = || rustix::fs::mknodat(&self.fd, name, FileType::CharacterDevice, Mode::empty(), device);
        at("launch.make_device", make).map_err(error)?;
        // The mask of new files does not count here.
        rustix::fs::chmodat(&self.fd, name, Mode::from_raw_mode(0o666), AtFlags::empty()).map_err(error)
    }

    /// Makes a link in the root of this mount.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn make_link(&self, name: &str, target: &str) -> Result<(), Error> {
        at("launch.make_link", || symlinkat(target, &self.fd, name)).map_err(|source| self.make_error(name, source))
    }

    /// Gives the folder `name` in the root of this mount the owner and mode that the root of `model` has.
    ///
    /// # Errors
    /// [`Error::Make`].
    pub fn adopt_owner(&self, name: &str, model: &Tree) -> Result<(), Error> {
        let error = |source| self.make_error(name, source);
        let stat = rustix::fs::fstat(&model.fd).map_err(error)?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(error)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty()).map_err(error)
    }

    /// Makes the root of this mount the working directory.
    ///
    /// # Errors
    /// [`Error::Set`].
    pub fn enter(&self) -> Result<(), Error> {
        rustix::process::fchdir(&self.fd).map_err(|e| set("the working directory", e))
    }

    /// Makes this attached mount the root of the mount namespace and lets go of the old one.
    ///
    /// # Errors
    /// [`Error::Pivot`].
    pub fn become_root(&self) -> Result<(), Error> {
        let error = |source: rustix::io::Errno| Error::Pivot { path: self.path.clone(), source: source.into() };
        rustix::process::fchdir(&self.fd).map_err(error)?;
        // Both the same: the old root is mounted on top of the new one (pivot_root(2), NOTES), then taken away.
        at("launch.pivot", || rustix::process::pivot_root(".", ".")).map_err(error)?;
        at("launch.leave_old_root", || unmount(".", UnmountFlags::DETACH)).map_err(error)?;
        rustix::process::chdir("/").map_err(error)
    }

    fn make_error(&self, name: &str, source: rustix::io::Errno) -> Error {
        Error::Make { path: self.path.join(name), source: source.into() }
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A namespace, opened from where it is pinned.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    path: PathBuf,
}

impl Namespace {
    /// Opens the namespace pinned at `path`.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Enters it.
    ///
    /// # Errors
    /// [`Error::Enter`].
    pub fn enter(&self, kind: NamespaceKind) -> Result<(), Error> {
        let flag = match kind {
            NamespaceKind::User => CloneFlags::CLONE_NEWUSER,
            NamespaceKind::Network => CloneFlags::CLONE_NEWNET,
        };
        at("launch.enter", || nix::sched::setns(&self.fd, flag))
            .map_err(|e| Error::Enter { path: self.path.clone(), source: e.into() })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The namespaces that are entered, not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceKind {
    /// user_namespaces(7).
    User,
    /// network_namespaces(7).
    Network,
}

/// Leaves the mount namespace for a copy of it, from and to which no mount propagates.
///
/// # Errors
/// [`Error::Unshare`].
pub fn own_mounts() -> Result<(), Error> {
    let error = |source: io::Error| Error::Unshare { kind: "mount", source };
    at("launch.own_mounts", || nix::sched::unshare(CloneFlags::CLONE_NEWNS)).map_err(|e| error(e.into()))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(|e| error(e.into()))
}

/// Children get a time namespace of their own.
///
/// # Errors
/// [`Error::Unshare`].
pub fn own_time() -> Result<(), Error> {
    // `nix` has no name for CLONE_NEWTIME (time_namespaces(7), linux/sched.h).
    let flag = CloneFlags::from_bits_retain(0x80);
    at("launch.own_time", || nix::sched::unshare(flag)).map_err(|e| Error::Unshare { kind: "time", source: e.into() })
}

/// Leaves the cgroup namespace for one whose root is the own cgroup.
///
/// # Errors
/// [`Error::Unshare`].
pub fn own_cgroup() -> Result<(), Error> {
    at("launch.own_cgroup", || nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP))
        .map_err(|e| Error::Unshare { kind: "cgroup", source: e.into() })
}

/// On which side of the clone we are.
#[derive(Debug)]
pub enum Side {
    /// The launcher, which has a child now.
    Launcher {
        /// The child, in the launcher's pid namespace.
        pid: u32,
    },
    /// The first process of the container.
    Container,
}

/// A process that runs in a container, whose namespaces can be entered.
#[derive(Debug)]
pub struct Inmate {
    process: OwnedFd,
    pid: u32,
}

impl Inmate {
    /// Opens the process `pid` that started at the tick `started`. None if it is gone.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn open(pid: u32, started: u64) -> Result<Option<Self>, Error> {
        let failed = |source: io::Error| Error::Join { pid, source };
        let Some(raw) = rustix::process::Pid::from_raw(pid.cast_signed()) else { return Ok(None) };
        let process = match rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            opened => opened.map_err(|errno| failed(errno.into()))?,
        };
        // Looked at once it is held: what it says is of that process.
        let identity = process::identity(pid).map_err(|error| failed(io::Error::other(error)))?;
        Ok(identity.filter(|identity| identity.started == started).map(|_| Self { process, pid }))
    }

    /// Enters all its namespaces but that of control groups; only children are in that of processes. So a child, which the container
    /// can see, never sees more than it. The clocks are the container's from then on.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn approach(&self) -> Result<(), Error> {
        // `nix` has no name for CLONE_NEWTIME.
        let time = CloneFlags::from_bits_retain(0x80);
        let (user, mounts) = (CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNS);
        let others = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        self.enter(user | mounts | others | CloneFlags::CLONE_NEWPID | time)
    }

    /// Enters that of control groups: for a child that is in its group.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn join(&self) -> Result<(), Error> {
        self.enter(CloneFlags::CLONE_NEWCGROUP)
    }

    fn enter(&self, namespaces: CloneFlags) -> Result<(), Error> {
        let entered = look("launch.join", || nix::sched::setns(&self.process, namespaces));
        entered.map_err(|errno| Error::Join { pid: self.pid, source: errno.into() })
    }
}

/// Nobody may look into this process from now on, nor trace it: until it executes a program.
///
/// # Errors
/// [`Error::Set`].
pub fn hide() -> Result<(), Error> {
    nix::sys::prctl::set_dumpable(false).map_err(|e| set("that it cannot be looked into", e))
}

/// This process is killed once its parent is gone.
///
/// # Errors
/// [`Error::Set`].
pub fn end_with_parent() -> Result<(), Error> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|e| set("the signal of its parent's end", e))
}

/// What a child did.
#[derive(Debug)]
pub struct Deed {
    /// How it ended; nothing if it did not in time, and was killed.
    pub end: Option<End>,
    /// The last part of what it wrote.
    pub output: Vec<u8>,
}

/// Waits for the end of the child `pid`, which leads a session, and reads `output`, of which the last `most` bytes are kept. At
/// `until` it is killed, with what it started and did not send away.
///
/// # Errors
/// [`Error::Set`].
pub fn observe_child(pid: u32, output: OwnedFd, most: usize, until: Instant) -> Result<Deed, Error> {
    let failed = |source: io::Error| Error::Set { what: "the child's end", source };
    let raw =
        rustix::process::Pid::from_raw(pid.cast_signed()).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let child = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).map_err(|e| failed(e.into()))?;
    rustix::io::ioctl_fionbio(&output, true).map_err(|e| failed(e.into()))?;
    let (mut kept, mut open) = (Vec::new(), true);
    let mut ended = false;
    while !ended && Instant::now() < until {
        let sources = [(child.as_fd(), For::Input), (output.as_fd(), For::Input)];
        let woke = wait(&sources[..1 + usize::from(open)], until).map_err(failed)?;
        ended = woke[0];
        open = open && read_last(&output, most, &mut kept).map_err(failed)?;
    }
    if !ended {
        // Itself, as it may be no leader yet, and whoever is of its session's group.
        let _ = rustix::process::kill_process(raw, rustix::process::Signal::KILL);
    }
    let _ = rustix::process::kill_process_group(raw, rustix::process::Signal::KILL);
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid.cast_signed()), None);
    let end = match status.map_err(|errno| failed(errno.into()))? {
        _ if !ended => None,
        nix::sys::wait::WaitStatus::Exited(_, code) => Some(End::Code(code)),
        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => Some(End::Signal(signal as i32)),
        _ => None,
    };
    Ok(Deed { end, output: kept })
}

/// Reads what is there now, a pipe's worth at most; whether more may come.
fn read_last(from: &OwnedFd, most: usize, kept: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    for _ in 0..16 {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                kept.extend_from_slice(&buffer[..count]);
                kept.drain(..kept.len().saturating_sub(most));
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

/// Clones this process into `leaf` (a cgroup opened with `O_PATH`), with mount, pid, ipc and uts namespaces of its own
/// that belong to the user namespace it is in.
///
/// # Errors
/// [`Error::Threads`], [`Error::Clone`].
pub fn clone_into(leaf: &MountTarget) -> Result<Side, Error> {
    let error = |source: io::Error| Error::Clone { path: leaf.path.clone(), source };
    if at("launch.clone", threads).map_err(error)? != 1 {
        return Err(Error::Threads);
    }
    clone(leaf, libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)
}

/// Clones this process into `leaf`, beside what runs there. It has one thread: the kernel lets no other one approach.
///
/// # Errors
/// [`Error::Clone`].
pub fn clone_beside(leaf: &MountTarget) -> Result<Side, Error> {
    clone(leaf, 0)
}

fn clone(leaf: &MountTarget, namespaces: libc::c_int) -> Result<Side, Error> {
    let error = |source: io::Error| Error::Clone { path: leaf.path.clone(), source };
    // SAFETY: all zeros is a valid `clone_args`: no stack, no tid pointers, no pidfd.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(namespaces.cast_unsigned()) | CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments.cgroup = u64::from(leaf.fd.as_raw_fd().cast_unsigned());
    // SAFETY: without CLONE_VM this is a fork; with a single thread no lock is held by a thread that is not in the child.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match result {
        0 => Ok(Side::Container),
        pid if pid > 0 => Ok(Side::Launcher { pid: u32::try_from(pid).expect("a pid is below 2^22") }),
        _ => Err(error(io::Error::last_os_error())),
    }
}

/// linux/sched.h; `libc` has it as a signed number that does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn threads() -> io::Result<usize> {
    std::fs::read_dir("/proc/self/task").map(Iterator::count)
}

/// Waits for the end of the child.
///
/// # Errors
/// [`Error::Set`].
pub fn wait_for(pid: u32) -> Result<(), Error> {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::wait::waitpid(pid, None).map(drop).map_err(|e| Error::Set { what: "the child's end", source: e.into() })
}

/// Opens the fifo at `path`, which outlives both ends: reading and writing, so that no reader's death ends a writer, and
/// without blocking, so that a missing reader holds nobody up. Its owner becomes `uid`:`gid` (of the host), who may open
/// `/dev/stdout` then.
///
/// # Errors
/// [`Error::Output`], [`Error::Open`].
pub fn open_log(path: &Path, uid: u32, gid: u32) -> Result<OwnedFd, Error> {
    let error = |source: rustix::io::Errno| Error::Open { path: path.to_owned(), source: source.into() };
    let fd = files::open_pipe(path)?.ok_or_else(|| error(rustix::io::Errno::NOENT))?;
    give(&fd, uid, gid)?;
    Ok(fd)
}

/// The owner of an output becomes `uid`:`gid` (of the host), who may open `/dev/stdout` then.
///
/// # Errors
/// [`Error::Set`].
pub fn give(output: &impl AsFd, uid: u32, gid: u32) -> Result<(), Error> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::fchown(output, Some(uid), Some(gid)).map_err(|e| set("the owner of the output", e))
}

/// The kernel adds thousandths of the memory to what a process uses when it looks for one to end (proc(5)).
const SCORE: &str = "/proc/self/oom_score_adj";
/// Of who is ended after others.
const SPARED: i32 = -500;

/// Undoes what a process inherits from the agent: when memory runs out it is as likely to be ended as others are, or less so if
/// it is `spared`; no core dump through the host's pattern, no ignored or blocked signal, no foreign session, terminal or keys, the usual file mode mask.
///
/// # Errors
/// [`Error::Set`].
pub fn forget_parent(spared: bool) -> Result<(), Error> {
    let failed = |source| Error::Set { what: "the out-of-memory score", source };
    // Of one that is spared it is raised at most: whoever starts it may be no more likely to be spared than others.
    let inherited = std::fs::read_to_string(SCORE).map_err(failed)?.trim().parse().unwrap_or_default();
    let score = if spared { SPARED.max(inherited) } else { 0 };
    std::fs::write(SCORE, score.to_string()).map_err(failed)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
        .map_err(|e| set("the core dump limit", e))?;
    // The agent has more.
    let files = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(files).map_err(|e| set("the limit on open files", e))?;
    nix::sys::resource::setrlimit(files, crate::init::OPEN_FILES.0.min(hard), hard)
        .map_err(|e| set("the limit on open files", e))?;
    for number in 1..=libc::SIGRTMAX() {
        // Not by `libc::sigaction`: glibc keeps two signals for itself, which may be ignored all the same.
        // A `struct kernel_sigaction` (handler, flags, restorer, mask of 64 bits) of zeros is the default action.
        let default = [0u64; 4];
        // SAFETY: `default` lives over the call and is as long as the structure; no old action is asked for. Signals
        // that cannot be set answer EINVAL.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), std::ptr::null_mut::<u64>(), 8) };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask().map_err(|e| set("the signal mask", e))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// A new session, without terminal, and a new session keyring, without keys.
///
/// # Errors
/// [`Error::Set`].
pub fn own_session() -> Result<(), Error> {
    at("launch.own_session", rustix::process::setsid).map_err(|e| set("the session", e))?;
    // SAFETY: joins a new anonymous keyring; the null pointer asks for one without a name (keyctl(2)).
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    let error = io::Error::last_os_error();
    // A kernel without keyrings has none to share.
    if joined < 0 && error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(Error::Set { what: "the session keyring", source: error });
    }
    Ok(())
}

/// The host name of the own uts namespace.
///
/// # Errors
/// [`Error::Set`].
pub fn set_host_name(name: &str) -> Result<(), Error> {
    at("launch.host_name", || nix::unistd::sethostname(name)).map_err(|e| set("the host name", e))
}

/// Becomes `uid`:`gid` of the own user namespace, in no other group.
///
/// # Errors
/// [`Error::Set`].
pub fn set_ids(uid: u32, gid: u32) -> Result<(), Error> {
    let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
    at("launch.set_ids", || nix::unistd::setgroups(&[])).map_err(|e| set("the groups", e))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(|e| set("the group", e))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|e| set("the user", e))
}

/// The working directory, in the new root. No link to a descriptor (`/proc/self/fd/3`) leads there: ours are still open, and some of
/// them are of the device.
///
/// # Errors
/// [`Error::Open`].
pub fn set_working_directory(path: &str) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .and_then(rustix::process::fchdir)
        .map_err(|e| Error::Open { path: path.into(), source: e.into() })
}

/// Takes every capability from the bounding set that is not `granted`, also those that this program has no name for.
///
/// # Errors
/// [`Error::Set`].
pub fn bound_capabilities(granted: &[u8]) -> Result<(), Error> {
    // A capability set has 64 bits (capabilities(7)); the first number the kernel does not know ends them.
    for number in (0..64u8).filter(|number| !granted.contains(number)) {
        // SAFETY: a prctl without pointers.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            _ if dropped == 0 => {}
            Some(libc::EINVAL) => return Ok(()),
            _ => return Err(Error::Set { what: "the bounding set", source: error }),
        }
    }
    Ok(())
}

/// Lets the next change from root to another user keep the permitted capabilities.
///
/// # Errors
/// [`Error::Capabilities`].
pub fn keep_capabilities() -> Result<(), Error> {
    caps::securebits::set_keepcaps(true).map_err(|source| Error::Capabilities { set: "kept", source })
}

/// Holds exactly `granted`. What a program that is executed gets of it is decided by `inheritance`.
///
/// # Errors
/// [`Error::NoCapability`], [`Error::Capabilities`].
pub fn set_capabilities(granted: &[u8], inheritance: CapabilityInheritance) -> Result<(), Error> {
    use caps::CapSet;
    let granted = granted.iter().map(|n| capability(*n)).collect::<Result<caps::CapsHashSet, _>>()?;
    let inherited =
        if inheritance == CapabilityInheritance::Program { granted.clone() } else { caps::CapsHashSet::new() };
    let apply = |set, name, value: &caps::CapsHashSet| {
        caps::set(None, set, value).map_err(|source| Error::Capabilities { set: name, source })
    };
    caps::clear(None, CapSet::Ambient).map_err(|source| Error::Capabilities { set: "ambient", source })?;
    // Effective first: it must stay within the permitted ones. Raising it again follows.
    apply(CapSet::Effective, "effective", &granted)?;
    apply(CapSet::Inheritable, "inheritable", &inherited)?;
    apply(CapSet::Permitted, "permitted", &granted)?;
    apply(CapSet::Ambient, "ambient", &inherited)
}

/// How an executed program comes to its capabilities (capabilities(7), "Transformation of capabilities during execve").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilityInheritance {
    /// Root gets what the bounding set holds.
    Root,
    /// Any other user gets what is ambient.
    Program,
}

fn capability(number: u8) -> Result<caps::Capability, Error> {
    caps::all().into_iter().find(|c| c.index() == number).ok_or(Error::NoCapability { number })
}

/// Neither this process nor what it executes can gain a privilege by executing.
///
/// # Errors
/// [`Error::Set`].
pub fn no_new_privileges() -> Result<(), Error> {
    at("launch.no_new_privileges", nix::sys::prctl::set_no_new_privs).map_err(|e| set("no_new_privs", e))
}

/// Standard input from `/dev/null` of the own root, output to `log`; every other descriptor is closed when a program is
/// executed.
///
/// # Errors
/// [`Error::Open`], [`Error::Set`].
pub fn redirect(log: &OwnedFd) -> Result<(), Error> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| Error::Open { path: "/dev/null".into(), source: source.into() })?;
    nix::unistd::dup2_stdin(&null).map_err(|e| set("standard input", e))?;
    nix::unistd::dup2_stdout(log).map_err(|e| set("standard output", e))?;
    nix::unistd::dup2_stderr(log).map_err(|e| set("standard error", e))?;
    // Only marked: none is closed before the program is executed.
    close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Executes `command`, whose first entry is the path of the program. Returns only if that fails. For a child that has nothing to do
/// then but to say so by `report`: every other descriptor is closed before, so that no path of the program leads to one.
#[must_use]
pub fn execute(command: &[String], environment: &[String], report: BorrowedFd<'_>) -> Error {
    match try_execute(command, environment, report) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_execute(
    command: &[String],
    environment: &[String],
    report: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, Error> {
    let kept = report.as_raw_fd().cast_unsigned();
    close_range(3, kept.saturating_sub(1), 0)?;
    close_range(kept + 1, libc::c_uint::MAX, 0)?;
    let text = |text: &String| CString::new(text.as_str()).map_err(|_| Error::Nul { text: text.clone() });
    let program = command.first().cloned().unwrap_or_default();
    let command = command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let environment = environment.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let path = command.first().cloned().unwrap_or_default();
    at("launch.execute", || nix::unistd::execve(&path, &command, &environment))
        .map_err(|e| Error::Execute { program, source: e.into() })
}

fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> Result<(), Error> {
    if first > last {
        return Ok(());
    }
    // SAFETY: descriptors are marked only, or who had them executes another program or ends, and uses none of them any more.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if closed == 0 { Ok(()) } else { Err(set("the descriptors", io::Error::last_os_error())) }
}

fn set(what: &'static str, source: impl Into<io::Error>) -> Error {
    Error::Set { what, source: source.into() }
}
